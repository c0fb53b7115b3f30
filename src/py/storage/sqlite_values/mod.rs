//! Values in SQLite, as Python sees them: small ones in the database, large ones in the files of a
//! folder beside it.

mod saving;
mod survey;

use std::collections::HashSet;
use std::path::PathBuf;

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use super::entry::Entry;
use super::file::failure::useless;
use super::file::{FileStore, PayloadBytes, bytes_of};
use super::root::{digests, full_key};
use super::sqlite::{SqliteStore, database_at};
use super::waiting;
use crate::engine::codec;
use crate::engine::digest::{DIGEST_LENGTH, Hash, Hex, parse_hex};
use crate::engine::files::Store;
use crate::engine::sqlite::{Content, Database, Found, Hit, Serializer, Size};
use crate::py::digest::hash_of_text;
use crate::py::errors::{self, Log};
use crate::py::keys::shorten_digests;

/// The values of a database, and the folder beside it.
#[pyclass(frozen, extends = FileStore, module = "fleche._core")]
pub struct SqliteValues {
    path: PathBuf,
    database: Database,
    serializer: Serializer,
    /// Payloads of more bytes lie in files.
    largest: usize,
}

#[pymethods]
impl SqliteValues {
    /// The values of the database in the file `path`, those with a payload of more than `largest`
    /// bytes in the folder `root`.
    #[new]
    #[expect(
        clippy::too_many_arguments,
        reason = "those of a folder, and the database's"
    )]
    fn new(
        path: PathBuf,
        root: PathBuf,
        lock_timeout: f64,
        keys: Vec<Vec<u8>>,
        compress: Option<&str>,
        level: Option<u32>,
        serializer: &str,
        dumps: Py<PyAny>,
        loads: Py<PyAny>,
        apart: bool,
        mapped: bool,
        largest: usize,
    ) -> PyResult<PyClassInitializer<Self>> {
        let Some(serializer) = Serializer::of_name(serializer) else {
            let known = Serializer::ALL.map(Serializer::name).join(", ");
            return Err(PyValueError::new_err(format!(
                "Unknown serializer {serializer:?} for values in SQLite; choose one of: {known}"
            )));
        };
        let database = database_at(Some(path.clone()), lock_timeout, None)?;
        let values = Self {
            path,
            database,
            serializer,
            largest,
        };
        let files = FileStore::new(
            root,
            lock_timeout,
            keys,
            compress,
            level,
            dumps,
            loads,
            apart,
            mapped,
        )?;
        Ok(files.add_subclass(values))
    }

    /// Creates the file, its folders and its tables as needed.
    fn open(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.database.open())?)
    }

    /// Copies the database, as it is at one moment, to a new file.
    fn copy_to(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        Ok(py.detach(|| self.database.copy_to(path))?)
    }

    /// Closes the connections that are not in use.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.database.close());
    }

    /// What SQLite finds to be wrong with the file; nothing if all is well.
    fn check(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(py.detach(|| self.database.check())?)
    }

    #[pyo3(name = "put")]
    fn put_text(
        slf: &Bound<'_, Self>,
        value: &Bound<'_, PyAny>,
        key: &Bound<'_, PyString>,
    ) -> PyResult<()> {
        Self::put_many(slf, vec![Entry::new(full_key(key)?, value.clone())])
    }

    #[pyo3(name = "get")]
    fn get_text<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match hash_of_text(key) {
            Some(hash) => Self::get(slf, &hash),
            None => Err(PyKeyError::new_err((key.clone().unbind(),))),
        }
    }

    fn payload_of<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match Self::read(slf, &full_key(key)?)? {
            Some(PayloadBytes::Read(payload)) => bytes_of(slf.py(), &payload).map(Some),
            Some(PayloadBytes::Direct(bytes)) => Ok(Some(bytes)),
            None => Ok(None),
        }
    }

    /// The same without large buffers that lie apart.
    fn stream_of<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let (py, hash) = (slf.py(), full_key(key)?);
        match slf.get().find(py, &hash)? {
            Some(Found {
                content: Content::Here(bytes),
                ..
            }) => {
                let payload = files(slf).unframed(py, bytes, &slf.get().place(&hash))?;
                bytes_of(py, &payload).map(Some)
            }
            _ => files(slf).stream_of(key),
        }
    }

    /// Every key.
    fn list<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        digests(slf.py(), Self::keys(slf)?)
    }

    /// Every key, the one saved longest ago first, those of files without a row at the end.
    fn list_by_age<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyList>> {
        digests(slf.py(), Self::keys(slf)?)
    }

    /// The keys that start with `prefix`.
    fn candidates<'py>(slf: &Bound<'py, Self>, prefix: &str) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let Some((first, last)) = bounds(prefix) else {
            return Ok(PyList::empty(py));
        };
        let this = slf.get();
        let store = files(slf).store();
        let (mut keys, more) = py.detach(|| -> PyResult<_> {
            let keys = this.database.values_between(&first, &last)?;
            let more = store.candidates(prefix);
            Ok((keys, more.map_err(|error| errors::os_error(&error))?))
        })?;
        keys.extend(more);
        keys.sort_unstable();
        keys.dedup();
        digests(py, keys)
    }

    fn shorten<'py>(
        slf: &Bound<'py, Self>,
        keys: Vec<Bound<'py, PyString>>,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let every = Self::keys(slf)?;
        shorten_digests(slf.py(), &keys, || Ok(every))
    }

    #[pyo3(name = "contains")]
    fn contains_text(slf: &Bound<'_, Self>, key: &Bound<'_, PyString>) -> PyResult<bool> {
        match hash_of_text(key) {
            Some(key) => Self::contains(slf, &key),
            None => Ok(false),
        }
    }

    /// Whether each of these keys is here.
    fn contains_many(slf: &Bound<'_, Self>, keys: Vec<Bound<'_, PyString>>) -> PyResult<Vec<bool>> {
        let sizes = Self::sizes_of(slf, &keys)?;
        Ok(sizes.iter().map(Option::is_some).collect())
    }

    /// How many bytes are stored under each of these keys; `None`: there is nothing.
    fn sizes(slf: &Bound<'_, Self>, keys: Vec<Bound<'_, PyString>>) -> PyResult<Vec<Option<u64>>> {
        Self::sizes_of(slf, &keys)
    }

    /// Which of the keys in `wanted` are mentioned under any of these keys, whatever is there.
    fn mentioned<'py>(
        slf: &Bound<'py, Self>,
        keys: Vec<Bound<'py, PyString>>,
        wanted: Vec<Bound<'py, PyString>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let py = slf.py();
        let keys: Vec<_> = keys.iter().filter_map(hash_of_text).collect();
        let wanted: HashSet<Hash> = wanted.iter().filter_map(hash_of_text).collect();
        let (this, store) = (slf.get(), files(slf).store());
        let found = py.detach(|| -> PyResult<_> {
            let mut found = HashSet::new();
            for key in &keys {
                if let Some(Found {
                    content: Content::Here(data),
                    ..
                }) = this.database.load_value(key)?
                {
                    found.extend(Store::mentions_in(&data, |key| wanted.contains(key)));
                }
                let mentioned = Store::mentions(&store.path(key), &wanted);
                found.extend(mentioned.map_err(|error| errors::os_error(&error))?);
            }
            Ok(found)
        })?;
        digests(py, found.into_iter().collect())
    }

    /// Removes the entry of `key`, whose file would be at `place`; it may be absent.
    fn evict(slf: &Bound<'_, Self>, key: &Bound<'_, PyString>, place: PathBuf) -> PyResult<()> {
        let py = slf.py();
        let Some(hash) = hash_of_text(key) else {
            return Ok(());
        };
        let this = slf.get();
        py.detach(|| this.database.evict_values(&[hash]))?;
        slf.as_super().as_super().get().evict(py, key, place)
    }

    /// Compresses every entry that is not compressed.
    fn compress_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        let by = files(slf).chosen_compression()?;
        Self::rewrite_all(slf, |bytes| codec::compressed(bytes, by))?;
        files(slf).compress_all(slf.py())
    }

    /// Decompresses every entry that is compressed.
    fn decompress_all(slf: &Bound<'_, Self>) -> PyResult<()> {
        Self::rewrite_all(slf, codec::decompressed)?;
        files(slf).decompress_all(slf.py())
    }
}

impl SqliteValues {
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Whether a storage of records keeps them in the same database.
    pub fn is_beside(&self, records: &SqliteStore) -> bool {
        self.database.is_one_with(records.database())
    }

    /// What is stored under a key; `KeyError` if there is nothing, or nothing of use.
    pub fn get<'py>(slf: &Bound<'py, Self>, key: &Hash) -> PyResult<Bound<'py, PyAny>> {
        let found = slf.get().find(slf.py(), key)?;
        Self::load_found(slf, key, found)
    }

    /// The result of a call, by its record and its value, which are in this database.
    pub fn load_hit<'py>(
        slf: &Bound<'py, Self>,
        call: &Hash,
    ) -> PyResult<Option<(Hash, Bound<'py, PyAny>)>> {
        let py = slf.py();
        let database = &slf.get().database;
        let hit = match database.load_hit_at_once(call) {
            Some(hit) => hit?,
            None => py.detach(|| database.load_hit(call))?,
        };
        let Some(Hit { result, value }) = hit else {
            return Ok(None);
        };
        Ok(Some((result, Self::load_found(slf, &result, value)?)))
    }

    pub fn contains(slf: &Bound<'_, Self>, key: &Hash) -> PyResult<bool> {
        let py = slf.py();
        let this = slf.get();
        if waiting::is_waiting(&this.database, key) {
            return Ok(true);
        }
        let found = match this.database.find_value_at_once(key) {
            Some(found) => found?,
            None => py.detach(|| this.database.find_values(&[*key]))?[0],
        };
        match found {
            Some(Size::Here(_)) => Ok(true),
            Some(Size::InFile) | None => files(slf).contains_key(py, key),
        }
    }

    /// The bytes that the serialiser made, their signature verified; `None` if there is no entry.
    fn read<'py>(slf: &Bound<'py, Self>, key: &Hash) -> PyResult<Option<PayloadBytes<'py>>> {
        let found = slf.get().find(slf.py(), key)?;
        match Self::here(slf, key, found)? {
            Some(payload) => Ok(Some(payload)),
            None => files(slf).read(slf.py(), key),
        }
    }

    fn find(&self, py: Python<'_>, key: &Hash) -> PyResult<Option<Found>> {
        let found = match self.database.load_value_at_once(key) {
            Some(found) => found,
            None => py.detach(|| self.database.load_value(key)),
        };
        Ok(found?)
    }

    /// The verified bytes of a value that is in the table; `None`: what there is lies in its file.
    fn here<'py>(
        slf: &Bound<'py, Self>,
        key: &Hash,
        found: Option<Found>,
    ) -> PyResult<Option<PayloadBytes<'py>>> {
        let py = slf.py();
        // One whose row was not written any more, or which was set aside, has none.
        let Some(Found {
            serializer,
            content,
        }) = found
        else {
            return Ok(None);
        };
        let own = slf.get().serializer;
        let reason = match serializer {
            None => "it was written by a serializer that this version does not know".to_owned(),
            // A pickle is no CBOR, and is not to be unpickled by who asked for that.
            Some(other) if other.is_pickler() != own.is_pickler() => {
                let (other, own) = (other.name(), own.name());
                format!("it was written by serializer = '{other}', this storage reads '{own}'")
            }
            Some(_) => String::new(),
        };
        if !reason.is_empty() {
            return Err(useless(py, &slf.get().place(key), &reason));
        }
        match content {
            Content::InFile => Ok(None),
            Content::Here(bytes) => {
                let place = slf.get().place(key);
                files(slf).unframed(py, bytes, &place).map(Some)
            }
        }
    }

    fn load_found<'py>(
        slf: &Bound<'py, Self>,
        key: &Hash,
        found: Option<Found>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        match Self::here(slf, key, found)? {
            Some(payload) => files(slf).load(py, &payload, &slf.get().place(key)),
            None => files(slf).get(py, key),
        }
    }

    /// How messages show where an entry is.
    fn place(&self, key: &Hash) -> PathBuf {
        self.path.join(Hex::of(key).as_str())
    }

    fn keys(slf: &Bound<'_, Self>) -> PyResult<Vec<Hash>> {
        let (this, store) = (slf.get(), files(slf).store());
        slf.py().detach(|| {
            let mut keys = this.database.list_values()?;
            let known: HashSet<_> = keys.iter().copied().collect();
            let in_files = store.list().map_err(|error| errors::os_error(&error))?;
            keys.extend(in_files.into_iter().filter(|key| !known.contains(key)));
            Ok(keys)
        })
    }

    fn sizes_of(slf: &Bound<'_, Self>, keys: &[Bound<'_, PyString>]) -> PyResult<Vec<Option<u64>>> {
        let keys: Vec<_> = keys.iter().map(hash_of_text).collect();
        let (this, store) = (slf.get(), files(slf).store());
        slf.py().detach(|| {
            let wanted: Vec<Hash> = keys.iter().flatten().copied().collect();
            let mut found = this.database.find_values(&wanted)?.into_iter();
            let size = |key: &Option<Hash>| {
                let Some(key) = key else { return Ok(None) };
                match found.next().flatten() {
                    Some(Size::Here(length)) => Ok(Some(length)),
                    Some(Size::InFile) | None => store.length(key),
                }
            };
            let sizes = keys.iter().map(size).collect::<Result<_, _>>();
            sizes.map_err(|error| errors::os_error(&error))
        })
    }

    fn rewrite_all(
        slf: &Bound<'_, Self>,
        convert: impl Fn(&[u8]) -> std::io::Result<Option<Vec<u8>>> + Send,
    ) -> PyResult<()> {
        let (py, this) = (slf.py(), slf.get());
        let mut failures = Vec::new();
        let failed = |key: &Hash, error: &std::io::Error| {
            failures.push(format!("{}: {error}", this.place(key).display()));
        };
        let rewritten = py.detach(|| this.database.rewrite_values(convert, failed));
        for failure in failures {
            Log::Storage.warning(py, &format!("{failure}; the entry stays as it is"));
        }
        Ok(rewritten?)
    }
}

/// The folder of large values.
fn files<'a>(values: &'a Bound<'_, SqliteValues>) -> &'a FileStore {
    values.as_super().get()
}

/// The first and the last key that begin with a prefix.
fn bounds(prefix: &str) -> Option<(Hash, Hash)> {
    let filled = |with: char| {
        let missing = DIGEST_LENGTH.checked_sub(prefix.len())?;
        let text = prefix.chars().chain(std::iter::repeat_n(with, missing));
        parse_hex(text.collect::<String>().as_bytes())
    };
    Some((filled('0')?, filled('f')?))
}
