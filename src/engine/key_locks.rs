//! One lock a key, among the threads of one process; the thread that holds it may take it again.
//!
//! There are only as many locks as are held at the moment.

use std::collections::HashMap;
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::error::{Error, Result};
use super::fork::{self, Lock};
use super::wait::{Pause, Wait};

#[derive(Debug, Default)]
pub struct KeyLocks {
    table: Lock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    /// The process whose threads these are: a forked child has only one of them.
    generation: u32,
    held: HashMap<String, Held>,
}

#[derive(Debug)]
struct Held {
    owner: ThreadId,
    depth: usize,
}

impl Table {
    fn try_acquire(&mut self, key: &str) -> bool {
        let me = thread::current().id();
        let generation = fork::generation();
        if self.generation != generation {
            self.held.retain(|_, held| held.owner == me);
            self.generation = generation;
        }
        match self.held.get_mut(key) {
            None => {
                let held = Held {
                    owner: me,
                    depth: 1,
                };
                self.held.insert(key.to_owned(), held);
                true
            }
            Some(held) if held.owner == me => {
                held.depth += 1;
                true
            }
            Some(_) => false,
        }
    }
}

impl KeyLocks {
    /// Whether the lock could be taken without waiting.
    pub fn try_acquire(&self, key: &str) -> bool {
        self.table.lock().try_acquire(key)
    }

    /// Waits for the lock and takes it; an error only if that is interrupted.
    pub fn acquire(&self, key: &str) -> Result<()> {
        // Another thread of this process has it, and will give it back.
        let mut wait = Wait::new(Duration::MAX);
        while !self.try_acquire(key) {
            if wait.pause() == Pause::Interrupted {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    /// Gives the lock up as often as it was taken; false if this thread does not hold it.
    pub fn release(&self, key: &str) -> bool {
        let mut table = self.table.lock();
        let me = thread::current().id();
        let Some(held) = table.held.get_mut(key).filter(|held| held.owner == me) else {
            return false;
        };
        held.depth -= 1;
        if held.depth == 0 {
            table.held.remove(key);
        }
        true
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.table.lock().held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_thread_may_take_its_lock_again_and_others_may_not() {
        let locks = KeyLocks::default();
        locks.acquire("a").unwrap();
        assert!(locks.try_acquire("a"));
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(!locks.try_acquire("a"));
                assert!(!locks.release("a"));
                assert!(locks.try_acquire("b") && locks.release("b"));
            });
        });
        assert!(locks.release("a"));
        assert_eq!(locks.len(), 1);
        assert!(locks.release("a") && locks.is_empty() && !locks.release("a"));
    }

    #[test]
    fn one_thread_at_a_time() {
        let (locks, inside, most) = (
            KeyLocks::default(),
            AtomicUsize::new(0),
            AtomicUsize::new(0),
        );
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        locks.acquire("key").unwrap();
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                        locks.release("key");
                    }
                });
            }
        });
        assert_eq!(most.into_inner(), 1);
        assert!(locks.is_empty());
    }
}
