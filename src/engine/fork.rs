//! What becomes of locks, connections and other threads' work where the process forks.
//!
//! A forked child has one thread, and a copy of everything else: what other threads had locked
//! stays locked in it for ever, what they were changing stays half changed, and what libraries know
//! of files that are open is wrong in one of the two processes. Therefore
//!
//! - a fork waits for the short sections in which such things are in use (`NoFork`), and who comes
//!   to one waits for the fork;
//! - before it, databases are closed (`Settling::before`): both sides open them anew;
//! - in the child, what the parent still had open is left to it (`Settling::in_child`): lock
//!   files are closed, and databases not used where one could not be closed in time.
//!
//! The C library calls this at every fork of the process, whoever makes it.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How many threads are in a section, and how many are about to fork.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
static FORKING: AtomicUsize = AtomicUsize::new(0);

/// How many forks lie between this process and the one that loaded the library.
static GENERATION: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// How often this thread entered a section, and how often it has announced the same fork.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    static ANNOUNCED: Cell<usize> = const { Cell::new(0) };
}

/// A fork does not wait longer than this: a section may wait for a disk that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_micros(100);

/// What a thread holds that must not wait for others: Python's global lock.
pub struct Attachment {
    /// Whether this thread holds it. As long as it does, no other one forks.
    pub is_held: fn() -> bool,
    /// Does something without it.
    pub without: fn(&mut (dyn FnMut() + Send)),
}

static ATTACHMENT: OnceLock<Attachment> = OnceLock::new();

pub fn set_attachment(attachment: Attachment) {
    // The first one stays: there is one such lock.
    let _ = ATTACHMENT.set(attachment);
}

fn is_attached() -> bool {
    ATTACHMENT.get().is_some_and(|known| (known.is_held)())
}

/// What somebody does at every fork.
pub struct Settling {
    /// In the process that forks, while no section goes on.
    pub before: fn(),
    /// In the child.
    pub in_child: fn(),
}

static SETTLING: OnceLock<&'static [Settling]> = OnceLock::new();

fn settling() -> &'static [Settling] {
    SETTLING.get().copied().unwrap_or_default()
}

/// A section in which no fork happens, until it is dropped.
#[derive(Debug)]
pub struct NoFork(PhantomData<*const ()>);

impl NoFork {
    /// Waits where a fork is about to happen; not, though, in a thread that holds what the fork
    /// cannot happen without.
    pub fn enter() -> Self {
        loop {
            if let Some(entered) = Self::try_enter() {
                return entered;
            }
            if is_attached() {
                return Self::count();
            }
            while FORKING.load(Ordering::SeqCst) != 0 {
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// `None` where another thread is about to fork.
    pub fn try_enter() -> Option<Self> {
        let entered = Self::count();
        let free = FORKING.load(Ordering::SeqCst) == 0
            || DEPTH.get() > 1
            // Between the announcement and the fork this thread goes on.
            || ANNOUNCED.get() > 0;
        free.then_some(entered)
    }

    /// As `enter` for a section that ends by `leave`.
    pub fn enter_until_left() {
        std::mem::forget(Self::enter());
    }

    /// Ends what `enter_until_left` began, in the same thread.
    pub fn leave() {
        drop(Self(PhantomData));
    }

    fn count() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        if DEPTH.get() == 1 {
            INSIDE.fetch_add(1, Ordering::SeqCst);
        }
        Self(PhantomData)
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get().saturating_sub(1));
        if DEPTH.get() == 0 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// A mutex that no fork finds locked. What is done under it is short, and asks nothing of Python.
#[derive(Debug, Default)]
pub struct Lock<T>(Mutex<T>);

/// What a `Lock` protects, until it is dropped.
pub struct Guard<'a, T> {
    // In this order: the mutex is free before a fork may go on.
    value: MutexGuard<'a, T>,
    _no_fork: NoFork,
}

impl<T> Lock<T> {
    pub const fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    pub fn lock(&self) -> Guard<'_, T> {
        let no_fork = NoFork::enter();
        Guard {
            value: self.0.lock().unwrap_or_else(PoisonError::into_inner),
            _no_fork: no_fork,
        }
    }

    /// `None` where somebody has it.
    pub fn try_lock(&self) -> Option<Guard<'_, T>> {
        let no_fork = NoFork::enter();
        let value = match self.0.try_lock() {
            Ok(value) => value,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(Guard {
            value,
            _no_fork: no_fork,
        })
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// A number that is another one in each forked child than in its parent.
pub fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Has the C library call `before` and `withdraw` at each fork, and by them what is to be done.
pub fn register(settling: &'static [Settling]) {
    static ONCE: Once = Once::new();
    // The first ones stay: the library is loaded once.
    let _ = SETTLING.set(settling);
    ONCE.call_once(|| {
        #[cfg(unix)]
        {
            unsafe extern "C" fn prepare() {
                before();
            }
            unsafe extern "C" fn parent() {
                withdraw();
            }
            unsafe extern "C" fn child() {
                settle_in_child();
                withdraw();
            }
            // SAFETY: the three functions take and return nothing, never unwind, and stay where
            // they are as long as the process lives.
            let failed = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
            if failed != 0 {
                log::debug!(target: "fleche.storage", "pthread_atfork failed: {failed}");
            }
        }
    });
}

/// To be called before a fork, by the thread that makes it: waits for the sections to end, lets no
/// other begin, and settles what is open. May be announced several times.
pub fn before() {
    ANNOUNCED.set(ANNOUNCED.get() + 1);
    if ANNOUNCED.get() == 1 {
        FORKING.fetch_add(1, Ordering::SeqCst);
        if is_occupied() && is_attached() {
            // Somebody in a section may need what this thread holds.
            if let Some(attachment) = ATTACHMENT.get() {
                (attachment.without)(&mut await_sections);
            }
        } else {
            await_sections();
        }
    }
    for each in settling() {
        (each.before)();
    }
}

fn is_occupied() -> bool {
    INSIDE.load(Ordering::SeqCst) > usize::from(DEPTH.get() > 0)
}

fn await_sections() {
    let started = Instant::now();
    while is_occupied() && started.elapsed() < PATIENCE {
        std::thread::sleep(PAUSE);
    }
}

/// In the child, once.
fn settle_in_child() {
    GENERATION.fetch_add(1, Ordering::SeqCst);
    INSIDE.store(usize::from(DEPTH.get() > 0), Ordering::SeqCst);
    FORKING.store(usize::from(ANNOUNCED.get() > 0), Ordering::SeqCst);
    for each in settling() {
        (each.in_child)();
    }
}

/// After a fork, on both sides, or in its place.
pub fn withdraw() {
    if ANNOUNCED.get() == 1 {
        FORKING.fetch_sub(1, Ordering::SeqCst);
    }
    ANNOUNCED.set(ANNOUNCED.get().saturating_sub(1));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn a_fork_waits_for_what_runs_and_what_comes_waits_for_the_fork() {
        let inside = NoFork::enter();
        // A section within a section waits for nobody.
        drop(NoFork::enter());
        let forked = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                before();
                drop(NoFork::enter());
                forked.store(true, Ordering::SeqCst);
                withdraw();
            });
            while FORKING.load(Ordering::SeqCst) == 0 {
                std::thread::yield_now();
            }
            assert!(!forked.load(Ordering::SeqCst));
            drop(inside);
            drop(NoFork::enter());
        });
        assert!(forked.load(Ordering::SeqCst));
    }
}
