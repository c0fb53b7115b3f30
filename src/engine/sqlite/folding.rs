//! The write-ahead log, folded into its database a part at a time.
//!
//! To fold it in waits for the disk. SQLite would do that within a commit, for all of a long log;
//! here it is done after one, of a short log, while others go on reading and writing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::open::Opened;
use super::{Database, Journal};
use crate::engine::fork::NoFork;

/// After how many pages more the log is folded in.
const PAGES: u32 = 4096;

/// From this length on nobody is let in between: else it may never be folded in to its end, and
/// begun anew, while others write all the time.
const LONG: u32 = 4 * PAGES;

/// How long a log was when it was written to, and is to be when it is folded in.
#[derive(Debug, Default)]
pub struct Log {
    pages: AtomicU32,
    due: AtomicU32,
}

impl Log {
    fn wrote(&self, pages: u32) {
        if self.pages.swap(pages, Ordering::Relaxed) > pages {
            // It was begun anew.
            self.due.store(PAGES, Ordering::Relaxed);
        }
    }

    fn is_due(&self) -> bool {
        let due = self.due.load(Ordering::Relaxed).max(PAGES);
        self.pages.load(Ordering::Relaxed) >= due
    }
}

impl Database {
    /// Has the length of the log noted at each commit.
    pub(super) fn watch_log(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        let log = Arc::clone(&self.idle.log);
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            log.wrote(u32::try_from(pages).unwrap_or(0));
            Ok(())
        }))
    }

    /// Whether the log is to be folded in.
    pub fn is_log_long(&self) -> bool {
        self.idle.log.is_due()
    }

    /// Folds the log in, if it is time to; that it cannot be done now is no error.
    pub fn fold_log(&self) {
        let log = &self.idle.log;
        if self.journal != Journal::WriteAhead || !log.is_due() {
            return;
        }
        let pages = log.pages.load(Ordering::Relaxed);
        log.due
            .store(pages.saturating_add(PAGES), Ordering::Relaxed);
        let mode = if pages < LONG { "PASSIVE" } else { "RESTART" };
        let mut fold = |opened: &mut Opened| {
            let statement = format!("PRAGMA wal_checkpoint({mode})");
            opened.connection.query_row(&statement, [], |_| Ok(()))
        };
        let running = super::Running::new(NoFork::enter());
        let intent = super::Intent::Write;
        if let Err(super::Failure::Other(error)) =
            self.try_with(&running, "folding in the log of", intent, &mut fold)
        {
            log::debug!(target: "fleche.storage", "{error}");
        }
    }
}
