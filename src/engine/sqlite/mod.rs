//! Call records in an SQLite file, in the tables of the reference package.
//!
//! A database may be used by many threads and processes at once. Each operation takes a
//! connection from a pool; writers queue in SQLite (`BEGIN IMMEDIATE`, with a long busy timeout),
//! readers never wait (write-ahead log). Connections stay with the process that opened them.

mod query;
mod records;
mod schemes;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::trace::{TraceEvent, TraceEventCodes};
use rusqlite::{Connection, ErrorCode, OpenFlags};

pub use query::{PAGE, Page};

use crate::engine::fork::NoFork;

/// What went wrong, on which database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{action} the database {path} failed: {source}")]
    Sqlite {
        action: &'static str,
        path: String,
        source: rusqlite::Error,
    },
    #[error("the folder of the database {path} cannot be created: {source}")]
    Folder {
        path: String,
        source: std::io::Error,
    },
}

impl Error {
    /// Whether the database was there but could not be read as one.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Sqlite { source: rusqlite::Error::SqliteFailure(failure, _), .. }
            if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

/// Longer than any queue of writers: what waits for a lock gets it.
const BUSY_TIMEOUT: Duration = Duration::from_secs(300);

const PAGE_BYTES: u32 = 2048;

/// How long the write-ahead log grows before it is folded in.
const LOG_BYTES: u32 = 32 << 20;

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

/// How a file's database keeps its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// Readers and writers side by side; needs memory shared between processes.
    WriteAhead,
    /// For network file systems, which have none.
    Rollback,
}

/// Called with each statement that runs.
pub type Echo = Arc<dyn Fn(&str) + Send + Sync>;

pub struct Database {
    /// `None`: private to this object, in memory.
    path: Option<PathBuf>,
    journal: Journal,
    echo: Option<Echo>,
    idle: Mutex<Idle>,
}

/// Connections that nobody uses at the moment, and the process that opened them.
struct Idle {
    process: u32,
    connections: Vec<Connection>,
}

impl Database {
    /// Opens a database, creating the file, its folders and its tables as needed.
    pub fn open(
        path: Option<PathBuf>,
        journal: Journal,
        echo: Option<Echo>,
    ) -> Result<Self, Error> {
        let idle = Mutex::new(Idle {
            process: std::process::id(),
            connections: Vec::new(),
        });
        let database = Self {
            path,
            journal,
            echo,
            idle,
        };
        if let Some(folder) = database.path.as_deref().and_then(Path::parent) {
            std::fs::create_dir_all(folder).map_err(|source| Error::Folder {
                path: database.shown(),
                source,
            })?;
        }
        let no_fork = NoFork::enter();
        let connection = database
            .connect()
            .map_err(|source| database.failed("opening", source))?;
        database.lock().connections.push(connection);
        drop(no_fork);
        Ok(database)
    }

    /// The path as errors show it.
    fn shown(&self) -> String {
        self.path
            .as_ref()
            .map_or_else(|| ":memory:".into(), |path| path.display().to_string())
    }

    fn failed(&self, action: &'static str, source: rusqlite::Error) -> Error {
        Error::Sqlite {
            action,
            path: self.shown(),
            source,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = match &self.path {
            Some(path) => Connection::open_with_flags(path, flags)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.set_prepared_statement_cache_capacity(64);
        if let Some(echo) = self.echo.clone() {
            let log = move |event: TraceEvent<'_>| {
                if let TraceEvent::Stmt(_, statement) = event {
                    echo(statement);
                }
            };
            connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(log))?;
        }
        if self.path.is_some() {
            // Of new files. What a save changes lies in many pages: small ones are less to write.
            connection.pragma_update(None, "page_size", PAGE_BYTES)?;
            self.set_journal(&connection)?;
        }
        connection.pragma_update(None, "foreign_keys", "ON")?;
        // The write-ahead log is synced when it is folded in: a crash of the process loses
        // nothing, one of the machine at most the last commits, and never the database. A rollback
        // journal that is not synced may lose that, too.
        let synchronous = match self.journal {
            Journal::WriteAhead => "NORMAL",
            Journal::Rollback => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        // Folded in less often than by default, as that is what waits for the disk.
        connection.pragma_update(None, "wal_autocheckpoint", LOG_BYTES / PAGE_BYTES)?;
        create_tables(&mut connection)?;
        Ok(connection)
    }

    fn set_journal(&self, connection: &Connection) -> rusqlite::Result<()> {
        let wanted = match self.journal {
            Journal::WriteAhead => "wal",
            Journal::Rollback => "delete",
        };
        // Changing the mode needs the file to itself and does not wait by the busy timeout: where
        // others opened it in the same moment, one of them makes the change for all.
        while_busy(|| {
            let current: String =
                connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
            if current == wanted {
                return Ok(());
            }
            match connection.pragma_update_and_check(None, "journal_mode", wanted, |_| Ok(())) {
                // It is read in the mode that it has.
                Err(error) if is_read_only(&error) => Ok(()),
                other => other,
            }
        })
    }

    /// Runs `work` on a connection of this process.
    fn with<T>(
        &self,
        action: &'static str,
        work: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.with_entered(&NoFork::enter(), action, work)
    }

    /// As `with`, if it can be done without waiting for anybody.
    fn with_at_once<T>(
        &self,
        action: &'static str,
        work: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Option<Result<T, Error>> {
        if self.journal == Journal::Rollback || self.echo.is_some() {
            return None;
        }
        let no_fork = NoFork::try_enter()?;
        let ready = {
            let idle = self.lock();
            idle.process == std::process::id() && !idle.connections.is_empty()
        };
        ready.then(|| self.with_entered(&no_fork, action, work))
    }

    fn with_entered<T>(
        &self,
        _: &NoFork,
        action: &'static str,
        mut work: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        if self.path.is_none() {
            // In memory there is one connection, which holds the data.
            let mut idle = self.lock();
            return match idle.connections.first_mut() {
                Some(connection) => work(connection).map_err(|error| self.failed(action, error)),
                None => Err(self.failed(action, rusqlite::Error::InvalidQuery)),
            };
        }
        let kept = {
            let mut idle = self.lock();
            let process = std::process::id();
            if idle.process != process {
                // A forked child: its parent's connections are not its own to use or to close.
                std::mem::forget(std::mem::take(&mut idle.connections));
                idle.process = process;
            }
            idle.connections.pop()
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().map_err(|error| self.failed(action, error))?,
        };
        // Not every wait of SQLite's is one by its busy timeout.
        let result =
            while_busy(|| work(&mut connection)).map_err(|error| self.failed(action, error));
        if result.is_ok() {
            self.lock().connections.push(connection);
        }
        result
    }

    /// Closes the connections that nobody uses.
    pub fn close(&self) {
        let _no_fork = NoFork::enter();
        if self.path.is_some() {
            let mut idle = self.lock();
            if idle.process == std::process::id() {
                idle.connections.clear();
            }
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _no_fork = NoFork::enter();
        let mut idle = self.lock();
        if idle.process != std::process::id() {
            std::mem::forget(std::mem::take(&mut idle.connections));
        }
    }
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
    let created = while_busy(|| {
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.commit()
    });
    match created {
        // Somebody else's tables, to be read only: without what we add.
        Err(error) if is_read_only(&error) && present >= 3 => Ok(()),
        other => other,
    }
}

fn is_read_only(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::ReadOnly)
}

/// Tries `work` again for as long as others are in its way.
fn while_busy<T>(mut work: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let (started, mut pause) = (Instant::now(), Duration::from_millis(1));
    loop {
        match work() {
            Err(error)
                if matches!(
                    error.sqlite_error_code(),
                    Some(
                        ErrorCode::DatabaseBusy
                            | ErrorCode::DatabaseLocked
                            | ErrorCode::FileLockingProtocolFailed
                    )
                ) && started.elapsed() < BUSY_TIMEOUT =>
            {
                std::thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(50));
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests;
