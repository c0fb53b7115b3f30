//! Folders of pickled objects.

pub(super) mod failure;
mod large;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::entry::Entry;
use super::root::{FileRoot, full_key, locked};
use crate::engine::bulk;
use crate::engine::codec::{self, Payload};
use crate::engine::digest::{Hash, Hex};
use crate::engine::error::{Error, Fault};
use crate::engine::files::{self, Store};
use crate::engine::record::Filter;
use crate::engine::sign::Keys;
use crate::py::digest::{Scheme, hash_of_text};
use crate::py::errors::{self, Log};
use failure::{cannot_be_read, faulty, unreadable, unserialised, useless};

/// Up to this length an entry is read and written without giving up the GIL: where other threads
/// compute, getting it back takes milliseconds.
const WITH_GIL: u64 = 1 << 16;

/// From this length on an entry is read straight into the object that the serialiser gets.
const DIRECT: u64 = 1 << 20;

/// Up to this many entries are written without giving up the GIL.
const FEW: usize = 16;

/// What took longer than this means a slow file system, where others had better run meanwhile.
const SLOW: Duration = Duration::from_micros(500);

/// How much of a batch is serialised before it is written.
const BATCH_BYTES: usize = 1 << 22;

/// A folder of pickled objects.
#[pyclass(frozen, subclass, extends = FileRoot, module = "fleche._core")]
pub struct FileStore {
    store: Arc<Store>,
    lock_timeout: f64,
    keys: Keys,
    compress: bool,
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
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
    pub fn new(
        root: PathBuf,
        lock_timeout: f64,
        keys: Vec<Vec<u8>>,
        compress: bool,
        dumps: Py<PyAny>,
        loads: Py<PyAny>,
    ) -> PyResult<PyClassInitializer<Self>> {
        let folder = FileRoot::new(root, lock_timeout)?;
        let store = Self {
            store: folder.store.clone(),
            lock_timeout,
            keys: Keys::new(keys),
            compress,
            dumps,
            loads,
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

    /// The bytes to store for an object.
    fn encode<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = value.py();
        let payload = self.dump(value)?;
        let bytes = payload.as_bytes();
        let encoded = py.detach(|| codec::encode(bytes, &self.keys, self.compress))?;
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
        self.rewrite_all(py, codec::compressed)
    }

    /// Decompresses every entry that is compressed.
    pub fn decompress_all(&self, py: Python<'_>) -> PyResult<()> {
        self.rewrite_all(py, codec::decompressed)
    }
}

impl FileStore {
    /// The object that is stored under a key; `KeyError` if there is none, or none of use.
    pub fn get<'py>(&self, py: Python<'py>, key: &Hash) -> PyResult<Bound<'py, PyAny>> {
        match self.read(py, key)? {
            Some(payload) => self.load(py, &payload, &self.store.path(key)),
            None => Err(errors::missing(py, &self.store.path(key), None)),
        }
    }

    /// The bytes that the serialiser made, their signature verified; `None` if there is no entry,
    /// `KeyError` if it is of no use.
    pub fn read<'py>(&self, py: Python<'py>, key: &Hash) -> PyResult<Option<PayloadBytes<'py>>> {
        match self.find(py, key) {
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
        self.write(py, key, payload.as_bytes())
    }

    fn write(&self, py: Python<'_>, key: &Hash, bytes: &[u8]) -> PyResult<()> {
        let write = |timeout| {
            let signature = self.keys.sign(bytes);
            let fill = |file: &mut _| codec::write(bytes, signature.as_ref(), self.compress, file);
            self.store.write_within(key, timeout, fill)
        };
        let mut written = self.swiftly(py, fits(bytes.len()), || write(Duration::ZERO));
        if let Err(Error::Locked { .. }) = written {
            written = py.detach(|| write(self.store.lock_timeout()));
        }
        written.map_err(|error| self.unsaved(py, key, &error))
    }

    /// The bytes to store for a payload.
    pub fn framed(&self, py: Python<'_>, payload: &[u8]) -> PyResult<Vec<u8>> {
        let encode = || codec::encode(payload, &self.keys, self.compress);
        let encoded = if self.compress {
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

    /// As `put` for each of them, in this order; small ones that are there already are left alone:
    /// replacing a file makes some file systems wait for the disk.
    pub fn put_many<'py>(&self, py: Python<'py>, entries: &[Entry<'py>]) -> PyResult<()> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for Entry {
            key,
            value,
            payload,
        } in entries
        {
            let payload = match payload {
                Some(payload) => payload.clone(),
                None => self.dump_for(key, value)?,
            };
            let length = payload.as_bytes().len();
            bytes += length;
            if length > BATCH_BYTES {
                self.write_batch(py, &std::mem::take(&mut batch))?;
                self.write(py, key, payload.as_bytes())?;
                bytes = 0;
                continue;
            }
            batch.push((key, payload));
            if bytes > BATCH_BYTES {
                self.write_batch(py, &std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        self.write_batch(py, &batch)
    }

    fn write_batch(&self, py: Python<'_>, batch: &[(&Hash, Bound<'_, PyBytes>)]) -> PyResult<()> {
        let batch: Vec<_> = batch
            .iter()
            .map(|(key, payload)| (*key, payload.as_bytes()))
            .collect();
        let bytes = batch.iter().map(|(_, payload)| payload.len()).sum();
        let write = |timeout| {
            batch.iter().try_for_each(|(key, payload)| {
                let encoded = codec::encode(payload, &self.keys, self.compress)
                    .map_err(Error::io("encode", &self.store.path(key)));
                let stored =
                    encoded.and_then(|bytes| self.store.write_unless_equal(key, timeout, &bytes));
                stored.map_err(|error| (*key, error))
            })
        };
        let short = batch.len() <= FEW && fits(bytes);
        let mut written = self.swiftly(py, short, || write(Duration::ZERO));
        if let Err((_, Error::Locked { .. })) = written {
            written = py.detach(|| write(self.store.lock_timeout()));
        }
        written.map_err(|(key, error)| self.unsaved(py, key, &error))
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
        self.loads.bind(py).call1((bytes,)).map_err(|error| {
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
        })
    }

    fn dump<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = value.py();
        let bytes = self.dumps.bind(py).call1((value,))?;
        match bytes.cast_into::<PyBytes>() {
            Ok(bytes) => Ok(bytes),
            // A bytearray or a memoryview.
            Err(other) => Ok(py
                .get_type::<PyBytes>()
                .call1((other.into_inner(),))?
                .cast_into()?),
        }
    }

    /// What is stored of a value, before signature and compression; `SaveError` if it cannot be.
    pub fn payload<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        self.dump(value)
            .map_err(|error| unserialised(value, error, self.store.root()))
    }

    pub fn dump_for<'py>(
        &self,
        key: &Hash,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.dump(value)
            .map_err(|error| unserialised(value, error, &self.store.path(key)))
    }

    fn rewrite_all(
        &self,
        py: Python<'_>,
        convert: fn(&[u8]) -> std::io::Result<Option<Vec<u8>>>,
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

    fn unsaved(&self, py: Python<'_>, key: &Hash, error: &Error) -> PyErr {
        match error {
            Error::Locked { .. } => locked(py, "save", &self.store, self.lock_timeout, key, error),
            Error::Interrupted => errors::os_error(error),
            Error::Io { .. } => {
                let message = format!("cannot save {}: {error}", Hex::of(key).as_str());
                errors::save_error(py, &message, Some(errors::os_error(error)))
            }
        }
    }
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
