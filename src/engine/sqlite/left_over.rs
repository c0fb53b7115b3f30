//! A write-ahead log beside a database that it does not belong to: somebody put an old copy of the
//! database back, and left the log that was there. SQLite would take it for the database's own, and
//! make one file of the pages of two.
//!
//! A log belongs to whoever has the database open. Where nobody has, and the file of the database
//! changed after its log, which folding in does as well as putting back, the two are looked at
//! together once; a log with which the database makes no sense is set aside.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::open::{Place, beside, is_open_here};
use super::{Database, Failure};
use crate::engine::system::{is_region_locked, last_change};

/// The bytes of a database that each connection to it locks, and those of the memory that
/// processes share: see "Locking" in SQLite's description of its file formats.
const DATABASE_LOCKS: (u64, u64) = (0x4000_0002, 510);
const MEMORY_LOCKS: (u64, u64) = (128, 1);

/// What a look at a database and its log found.
#[derive(PartialEq)]
enum Look {
    Sound,
    Damaged,
}

impl Database {
    /// Sets a log aside that is not of this database. To be called before it is opened.
    pub(super) fn check_log(&self, path: &Path) -> Result<(), Failure> {
        let log = beside(path, "-wal");
        if !may_be_left_over(path, &log) {
            return Ok(());
        }
        // One process looks, and others wait for what it finds.
        let folder = path.parent().unwrap_or(path);
        let Ok(folder) = File::open(folder) else {
            return Ok(());
        };
        if matches!(folder.try_lock(), Err(fs::TryLockError::WouldBlock)) {
            return Err(Failure::Busy);
        }
        if !may_be_left_over(path, &log) || is_in_use(path) {
            return Ok(());
        }
        let memory = beside(path, "-shm");
        // Those who have it open have another file open, which was at this path.
        let is_of_others = is_locked(&memory, MEMORY_LOCKS);
        if !is_of_others && self.look_at(path)? == Look::Sound {
            return Ok(());
        }
        let aside = free_name(&log);
        if fs::rename(&log, &aside).is_err() {
            return Ok(());
        }
        // It is made anew from the log, or, without one, of nothing.
        let _ = fs::remove_file(&memory);
        if self.look_at(path)? == Look::Damaged {
            // It is the database that is damaged.
            let _ = fs::rename(&aside, &log);
            return Ok(());
        }
        log::warn!(
            target: "fleche.storage",
            "The log {} is not of the database beside it, which was put there later: it is left \
             out, and is now {}",
            log.display(),
            aside.display()
        );
        Ok(())
    }

    /// Whether a log that cannot be set aside may be of another database.
    pub(super) fn is_doubtful(path: &Path) -> bool {
        may_be_left_over(path, &beside(path, "-wal")) && !is_in_use(path)
    }

    /// Looks at every page; what is in a log that is in order is folded in.
    fn look_at(&self, path: &Path) -> Result<Look, Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let look = || -> rusqlite::Result<Look> {
            let mut connection = Connection::open_with_flags(path, flags)?;
            self.set_up(&mut connection)?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            let check = "PRAGMA integrity_check(1)";
            let said: String = connection.query_row(check, [], |row| row.get(0))?;
            if said != "ok" {
                return Ok(Look::Damaged);
            }
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            Ok(Look::Sound)
        };
        match look() {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                Ok(Look::Damaged)
            }
            looked => looked.map_err(|error| self.failure("opening", error)),
        }
    }
}

/// Whether a log holds anything, and is not newer than what it belongs to.
fn may_be_left_over(path: &Path, log: &Path) -> bool {
    let (Ok(database), Ok(log)) = (fs::metadata(path), fs::metadata(log)) else {
        return false;
    };
    // The first time cannot be set by whoever copies a file. Where the system does not tell, it
    // lets nobody replace a file that is open.
    let (Some(changed), Ok(modified)) = (last_change(&database), log.modified()) else {
        return false;
    };
    log.len() > 0 && changed >= since_1970(modified)
}

/// A time in seconds and nanoseconds.
fn since_1970(time: SystemTime) -> (i64, i64) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    (seconds, since.subsec_nanos().into())
}

/// Whether somebody has the file at this path open as a database.
fn is_in_use(path: &Path) -> bool {
    // To look for locks is to open the file and to close it, which ends those of this process.
    let here = fs::metadata(path).is_ok_and(|file| is_open_here(Place::of(&file)));
    here || is_locked(path, DATABASE_LOCKS)
}

/// Whether another process has locked any of these bytes.
fn is_locked(path: &Path, (start, length): (u64, u64)) -> bool {
    is_region_locked(path, start, length)
}

/// A name beside a file that nothing has yet.
fn free_name(path: &Path) -> PathBuf {
    let mut name = beside(path, ".left-over");
    let mut number = 1;
    while name.exists() {
        number += 1;
        name = beside(path, &format!(".left-over-{number}"));
    }
    name
}
