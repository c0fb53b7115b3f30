//! What all records of a database are of, read in a pass over each table, by two threads.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::OnceLock;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row as SqlRow};

use super::two::{Readers, Rows};
use super::values::{hash, prepared};
use super::{Database, Error};
use crate::engine::digest::{Hash, parse_hex, sha256};
use crate::engine::survey::{ByKey, Survey, Times};

/// What a digest that is no hash is stored under, of scheme `sha256`.
const OWN_DIGEST: &[u8] = b"__fleche_own_digest__";

/// Calls in the order of their rows: what belongs to them was saved in the same order.
#[derive(Default)]
struct Calls {
    keys: Vec<Hash>,
    functions: Vec<u32>,
    places: OnceLock<Places>,
}

type Places = HashMap<Hash, usize, BuildHasherDefault<FirstBytes>>;

/// Where a call was found, and how often one was not near the one before.
#[derive(Default)]
struct Cursor {
    last: usize,
    jumps: usize,
}

/// So many calls may have nothing of a kind, between two that have.
const NEAR: usize = 16;

/// So often all calls are gone through, before their places are noted.
const JUMPS: usize = 8;

impl Calls {
    fn find(&self, key: &Hash, cursor: &mut Cursor) -> Option<usize> {
        let in_rows = |rows: &[Hash]| rows.iter().position(|row| row == key);
        let from = cursor.last.min(self.keys.len());
        let to = (from + NEAR).min(self.keys.len());
        let place = if let Some(place) = in_rows(&self.keys[from..to]) {
            from + place
        } else if cursor.jumps < JUMPS {
            cursor.jumps += 1;
            in_rows(&self.keys)?
        } else {
            self.places().get(key).copied()?
        };
        cursor.last = place;
        Some(place)
    }

    fn places(&self) -> &Places {
        let pairs = || self.keys.iter().copied().zip(0..);
        self.places.get_or_init(|| pairs().collect())
    }
}

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
    /// The values that are in the database itself, with their lengths.
    pub fn measure_values(&self) -> Result<ByKey<u64>, Error> {
        let statement = "SELECT key, length(data) FROM fleche_values \
             WHERE data IS NOT NULL AND rowid BETWEEN ?1 AND ?2";
        self.with_readers("measuring the values in", |readers| {
            if prepared(readers.one(), statement)?.is_none() {
                return Ok(ByKey::default());
            }
            let halves = readers.read("fleche_values", |connection, rows| {
                let mut statement = connection.prepare_cached(statement)?;
                let mut rows = statement.query(rows)?;
                let mut found = ByKey::default();
                while let Some(row) = rows.next()? {
                    let length: i64 = row.get(1)?;
                    if let Some(key) = hash(row, 0)? {
                        found.push(key, u64::try_from(length).unwrap_or(0));
                    }
                }
                Ok(found)
            })?;
            let mut found = ByKey::default();
            for half in halves {
                found.append(half);
            }
            Ok(found)
        })
    }

    /// What its records are of; `needs`: with the values that they need.
    pub fn survey(&self, needs: bool) -> Result<Survey, Error> {
        self.with_readers("reading the calls in", |readers| survey(readers, needs))
    }
}

fn survey(readers: &mut Readers<'_>, needs: bool) -> rusqlite::Result<Survey> {
    let halves = readers.read("calls", |connection, rows| {
        calls_of(connection, rows, needs)
    })?;
    let mut survey = Survey::default();
    let mut calls = Calls::default();
    for (half, of_half) in halves {
        let numbers = survey.append(half);
        let functions = of_half.functions.iter();
        let functions = functions.map(|function| numbers[*function as usize]);
        calls.functions.extend(functions);
        calls.keys.extend(of_half.keys);
    }
    let mut is_timed = vec![false; calls.keys.len()];
    let halves = readers.read("metadata", |connection, rows| {
        times_in(connection, rows, &calls)
    })?;
    for (half, length) in halves {
        survey.record_bytes += length;
        // In the order of the rows, as sums of fractions differ by it.
        for (call, times) in half {
            if !std::mem::replace(&mut is_timed[call], true) {
                survey.took(calls.functions[call], times);
            }
        }
    }
    if needs {
        let halves = readers.read("arguments", |connection, rows| {
            arguments_of(connection, rows, &calls)
        })?;
        for (half, length) in halves {
            survey.record_bytes += length;
            survey.need_all(half);
        }
    }
    Ok(survey)
}

/// The calls in these rows, by the numbers of functions in the survey.
fn calls_of(connection: &Connection, rows: Rows, needs: bool) -> rusqlite::Result<(Survey, Calls)> {
    let mut survey = Survey::default();
    let mut calls = Calls::default();
    let mut statement = connection.prepare_cached(
        "SELECT key, name, module, result, version, code_digest FROM calls \
         WHERE rowid BETWEEN ?1 AND ?2 ORDER BY rowid",
    )?;
    let mut rows = statement.query(rows)?;
    while let Some(row) = rows.next()? {
        survey.records += 1;
        let mut columns = [None; 6];
        for (number, column) in columns.iter_mut().enumerate() {
            *column = measured(row, number, &mut survey.record_bytes)?;
        }
        let [key, name, module, result, ..] = columns;
        let Some(key) = key.and_then(parse_hex) else {
            continue;
        };
        let [name, module] = [text(name), text(module)];
        let function = survey.number(name.unwrap_or_default(), module);
        survey.call(function);
        if needs && let Some(result) = result {
            survey.need(function, storage_key(result));
        }
        calls.keys.push(key);
        calls.functions.push(function);
    }
    Ok((survey, calls))
}

/// Which calls took how long, by the metadata in these rows.
fn times_in(
    connection: &Connection,
    rows: Rows,
    calls: &Calls,
) -> rusqlite::Result<(Vec<(usize, Times)>, u64)> {
    let statement =
        "SELECT data, name, call_key FROM metadata WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
    let mut found = Vec::new();
    let length = rows_of_calls(connection, statement, rows, calls, |call, data| {
        if let Some(data) = text(Some(data))
            && let Some(times) = times_of(connection, data)?
        {
            found.push((call, times));
        }
        Ok(())
    })?;
    Ok((found, length))
}

/// The arguments in these rows, each with the function that needs it.
fn arguments_of(
    connection: &Connection,
    rows: Rows,
    calls: &Calls,
) -> rusqlite::Result<(ByKey<u32>, u64)> {
    let statement =
        "SELECT value, name, call_key FROM arguments WHERE id BETWEEN ?1 AND ?2 ORDER BY id";
    let mut found = ByKey::default();
    let length = rows_of_calls(connection, statement, rows, calls, |call, value| {
        found.push(storage_key(value), calls.functions[call]);
        Ok(())
    })?;
    Ok((found, length))
}

/// Tells of each row which call it belongs to, by its third column, and its first column; what the
/// first two take.
fn rows_of_calls(
    connection: &Connection,
    statement: &str,
    rows: Rows,
    calls: &Calls,
    mut note: impl FnMut(usize, &[u8]) -> rusqlite::Result<()>,
) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(rows)?;
    let (mut length, mut cursor) = (0, Cursor::default());
    while let Some(row) = rows.next()? {
        let first = measured(row, 0, &mut length)?;
        measured(row, 1, &mut length)?;
        let key = measured(row, 2, &mut 0)?.and_then(parse_hex);
        if let Some(call) = key.and_then(|key| calls.find(&key, &mut cursor))
            && let Some(first) = first
        {
            note(call, first)?;
        }
    }
    Ok(length)
}

/// A column's text, if it is one; what it takes is added to `length`.
fn measured<'a>(
    row: &'a SqlRow<'_>,
    column: usize,
    length: &mut u64,
) -> rusqlite::Result<Option<&'a [u8]>> {
    let (bytes, taken) = match row.get_ref(column)? {
        ValueRef::Null => (None, 0),
        ValueRef::Integer(number) => (None, number.to_string().len()),
        ValueRef::Real(number) => (None, format!("{number:?}").len()),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => (Some(bytes), bytes.len()),
    };
    *length += taken as u64;
    Ok(bytes)
}

fn text(bytes: Option<&[u8]>) -> Option<&str> {
    bytes.and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// The key of the value that has this digest.
fn storage_key(digest: &[u8]) -> Hash {
    parse_hex(digest).unwrap_or_else(|| sha256::of(&[OWN_DIGEST, digest]))
}

/// What metadata says of a call's times; `None` if it says nothing.
fn times_of(connection: &Connection, data: &str) -> rusqlite::Result<Option<Times>> {
    // All are looked at, which is done for many at once.
    let inner = data.as_bytes().iter().skip(1);
    let others = inner.filter(|each| matches!(each, b'{' | b'[' | b'\\'));
    if data.starts_with('{') && others.count() == 0 {
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
    // Names begin with quotes, of which there are few.
    let mut quotes = data.match_indices('"');
    let behind = quotes.find_map(|(place, _)| data[place..].strip_prefix(name))?;
    behind.split([',', '}']).next().map(str::trim)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::engine::digest::Hex;
    use crate::engine::record::Row;
    use crate::engine::schemes::Scheme;
    use crate::engine::sqlite::Journal;

    fn database(path: Option<&Path>, journal: Journal) -> Database {
        let path = path.map(Path::to_owned);
        Database::new(path, journal, None, Duration::from_secs(60))
    }

    fn call(number: usize) -> Row {
        let hex = |kind: u8| {
            let hash = blake3::hash(&[&[kind][..], &number.to_le_bytes()].concat());
            Hex::of(hash.as_bytes()).as_str().to_owned()
        };
        let data = format!(
            "{{\"timestop\": {number:04}.5, \"walltime\": 1.{:01}}}",
            number % 7
        );
        Row {
            key: hex(0),
            name: ["f", "g"][number % 2].to_owned(),
            result: Some(hex(1)),
            arguments: vec![("x".to_owned(), hex(2))],
            metadata: vec![("runtime".to_owned(), data)],
            ..Row::default()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// What is saved once more, removed, or noted later, is as if it lay in order.
        #[test]
        fn the_order_of_rows_does_not_matter(
            steps in prop::collection::vec((0..60_usize, 0..4_u8), 1..160),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("cache.db");
            let file = database(Some(&path), Journal::WriteAhead);
            let mut held = std::collections::BTreeMap::new();
            for (number, step) in steps {
                let mut row = call(number);
                match step {
                    0 => {
                        file.evict(&row.key).unwrap();
                        held.remove(&number);
                        continue;
                    }
                    1 if held.contains_key(&number) => {
                        // Behind all others, as it was noted later.
                        let statement = "UPDATE metadata SET id = \
                             (SELECT max(id) + 1 FROM metadata) WHERE call_key = ?";
                        let change = |connection: &mut Connection| {
                            connection.execute(statement, [&row.key])
                        };
                        file.with("changing", crate::engine::sqlite::Intent::Write, change).unwrap();
                        continue;
                    }
                    2 => row.metadata.clear(),
                    _ => {}
                }
                file.save(&row, Scheme::Exact).unwrap();
                held.insert(number, row);
            }
            let memory = database(None, Journal::WriteAhead);
            for row in held.values() {
                memory.save(row, Scheme::Exact).unwrap();
            }
            for needs in [false, true] {
                let survey = |database: &Database| {
                    let survey = database.survey(needs).unwrap();
                    let functions = survey.functions().iter().map(|each| {
                        (each.name.clone(), each.calls, (each.seconds * 100.0).round(), each.newest)
                    });
                    let mut functions: Vec<_> = functions.collect();
                    functions.sort_by(|one, other| one.0.cmp(&other.0));
                    (survey.records, survey.record_bytes, functions)
                };
                let expected = [survey(&memory)];
                prop_assert_eq!([survey(&file)], expected);
            }
        }
    }

    #[test]
    fn tables_belong_together_while_others_write() {
        for journal in [Journal::WriteAhead, Journal::Rollback] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("cache.db");
            let (writer, reader) = (
                database(Some(&path), journal),
                database(Some(&path), journal),
            );
            for number in 0..100 {
                writer.save(&call(number), Scheme::Exact).unwrap();
            }
            let first = reader.survey(true).unwrap();
            assert_eq!(first.records, 100);
            let each = first.record_bytes / 100;
            let is_over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let mut number = 100;
                    while !is_over.load(Ordering::Relaxed) {
                        writer.save(&call(number), Scheme::Exact).unwrap();
                        writer.evict(&call(number - 50).key).unwrap();
                        number += 1;
                    }
                });
                for _ in 0..50 {
                    let survey = reader.survey(true).unwrap();
                    assert!(survey.records >= 99);
                    assert_eq!(survey.record_bytes, survey.records * each);
                    let calls: u64 = survey.functions().iter().map(|each| each.calls).sum();
                    assert_eq!(calls, survey.records);
                }
                is_over.store(true, Ordering::Relaxed);
            });
        }
    }

    #[test]
    fn values_are_measured_by_halves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.db");
        let file = database(Some(&path), Journal::WriteAhead);
        assert_eq!(file.measure_values().unwrap().length(), 0);
        let value = |number: u8| crate::engine::sqlite::NewValue {
            key: [number; 32],
            replaces: true,
            serializer: crate::engine::sqlite::Serializer::Pickle,
            size: 1,
            data: (!number.is_multiple_of(3)).then(|| vec![0; number.into()]),
        };
        for number in 0..60 {
            let row = call(number.into());
            file.save_call(&row, Scheme::Exact, &[value(number)])
                .unwrap();
        }
        let mut found = file.measure_values().unwrap();
        found.settle(|one, other| one == other);
        let expected = (0..60).filter(|number: &u8| !number.is_multiple_of(3));
        let expected: Vec<_> = expected
            .map(|number| ([number; 32], u64::from(number)))
            .collect();
        assert_eq!(found.iter().copied().collect::<Vec<_>>(), expected);
    }

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
