//! Turns of those who write: who has waited for a while goes next.
//!
//! Who writes tries, and tries again after a pause: left at that, one process may try in vain for
//! as long as others come and go. Whoever has waited takes a file beside the database, locked for as
//! long as it is there, and all others let it go first.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::Database;
use crate::engine::files::{Held, Mode, is_locked, lock_file};

/// Who has waited so long wants to be next.
pub(super) const PATIENCE: Duration = Duration::from_millis(1);

/// For no longer than this others wait for who wants to be next, as it may have been suspended.
pub(super) const COURTESY: Duration = Duration::from_millis(20);

/// The longest pause of those who write.
pub(super) const LONGEST_PAUSE: Duration = Duration::from_micros(500);

/// Being next, until it is dropped.
pub(super) struct Turn {
    path: PathBuf,
    _held: Held,
}

impl Drop for Turn {
    fn drop(&mut self) {
        // One that is left behind is locked by nobody.
        let _ = fs::remove_file(&self.path);
    }
}

impl Database {
    fn turn(&self) -> Option<PathBuf> {
        let path = self.path.as_ref()?;
        let mut name = OsString::from(".");
        name.push(path.file_name()?);
        name.push("-next");
        Some(path.with_file_name(name))
    }

    /// Whether another process or thread wants to be next.
    pub(super) fn is_turn_taken(&self) -> bool {
        self.turn()
            .is_some_and(|path| path.exists() && is_locked(&path))
    }

    /// Wants to be next, if nobody else does.
    pub(super) fn take_turn(&self) -> Option<Turn> {
        let path = self.turn()?;
        let held = lock_file(&path, Mode::Exclusive, Duration::ZERO).ok()?;
        held.is_locked().then_some(Turn { path, _held: held })
    }
}
