//! Call records in an SQLite file, in the tables of the reference package, and values beside them.
//!
//! A database may be used by many threads and processes at once. Each operation takes a
//! connection from a pool; writers queue (`BEGIN IMMEDIATE`, tried again and again), readers never
//! wait (write-ahead log). Before a fork all connections are closed: what SQLite knows of open
//! files and their locks would be wrong in the child, and in the end its parent's.

mod changes;
mod folding;
mod left_over;
mod log_writes;
mod open;
mod query;
mod records;
mod reserve;
mod schemes;
mod survey;
mod turns;
mod two;
mod values;
#[cfg(all(debug_assertions, target_os = "linux"))]
pub mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode};

use folding::Log;
use open::Opened;
pub use query::{PAGE, Page};
pub use values::{Content, Found, Hit, NewValue, Serializer, Size};

use crate::engine::disk::reach;
use crate::engine::fork::{Lock, NoFork};
use crate::engine::wait::{Pause, Wait};

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
    #[error("the database {path} cannot be created: {source}")]
    File {
        path: String,
        source: std::io::Error,
    },
    #[error(
        "{action} the database {path} failed: it was still in use by another process after {} s; \
         try again, or give the storage a longer lock_timeout",
        waited.as_secs_f64()
    )]
    Locked {
        action: &'static str,
        path: String,
        waited: Duration,
    },
    #[error(
        "{action} the database {path} failed: this process was forked while a thread of its parent \
         was in the middle of an operation on a database that did not end; start processes before \
         that, or by another method than fork"
    )]
    Forked { action: &'static str, path: String },
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// Whether the database was there but could not be read as one.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Sqlite { source: rusqlite::Error::SqliteFailure(failure, _), .. }
            if matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }
}

/// How a file's database keeps its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journal {
    /// Readers and writers side by side; needs memory shared between processes.
    WriteAhead,
    /// For network file systems, which have none.
    Rollback,
}

/// Called with each statement that ran.
pub type Echo = Arc<dyn Fn(&str) + Send + Sync>;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intent {
    Read,
    Write,
    /// To remove something: on a full disk, too.
    Free,
}

/// What tells databases of different files apart, as long as they are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(usize);

pub struct Database {
    /// `None`: private to this object, in memory.
    path: Option<PathBuf>,
    journal: Journal,
    echo: Option<Echo>,
    /// How long an operation waits for others.
    timeout: Duration,
    idle: Arc<Idle>,
    /// Statements that ran and were not told yet.
    said: Arc<Lock<Vec<String>>>,
}

/// Connections that nobody uses at the moment, and how long the log was when one last wrote.
#[derive(Default)]
struct Idle {
    connections: Lock<Vec<Opened>>,
    /// Whether statements are not told: who is told of them has connections of its own.
    shared: bool,
    log: Arc<Log>,
}

/// Those of all databases in files: two that are used in the same way share them, so that records
/// and values of one file are written by one connection, in one transaction.
static EVERY: Lock<Vec<(PathBuf, Weak<Idle>)>> = Lock::new(Vec::new());

/// Before a fork, when no operation runs: closes every connection.
pub fn settle() {
    let Some(mut every) = EVERY.try_lock() else {
        // Somebody did not get out of there in time: the child is not going to use any.
        return;
    };
    every.retain(|(_, idle)| {
        let Some(idle) = idle.upgrade() else {
            return false;
        };
        if let Some(mut connections) = idle.connections.try_lock() {
            connections.clear();
        }
        true
    });
}

/// Closes the connections that nobody uses, of every database: who closes one last folds its log in.
pub fn close_all() {
    let _running = Running::new(NoFork::enter());
    let every: Vec<_> = EVERY
        .lock()
        .iter()
        .filter_map(|(_, idle)| idle.upgrade())
        .collect();
    for idle in every {
        idle.connections.lock().clear();
    }
}

/// In a child: where an operation of its parent's was still going on, what SQLite knows of open
/// files is not true here, and its own locks may be held for ever.
pub fn leave_to_parent() {
    if RUNNING.swap(0, Ordering::SeqCst) != 0 {
        UNSETTLED.store(true, Ordering::SeqCst);
    }
}

/// How many operations go on in this process.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Whether this process must not use SQLite.
static UNSETTLED: AtomicBool = AtomicBool::new(false);

/// An operation that goes on, in a section in which no fork happens.
struct Running(NoFork);

impl Running {
    fn new(no_fork: NoFork) -> Self {
        RUNNING.fetch_add(1, Ordering::SeqCst);
        Self(no_fork)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // In a child of this very thread it is not counted.
        let _ = RUNNING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |count| {
            count.checked_sub(1)
        });
    }
}

/// Why an operation did not succeed.
enum Failure {
    /// Others are in its way.
    Busy,
    /// Its file is another one by now.
    Moved,
    Other(Error),
}

impl Database {
    /// A database in a file, or a private one. Nothing is touched before the first operation.
    pub fn new(
        path: Option<PathBuf>,
        journal: Journal,
        echo: Option<Echo>,
        timeout: Duration,
    ) -> Self {
        let idle = match &path {
            Some(path) => Idle::of(path, echo.is_none()),
            None => Arc::default(),
        };
        Self {
            path,
            journal,
            echo,
            timeout,
            idle,
            said: Arc::default(),
        }
    }

    /// Creates the file, its folders and its tables as needed.
    pub fn open(&self) -> Result<(), Error> {
        self.with("opening", Intent::Read, |_| Ok(()))?;
        self.make_reserve();
        Ok(())
    }

    /// The path as errors show it.
    fn shown(&self) -> String {
        self.path
            .as_ref()
            .map_or_else(|| ":memory:".into(), |path| path.display().to_string())
    }

    /// Runs `work` on a connection, again and again while others are in its way.
    fn with<T>(
        &self,
        action: &'static str,
        intent: Intent,
        mut work: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.with_opened(action, intent, |opened| work(&mut opened.connection))
    }

    /// As `with`, for who asks what the connection is to.
    fn with_opened<T>(
        &self,
        action: &'static str,
        intent: Intent,
        mut work: impl FnMut(&mut Opened) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        let writes = intent != Intent::Read;
        let mut wait = Wait::new(self.timeout);
        if writes {
            wait = wait.in_pauses_of(turns::LONGEST_PAUSE);
        }
        let mut turn = None;
        let mut released = false;
        loop {
            let lets_go_first = writes && turn.is_none() && wait.waited() < turns::COURTESY;
            let tried = if lets_go_first && self.is_turn_taken() {
                Err(Failure::Busy)
            } else {
                let running = Running::new(NoFork::enter());
                self.try_with(&running, action, intent, &mut work)
            };
            self.tell();
            match tried {
                Ok(done) => {
                    if released {
                        self.restore_reserve();
                    }
                    drop(turn);
                    self.fold_log();
                    return Ok(done);
                }
                Err(Failure::Other(error)) => {
                    let frees = intent == Intent::Free && !released && error.may_want_room();
                    released = frees && self.release_reserve();
                    if !released {
                        return Err(error);
                    }
                }
                // Nothing is held while it waits: neither a connection, nor a fork.
                Err(Failure::Busy | Failure::Moved) => {
                    if writes && turn.is_none() && wait.waited() >= turns::PATIENCE {
                        turn = self.take_turn();
                    }
                    if turn.is_some() && wait.waited() < turns::COURTESY {
                        wait.hurry();
                    }
                    match wait.pause() {
                        Pause::Over => {}
                        Pause::TimedOut => {
                            return Err(Error::Locked {
                                action,
                                path: self.shown(),
                                waited: self.timeout,
                            });
                        }
                        Pause::Interrupted => return Err(Error::Interrupted),
                    }
                }
            }
        }
    }

    /// Whether both use the same connections: what they store can be one transaction.
    pub fn is_one_with(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    /// What tells it from the databases of other files.
    pub fn identity(&self) -> Identity {
        Identity(Arc::as_ptr(&self.idle).addr())
    }

    /// As `with`, if it can be done without waiting for anybody. Who writes looks after the log
    /// (`fold_log`) afterwards.
    fn with_at_once<T>(
        &self,
        action: &'static str,
        intent: Intent,
        mut work: impl FnMut(&mut Connection) -> rusqlite::Result<T>,
    ) -> Option<Result<T, Error>> {
        if self.journal == Journal::Rollback || self.echo.is_some() {
            return None;
        }
        let running = Running::new(NoFork::try_enter()?);
        if self.idle.connections.lock().is_empty()
            || (intent != Intent::Read && self.is_turn_taken())
        {
            return None;
        }
        let mut work = |opened: &mut Opened| work(&mut opened.connection);
        match self.try_with(&running, action, intent, &mut work) {
            Ok(done) => Some(Ok(done)),
            Err(Failure::Other(error)) => Some(Err(error)),
            Err(Failure::Busy | Failure::Moved) => None,
        }
    }

    fn try_with<T>(
        &self,
        _: &Running,
        action: &'static str,
        intent: Intent,
        work: &mut impl FnMut(&mut Opened) -> rusqlite::Result<T>,
    ) -> Result<T, Failure> {
        if UNSETTLED.load(Ordering::Relaxed) {
            let path = self.shown();
            return Err(Failure::Other(Error::Forked { action, path }));
        }
        if self.path.is_none() {
            // In memory there is one connection, which holds the data.
            let mut idle = self.idle.connections.lock();
            if idle.is_empty() {
                idle.push(self.connect()?);
            }
            return match idle.first_mut() {
                Some(opened) => work(opened).map_err(|error| self.failure(action, error)),
                None => Err(Failure::Busy),
            };
        }
        let mut opened = match self.idle_connection(intent) {
            Some(opened) => opened,
            None => self.connect()?,
        };
        reach("sqlite: begin", opened.path());
        let worked = work(&mut opened);
        reach("sqlite: end", opened.path());
        let still = match intent {
            // What was read is what was there when it began.
            Intent::Read => !opened.is_snapshot() || opened.is_current(),
            // Else it is written once more, to where the next process looks.
            Intent::Write | Intent::Free => opened.is_current(),
        };
        if !still {
            opened.forget();
            return Err(Failure::Moved);
        }
        let done = worked.map_err(|error| self.failure(action, error));
        let is_sound = match &done {
            Ok(_) | Err(Failure::Busy) => true,
            // Without room another one could not be opened, not even to read.
            Err(Failure::Other(error)) => error.wants_room(),
            Err(Failure::Moved) => false,
        };
        if is_sound {
            self.idle.connections.lock().push(opened);
        }
        done
    }

    /// A connection to the file that is there now; those to another one are closed, and those of
    /// who could not write before, if it is to be written.
    fn idle_connection(&self, intent: Intent) -> Option<Opened> {
        loop {
            let mut kept = self.idle.connections.lock().pop()?;
            let will_do = intent == Intent::Read || !kept.is_snapshot();
            if will_do && kept.was_current() {
                return Some(kept);
            }
            kept.forget();
        }
    }

    fn failure(&self, action: &'static str, source: rusqlite::Error) -> Failure {
        match source.sqlite_error_code() {
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => Failure::Busy,
            Some(ErrorCode::OperationInterrupted) => Failure::Other(Error::Interrupted),
            _ => Failure::Other(Error::Sqlite {
                action,
                path: self.shown(),
                source,
            }),
        }
    }

    /// Tells the statements that ran, outside of every section: whoever is told may do anything.
    fn tell(&self) {
        if let Some(echo) = &self.echo {
            let said = std::mem::take(&mut *self.said.lock());
            for statement in said {
                echo(&statement);
            }
        }
    }

    /// Closes the connections that nobody uses.
    pub fn close(&self) {
        if self.path.is_some() {
            let _running = Running::new(NoFork::enter());
            self.idle.connections.lock().clear();
        }
    }
}

impl Idle {
    /// Those of a file; `shared`: with whoever uses them in the same way.
    fn of(path: &Path, shared: bool) -> Arc<Self> {
        let mut every = EVERY.lock();
        every.retain(|(_, idle)| idle.strong_count() > 0);
        if shared
            && let Some(idle) = every.iter().find_map(|(known, idle)| {
                let idle = (known == path).then(|| idle.upgrade()).flatten()?;
                idle.shared.then_some(idle)
            })
        {
            return idle;
        }
        let idle = Arc::new(Self {
            shared,
            ..Self::default()
        });
        every.push((path.to_owned(), Arc::downgrade(&idle)));
        idle
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // Its connections are closed in a section, as everything else is done with them; by the last
        // one who uses them.
        let _running = Running::new(NoFork::enter());
        if Arc::strong_count(&self.idle) == 1 {
            self.idle.connections.lock().clear();
        }
    }
}

#[cfg(test)]
mod tests;
