//! Forks wait for libraries that a copy of the process must not find in the middle of their work.
//!
//! A forked child has one thread. What the other threads of its parent had locked at that moment
//! stays locked in the child for ever: SQLite's own locks, say.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How many operations run, and how many forks are about to happen.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static FORKS: AtomicUsize = AtomicUsize::new(0);

/// A fork does not wait longer than this: an operation may wait for another process.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_micros(100);

/// Held while an operation runs; no fork happens meanwhile.
pub struct NoFork(());

impl NoFork {
    pub fn enter() -> Self {
        loop {
            if let Some(entered) = Self::try_enter() {
                return entered;
            }
            while FORKS.load(Ordering::SeqCst) != 0 {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// `None` where a fork is about to happen.
    pub fn try_enter() -> Option<Self> {
        INSIDE.fetch_add(1, Ordering::SeqCst);
        let entered = Self(());
        (FORKS.load(Ordering::SeqCst) == 0).then_some(entered)
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        INSIDE.fetch_sub(1, Ordering::SeqCst);
    }
}

/// To be called before a fork: waits for the operations that run, and lets no other begin.
pub fn before() {
    FORKS.fetch_add(1, Ordering::SeqCst);
    let started = Instant::now();
    while INSIDE.load(Ordering::SeqCst) != 0 && started.elapsed() < PATIENCE {
        std::thread::sleep(PAUSE);
    }
}

pub fn after_in_parent() {
    FORKS.fetch_sub(1, Ordering::SeqCst);
}

pub fn after_in_child() {
    INSIDE.store(0, Ordering::SeqCst);
    FORKS.store(0, Ordering::SeqCst);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_fork_waits_for_what_runs_and_what_comes_waits_for_the_fork() {
        let inside = NoFork::enter();
        let forked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                before();
                forked.store(true, Ordering::SeqCst);
                after_in_parent();
            });
            while FORKS.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            assert!(!forked.load(Ordering::SeqCst));
            drop(inside);
            drop(NoFork::enter());
        });
        assert!(forked.load(Ordering::SeqCst));
    }
}
