//! One lock a key, among the threads of one process; the thread that holds it may take it again.
//!
//! There are only as many locks as are held at the moment.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

#[derive(Debug, Default)]
pub struct KeyLocks {
    table: Mutex<Table>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    /// The process whose threads these are: a forked child has only one of them.
    process: u32,
    held: HashMap<String, Held>,
    waiting: usize,
}

#[derive(Debug)]
struct Held {
    owner: ThreadId,
    depth: usize,
}

impl Table {
    fn try_acquire(&mut self, key: &str) -> bool {
        let me = thread::current().id();
        let process = std::process::id();
        if self.process != process {
            self.held.retain(|_, held| held.owner == me);
            (self.process, self.waiting) = (process, 0);
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
        self.table().try_acquire(key)
    }

    /// Waits for the lock and takes it.
    pub fn acquire(&self, key: &str) {
        let mut table = self.table();
        while !table.try_acquire(key) {
            table.waiting += 1;
            table = self
                .freed
                .wait(table)
                .unwrap_or_else(PoisonError::into_inner);
            table.waiting = table.waiting.saturating_sub(1);
        }
    }

    /// Gives the lock up as often as it was taken; false if this thread does not hold it.
    pub fn release(&self, key: &str) -> bool {
        let mut table = self.table();
        let me = thread::current().id();
        let Some(held) = table.held.get_mut(key).filter(|held| held.owner == me) else {
            return false;
        };
        held.depth -= 1;
        if held.depth == 0 {
            table.held.remove(key);
            if table.waiting > 0 {
                drop(table);
                self.freed.notify_all();
            }
        }
        true
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.table().held.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn a_thread_may_take_its_lock_again_and_others_may_not() {
        let locks = KeyLocks::default();
        locks.acquire("a");
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
                        locks.acquire("key");
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
