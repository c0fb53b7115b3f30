//! Folders of pickled objects.

mod apart;
pub(super) mod failure;
mod large;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::root::{FileRoot, full_key};
use super::serialised::{Serialised, as_bytes};
use crate::engine::codec::{self, Payload};
use crate::engine::compression::{Compression, Method};
use crate::engine::digest::Hash;
use crate::engine::error::{Error, Fault};
use crate::engine::files::{self, Store};
use crate::engine::record::Filter;
use crate::engine::sign::Keys;
use crate::engine::{self, bulk};
use crate::py::digest::{self, Scheme, hash_of_text};
use crate::py::errors::{self, Log};
use apart::Loaded;
use failure::{cannot_be_read, faulty, unreadable, unserialised, useless};

/// Up to this length an entry is read and written without giving up the GIL: where other threads
/// compute, getting it back takes milliseconds.
const WITH_GIL: u64 = 1 << 16;

/// From this length on an entry is read straight into the object that the serialiser gets.
const DIRECT: u64 = 1 << 20;

/// What took longer than this means a slow file system, where others had better run meanwhile.
const SLOW: Duration = Duration::from_micros(500);

/// A folder of pickled objects.
#[pyclass(frozen, subclass, extends = FileRoot, module = "fleche._core")]
pub struct FileStore {
    store: Arc<Store>,
    lock_timeout: f64,
    keys: Keys,
    compression: Option<Compression>,
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
    /// Whether large buffers may lie apart: `dumps` takes `buffer_callback`, and `loads` `buffers`.
    apart: bool,
    /// Whether they are mapped where that can be.
    mapped: bool,
    /// Whether the last operation was slow.
    slow: AtomicBool,
}

/// The verified bytes of an entry.
pub enum PayloadBytes<'py> {
    Read(Payload),
    Direct(Bound<'py, PyBytes>),
}

impl std::ops::Deref for PayloadBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(payload) => payload,
            Self::Direct(bytes) => bytes.as_bytes(),
        }
    }
}

/// What is in an entry, its signature verified.
enum Contents<'py> {
    Payload(PayloadBytes<'py>),
    Apart(Loaded<'py>),
}

/// What became of reading an entry.
enum Found {
    Payload(Payload),
    /// It is there, but of no use.
    Fault(PathBuf, Fault),
    /// Too large to be read in passing.
    Large(files::Entry),
    Nothing,
}

#[pymethods]
impl FileStore {
    #[new]
    #[expect(clippy::too_many_arguments, reason = "the fields of a storage")]
    pub fn new(
        root: PathBuf,
        lock_timeout: f64,
        keys: Vec<Vec<u8>>,
        compress: Option<&str>,
        level: Option<u32>,
        dumps: Py<PyAny>,
        loads: Py<PyAny>,
        apart: bool,
        mapped: bool,
    ) -> PyResult<PyClassInitializer<Self>> {
        let compression = compress.map(|name| compression(name, level)).transpose()?;
        let folder = FileRoot::new(root, lock_timeout)?;
        let store = Self {
            store: folder.store.clone(),
            lock_timeout,
            keys: Keys::new(keys),
            compression,
            dumps,
            loads,
            apart,
            mapped,
            slow: AtomicBool::new(false),
        };
        Ok(PyClassInitializer::from(folder).add_subclass(store))
    }

    /// Pickles and stores an object.
    #[pyo3(name = "put")]
    fn put_text(&self, value: &Bound<'_, PyAny>, key: &Bound<'_, PyString>) -> PyResult<()> {
        self.put(value.py(), &full_key(key)?, value)
    }

    /// The object that is stored under `key`.
    #[pyo3(name = "get")]
    fn get_text<'py>(&self, key: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
        match hash_of_text(key) {
            Some(hash) => self.get(key.py(), &hash),
            None => Err(PyKeyError::new_err((key.clone().unbind(),))),
        }
    }

    /// The bytes that the serialiser made, their signature verified; `None` if there is no entry.
    fn payload_of<'py>(&self, key: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let py = key.py();
        match self.read(py, &full_key(key)?)? {
            Some(PayloadBytes::Read(payload)) => bytes_of(py, &payload).map(Some),
            Some(PayloadBytes::Direct(bytes)) => Ok(Some(bytes)),
            None => Ok(None),
        }
    }

    /// The same without large buffers that lie apart, which are not read unless they are signed.
    pub fn stream_of<'py>(
        &self,
        key: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let py = key.py();
        let key = full_key(key)?;
        let path = self.store.path(&key);
        let payload = match self.contents(py, &key)? {
            Some(Contents::Apart(loaded)) => return Ok(Some(loaded.stream)),
            Some(Contents::Payload(payload)) => payload,
            None => return Ok(None),
        };
        if self.apart && engine::apart::is_apart(&payload) {
            return Ok(Some(Loaded::from_payload(py, &payload, &path)?.stream));
        }
        match payload {
            PayloadBytes::Read(payload) => bytes_of(py, &payload).map(Some),
            PayloadBytes::Direct(bytes) => Ok(Some(bytes)),
        }
    }

    /// The bytes to store for an object.
    fn encode<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = value.py();
        let payload = as_bytes(self.dumps.bind(py).call1((value,))?)?;
        let bytes = payload.as_bytes();
        let encoded = py.detach(|| codec::encode(bytes, &self.keys, self.compression))?;
        bytes_of(py, &encoded)
    }

    /// The object in stored bytes; `path` is where they are from.
    fn decode<'py>(
        &self,
        py: Python<'py>,
        bytes: Vec<u8>,
        path: PathBuf,
    ) -> PyResult<Bound<'py, PyAny>> {
        match py.detach(|| codec::decode(bytes, &self.keys)) {
            Ok(payload) => self.load(py, &PayloadBytes::Read(payload), &path),
            Err(fault) => Err(faulty(py, &path, &fault)),
        }
    }

    /// Compresses every entry that is not compressed.
    pub fn compress_all(&self, py: Python<'_>) -> PyResult<()> {
        let by = self.chosen_compression()?;
        self.rewrite_all(py, |bytes| codec::compressed(bytes, by))
    }

    /// Decompresses every entry that is compressed.
    pub fn decompress_all(&self, py: Python<'_>) -> PyResult<()> {
        self.rewrite_all(py, codec::decompressed)
    }
}

impl FileStore {
    /// The object that is stored under a key; `KeyError` if there is none, or none of use.
    pub fn get<'py>(&self, py: Python<'py>, key: &Hash) -> PyResult<Bound<'py, PyAny>> {
        let path = self.store.path(key);
        match self.contents(py, key)? {
            Some(Contents::Apart(loaded)) => {
                let value = loaded.load(self.loads.bind(py));
                value.map_err(|error| self.unloaded(py, error, &path))
            }
            Some(Contents::Payload(payload)) => self.load(py, &payload, &path),
            None => Err(errors::missing(py, &path, None)),
        }
    }

    /// What is in an entry, large buffers that lie apart mapped where that can be.
    fn contents<'py>(&self, py: Python<'py>, key: &Hash) -> PyResult<Option<Contents<'py>>> {
        let payload = match self.find(py, key) {
            Ok(Found::Large(mut entry)) if self.apart => {
                if Self::is_apart(py, &mut entry)? {
                    return self.read_apart(py, entry).map(Contents::Apart).map(Some);
                }
                self.read_large(py, entry).map(Some)
            }
            found => self.payload_in(py, found),
        };
        Ok(payload?.map(Contents::Payload))
    }

    /// The bytes that the serialiser made, their signature verified; `None` if there is no entry,
    /// `KeyError` if it is of no use.
    pub fn read<'py>(&self, py: Python<'py>, key: &Hash) -> PyResult<Option<PayloadBytes<'py>>> {
        self.payload_in(py, self.find(py, key))
    }

    fn payload_in<'py>(
        &self,
        py: Python<'py>,
        found: Result<Found, Error>,
    ) -> PyResult<Option<PayloadBytes<'py>>> {
        match found {
            Ok(Found::Payload(payload)) => Ok(Some(PayloadBytes::Read(payload))),
            Ok(Found::Nothing) => Ok(None),
            Ok(Found::Fault(path, fault)) => Err(faulty(py, &path, &fault)),
            Ok(Found::Large(entry)) => self.read_large(py, entry).map(Some),
            Err(error) => Err(unreadable(py, &error)),
        }
    }

    /// Pickles and stores an object; `SaveError` if it cannot be stored.
    pub fn put(&self, py: Python<'_>, key: &Hash, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let payload = self.dump_for(key, value)?;
        self.write(py, key, &payload)
    }

    /// The bytes to store for a payload.
    pub fn framed(&self, py: Python<'_>, payload: &[u8]) -> PyResult<Vec<u8>> {
        let encode = || codec::encode(payload, &self.keys, self.compression);
        let encoded = if self.compression.is_some() {
            py.detach(encode)
        } else {
            encode()
        };
        Ok(encoded?)
    }

    /// The payload of framed bytes; `KeyError` if they are of no use.
    pub fn unframed<'py>(
        &self,
        py: Python<'py>,
        bytes: Vec<u8>,
        path: &Path,
    ) -> PyResult<PayloadBytes<'py>> {
        let decoded = codec::decode(bytes, &self.keys);
        decoded
            .map(PayloadBytes::Read)
            .map_err(|fault| faulty(py, path, &fault))
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// By what everything is compressed that is not.
    pub fn chosen_compression(&self) -> PyResult<Compression> {
        self.compression
            .map_or_else(|| compression("gzip", None), Ok)
    }

    /// Whether there is an entry, of use or not.
    pub fn contains_key(&self, py: Python<'_>, key: &Hash) -> PyResult<bool> {
        let contained = self.swiftly(py, true, || self.store.contains(key));
        contained.map_err(|error| errors::os_error(&error))
    }

    /// Every key, in no order.
    pub fn keys(&self, py: Python<'_>) -> PyResult<Vec<Hash>> {
        let keys = py.detach(|| self.store.list());
        keys.map_err(|error| errors::os_error(&error))
    }

    /// Those of these records that pass a filter.
    pub fn read_records<'a>(
        &self,
        keys: &[Hash],
        filter: &Filter,
        memory: &'a mut bulk::Memory,
    ) -> Vec<(Hash, bulk::Found<'a>)> {
        bulk::read(&self.store, &self.keys, keys, filter, memory)
    }

    /// Whether there may be entries under keys of this scheme.
    pub fn may_hold(&self, py: Python<'_>, scheme: Scheme) -> bool {
        self.swiftly(py, true, || self.store.may_hold(scheme))
    }

    /// Notes that an entry under a key of this scheme is about to be written.
    pub fn note_scheme(&self, py: Python<'_>, scheme: Scheme) {
        self.swiftly(py, true, || self.store.note_scheme(scheme));
    }

    fn is_apart(py: Python<'_>, entry: &mut files::Entry) -> PyResult<bool> {
        let mut start = [0; engine::apart::MAGIC.len()];
        let peeked = py.detach(|| entry.peek(&mut start));
        peeked.map_err(|error| unreadable(py, &error))?;
        Ok(engine::apart::is_apart(&start))
    }

    fn find(&self, py: Python<'_>, key: &Hash) -> Result<Found, Error> {
        self.swiftly(py, true, || self.find_up_to(key, WITH_GIL))
    }

    /// Does what is short with the GIL and anything else without; after something slow, the next
    /// one too.
    fn swiftly<T: Send>(&self, py: Python<'_>, short: bool, work: impl FnOnce() -> T + Send) -> T {
        let timed = || {
            let start = Instant::now();
            let done = work();
            self.slow.store(start.elapsed() > SLOW, Ordering::Relaxed);
            done
        };
        if short && !self.slow.load(Ordering::Relaxed) {
            timed()
        } else {
            py.detach(timed)
        }
    }

    /// The payload of an entry, unless it is longer than `limit`.
    fn find_up_to(&self, key: &Hash, limit: u64) -> Result<Found, Error> {
        let mut entry = self.store.open(key)?;
        if entry.is_none() && self.store.bring_back(key) {
            entry = self.store.open(key)?;
        }
        let Some(entry) = entry else {
            return Ok(Found::Nothing);
        };
        if entry.length() > limit {
            return Ok(Found::Large(entry));
        }
        let path = entry.path().to_owned();
        Ok(match codec::decode(entry.read()?, &self.keys) {
            Ok(payload) => Found::Payload(payload),
            Err(fault) => Found::Fault(path, fault),
        })
    }

    /// Unpickles. Whatever goes wrong in there makes a miss: the entry is damaged, or of a class
    /// that is no more.
    pub fn load<'py>(
        &self,
        py: Python<'py>,
        payload: &PayloadBytes<'py>,
        path: &Path,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bytes = match payload {
            PayloadBytes::Read(payload) => bytes_of(py, payload)?,
            PayloadBytes::Direct(bytes) => bytes.clone(),
        };
        let loads = self.loads.bind(py);
        let value = if self.apart && engine::apart::is_apart(bytes.as_bytes()) {
            Loaded::from_payload(py, bytes.as_bytes(), path)?.load(loads)
        } else {
            loads.call1((bytes,))
        };
        value.map_err(|error| self.unloaded(py, error, path))
    }

    fn unloaded(&self, py: Python<'_>, error: PyErr, path: &std::path::Path) -> PyErr {
        if !errors::is_exception(py, &error) {
            return error;
        }
        let reason = errors::describe(py, &error);
        let missing = useless(py, path, &reason);
        // Bytes whose signature held are not damaged.
        let damaged = self.keys.is_empty() && !errors::may_pass(py, &error);
        let missing = if damaged {
            missing
        } else {
            errors::unreadable(py, path, &cannot_be_read(&reason))
        };
        missing.set_cause(py, Some(error));
        missing
    }

    /// What stands in scheme `sha256` the reference reads, which knows of nothing that lies apart.
    fn dump<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Serialised<'py>> {
        let py = value.py();
        let dumps = self.dumps.bind(py);
        if self.apart && digest::active_scheme(py)? == Scheme::Exact {
            return Serialised::new(dumps, value, None);
        }
        as_bytes(dumps.call1((value,))?).map(Serialised::whole)
    }

    /// What is stored of a value, before signature and compression; `SaveError` if it cannot be.
    pub fn payload<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Serialised<'py>> {
        self.dump(value)
            .map_err(|error| unserialised(value, error, self.store.root()))
    }

    pub fn dump_for<'py>(
        &self,
        key: &Hash,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Serialised<'py>> {
        self.dump(value)
            .map_err(|error| unserialised(value, error, &self.store.path(key)))
    }

    fn rewrite_all(
        &self,
        py: Python<'_>,
        convert: impl Fn(&[u8]) -> std::io::Result<Option<Vec<u8>>> + Send,
    ) -> PyResult<()> {
        let mut failures = Vec::new();
        let rewritten = py.detach(|| {
            self.store
                .rewrite_all(convert, |error| failures.push(error.to_string()))
        });
        for failure in failures {
            Log::Storage.warning(py, &format!("{failure}; the entry stays as it is"));
        }
        rewritten.map_err(|error| errors::os_error(&error))
    }
}

/// What is called so, at a level; `ValueError` if there is none.
pub fn compression(name: &str, level: Option<u32>) -> PyResult<Compression> {
    let Some(method) = Method::named(name) else {
        let known = Method::ALL.map(Method::name).join("' and '");
        let message = format!("there is no compression {name:?}; there are '{known}'");
        return Err(PyValueError::new_err(message));
    };
    method.at(level).ok_or_else(|| {
        let highest = method.highest_level();
        let message = format!("the levels of {name} are the integers from 1 to {highest}");
        PyValueError::new_err(message)
    })
}

/// A `bytes` object; `MemoryError`, and no panic, if there is no memory for it.
pub fn bytes_of<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, bytes.len(), |room| {
        room.copy_from_slice(bytes);
        Ok(())
    })
}

/// Whether so many bytes are read or written in passing.
fn fits(bytes: usize) -> bool {
    u64::try_from(bytes).is_ok_and(|bytes| bytes <= WITH_GIL)
}
