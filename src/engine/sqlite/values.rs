//! Values in a table beside the records: small ones whole, large ones as the names of their files.
//!
//! ```text
//! key         the 32 bytes of the digest
//! serializer  what made the payload: pickle, cloudpickle, dill, ...
//! size        how many bytes the payload has
//! data        the payload with its signature, compressed or not, as it would lie in a file; or NULL
//! file        where `data` is NULL: the name of the file that holds it, in the folder beside
//! ```
//! The table is made by the first save of a value: in a database of before there is none, which is
//! as if it were empty. Rows are kept in the order in which they came, found by an index of keys.

use rusqlite::types::ValueRef;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Row as SqlRow};

use super::changes::change;
use super::records::{load_result_in, save_in};
use super::{Database, Error, Intent, schemes};
use crate::engine::digest::{Hash, Hex, parse_hex};
use crate::engine::disk::written;
use crate::engine::record::Row;
use crate::engine::schemes::Scheme;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS fleche_values (
	key BLOB NOT NULL,
	serializer VARCHAR NOT NULL,
	size INTEGER NOT NULL,
	data BLOB,
	file VARCHAR,
	PRIMARY KEY (key)
);
";

const LOADING: &str = "loading a value from";
const LISTING: &str = "listing the values in";

/// What makes the payloads of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serializer {
    Pickle,
    Cloudpickle,
    Dill,
    Cbor,
}

impl Serializer {
    pub const ALL: [Self; 4] = [Self::Pickle, Self::Cloudpickle, Self::Dill, Self::Cbor];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Pickle => "pickle",
            Self::Cloudpickle => "cloudpickle",
            Self::Dill => "dill",
            Self::Cbor => "cbor",
        }
    }

    /// Whether it makes pickles.
    pub const fn is_pickler(self) -> bool {
        !matches!(self, Self::Cbor)
    }

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}

/// A value to be stored.
#[derive(Debug)]
pub struct NewValue {
    pub key: Hash,
    /// Whether it takes the place of what is there already.
    pub replaces: bool,
    pub serializer: Serializer,
    /// How many bytes its payload has.
    pub size: usize,
    /// The framed bytes; `None`: they are in the file of the key.
    pub data: Option<Vec<u8>>,
}

/// A value as it was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// `None`: one that is not known.
    pub serializer: Option<Serializer>,
    pub content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Content {
    /// The framed bytes.
    Here(Vec<u8>),
    /// In the file of the key.
    InFile,
}

/// The result of a call: its digest, and the value where there is one.
#[derive(Debug, PartialEq, Eq)]
pub struct Hit {
    pub result: Hash,
    pub value: Option<Found>,
}

/// How much a value takes, and where: of one in a file its own length is not known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Here(u64),
    InFile,
}

impl Database {
    /// Stores values, replacing those under their keys, in one transaction.
    pub fn save_values(&self, values: &[NewValue]) -> Result<(), Error> {
        self.with("saving a value to", Intent::Write, |connection| {
            save_values(connection, values)
        })
    }

    /// As `save_values`, if it can be done without waiting for anybody.
    pub fn save_values_at_once(&self, values: &[NewValue]) -> Option<Result<(), Error>> {
        self.with_at_once("saving a value to", Intent::Write, |connection| {
            save_values(connection, values)
        })
    }

    /// Stores a record together with values: all of it or nothing.
    pub fn save_call(
        &self,
        record: &Row,
        scheme: Scheme,
        values: &[NewValue],
    ) -> Result<(), Error> {
        self.with("saving a call to", Intent::Write, |connection| {
            save_call(connection, record, scheme, values)
        })
    }

    /// As `save_call`, if it can be done without waiting for anybody.
    pub fn save_call_at_once(
        &self,
        record: &Row,
        scheme: Scheme,
        values: &[NewValue],
    ) -> Option<Result<(), Error>> {
        self.with_at_once("saving a call to", Intent::Write, |connection| {
            save_call(connection, record, scheme, values)
        })
    }

    /// The value under a key.
    pub fn load_value(&self, key: &Hash) -> Result<Option<Found>, Error> {
        self.with(LOADING, Intent::Read, |connection| load_in(connection, key))
    }

    /// As `load_value`, if it can be done without waiting for anybody.
    pub fn load_value_at_once(&self, key: &Hash) -> Option<Result<Option<Found>, Error>> {
        self.with_at_once(LOADING, Intent::Read, |connection| load_in(connection, key))
    }

    /// The result in the record of a call, with its value: all that a hit needs, in one statement.
    pub fn load_hit(&self, call: &Hash) -> Result<Option<Hit>, Error> {
        self.with(LOADING, Intent::Read, |connection| hit_in(connection, call))
    }

    /// As `load_hit`, if it can be done without waiting for anybody.
    pub fn load_hit_at_once(&self, call: &Hash) -> Option<Result<Option<Hit>, Error>> {
        self.with_at_once(LOADING, Intent::Read, |connection| hit_in(connection, call))
    }

    /// Where each of these keys has its value; `None` for one that has none.
    pub fn find_values(&self, keys: &[Hash]) -> Result<Vec<Option<Size>>, Error> {
        self.with(LOADING, Intent::Read, |connection| {
            let transaction = connection.transaction()?;
            let found = find_in(&transaction, keys)?;
            transaction.commit()?;
            Ok(found)
        })
    }

    /// As `find_values` for one key, if it can be done without waiting for anybody.
    pub fn find_value_at_once(&self, key: &Hash) -> Option<Result<Option<Size>, Error>> {
        self.with_at_once(LOADING, Intent::Read, |connection| {
            Ok(find_in(connection, std::slice::from_ref(key))?[0])
        })
    }

    /// Removes values; they may be absent.
    pub fn evict_values(&self, keys: &[Hash]) -> Result<(), Error> {
        self.with("evicting a value from", Intent::Free, |connection| {
            change(connection, |transaction| {
                let statement = "DELETE FROM fleche_values WHERE key = ?";
                if let Some(mut statement) = prepared(transaction, statement)? {
                    for key in keys {
                        statement.execute([key])?;
                    }
                }
                Ok(())
            })
        })
    }

    /// All keys, the one saved longest ago first.
    pub fn list_values(&self) -> Result<Vec<Hash>, Error> {
        self.value_keys("SELECT key FROM fleche_values ORDER BY rowid", [])
    }

    /// The keys from one to another.
    pub fn values_between(&self, first: &Hash, last: &Hash) -> Result<Vec<Hash>, Error> {
        let statement = "SELECT key FROM fleche_values WHERE key BETWEEN ?1 AND ?2 ORDER BY key";
        self.value_keys(statement, [first, last])
    }

    fn value_keys(
        &self,
        statement: &str,
        parameters: impl rusqlite::Params + Clone,
    ) -> Result<Vec<Hash>, Error> {
        self.with(LISTING, Intent::Read, |connection| {
            let Some(mut statement) = prepared(connection, statement)? else {
                return Ok(Vec::new());
            };
            let rows = statement.query_map(parameters.clone(), |row| hash(row, 0))?;
            let keys = rows.collect::<rusqlite::Result<Vec<_>>>()?;
            // What is no digest is nobody's.
            Ok(keys.into_iter().flatten().collect())
        })
    }

    /// Puts what `convert` makes of the framed bytes of each value in their place, a batch at a
    /// time; `failed` is told which it cannot convert.
    pub fn rewrite_values(
        &self,
        convert: impl Fn(&[u8]) -> std::io::Result<Option<Vec<u8>>>,
        mut failed: impl FnMut(&Hash, &std::io::Error),
    ) -> Result<(), Error> {
        const BATCH: usize = 256;
        for keys in self.list_values()?.chunks(BATCH) {
            let mut failures = Vec::new();
            self.with("rewriting the values in", Intent::Write, |connection| {
                failures.clear();
                change(connection, |transaction| {
                    for key in keys {
                        let Some(Found {
                            content: Content::Here(data),
                            ..
                        }) = load_in(transaction, key)?
                        else {
                            continue;
                        };
                        match convert(&data) {
                            Ok(Some(converted)) => {
                                let statement = "UPDATE fleche_values SET data = ?2 WHERE key = ?1";
                                transaction
                                    .prepare_cached(statement)?
                                    .execute((key, converted))?;
                            }
                            Ok(None) => {}
                            Err(error) => failures.push((*key, error)),
                        }
                    }
                    Ok(())
                })
            })?;
            for (key, error) in &failures {
                failed(key, error);
            }
        }
        Ok(())
    }
}

fn save_values(connection: &mut Connection, values: &[NewValue]) -> rusqlite::Result<()> {
    change(connection, |transaction| {
        save_values_in(transaction, values)
    })
}

fn save_call(
    connection: &mut Connection,
    record: &Row,
    scheme: Scheme,
    values: &[NewValue],
) -> rusqlite::Result<()> {
    change(connection, |transaction| {
        save_values_in(transaction, values)?;
        schemes::note(transaction, scheme)?;
        save_in(transaction, record)
    })
}

fn save_values_in(connection: &Connection, values: &[NewValue]) -> rusqlite::Result<()> {
    if values.is_empty() {
        return Ok(());
    }
    // What is there already is not written again.
    let statement = "INSERT INTO fleche_values (key, serializer, size, data, file) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key) DO UPDATE SET \
         serializer = excluded.serializer, size = excluded.size, \
         data = excluded.data, file = excluded.file \
         WHERE ?6 AND (data IS NOT excluded.data OR file IS NOT excluded.file \
         OR serializer IS NOT excluded.serializer)";
    let mut statement = if let Some(statement) = prepared(connection, statement)? {
        statement
    } else {
        connection.execute_batch(SCHEMA)?;
        connection.prepare_cached(statement)?
    };
    for value in values {
        let hex = Hex::of(&value.key);
        let file = value.data.is_none().then(|| hex.as_str());
        let size = i64::try_from(value.size).unwrap_or(i64::MAX);
        let serializer = value.serializer.name();
        let row = (
            &value.key,
            serializer,
            size,
            &value.data,
            file,
            value.replaces,
        );
        statement.execute(row)?;
        written::count(value.data.as_ref().map_or(0, Vec::len));
    }
    Ok(())
}

fn load_in(connection: &Connection, key: &Hash) -> rusqlite::Result<Option<Found>> {
    let statement = "SELECT serializer, data FROM fleche_values WHERE key = ?";
    let Some(mut statement) = prepared(connection, statement)? else {
        return Ok(None);
    };
    statement.query_row([key], |row| found(row, 0)).optional()
}

fn hit_in(connection: &Connection, call: &Hash) -> rusqlite::Result<Option<Hit>> {
    let statement = "SELECT result, serializer, data FROM calls \
         LEFT JOIN fleche_values ON fleche_values.key = unhex(result) WHERE calls.key = ?";
    let Some(mut statement) = prepared(connection, statement)? else {
        let result = load_result_in(connection, Hex::of(call).as_str())?;
        let result = result.flatten().and_then(|text| parse_hex(text.as_bytes()));
        return Ok(result.map(|result| Hit {
            result,
            value: None,
        }));
    };
    let hit = statement.query_row([Hex::of(call).as_str()], |row| {
        let ValueRef::Text(result) = row.get_ref(0)? else {
            return Ok(None);
        };
        let Some(result) = parse_hex(result) else {
            return Ok(None);
        };
        let is_there = row.get_ref(1)? != ValueRef::Null;
        let value = is_there.then(|| found(row, 1)).transpose()?;
        Ok(Some(Hit { result, value }))
    });
    hit.optional().map(Option::flatten)
}

fn find_in(connection: &Connection, keys: &[Hash]) -> rusqlite::Result<Vec<Option<Size>>> {
    let statement = "SELECT length(data) FROM fleche_values WHERE key = ?";
    let Some(mut statement) = prepared(connection, statement)? else {
        return Ok(vec![None; keys.len()]);
    };
    let mut find = |key: &Hash| {
        let found = statement.query_row([key], |row| {
            let length: Option<i64> = row.get(0)?;
            let length = length.map(|length| u64::try_from(length).unwrap_or(0));
            Ok(length.map_or(Size::InFile, Size::Here))
        });
        found.optional()
    };
    keys.iter().map(&mut find).collect()
}

/// A prepared statement; `None` where there is no table of values yet.
pub(super) fn prepared<'a>(
    connection: &'a Connection,
    statement: &str,
) -> rusqlite::Result<Option<CachedStatement<'a>>> {
    match connection.prepare_cached(statement) {
        Ok(statement) => Ok(Some(statement)),
        Err(error) => {
            let is_there = "SELECT 1 FROM sqlite_schema WHERE name = 'fleche_values'";
            if connection.prepare(is_there)?.exists([])? {
                return Err(error);
            }
            Ok(None)
        }
    }
}

fn found(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Found> {
    let content = match row.get_ref(column + 1)? {
        ValueRef::Null => Content::InFile,
        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Content::Here(bytes.to_owned()),
        // Nobody writes that: it is of no use, as if it were empty.
        ValueRef::Integer(_) | ValueRef::Real(_) => Content::Here(Vec::new()),
    };
    let serializer = row.get_ref(column)?.as_str().ok();
    Ok(Found {
        serializer: serializer.and_then(Serializer::of_name),
        content,
    })
}

pub(super) fn hash(row: &SqlRow<'_>, column: usize) -> rusqlite::Result<Option<Hash>> {
    let bytes = row.get_ref(column)?.as_blob_or_null()?;
    Ok(bytes.and_then(|bytes| bytes.try_into().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sqlite::Journal;

    fn value(key: u8, data: Option<&[u8]>) -> NewValue {
        NewValue {
            key: [key; 32],
            replaces: true,
            serializer: Serializer::Pickle,
            size: 5,
            data: data.map(<[u8]>::to_owned),
        }
    }

    fn database(folder: &tempfile::TempDir) -> Database {
        let path = folder.path().join("cache.db");
        Database::new(
            Some(path),
            Journal::WriteAhead,
            None,
            std::time::Duration::from_secs(60),
        )
    }

    #[test]
    fn a_call_and_its_values_are_saved_together() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder);
        assert_eq!(database.load_value(&[1; 32]).unwrap(), None);
        assert_eq!(database.find_values(&[[1; 32]]).unwrap(), [None]);
        assert_eq!(database.list_values().unwrap(), [[0; 32]; 0]);
        database.evict_values(&[[1; 32]]).unwrap();
        let call = [9; 32];
        let record = Row {
            key: Hex::of(&call).as_str().to_owned(),
            name: "f".to_owned(),
            result: Some(Hex::of(&[1; 32]).as_str().to_owned()),
            ..Row::default()
        };
        database.save(&record, Scheme::Exact).unwrap();
        let hit = Hit {
            result: [1; 32],
            value: None,
        };
        assert_eq!(database.load_hit(&call).unwrap(), Some(hit));
        let values = [value(1, Some(b"bytes")), value(2, None)];
        database.save_call(&record, Scheme::Exact, &values).unwrap();
        let hit = database.load_hit(&call).unwrap().unwrap();
        let found = hit.value.unwrap();
        assert_eq!(found.content, Content::Here(b"bytes".to_vec()));
        assert_eq!(found.serializer, Some(Serializer::Pickle));
        let held = database.load_value(&[2; 32]).unwrap().unwrap();
        assert_eq!(held.content, Content::InFile);
        let sizes = database.find_values(&[[1; 32], [2; 32], [3; 32]]).unwrap();
        assert_eq!(sizes, [Some(Size::Here(5)), Some(Size::InFile), None]);
        assert_eq!(
            database.values_between(&[2; 32], &[3; 32]).unwrap(),
            [[2; 32]]
        );
        database.evict_values(&[[1; 32]]).unwrap();
        assert_eq!(database.list_values().unwrap(), [[2; 32]]);
        assert_eq!(database.load_hit(&call).unwrap().unwrap().value, None);
    }

    #[test]
    fn a_value_is_replaced_and_rewritten() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(&folder);
        database.save_values(&[value(1, None)]).unwrap();
        database
            .save_values(&[value(1, Some(b"one")), value(2, Some(b"two"))])
            .unwrap();
        let mut failed = Vec::new();
        let convert = |bytes: &[u8]| match bytes {
            b"one" => Ok(Some(b"three".to_vec())),
            _ => Err(std::io::Error::other("no")),
        };
        database
            .rewrite_values(convert, |key, _| failed.push(*key))
            .unwrap();
        assert_eq!(failed, [[2; 32]]);
        let found = database.load_value(&[1; 32]).unwrap().unwrap();
        assert_eq!(found.content, Content::Here(b"three".to_vec()));
    }
}
