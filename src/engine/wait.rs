//! Waiting for others: in short pauses, no longer than allowed, and never past an interrupt.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// From the time that a lock is usually held, upwards.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(5);

/// How often somebody who waits, or works for long, looks for an interrupt.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the user wants what goes on to end: Ctrl-C, say.
type Interrupted = fn() -> bool;

static INTERRUPTED: OnceLock<Interrupted> = OnceLock::new();

/// Has `interrupted` asked by whoever waits. What it says is not kept here: who asks has to end.
pub fn set_interrupted(interrupted: Interrupted) {
    // The first one stays, as there is one way to be interrupted.
    let _ = INTERRUPTED.set(interrupted);
}

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Try again.
    Over,
    /// The time to wait is over.
    TimedOut,
    Interrupted,
}

/// The pauses between tries, and their end.
#[derive(Debug)]
pub struct Wait {
    since: Instant,
    timeout: Duration,
    next: Duration,
    longest: Duration,
    looks: Looks,
}

impl Wait {
    pub fn new(timeout: Duration) -> Self {
        Self {
            since: Instant::now(),
            timeout,
            next: FIRST_PAUSE,
            longest: LONGEST_PAUSE,
            looks: Looks::default(),
        }
    }

    /// With pauses of no more than `longest`.
    #[must_use]
    pub fn in_pauses_of(mut self, longest: Duration) -> Self {
        self.longest = longest;
        self
    }

    /// How long it has waited.
    pub fn waited(&self) -> Duration {
        self.since.elapsed()
    }

    /// Makes the next pause as short as the first one.
    pub fn hurry(&mut self) {
        self.next = FIRST_PAUSE;
    }

    /// Waits a little.
    pub fn pause(&mut self) -> Pause {
        let left = self.timeout.saturating_sub(self.since.elapsed());
        if left.is_zero() {
            return Pause::TimedOut;
        }
        if self.looks.interrupted() {
            return Pause::Interrupted;
        }
        std::thread::sleep(self.next.min(left));
        self.next = (self.next * 2).min(self.longest);
        Pause::Over
    }
}

/// Looks for an interrupt now and then.
#[derive(Debug)]
pub struct Looks(Instant);

impl Default for Looks {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Looks {
    /// Whether there is one; asked for at most once in a while.
    pub fn interrupted(&mut self) -> bool {
        if self.0.elapsed() < LOOK {
            return false;
        }
        let interrupted = INTERRUPTED.get().is_some_and(|interrupted| interrupted());
        self.0 = Instant::now();
        interrupted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_its_time_is_over() {
        let mut wait = Wait::new(Duration::from_millis(20));
        let since = Instant::now();
        while wait.pause() == Pause::Over {}
        assert!(since.elapsed() >= Duration::from_millis(20));
        assert_eq!(Wait::new(Duration::ZERO).pause(), Pause::TimedOut);
    }
}
