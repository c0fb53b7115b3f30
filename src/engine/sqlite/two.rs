//! Reading whole tables: by two connections that see the same, each a half of the rows.

use std::thread;

use rusqlite::{Connection, Transaction};

use super::open::Opened;
use super::{Database, Error, Intent};

/// Fewer rows are read sooner than a second connection is opened; tests have few.
const MANY: i64 = if cfg!(test) { 4 } else { 20_000 };

/// How often the second one is asked to see what the first one sees, while others write.
const TRIES: usize = 16;

/// Rows by their numbers, from the first to the second one.
pub(super) type Rows = (i64, i64);

/// One or two connections, which see the database as it was at one moment.
pub(super) struct Readers<'a> {
    first: Transaction<'a>,
    second: Option<Opened>,
}

impl Database {
    /// Runs `work` with what reads tables, by two connections if there are many calls.
    pub(super) fn with_readers<T>(
        &self,
        action: &'static str,
        mut work: impl FnMut(&mut Readers<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, Error> {
        self.with_opened(action, Intent::Read, |opened| {
            let second = self.second_to(opened)?;
            // One transaction, so that the tables belong together.
            let mut first = opened.connection.transaction()?;
            let second = match second {
                Some(second) => see_the_same(&mut first, &second)?.then_some(second),
                None => None,
            };
            let mut readers = Readers { first, second };
            let done = work(&mut readers)?;
            readers.first.commit()?;
            Ok(done)
        })
    }

    /// Another connection to the same file, if that is worth its while.
    fn second_to(&self, first: &Opened) -> rusqlite::Result<Option<Opened>> {
        let is_alone = thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
        // In memory there is one connection; who is told of statements is told of those of one.
        if is_alone || self.path.is_none() || self.echo.is_some() || first.is_snapshot() {
            return Ok(None);
        }
        if rows_of(&first.connection, "calls")?.is_none_or(|rows| !are_many(rows)) {
            return Ok(None);
        }
        let second = self.connect().ok();
        Ok(second.filter(|second| !second.is_snapshot() && second.is_of_same_file(first)))
    }
}

/// Begins a transaction on both, at the same moment; `false` if others write all the time.
fn see_the_same(first: &mut Transaction<'_>, second: &Opened) -> rusqlite::Result<bool> {
    let second = &second.connection;
    for _ in 0..TRIES {
        let before = begin(second)?;
        // What the first one sees from here on lies between the two moments of the second one.
        first.execute_batch("COMMIT; BEGIN")?;
        version(first)?;
        second.execute_batch("COMMIT")?;
        if begin(second)? == before {
            return Ok(true);
        }
        second.execute_batch("COMMIT")?;
    }
    Ok(false)
}

fn begin(connection: &Connection) -> rusqlite::Result<i64> {
    connection.execute_batch("BEGIN")?;
    version(connection)
}

/// What changes as soon as this connection sees that another one has written.
fn version(connection: &Connection) -> rusqlite::Result<i64> {
    // From here on it sees what is there now.
    connection
        .prepare_cached("SELECT 1 FROM calls LIMIT 1")?
        .exists([])?;
    connection.pragma_query_value(None, "data_version", |row| row.get(0))
}

fn are_many((from, to): Rows) -> bool {
    to.saturating_sub(from) >= MANY
}

fn rows_of(connection: &Connection, table: &str) -> rusqlite::Result<Option<Rows>> {
    // Two questions: one for both would read all rows.
    let statement =
        format!("SELECT (SELECT min(rowid) FROM {table}), (SELECT max(rowid) FROM {table})");
    connection.prepare_cached(&statement)?.query_row([], |row| {
        let (first, last): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
        Ok(first.zip(last))
    })
}

impl Readers<'_> {
    /// A connection, to read something small.
    pub fn one(&self) -> &Connection {
        &self.first
    }

    /// What `read` makes of the rows of a table, of two halves at once if there are many, in their
    /// order.
    pub fn read<T: Send>(
        &mut self,
        table: &str,
        read: impl Fn(&Connection, Rows) -> rusqlite::Result<T> + Sync,
    ) -> rusqlite::Result<Vec<T>> {
        let Some((from, to)) = rows_of(&self.first, table)? else {
            return Ok(Vec::new());
        };
        let Some(second) = self.second.as_mut().filter(|_| are_many((from, to))) else {
            return Ok(vec![read(&self.first, (from, to))?]);
        };
        let middle = from.midpoint(to);
        let stop = second.connection.get_interrupt_handle();
        let connection = &mut second.connection;
        let read = &read;
        thread::scope(|scope| {
            let more = move || read(connection, (middle + 1, to));
            // A thread that cannot be had leaves its half to this one.
            let other = thread::Builder::new().spawn_scoped(scope, more).ok();
            let mut done =
                vec![read(&self.first, (from, middle)).inspect_err(|_| stop.interrupt())?];
            done.push(match other {
                Some(other) => match other.join() {
                    Ok(more) => more?,
                    Err(panic) => std::panic::resume_unwind(panic),
                },
                None => read(&self.first, (middle + 1, to))?,
            });
            Ok(done)
        })
    }
}
