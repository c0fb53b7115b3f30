//! Saving, loading, evicting and listing records.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::changes::change;
use super::{Database, Error, Intent, schemes};
use crate::engine::disk::written;
use crate::engine::record::Row;
use crate::engine::schemes::Scheme;

pub(super) const COLUMNS: &str = "key, name, module, version, code_digest, result";

const LOADING: &str = "loading a call from";

/// A row of `calls`, without its arguments and metadata.
pub(super) fn read_call(row: &SqlRow<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        key: text(row, 0)?.unwrap_or_default(),
        name: text(row, 1)?.unwrap_or_default(),
        module: text(row, 2)?,
        version: text(row, 3)?,
        code_digest: text(row, 4)?,
        result: text(row, 5)?,
        ..Row::default()
    })
}

/// A column as text, whatever it was stored as: versions of old are integers, and SQLite makes
/// numbers of JSON that is one. What is no record is found out later, when it is read as one.
pub(super) fn text(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<String>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(format!("{number:?}")),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Some(String::from_utf8_lossy(bytes).into_owned())
        }
    })
}

/// A name and what belongs to it.
pub(super) fn pair(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<(String, String)> {
    Ok((
        text(row, column)?.unwrap_or_default(),
        text(row, column + 1)?.unwrap_or_default(),
    ))
}

impl Database {
    /// Stores a record, replacing the one under its key, which is of this scheme. One transaction:
    /// all of it or nothing.
    pub fn save(&self, record: &Row, scheme: Scheme) -> Result<(), Error> {
        self.with("saving a call to", Intent::Write, |connection| {
            change(connection, |transaction| {
                schemes::note(transaction, scheme)?;
                save_in(transaction, record)
            })
        })
    }

    pub fn load(&self, key: &str) -> Result<Option<Row>, Error> {
        self.with(LOADING, Intent::Read, |connection| {
            // One transaction, so that the parts belong together.
            let transaction = connection.transaction()?;
            let record = load_in(&transaction, key)?;
            transaction.commit()?;
            Ok(record)
        })
    }

    /// The result's digest in the record under `key`: all that a hit needs of it.
    pub fn load_result(&self, key: &str) -> Result<Option<Option<String>>, Error> {
        self.with(LOADING, Intent::Read, |connection| {
            load_result_in(connection, key)
        })
    }

    /// As `load_result`, if it can be done without waiting for anybody.
    pub fn load_result_at_once(&self, key: &str) -> Option<Result<Option<Option<String>>, Error>> {
        self.with_at_once(LOADING, Intent::Read, |connection| {
            load_result_in(connection, key)
        })
    }

    pub fn contains(&self, key: &str) -> Result<bool, Error> {
        self.load_result(key).map(|found| found.is_some())
    }

    /// Which of these keys there are records under, in the order of the keys.
    pub fn contains_many(&self, keys: &[String]) -> Result<Vec<bool>, Error> {
        self.with(LOADING, Intent::Read, |connection| {
            // One transaction, for its price.
            let transaction = connection.transaction()?;
            let found = {
                let mut statement =
                    transaction.prepare_cached("SELECT 1 FROM calls WHERE key = ?")?;
                let found = keys.iter().map(|key| statement.exists([key]));
                found.collect::<rusqlite::Result<_>>()?
            };
            transaction.commit()?;
            Ok(found)
        })
    }

    pub fn evict(&self, key: &str) -> Result<(), Error> {
        self.with("evicting a call from", Intent::Free, |connection| {
            change(connection, |transaction| {
                // Not left to the cascade: another program may have made the tables without it.
                for statement in [
                    "DELETE FROM arguments WHERE call_key = ?",
                    "DELETE FROM metadata WHERE call_key = ?",
                    "DELETE FROM calls WHERE key = ?",
                ] {
                    transaction.prepare_cached(statement)?.execute([key])?;
                }
                Ok(())
            })
        })
    }

    /// All keys, in their order.
    pub fn list(&self) -> Result<Vec<String>, Error> {
        self.keys("SELECT key FROM calls ORDER BY key", [])
    }

    /// All keys, the one saved longest ago first.
    pub fn list_by_age(&self) -> Result<Vec<String>, Error> {
        self.keys("SELECT key FROM calls ORDER BY rowid", [])
    }

    /// The keys saved longest ago, as many as there are more than `keep`.
    pub fn overflow(&self, keep: usize) -> Result<Vec<String>, Error> {
        let keep = i64::try_from(keep).unwrap_or(i64::MAX);
        let statement = "SELECT key FROM calls ORDER BY rowid \
                         LIMIT max((SELECT count(*) FROM calls) - ?1, 0)";
        self.keys(statement, [keep])
    }

    /// The rows from this number on, with their keys: what was saved since then, whoever did it.
    pub fn since(&self, row: i64) -> Result<Vec<(i64, String)>, Error> {
        let statement = "SELECT rowid, key FROM calls WHERE rowid >= ?1 ORDER BY rowid";
        self.with("listing the calls in", Intent::Read, |connection| {
            let mut statement = connection.prepare_cached(statement)?;
            let rows = statement.query_map([row], |row| {
                Ok((row.get(0)?, text(row, 1)?.unwrap_or_default()))
            })?;
            rows.collect()
        })
    }

    /// The row that was saved last, with its key.
    pub fn newest(&self) -> Result<Option<(i64, String)>, Error> {
        let statement = "SELECT rowid, key FROM calls ORDER BY rowid DESC LIMIT 1";
        self.with("listing the calls in", Intent::Read, |connection| {
            let mut statement = connection.prepare_cached(statement)?;
            let newest = statement.query_row([], |row| {
                Ok((row.get(0)?, text(row, 1)?.unwrap_or_default()))
            });
            newest.optional()
        })
    }

    /// How many calls there are.
    pub fn count(&self) -> Result<u64, Error> {
        self.with("counting the calls in", Intent::Read, |connection| {
            let mut statement = connection.prepare_cached("SELECT count(*) FROM calls")?;
            let count: i64 = statement.query_row([], |row| row.get(0))?;
            Ok(u64::try_from(count).unwrap_or(0))
        })
    }

    /// What SQLite finds to be wrong with the file; nothing if all is well.
    pub fn check(&self) -> Result<Vec<String>, Error> {
        self.with("checking", Intent::Read, |connection| {
            let mut statement = connection.prepare("PRAGMA integrity_check(20)")?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            let mut found = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            found.retain(|line| line != "ok");
            Ok(found)
        })
    }

    /// Copies the database, as it is at one moment, to a file that is empty or not there, while
    /// others go on.
    pub fn copy_to(&self, path: &str) -> Result<(), Error> {
        self.with("copying", Intent::Read, |connection| {
            connection.execute("VACUUM INTO ?", [path]).map(drop)
        })
    }

    /// The keys that begin with `prefix`.
    pub fn candidates(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let statement = "SELECT key FROM calls WHERE key >= ?1 AND key < ?2 ORDER BY key";
        // Keys are hex: `g` follows every character of one.
        self.keys(statement, [prefix.to_owned(), format!("{prefix}g")])
    }

    /// Every key, and how many bytes of text its record has.
    pub fn sizes(&self) -> Result<Vec<(String, u64)>, Error> {
        let statement = "SELECT key, length(CAST(key AS BLOB)) + length(CAST(name AS BLOB)) \
             + coalesce(length(CAST(module AS BLOB)), 0) \
             + coalesce(length(CAST(version AS BLOB)), 0) \
             + coalesce(length(code_digest), 0) + coalesce(length(result), 0) \
             + coalesce((SELECT sum(length(CAST(name AS BLOB)) + length(CAST(value AS BLOB))) \
                         FROM arguments WHERE call_key = key), 0) \
             + coalesce((SELECT sum(length(CAST(name AS BLOB)) + length(CAST(data AS BLOB))) \
                         FROM metadata WHERE call_key = key), 0) \
             FROM calls";
        self.with("measuring the calls in", Intent::Read, |connection| {
            let mut statement = connection.prepare_cached(statement)?;
            let rows = statement.query_map([], |row| {
                let size: i64 = row.get(1)?;
                let key = text(row, 0)?.unwrap_or_default();
                Ok((key, u64::try_from(size).unwrap_or(0)))
            })?;
            rows.collect()
        })
    }

    fn keys(
        &self,
        statement: &str,
        parameters: impl rusqlite::Params + Clone,
    ) -> Result<Vec<String>, Error> {
        self.with("listing the calls in", Intent::Read, |connection| {
            let mut statement = connection.prepare_cached(statement)?;
            let rows = statement.query_map(parameters.clone(), |row| {
                Ok(text(row, 0)?.unwrap_or_default())
            })?;
            rows.collect()
        })
    }
}

pub(super) fn save_in(connection: &Connection, record: &Row) -> rusqlite::Result<()> {
    let fields = (
        &record.key,
        &record.name,
        &record.module,
        &record.version,
        &record.code_digest,
        &record.result,
    );
    let new = connection
        .prepare_cached(
            "INSERT INTO calls (key, name, module, version, code_digest, result) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (key) DO NOTHING",
        )?
        .execute(fields)?;
    if new == 0 {
        // Removed and added again, so that it counts as the newest.
        for statement in [
            "DELETE FROM arguments WHERE call_key = ?",
            "DELETE FROM metadata WHERE call_key = ?",
            "DELETE FROM calls WHERE key = ?",
        ] {
            connection
                .prepare_cached(statement)?
                .execute([&record.key])?;
        }
        connection
            .prepare_cached(
                "INSERT INTO calls (key, name, module, version, code_digest, result) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(fields)?;
    }
    let mut statement = connection.prepare_cached(
        "INSERT INTO arguments (call_key, position, name, value) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for (position, (name, value)) in record.arguments.iter().enumerate() {
        statement.execute((
            &record.key,
            i64::try_from(position).unwrap_or(0),
            name,
            value,
        ))?;
    }
    let mut statement = connection
        .prepare_cached("INSERT INTO metadata (call_key, name, data) VALUES (?1, ?2, ?3)")?;
    for (name, data) in &record.metadata {
        statement.execute((&record.key, name, data))?;
        written::count(data.len());
    }
    written::count(record.key.len() + record.name.len());
    Ok(())
}

#[expect(
    clippy::option_option,
    reason = "no record differs from one without a result"
)]
pub(super) fn load_result_in(
    connection: &Connection,
    key: &str,
) -> rusqlite::Result<Option<Option<String>>> {
    let mut statement = connection.prepare_cached("SELECT result FROM calls WHERE key = ?")?;
    statement.query_row([key], |row| text(row, 0)).optional()
}

fn load_in(connection: &Connection, key: &str) -> rusqlite::Result<Option<Row>> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM calls WHERE key = ?"))?;
    let Some(mut record) = statement.query_row([key], read_call).optional()? else {
        return Ok(None);
    };
    let mut statement = connection
        .prepare_cached("SELECT name, value FROM arguments WHERE call_key = ? ORDER BY position")?;
    let rows = statement.query_map([key], |row| pair(row, 0))?;
    record.arguments = rows.collect::<rusqlite::Result<_>>()?;
    let mut statement = connection
        .prepare_cached("SELECT name, data FROM metadata WHERE call_key = ? ORDER BY id")?;
    let rows = statement.query_map([key], |row| pair(row, 0))?;
    record.metadata = rows.collect::<rusqlite::Result<_>>()?;
    Ok(Some(record))
}
