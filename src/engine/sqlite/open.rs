//! Opening a database file: created with the rights that the umask leaves, read where it cannot be
//! written, and noticed when another one takes its place.

use std::collections::HashMap;
use std::fs::{self, Metadata, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::config::DbConfig;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, ffi};

use super::changes::change;
use super::{Database, Error, Failure, Journal, log_writes};
use crate::engine::disk::reach;
use crate::engine::fork::Lock;
use crate::engine::system::{file_identity, may_write};
use crate::engine::wait::Looks;

const PAGE_BYTES: u32 = 2048;

/// What a connection keeps of the database in memory.
const CACHE_KIB: i64 = 8192;

/// How many steps a statement takes between two looks for an interrupt: about a millisecond.
const STEPS: std::ffi::c_int = 10_000;

/// A file that changed less than this ago may change once more without its time showing it.
const TICK: Duration = Duration::from_millis(50);

const SCHEMA: &str = r#"
CREATE TABLE IF NOT EXISTS calls (
	"key" VARCHAR(64) NOT NULL,
	name VARCHAR NOT NULL,
	module VARCHAR,
	version VARCHAR,
	code_digest VARCHAR(64),
	result VARCHAR(64),
	PRIMARY KEY ("key")
);
CREATE TABLE IF NOT EXISTS arguments (
	id INTEGER NOT NULL,
	call_key VARCHAR(64) NOT NULL,
	position INTEGER NOT NULL,
	name VARCHAR NOT NULL,
	value VARCHAR(64) NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT uq_arguments_call_name UNIQUE (call_key, name),
	FOREIGN KEY(call_key) REFERENCES calls ("key") ON DELETE CASCADE
);
CREATE TABLE IF NOT EXISTS metadata (
	id INTEGER NOT NULL,
	call_key VARCHAR(64) NOT NULL,
	name VARCHAR NOT NULL,
	data JSON NOT NULL,
	PRIMARY KEY (id),
	CONSTRAINT uq_metadata_call_name UNIQUE (call_key, name),
	FOREIGN KEY(call_key) REFERENCES calls ("key") ON DELETE CASCADE
);
CREATE INDEX IF NOT EXISTS ix_metadata_call_key ON metadata (call_key);
CREATE INDEX IF NOT EXISTS ix_metadata_name ON metadata (name);
CREATE INDEX IF NOT EXISTS ix_fleche_arguments_value ON arguments (value, name);
CREATE INDEX IF NOT EXISTS ix_fleche_calls_name ON calls (name);
CREATE TABLE IF NOT EXISTS fleche_schemes (
	name VARCHAR(64) NOT NULL,
	PRIMARY KEY (name)
);
"#;

/// A process looks this often, and after each write, whether its file is still the one at its path:
/// that takes as long as a part of a hit.
const GLANCE: Duration = Duration::from_micros(100);

/// A connection, and the file that it was opened on.
pub(super) struct Opened {
    pub connection: Connection,
    seen: Option<Seen>,
    /// When its file was looked for.
    looked: Instant,
}

/// A file as it was when it was opened.
struct Seen {
    path: PathBuf,
    place: OpenHere,
    /// What a reader that takes no locks has read: if it changes, nothing of it counts.
    snapshot: Option<Stamp>,
}

/// What tells a file from another one at its path.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Place(u64, u64);

impl Place {
    pub fn of(file: &Metadata) -> Self {
        let (device, number) = file_identity(file);
        Self(device, number)
    }
}

/// How many connections of this process each file has.
static OPEN: LazyLock<Lock<HashMap<Place, usize>>> = LazyLock::new(Lock::default);

/// A file that this process has open.
struct OpenHere(Place);

impl OpenHere {
    fn new(place: Place) -> Self {
        *OPEN.lock().entry(place).or_default() += 1;
        Self(place)
    }
}

impl Drop for OpenHere {
    fn drop(&mut self) {
        let mut open = OPEN.lock();
        if let Some(count) = open.get_mut(&self.0) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.0);
            }
        }
    }
}

pub(super) fn is_open_here(place: Place) -> bool {
    OPEN.lock().contains_key(&place)
}

/// What changes with the contents of a database that nobody has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    changed: SystemTime,
    length: u64,
}

impl Stamp {
    /// `None` while somebody may be changing it.
    fn of(path: &Path) -> Option<Self> {
        if holds_anything(&beside(path, "-wal")) || holds_anything(&beside(path, "-journal")) {
            return None;
        }
        let file = fs::metadata(path).ok()?;
        let changed = file.modified().ok()?;
        let rested = changed.elapsed().is_ok_and(|since| since > TICK);
        rested.then_some(Self {
            changed,
            length: file.len(),
        })
    }
}

fn holds_anything(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

/// The file of SQLite's own beside a database.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

impl Opened {
    /// Whether the file is still the one at its path.
    pub fn is_current(&self) -> bool {
        self.seen.as_ref().is_none_or(|seen| {
            fs::metadata(&seen.path).is_ok_and(|file| Place::of(&file) == seen.place.0)
                && (seen.snapshot.is_none() || Stamp::of(&seen.path) == seen.snapshot)
        })
    }

    /// Whether both are connections to one file.
    pub fn is_of_same_file(&self, other: &Self) -> bool {
        let place = |opened: &Self| opened.seen.as_ref().map(|seen| seen.place.0);
        place(self) == place(other)
    }

    /// As `is_current`, or was a moment ago.
    pub fn was_current(&mut self) -> bool {
        if !self.is_snapshot() && self.looked.elapsed() < GLANCE {
            return true;
        }
        self.looked = Instant::now();
        self.is_current()
    }

    pub fn path(&self) -> &Path {
        self.seen
            .as_ref()
            .map_or(Path::new(""), |seen| seen.path.as_path())
    }

    /// Whether it reads without locks.
    pub fn is_snapshot(&self) -> bool {
        self.seen
            .as_ref()
            .is_some_and(|seen| seen.snapshot.is_some())
    }

    /// Closes it, and touches nothing at its path.
    pub fn forget(self) {
        let _ = self
            .connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    }
}

impl Database {
    pub(super) fn connect(&self) -> Result<Opened, Failure> {
        let Some(path) = &self.path else {
            let connect = || {
                let mut connection = Connection::open_in_memory()?;
                self.set_up(&mut connection)?;
                create_tables(&mut connection)?;
                Ok(connection)
            };
            let connection = connect().map_err(|error| self.failure("opening", error))?;
            return Ok(Opened {
                connection,
                seen: None,
                looked: Instant::now(),
            });
        };
        reach("sqlite: connect", path);
        let place = self.create(path)?;
        self.check_log(path)?;
        let doubtful = Self::is_doubtful(path);
        let place = OpenHere::new(place);
        let (connection, snapshot) = match self.connect_for_writing(path) {
            Ok(connection) => (connection, None),
            Err(Failure::Other(error)) if error.is_for_readers() => {
                self.connect_for_reading(path, doubtful, error)?
            }
            Err(failure) => return Err(failure),
        };
        let path = path.clone();
        let seen = Some(Seen {
            path,
            place,
            snapshot,
        });
        let opened = Opened {
            connection,
            seen,
            looked: Instant::now(),
        };
        reach("sqlite: connected", opened.path());
        if opened.is_current() {
            return Ok(opened);
        }
        opened.forget();
        Err(Failure::Moved)
    }

    /// Creates the file if it is not there, as any other one: SQLite would not ask the umask.
    fn create(&self, path: &Path) -> Result<Place, Failure> {
        // One at a time: to close a file that another thread has just opened as a database would
        // end the locks that it has on it.
        static CREATING: Lock<()> = Lock::new(());
        let _creating = CREATING.lock();
        let place = || fs::metadata(path).map(|file| Place::of(&file));
        let create = || OpenOptions::new().append(true).create_new(true).open(path);
        let failed = |source| {
            let path = self.shown();
            Failure::Other(Error::File { path, source })
        };
        match place() {
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            known => return known.map_err(failed),
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|source| {
                let path = self.shown();
                Failure::Other(Error::Folder { path, source })
            })?;
        }
        match create() {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed(error)),
            _ => place().map_err(failed),
        }
    }

    fn connect_for_writing(&self, path: &Path) -> Result<Connection, Failure> {
        let failed = |error| self.failure("opening", error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // A reader must leave nothing beside it that its owner could not write to.
        if !is_writable(path) {
            return Err(failed(read_only()));
        }
        let connect = || {
            let mut connection = match log_writes::name() {
                Some(name) => Connection::open_with_flags_and_vfs(path, flags, name)?,
                None => Connection::open_with_flags(path, flags)?,
            };
            self.set_up(&mut connection)?;
            // Of new files. What a save changes lies in many pages: small ones are less to write.
            connection.pragma_update(None, "page_size", PAGE_BYTES)?;
            connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
            self.set_journal(&connection)?;
            connection.pragma_update(None, "foreign_keys", "ON")?;
            // The write-ahead log is synced when it is folded in: a crash of the process loses
            // nothing, one of the machine at most the last commits, and never the database. A
            // rollback journal that is not synced may lose that, too.
            let synchronous = match self.journal {
                Journal::WriteAhead => "NORMAL",
                Journal::Rollback => "FULL",
            };
            connection.pragma_update(None, "synchronous", synchronous)?;
            // Folded in by us, when nobody waits for what was written.
            self.watch_log(&mut connection)?;
            create_tables(&mut connection)?;
            Ok(connection)
        };
        connect().map_err(failed)
    }

    /// Opens a database that cannot be written; `doubtful`: whether the log beside it may be of
    /// another one; `why`: what came of trying to write.
    fn connect_for_reading(
        &self,
        path: &Path,
        doubtful: bool,
        why: Error,
    ) -> Result<(Connection, Option<Stamp>), Failure> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_URI;
        let connect = |options: &str| {
            let url = format!("file:{}?{options}", escaped(path));
            let mut connection = Connection::open_with_flags(url, flags)?;
            self.set_up(&mut connection)?;
            connection
                .query_row("SELECT key FROM calls LIMIT 1", [], |_| Ok(()))
                .optional()?;
            Ok(connection)
        };
        // Where somebody has it open, or left its log behind: what is in there counts.
        if beside(path, "-wal").exists() && beside(path, "-shm").exists() {
            let connect = || {
                let connection = connect("mode=ro&readonly_shm=1")?;
                if doubtful {
                    let check = "PRAGMA integrity_check(1)";
                    let said: String = connection.query_row(check, [], |row| row.get(0))?;
                    if said != "ok" {
                        let code = ffi::Error::new(ffi::SQLITE_CORRUPT);
                        return Err(rusqlite::Error::SqliteFailure(code, Some(said)));
                    }
                }
                Ok(connection)
            };
            match connect() {
                Ok(connection) => return Ok((connection, None)),
                Err(error) => match self.failure("opening", error) {
                    Failure::Other(error) if error.is_for_readers() => {}
                    other => return Err(other),
                },
            }
        }
        if holds_anything(&beside(path, "-wal")) || holds_anything(&beside(path, "-journal")) {
            return Err(Failure::Other(why));
        }
        // Nobody has it open, and nobody can be kept from it: what is read counts if the file is
        // the same afterwards.
        let Some(stamp) = Stamp::of(path) else {
            return Err(Failure::Busy);
        };
        let connection = connect("mode=ro&immutable=1");
        let connection = connection.map_err(|error| self.failure("opening", error))?;
        Ok((connection, Some(stamp)))
    }

    pub(super) fn set_up(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        // Who waits, waits outside: for no longer than it is allowed to, and in nobody's way.
        connection.busy_timeout(Duration::ZERO)?;
        connection.set_prepared_statement_cache_capacity(64);
        // Else some statements are prepared anew whenever they get other parameters.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        if self.echo.is_some() {
            let said = std::sync::Arc::clone(&self.said);
            let note = move |event: TraceEvent<'_>| {
                if let TraceEvent::Stmt(_, statement) = event {
                    said.lock().push(statement.to_owned());
                }
            };
            connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(note))?;
        }
        if self.path.is_some() {
            let mut looks = Looks::default();
            connection.progress_handler(STEPS, Some(move || looks.interrupted()))?;
        }
        Ok(())
    }

    /// Sets the journal's mode. This needs the file to itself: where others opened it in the same
    /// moment, one of them makes the change for all.
    fn set_journal(&self, connection: &Connection) -> rusqlite::Result<()> {
        let wanted = match self.journal {
            Journal::WriteAhead => "wal",
            Journal::Rollback => "delete",
        };
        let current: String =
            connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        if current == wanted {
            return Ok(());
        }
        match connection.pragma_update_and_check(None, "journal_mode", wanted, |_| Ok(())) {
            // It is read in the mode that it has.
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ReadOnly) => Ok(()),
            other => other,
        }
    }
}

impl Error {
    /// Whether it could still be opened for reading alone.
    fn is_for_readers(&self) -> bool {
        self.wants_room()
            || matches!(self, Self::Sqlite { source, .. } if matches!(
                source.sqlite_error_code(),
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied)
            ))
    }
}

fn read_only() -> rusqlite::Error {
    let code = ffi::Error::new(ffi::SQLITE_READONLY);
    rusqlite::Error::SqliteFailure(code, Some("attempt to write a readonly database".into()))
}

pub(super) fn is_writable(path: &Path) -> bool {
    may_write(path).is_ok()
}

/// A path as a part of a URI.
fn escaped(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        if byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            let [high, low] =
                [byte >> 4, byte & 15].map(|digit| b"0123456789ABCDEF"[usize::from(digit)]);
            text.extend(['%', char::from(high), char::from(low)]);
        }
    }
    text
}

fn create_tables(connection: &mut Connection) -> rusqlite::Result<()> {
    let present: i64 = connection.query_row(
        "SELECT count(*) FROM sqlite_schema WHERE name IN ('calls', 'arguments', 'metadata', \
         'ix_metadata_call_key', 'ix_metadata_name', 'ix_fleche_arguments_value', \
         'ix_fleche_calls_name', 'fleche_schemes')",
        [],
        |row| row.get(0),
    )?;
    if present == 8 {
        return Ok(());
    }
    change(connection, |transaction| transaction.execute_batch(SCHEMA))
}
