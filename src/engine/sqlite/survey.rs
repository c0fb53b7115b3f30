//! What all records of a database are of, read in a pass over each table.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::values::{hash, prepared};
use super::{Database, Error, Intent};
use crate::engine::digest::{Hash, parse_hex, sha256};
use crate::engine::survey::{Survey, Times};

/// What a digest that is no hash is stored under, of scheme `sha256`.
const OWN_DIGEST: &[u8] = b"__fleche_own_digest__";

/// A call of which the rest is to come.
struct Call {
    function: u32,
    is_timed: bool,
}

type Calls = HashMap<Hash, Call, BuildHasherDefault<FirstBytes>>;

/// Keys are digests: their beginning is as good as any hash.
#[derive(Default)]
struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

impl Database {
    /// The values that are in the database itself, with their lengths, in the order of their keys.
    pub fn measure_values(&self) -> Result<Vec<(Hash, u64)>, Error> {
        let statement = "SELECT key, length(data) FROM fleche_values WHERE data IS NOT NULL";
        self.with("measuring the values in", Intent::Read, |connection| {
            let Some(mut statement) = prepared(connection, statement)? else {
                return Ok(Vec::new());
            };
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let length: i64 = row.get(1)?;
                let key = hash(row, 0)?;
                found.extend(key.map(|key| (key, u64::try_from(length).unwrap_or(0))));
            }
            found.sort_unstable();
            Ok(found)
        })
    }

    /// What its records are of; `needs`: with the values that they need.
    pub fn survey(&self, needs: bool) -> Result<Survey, Error> {
        self.with("reading the calls in", Intent::Read, |connection| {
            // One transaction, so that the tables belong together.
            let transaction = connection.transaction()?;
            let survey = survey(&transaction, needs)?;
            transaction.commit()?;
            Ok(survey)
        })
    }
}

fn survey(connection: &Connection, needs: bool) -> rusqlite::Result<Survey> {
    let mut survey = Survey::default();
    let mut calls = Calls::default();
    let mut statement = connection.prepare_cached("SELECT key, name, module, result FROM calls")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(key) = bytes(row, 0)?.and_then(parse_hex) else {
            continue;
        };
        let [name, module] = [text(row, 1)?, text(row, 2)?];
        let function = survey.number(name.unwrap_or_default(), module);
        survey.call(function);
        if needs && let Some(result) = bytes(row, 3)? {
            survey.need(function, storage_key(result));
        }
        let call = Call {
            function,
            is_timed: false,
        };
        calls.insert(key, call);
    }
    let mut statement =
        connection.prepare_cached("SELECT call_key, data FROM metadata ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let key = bytes(row, 0)?.and_then(parse_hex);
        let Some(call) = key.and_then(|key| calls.get_mut(&key)) else {
            continue;
        };
        if call.is_timed {
            continue;
        }
        let Some(data) = text(row, 1)? else { continue };
        if let Some(times) = times_of(connection, data)? {
            call.is_timed = true;
            survey.took(call.function, times);
        }
    }
    if needs {
        let mut statement = connection.prepare_cached("SELECT call_key, value FROM arguments")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let key = bytes(row, 0)?.and_then(parse_hex);
            let Some(call) = key.and_then(|key| calls.get(&key)) else {
                continue;
            };
            if let Some(value) = bytes(row, 1)? {
                survey.need(call.function, storage_key(value));
            }
        }
    }
    Ok(survey)
}

fn bytes<'a>(row: &'a SqlRow<'_>, column: usize) -> rusqlite::Result<Option<&'a [u8]>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
        _ => None,
    })
}

fn text<'a>(row: &'a SqlRow<'_>, column: usize) -> rusqlite::Result<Option<&'a str>> {
    Ok(bytes(row, column)?.and_then(|bytes| std::str::from_utf8(bytes).ok()))
}

/// The key of the value that has this digest.
fn storage_key(digest: &[u8]) -> Hash {
    parse_hex(digest).unwrap_or_else(|| sha256::of(&[OWN_DIGEST, digest]))
}

/// What metadata says of a call's times; `None` if it says nothing.
fn times_of(connection: &Connection, data: &str) -> rusqlite::Result<Option<Times>> {
    let is_flat = data.starts_with('{') && !data[1..].contains(['{', '[', '\\']);
    if is_flat {
        let Some(stopped) = member(data, "\"timestop\":") else {
            return Ok(None);
        };
        return Ok(Some(Times {
            seconds: member(data, "\"walltime\":").and_then(|text| text.parse().ok()),
            stopped: stopped.parse().ok(),
        }));
    }
    // As SQLite reads JSON; what is none for it says nothing.
    let mut statement = connection.prepare_cached(
        "SELECT CASE json_type(?1, '$.walltime') WHEN 'integer' THEN 1 WHEN 'real' THEN 1 END, \
         json_extract(?1, '$.walltime'), \
         CASE json_type(?1, '$.timestop') WHEN 'integer' THEN 1 WHEN 'real' THEN 1 END, \
         json_extract(?1, '$.timestop') \
         WHERE json_valid(?1) AND json_type(?1, '$.timestop') IS NOT NULL",
    )?;
    statement
        .query_row([data], |row| {
            let number = |at: usize| {
                let is_number: Option<i64> = row.get(at)?;
                is_number.map(|_| row.get(at + 1)).transpose()
            };
            Ok(Times {
                seconds: number(0)?,
                stopped: number(2)?,
            })
        })
        .optional()
}

/// What stands behind a name in an object without others in it, and without escapes: there it
/// can be nothing but a member's.
fn member<'a>(data: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = data.split_once(name)?;
    behind.split([',', '}']).next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_from_any_json() {
        let connection = Connection::open_in_memory().unwrap();
        let times = |data| times_of(&connection, data).unwrap();
        let found = |seconds, stopped| Some(Times { seconds, stopped });
        assert_eq!(
            times(r#"{"walltime": 1.5, "timestop": 4}"#),
            found(Some(1.5), Some(4.0))
        );
        assert_eq!(times(r#"{"timestop": null}"#), found(None, None));
        assert_eq!(times(r#"{"a": "timestop"}"#), None);
        assert_eq!(
            times(r#"{"a": {"timestop": 1}, "walltime": 2, "timestop": 3.5}"#),
            found(Some(2.0), Some(3.5))
        );
        assert_eq!(times(r#"{"a": "\"timestop\": 3"}"#), None);
        assert_eq!(
            times(r#"{"a": [1], "timestop": "late"}"#),
            found(None, None)
        );
        for none in ["", "{", "[1, 2]", "nothing", r#"{"a": [NaN]"#] {
            assert_eq!(times(none), None, "{none}");
        }
    }
}
