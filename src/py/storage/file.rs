//! Folders of pickled objects.

use std::io::Seek as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use super::backend::Entry;
use super::filter::{FilterParts, filter_of};
use super::records::RecordScan;
use super::root::{FileRoot, full_key, locked};
use crate::engine::bulk;
use crate::engine::codec::{self, GZIP_MAGIC, Payload};
use crate::engine::digest::{Hash, Hex};
use crate::engine::error::{Error, Fault};
use crate::engine::files::{self, Store};
use crate::engine::record::Filter;
use crate::engine::sign::{Keys, SIGNATURE_LENGTH};
use crate::py::digest::{Scheme, hash_of_text};
use crate::py::errors::{self, Log};

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
#[pyclass(frozen, extends = FileRoot, module = "fleche._core")]
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

/// `SaveError`: the serialiser refuses a value that was to go to `place`.
fn unserialised(value: &Bound<'_, PyAny>, error: PyErr, place: &Path) -> PyErr {
    let py = value.py();
    if !errors::is_exception(py, &error) {
        return error;
    }
    let class = value.get_type();
    let class = class.name();
    let class = class.map_or_else(|_| String::new(), |name| name.to_string());
    let message = format!(
        "cannot save {}: its {class} cannot be serialised ({}); return something that can, \
         or choose another serializer ('cloudpickle' and 'dill' take more than 'pickle')",
        place.display(),
        errors::describe(py, &error)
    );
    errors::save_error(py, &message, Some(error))
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
    fn new(
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

    /// The call records that pass a filter.
    fn records(slf: &Bound<'_, Self>, filter: FilterParts<'_>) -> PyResult<RecordScan> {
        let files = slf.get();
        let keys = slf.py().detach(|| files.store.list());
        let keys = keys.map_err(|error| errors::os_error(&error))?;
        Ok(RecordScan::new(
            slf.clone().unbind(),
            filter_of(filter)?,
            keys,
        ))
    }

    /// Compresses every entry that is not compressed.
    fn compress_all(&self, py: Python<'_>) -> PyResult<()> {
        self.rewrite_all(py, codec::compressed)
    }

    /// Decompresses every entry that is compressed.
    fn decompress_all(&self, py: Python<'_>) -> PyResult<()> {
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

    fn read_large<'py>(
        &self,
        py: Python<'py>,
        mut entry: files::Entry,
    ) -> PyResult<PayloadBytes<'py>> {
        let path = entry.path().to_owned();
        let mut start = [0; GZIP_MAGIC.len()];
        let peeked = py.detach(|| entry.peek(&mut start));
        peeked.map_err(|error| unreadable(py, &error))?;
        if start == GZIP_MAGIC {
            return self.read_compressed(py, entry);
        }
        if entry.length() <= DIRECT {
            let decoded = py.detach(|| {
                let bytes = entry.read().map_err(Failure::Io)?;
                codec::verify(bytes, &self.keys).map_err(Failure::from)
            });
            return decoded
                .map(PayloadBytes::Read)
                .map_err(|failure| failure.into_python(py, &path));
        }
        let signature_length = if self.keys.is_empty() {
            0
        } else {
            SIGNATURE_LENGTH
        };
        let length = usize::try_from(entry.length())? - signature_length;
        let mut failure = None;
        let bytes = PyBytes::new_with(py, length, |bytes| {
            let read = py.detach(|| {
                entry.read_exact(bytes)?;
                if self.keys.is_empty() {
                    return Ok(());
                }
                let mut signature = [0; SIGNATURE_LENGTH];
                entry.read_exact(&mut signature)?;
                self.keys.verify(bytes, &signature).map_err(Failure::Fault)
            });
            failure = read.err();
            Ok(())
        })?;
        match failure {
            Some(failure) => Err(failure.into_python(py, &path)),
            None => Ok(PayloadBytes::Direct(bytes)),
        }
    }

    /// The same where it is compressed: straight into the object that the serialiser gets, as there
    /// may be no memory for a second one.
    fn read_compressed<'py>(
        &self,
        py: Python<'py>,
        mut entry: files::Entry,
    ) -> PyResult<PayloadBytes<'py>> {
        let path = entry.path().to_owned();
        let stated = py.detach(|| codec::stated_length(entry.file()));
        let stated = stated.map_err(|error| unreadable(py, &Error::io("read", &path)(error)))?;
        if let Some(length) = stated
            && let Some(bytes) = self.decompress_into(py, &mut entry, length)?
        {
            return Ok(PayloadBytes::Direct(bytes));
        }
        let counted = py.detach(|| {
            let rewound = entry.file().rewind();
            rewound.map_err(|error| Fault::Gzip(error.to_string()))?;
            codec::counted_length(entry.file())
        });
        let length = counted.map_err(|fault| faulty(py, &path, &fault))?;
        match self.decompress_into(py, &mut entry, length)? {
            Some(bytes) => Ok(PayloadBytes::Direct(bytes)),
            None => Err(faulty(py, &path, &Fault::Gzip("it changed".to_owned()))),
        }
    }

    /// What was compressed, its signature verified; `None` if its length, with the signature, is
    /// another one.
    fn decompress_into<'py>(
        &self,
        py: Python<'py>,
        entry: &mut files::Entry,
        length: u64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let mut signature = [0; SIGNATURE_LENGTH];
        let signature = &mut signature[..if self.keys.is_empty() {
            0
        } else {
            SIGNATURE_LENGTH
        }];
        let path = entry.path().to_owned();
        let Some(length) = usize::try_from(length)?.checked_sub(signature.len()) else {
            return Err(faulty(py, &path, &Fault::Unsigned));
        };
        let mut outcome = Ok(false);
        let bytes = PyBytes::new_with(py, length, |bytes| {
            outcome = py.detach(|| {
                let fits = codec::decompress_into(entry.file(), bytes, signature)?;
                if fits && !self.keys.is_empty() {
                    self.keys.verify(bytes, signature)?;
                }
                Ok(fits)
            });
            Ok(())
        })?;
        match outcome {
            Ok(fits) => Ok(fits.then_some(bytes)),
            Err(fault) => Err(faulty(py, &path, &fault)),
        }
    }

    /// Unpickles. Whatever goes wrong in there makes a miss: the entry is damaged, or of a class
    /// that is no more.
    fn load<'py>(
        &self,
        py: Python<'py>,
        payload: &PayloadBytes<'py>,
        path: &std::path::Path,
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

    fn dump_for<'py>(
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
fn bytes_of<'py>(py: Python<'py>, bytes: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, bytes.len(), |room| {
        room.copy_from_slice(bytes);
        Ok(())
    })
}

/// Why reading failed in the middle.
enum Failure {
    Io(Error),
    Fault(Fault),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Io(error)
    }
}

impl Failure {
    fn into_python(self, py: Python<'_>, path: &std::path::Path) -> PyErr {
        match self {
            Self::Io(error) => unreadable(py, &error),
            Self::Fault(fault) => faulty(py, path, &fault),
        }
    }
}

/// A miss: the entry cannot be trusted, or it is damaged.
fn faulty(py: Python<'_>, path: &std::path::Path, fault: &Fault) -> PyErr {
    match fault {
        Fault::Unsigned | Fault::Forged => {
            Log::Security.error(py, &format!("{fault} ({})", path.display()));
            errors::unreadable(py, path, "Value present but failed signature check.")
        }
        Fault::Empty | Fault::Gzip(_) => useless(py, path, &fault.to_string()),
    }
}

/// A miss: there is something that cannot be read.
fn useless(py: Python<'_>, path: &std::path::Path, reason: &str) -> PyErr {
    let message = format!(
        "Cannot read cache entry {}, taken as missing: {reason}",
        path.display()
    );
    Log::Storage.warning(py, &message);
    errors::missing(py, path, Some(&cannot_be_read(reason)))
}

fn cannot_be_read(reason: &str) -> String {
    format!("Value present but cannot be read: {reason}")
}

/// A miss as well: missing permissions, a failing disk, a folder in place of an entry. Its cause
/// says that the entry itself may be in order.
fn unreadable(py: Python<'_>, error: &Error) -> PyErr {
    match error {
        Error::Io { path, source, .. } if source.kind() != std::io::ErrorKind::OutOfMemory => {
            let reason = source.to_string();
            let missing = useless(py, path, &reason);
            let missing = if source.kind() == std::io::ErrorKind::IsADirectory {
                missing
            } else {
                errors::unreadable(py, path, &cannot_be_read(&reason))
            };
            missing.set_cause(py, Some(errors::os_error(error)));
            missing
        }
        _ => errors::os_error(error),
    }
}

/// Whether so many bytes are read or written in passing.
fn fits(bytes: usize) -> bool {
    u64::try_from(bytes).is_ok_and(|bytes| bytes <= WITH_GIL)
}
