//! Room kept beside a database, so that records can be removed from it once the disk is full.
//!
//! To remove a record SQLite writes to its log, which needs room, and to open a database it makes
//! the log and the memory that processes share, which needs room and two files. Two files are kept
//! in their stead; evicting removes them where there is no room left, and makes them again.

use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, ffi};

use super::open::is_writable;
use super::{Database, Error, Intent, Journal};

/// What they are kept for, and how many bytes of each: the shared memory has no more at first,
/// and one eviction changes some 15 pages of the log.
const RESERVES: [(&str, usize); 2] = [("shm", 32 << 10), ("wal", 96 << 10)];

impl Database {
    /// Makes what is not there; where there is no room or no right to, none is kept.
    pub(super) fn make_reserve(&self) {
        let Some(path) = self.path.as_ref().filter(|path| is_writable(path)) else {
            return;
        };
        for (part, bytes) in RESERVES {
            let reserve = reserve_of(path, part);
            if reserve.exists() {
                continue;
            }
            if let Err(error) = fill(&reserve, bytes) {
                log::debug!(target: "fleche.storage", "No room kept in {}: {error}", reserve.display());
            }
        }
    }

    /// Gives the room free; whether there was any.
    pub(super) fn release_reserve(&self) -> bool {
        let Some(path) = &self.path else {
            return false;
        };
        let mut released = false;
        for (part, _) in RESERVES {
            released |= fs::remove_file(reserve_of(path, part)).is_ok();
        }
        released
    }

    /// Gives back what the log takes, and keeps room again.
    pub(super) fn restore_reserve(&self) {
        let fold = |connection: &mut Connection| {
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        };
        if self.journal == Journal::WriteAhead
            && let Err(error) = self.with("folding in the log of", Intent::Write, fold)
        {
            log::debug!(target: "fleche.storage", "{error}");
        }
        self.make_reserve();
    }
}

impl Error {
    /// Whether it may be for want of room: also where a database could only be read.
    pub(super) fn may_want_room(&self) -> bool {
        self.wants_room()
            || matches!(self, Self::Sqlite { source, .. } if matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::SystemIoFailure)
            ))
    }

    /// Whether the disk is full, as SQLite tells of its files.
    pub(super) fn wants_room(&self) -> bool {
        let Self::Sqlite { source, .. } = self else {
            return false;
        };
        let extended = source.sqlite_error().map(|failure| failure.extended_code);
        source.sqlite_error_code() == Some(ErrorCode::DiskFull)
            || matches!(
                extended,
                Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMOPEN)
            )
    }
}

/// The dot-file beside a database that keeps the room of one of SQLite's files.
fn reserve_of(path: &Path, part: &str) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!("-{part}-reserve"));
    path.with_file_name(name)
}

/// Writes a file of so many bytes, or none.
fn fill(path: &Path, bytes: usize) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    // Nothing that a file system would make smaller: what it keeps free is not kept for us.
    let mut state = 0x9E37_79B9_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[1]
    })
    .take(bytes)
    .collect();
    let written = file.write_all(&noise);
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}
