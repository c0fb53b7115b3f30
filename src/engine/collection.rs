//! Collections of garbage beside calls that are being saved.
//!
//! Between the moment that a call's arguments are stored and the one that its record is, no record
//! names them: a collection must neither take them for garbage nor wait for the call, which may run
//! for hours. Three things together keep a record from losing its values:
//!
//! - Whoever stores a result and its record holds the *gate*, together with all others that do. A
//!   collection decides what is garbage, and evicts it, while it holds the gate alone.
//! - Calls of this process *pin* the values that they stored; a collection leaves these alone.
//! - A collection leaves a *mark*. A call of another process that finds a new one when it is about
//!   to store its record looks after its arguments, and stores those that are gone again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::digest::Hash;
use super::error::{Error, Result};
use super::files::{Held, Mode, Store};
use super::fork::{self, Guard, Lock};
use super::wait::{Pause, Wait};

/// Who saves to memory waits this long for a collection to end, and the other way round.
const PATIENCE: Duration = Duration::from_secs(60);

/// The gate of one storage of values, and what calls of this process have pinned in it.
#[derive(Debug)]
pub struct Collection {
    gate: Gate,
    pins: Lock<HashMap<Hash, usize>>,
    /// Whether a cache stored something.
    begun: AtomicBool,
}

#[derive(Debug)]
enum Gate {
    /// Of a storage that is this process's own.
    Memory(Turnstile),
    /// Of a folder, which is other processes', too: a lock file.
    Folder(Arc<Store>),
}

/// When something was: which collections came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(u64);

impl Mark {
    /// Whether no collection began or went on between the two.
    pub fn is_still(self, now: Self) -> bool {
        // Odd while one goes on, or after one that died.
        self == now && self.0.is_multiple_of(2)
    }
}

/// A passage through the gate, until it is dropped.
#[derive(Debug)]
pub struct Passage {
    collection: Arc<Collection>,
    alone: bool,
    mark: Mark,
    held: Option<Held>,
}

impl Passage {
    /// The collections before this passage.
    pub fn mark(&self) -> Mark {
        self.mark
    }
}

impl Collection {
    /// For values in the memory of this process.
    pub fn in_memory() -> Self {
        Self::of(Gate::Memory(Turnstile::default()))
    }

    /// For values in a folder.
    pub fn in_folder(store: Arc<Store>) -> Self {
        Self::of(Gate::Folder(store))
    }

    fn of(gate: Gate) -> Self {
        Self {
            gate,
            pins: Lock::default(),
            begun: AtomicBool::new(false),
        }
    }

    /// The folder, if the values are in one.
    pub fn folder(&self) -> Option<&Store> {
        match &self.gate {
            Gate::Memory(_) => None,
            Gate::Folder(store) => Some(store),
        }
    }

    /// To be taken before a call stores its arguments.
    pub fn mark(&self) -> Mark {
        Mark(match &self.gate {
            Gate::Memory(turnstile) => turnstile.counts().mark,
            Gate::Folder(store) => store.collection_mark(),
        })
    }

    /// Passes beside all others that save.
    pub fn save(self: &Arc<Self>) -> Result<Passage> {
        let (mark, held) = match &self.gate {
            Gate::Memory(turnstile) => (turnstile.enter(false)?, None),
            Gate::Folder(store) => {
                let held = store.pass_collection(Mode::Shared, store.lock_timeout())?;
                (held.length(), Some(held))
            }
        };
        Ok(self.passage(false, mark, held))
    }

    /// As `save` where it need not wait for anybody.
    pub fn try_save(self: &Arc<Self>) -> Option<Passage> {
        match &self.gate {
            Gate::Memory(turnstile) => {
                let mark = turnstile.try_enter(false)?;
                Some(self.passage(false, mark, None))
            }
            Gate::Folder(store) => {
                let held = store.pass_collection(Mode::Shared, Duration::ZERO).ok()?;
                Some(self.passage(false, held.length(), Some(held)))
            }
        }
    }

    /// Passes alone, to evict.
    pub fn collect(self: &Arc<Self>) -> Result<Passage> {
        let (mark, held) = match &self.gate {
            Gate::Memory(turnstile) => (turnstile.enter(true)?, None),
            Gate::Folder(store) => {
                let mut held = store.pass_collection(Mode::Exclusive, store.lock_timeout())?;
                // One that died left it odd: it is odd and another one now, too.
                let marks = 1 + held.length() % 2;
                store.leave_collection_mark(&mut held, marks)?;
                (held.length(), Some(held))
            }
        };
        Ok(self.passage(true, mark, held))
    }

    fn passage(self: &Arc<Self>, alone: bool, mark: u64, held: Option<Held>) -> Passage {
        Passage {
            collection: Arc::clone(self),
            alone,
            mark: Mark(mark),
            held,
        }
    }

    /// To be called before a cache stores arguments.
    pub fn begin(&self) {
        if let Gate::Folder(store) = &self.gate
            && !self.begun.swap(true, Ordering::Relaxed)
        {
            store.begin_users();
        }
    }

    /// Keeps values from being collected until as many calls of `unpin`.
    pub fn pin(&self, keys: &[Hash]) {
        let mut pins = self.pins.lock();
        for key in keys {
            *pins.entry(*key).or_default() += 1;
        }
    }

    pub fn unpin(&self, keys: &[Hash]) {
        let mut pins = self.pins.lock();
        for key in keys {
            if let Some(count) = pins.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    pins.remove(key);
                }
            }
        }
    }

    /// The values that calls of this process have pinned.
    pub fn pinned(&self) -> Vec<Hash> {
        self.pins.lock().keys().copied().collect()
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        match (&self.collection.gate, &mut self.held) {
            (Gate::Memory(turnstile), _) => turnstile.leave(self.alone),
            (Gate::Folder(store), Some(held)) if self.alone => {
                if let Err(error) = store.leave_collection_mark(held, 1) {
                    // As after one that died: calls look after their arguments.
                    log::debug!(target: "fleche.storage", "{error}");
                }
            }
            _ => {}
        }
    }
}

/// Lets many pass together, or one alone, in one process.
#[derive(Debug, Default)]
struct Turnstile {
    counts: Lock<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    /// The process that these are of: a forked child has none of its parent's threads.
    generation: u32,
    saving: usize,
    collecting: bool,
    mark: u64,
}

impl Counts {
    fn admit(&mut self, alone: bool) -> Option<u64> {
        let generation = fork::generation();
        if self.generation != generation {
            (self.generation, self.saving, self.collecting) = (generation, 0, false);
            self.mark += self.mark % 2;
        }
        if self.collecting || (alone && self.saving > 0) {
            return None;
        }
        if alone {
            self.collecting = true;
            self.mark += 1;
        } else {
            self.saving += 1;
        }
        Some(self.mark)
    }
}

impl Turnstile {
    fn counts(&self) -> Guard<'_, Counts> {
        self.counts.lock()
    }

    fn try_enter(&self, alone: bool) -> Option<u64> {
        self.counts().admit(alone)
    }

    fn enter(&self, alone: bool) -> Result<u64> {
        let mut wait = Wait::new(PATIENCE);
        loop {
            if let Some(mark) = self.try_enter(alone) {
                return Ok(mark);
            }
            match wait.pause() {
                Pause::Over => {}
                Pause::TimedOut => {
                    return Err(Error::Locked {
                        lock: PathBuf::from("of the garbage collection of a storage in memory"),
                        waited: PATIENCE,
                    });
                }
                Pause::Interrupted => return Err(Error::Interrupted),
            }
        }
    }

    fn leave(&self, alone: bool) {
        let mut counts = self.counts();
        // Entered in the parent of this process: counted there.
        if counts.generation != fork::generation() {
            return;
        }
        if alone {
            counts.collecting = false;
            counts.mark += 1;
        } else {
            counts.saving = counts.saving.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(test: impl Fn(&Arc<Collection>)) {
        test(&Arc::new(Collection::in_memory()));
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let store = Store::new(root, Duration::from_secs(1));
        test(&Arc::new(Collection::in_folder(Arc::new(store))));
    }

    #[test]
    fn a_collection_is_alone() {
        both(|collection| {
            let saving = (collection.save().unwrap(), collection.save().unwrap());
            std::thread::scope(|scope| {
                let collecting = scope.spawn(|| drop(collection.collect().unwrap()));
                drop(saving);
                collecting.join().unwrap();
            });
            let alone = collection.collect().unwrap();
            assert!(collection.try_save().is_none());
            drop(alone);
            assert!(collection.try_save().is_some());
        });
    }

    #[test]
    fn marks_tell_of_collections() {
        both(|collection| {
            let before = collection.mark();
            assert!(before.is_still(collection.save().unwrap().mark()));
            let collecting = collection.collect().unwrap();
            let during = collection.mark();
            assert!(!before.is_still(during));
            assert!(!during.is_still(during));
            drop(collecting);
            let after = collection.mark();
            assert!(!before.is_still(after) && !during.is_still(after));
            assert!(after.is_still(collection.save().unwrap().mark()));
        });
    }

    #[test]
    fn one_that_died_is_told_from_those_that_follow() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::new(folder.path().into(), Duration::from_secs(1)));
        let collection = Arc::new(Collection::in_folder(Arc::clone(&store)));
        let mut died = store
            .pass_collection(Mode::Exclusive, Duration::ZERO)
            .unwrap();
        store.leave_collection_mark(&mut died, 1).unwrap();
        drop(died);
        let between = collection.mark();
        assert!(!between.is_still(collection.mark()));
        drop(collection.collect().unwrap());
        assert!(!between.is_still(collection.mark()));
        let after = collection.mark();
        assert!(after.is_still(collection.mark()));
    }

    #[test]
    fn pins_are_counted() {
        both(|collection| {
            let key = [7; 32];
            collection.pin(&[key, key]);
            collection.unpin(&[key]);
            assert_eq!(collection.pinned(), [key]);
            collection.unpin(&[key]);
            assert_eq!(collection.pinned(), [[0; 32]; 0]);
        });
    }
}
