//! Storages on files: a folder of entries, and pickled objects in them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString};

use crate::engine::codec::{self, GZIP_MAGIC, Payload};
use crate::engine::digest::{DIGEST_LENGTH, Hash, Hex};
use crate::engine::error::{Error, Fault};
use crate::engine::files::{Entry, Store};
use crate::engine::sign::{Keys, SIGNATURE_LENGTH};
use crate::py::digest::{hash_of_text, to_digest};
use crate::py::errors::{self, Log};

/// Up to this length an entry is read and checked without giving up the GIL: getting it back may
/// take longer.
const WITH_GIL: u64 = 1 << 16;

/// From this length on an entry is read straight into the object that the serialiser gets.
const DIRECT: u64 = 1 << 20;

/// A read that took longer than this means a slow file system, where others run meanwhile.
const SLOW: Duration = Duration::from_micros(500);

/// How many reads give up the GIL after a slow one.
const CAUTIOUS_READS: u32 = 64;

/// How much of a batch is serialised before it is written.
const BATCH_BYTES: usize = 1 << 22;

/// A folder of entries, whatever is in them.
#[pyclass(frozen, subclass, module = "fleche._core")]
pub struct FileRoot {
    store: Arc<Store>,
    lock_timeout: f64,
}

/// A folder of pickled objects.
#[pyclass(frozen, extends = FileRoot, module = "fleche._core")]
pub struct FileStore {
    store: Arc<Store>,
    lock_timeout: f64,
    keys: Keys,
    compress: bool,
    dumps: Py<PyAny>,
    loads: Py<PyAny>,
    /// How many of the next reads give up the GIL.
    cautious: AtomicU32,
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
    Large(Entry),
    Nothing,
}

#[pymethods]
impl FileRoot {
    #[new]
    fn new(root: PathBuf, lock_timeout: f64) -> PyResult<Self> {
        let timeout = seconds(lock_timeout)?;
        Ok(Self {
            store: Arc::new(Store::new(root, timeout)),
            lock_timeout,
        })
    }

    /// Every key.
    fn list<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.store.list());
        digests(py, keys.map_err(|error| errors::os_error(&error))?)
    }

    /// Every key and the time of its last write, in seconds since 1970.
    fn list_with_times<'py>(&self, py: Python<'py>) -> PyResult<Vec<(Bound<'py, PyAny>, f64)>> {
        let keys = py.detach(|| self.store.list_with_times());
        let keys = keys.map_err(|error| errors::os_error(&error))?;
        let pair = |(key, time): (Hash, std::time::SystemTime)| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok((to_digest(py, &key)?, since.as_secs_f64()))
        };
        keys.into_iter().map(pair).collect()
    }

    /// The keys that start with `prefix`.
    fn candidates<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.store.candidates(prefix));
        digests(py, keys.map_err(|error| errors::os_error(&error))?)
    }

    fn contains(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<bool> {
        let Some(key) = hash_of_text(key) else {
            return Ok(false);
        };
        let contained = py.detach(|| self.store.contains(&key));
        contained.map_err(|error| errors::os_error(&error))
    }

    /// Removes the entry of `key`, kept at `place`; it may be absent.
    fn evict(&self, py: Python<'_>, key: &Bound<'_, PyString>, place: PathBuf) -> PyResult<()> {
        let Some(key) = hash_of_text(key) else {
            return Ok(());
        };
        match py.detach(|| self.store.evict_at(&key, &place)) {
            Err(error @ Error::Locked { .. }) => Err(self.locked(py, "evict", &key, &error)),
            evicted => evicted.map_err(|error| errors::os_error(&error)),
        }
    }

    /// A path beside the entry of `key`, to be written and then given to `commit` or `discard`.
    fn temporary(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<PathBuf> {
        let key = full_key(key)?;
        let path = py.detach(|| self.store.temporary(&key));
        path.map_err(|error| errors::os_error(&error))
    }

    /// Moves a finished file to `place`, where the entry of `key` is kept.
    fn commit(
        &self,
        py: Python<'_>,
        path: PathBuf,
        key: &Bound<'_, PyString>,
        place: PathBuf,
    ) -> PyResult<()> {
        let key = full_key(key)?;
        match py.detach(|| self.store.commit(path, &key, &place)) {
            Err(error @ Error::Locked { .. }) => Err(self.locked(py, "save", &key, &error)),
            committed => committed.map_err(|error| errors::os_error(&error)),
        }
    }

    /// Removes a file that did not get finished.
    #[staticmethod]
    fn discard(path: PathBuf) {
        Store::discard(path);
    }
}

impl FileRoot {
    fn locked(&self, py: Python<'_>, action: &str, key: &Hash, error: &Error) -> PyErr {
        locked(py, action, &self.store, self.lock_timeout, key, error)
    }
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
            cautious: AtomicU32::new(0),
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
        Ok(PyBytes::new(py, &encoded))
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
        let payload = self.dump_for(py, key, value)?;
        let bytes = payload.as_bytes();
        let written = py.detach(|| {
            let signature = self.keys.sign(bytes);
            let fill = |file: &mut _| codec::write(bytes, signature.as_ref(), self.compress, file);
            self.store.write_with(key, fill)
        });
        written.map_err(|error| self.unsaved(py, key, &error))
    }

    /// As `put` for each of them, in this order; those that are there already are left alone.
    pub fn put_many<'py>(
        &self,
        py: Python<'py>,
        entries: &[(Hash, Bound<'py, PyAny>)],
    ) -> PyResult<()> {
        if let [(key, value)] = entries {
            return self.put(py, key, value);
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        for (key, value) in entries {
            let payload = self.dump_for(py, key, value)?;
            bytes += payload.as_bytes().len();
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
        let written = py.detach(|| {
            batch.iter().try_for_each(|(key, payload)| {
                let encoded = codec::encode(payload, &self.keys, self.compress)
                    .map_err(Error::io("encode", &self.store.path(key)));
                let stored = encoded.and_then(|bytes| self.store.write_unless_equal(key, &bytes));
                stored.map_err(|error| (*key, error))
            })
        });
        written.map_err(|(key, error)| self.unsaved(py, key, &error))
    }

    fn find(&self, py: Python<'_>, key: &Hash) -> Result<Found, Error> {
        if self.cautious.load(Ordering::Relaxed) > 0 {
            self.cautious.fetch_sub(1, Ordering::Relaxed);
            return py.detach(|| self.find_up_to(key, DIRECT));
        }
        let start = Instant::now();
        let found = self.find_up_to(key, WITH_GIL);
        if start.elapsed() > SLOW {
            self.cautious.store(CAUTIOUS_READS, Ordering::Relaxed);
        }
        found
    }

    /// The payload of an entry, unless it is longer than `limit`.
    fn find_up_to(&self, key: &Hash, limit: u64) -> Result<Found, Error> {
        let Some(entry) = self.store.open(key)? else {
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

    fn read_large<'py>(&self, py: Python<'py>, mut entry: Entry) -> PyResult<PayloadBytes<'py>> {
        let path = entry.path().to_owned();
        let mut start = [0; GZIP_MAGIC.len()];
        let peeked = py.detach(|| entry.peek(&mut start));
        peeked.map_err(|error| unreadable(py, &error))?;
        if entry.length() <= DIRECT || start == GZIP_MAGIC {
            let decoded = py.detach(|| {
                if start == GZIP_MAGIC {
                    codec::verify(codec::decompress(entry.file())?, &self.keys)
                } else {
                    let bytes = entry.read().map_err(Failure::Io)?;
                    codec::verify(bytes, &self.keys)
                }
                .map_err(Failure::from)
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

    /// Unpickles. Whatever goes wrong in there makes a miss: the entry is damaged, or of a class
    /// that is no more.
    fn load<'py>(
        &self,
        py: Python<'py>,
        payload: &PayloadBytes<'py>,
        path: &std::path::Path,
    ) -> PyResult<Bound<'py, PyAny>> {
        let bytes = match payload {
            PayloadBytes::Read(payload) => PyBytes::new(py, payload),
            PayloadBytes::Direct(bytes) => bytes.clone(),
        };
        self.loads.bind(py).call1((bytes,)).map_err(|error| {
            if !errors::is_exception(py, &error) {
                return error;
            }
            let reason = errors::describe(py, &error);
            let missing = useless(py, path, &reason);
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

    fn dump_for<'py>(
        &self,
        py: Python<'py>,
        key: &Hash,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        self.dump(value).map_err(|error| {
            if !errors::is_exception(py, &error) {
                return error;
            }
            let class = value.get_type();
            let class = class.name();
            let class = class.map_or_else(|_| String::new(), |name| name.to_string());
            let message = format!(
                "cannot save {}: its {class} cannot be serialised ({}); return something that can, \
                 or choose another serializer ('cloudpickle' and 'dill' take more than 'pickle')",
                self.store.path(key).display(),
                errors::describe(py, &error)
            );
            errors::save_error(py, &message, Some(error))
        })
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
            Error::Io { .. } => {
                let message = format!("cannot save {}: {error}", Hex::of(key).as_str());
                errors::save_error(py, &message, Some(errors::os_error(error)))
            }
        }
    }
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

/// A lock that was not got: logged with the key and the file, as others may wait for it, too.
fn locked(
    py: Python<'_>,
    action: &str,
    store: &Store,
    timeout: f64,
    key: &Hash,
    error: &Error,
) -> PyErr {
    let message = format!(
        "cannot {action} {} in {}: {error}; try again, or give the storage a lock_timeout of more \
         than {timeout} s",
        Hex::of(key).as_str(),
        store.root().display()
    );
    Log::Storage.error(py, &message);
    errors::save_error(py, &message, None)
}

/// A miss: the entry cannot be trusted, or it is damaged.
fn faulty(py: Python<'_>, path: &std::path::Path, fault: &Fault) -> PyErr {
    match fault {
        Fault::Unsigned | Fault::Forged => {
            Log::Security.error(py, &format!("{fault} ({})", path.display()));
            errors::missing(py, path, Some("Value present but failed signature check."))
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
    let reason = format!("Value present but cannot be read: {reason}");
    errors::missing(py, path, Some(&reason))
}

/// A folder in place of an entry is a miss; a failing disk or missing permissions are not.
fn unreadable(py: Python<'_>, error: &Error) -> PyErr {
    match error {
        Error::Io { path, source, .. } if source.kind() == std::io::ErrorKind::IsADirectory => {
            useless(py, path, &source.to_string())
        }
        _ => errors::os_error(error),
    }
}

fn digests(py: Python<'_>, keys: Vec<Hash>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for key in keys {
        list.append(to_digest(py, &key)?)?;
    }
    Ok(list)
}

fn full_key(key: &Bound<'_, PyString>) -> PyResult<Hash> {
    hash_of_text(key).ok_or_else(|| {
        PyValueError::new_err(format!(
            "cannot save under {key:?}: a key is a digest of {DIGEST_LENGTH} lower-case hex characters"
        ))
    })
}

/// A time in seconds; a negative one has no end.
fn seconds(timeout: f64) -> PyResult<Duration> {
    if timeout.is_nan() {
        return Err(PyValueError::new_err(
            "lock_timeout must be a number of seconds, not NaN",
        ));
    }
    if timeout < 0.0 {
        return Ok(Duration::MAX);
    }
    Ok(Duration::try_from_secs_f64(timeout).unwrap_or(Duration::MAX))
}

/// Signs bytes with the first key: its 64 hex characters.
#[pyfunction]
pub fn sign(py: Python<'_>, data: &[u8], keys: Vec<Vec<u8>>) -> Option<String> {
    let keys = Keys::new(keys);
    py.detach(|| keys.sign(data))
        .map(|signature| signature.as_str().to_owned())
}

/// Why `signature` is not that of `data` under any of the keys; `None` if it is.
#[pyfunction]
pub fn verify(py: Python<'_>, data: &[u8], signature: &[u8], keys: Vec<Vec<u8>>) -> Option<String> {
    let keys = Keys::new(keys);
    py.detach(|| keys.verify(data, signature))
        .err()
        .map(|fault| fault.to_string())
}
