//! Folders of entries, whatever is in them: what storages on files of users need.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::engine::digest::{DIGEST_LENGTH, Hash, Hex};
use crate::engine::error::Error;
use crate::engine::files::Store;
use crate::py::digest::{self, hash_of_text, to_digest};
use crate::py::errors::{self, Log};
use crate::py::keys::shorten_digests;

/// A folder of entries, whatever is in them.
#[pyclass(frozen, subclass, module = "fleche._core")]
pub struct FileRoot {
    pub(super) store: Arc<Store>,
    lock_timeout: f64,
}

#[pymethods]
impl FileRoot {
    #[new]
    pub fn new(root: PathBuf, lock_timeout: f64) -> PyResult<Self> {
        let timeout = seconds(lock_timeout)?;
        Ok(Self {
            store: Arc::new(Store::new(root, timeout)),
            lock_timeout,
        })
    }

    /// Says that the entries are values, which records somewhere else need.
    fn keeps_values(&self) {
        self.store.keeps_values();
    }

    /// Sets entries aside; gives their length in bytes, together.
    fn set_aside(&self, py: Python<'_>, keys: Vec<Bound<'_, PyString>>) -> PyResult<u64> {
        let keys: Vec<_> = keys.iter().filter_map(hash_of_text).collect();
        let set = || keys.iter().map(|key| self.store.set_aside(key)).sum();
        let length: Result<u64, Error> = py.detach(set);
        length.map_err(|error| errors::os_error(&error))
    }

    /// Brings an entry back that was set aside; whether there was one.
    fn bring_back(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> bool {
        hash_of_text(key).is_some_and(|key| py.detach(|| self.store.bring_back(&key)))
    }

    /// The keys of what was set aside.
    fn list_aside<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.store.list_aside());
        digests(py, keys.map_err(|error| errors::os_error(&error))?)
    }

    /// Removes what was set aside under a key; it may be absent.
    fn evict_aside(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<()> {
        let Some(key) = hash_of_text(key) else {
            return Ok(());
        };
        let evicted = py.detach(|| self.store.evict_aside(&key));
        evicted.map_err(|error| errors::os_error(&error))
    }

    /// Which of the keys in `wanted` are mentioned in any of these files, whatever they hold.
    #[staticmethod]
    fn mentions<'py>(
        py: Python<'py>,
        paths: Vec<PathBuf>,
        wanted: Vec<Bound<'py, PyString>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let wanted: HashSet<_> = wanted.iter().filter_map(hash_of_text).collect();
        let found = py.detach(|| {
            let mut found = HashSet::new();
            for path in &paths {
                found.extend(Store::mentions(path, &wanted)?);
            }
            Ok(found)
        });
        let found = found.map_err(|error| errors::os_error(&error))?;
        digests(py, found.into_iter().collect())
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
        let pair = |(key, time): (Hash, SystemTime)| {
            let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
            Ok((to_digest(py, &key)?, since.as_secs_f64()))
        };
        keys.into_iter().map(pair).collect()
    }

    /// Every key, the one that was written longest ago first.
    fn list_by_age<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.store.list_with_times());
        let mut keys = keys.map_err(|error| errors::os_error(&error))?;
        keys.sort_unstable_by_key(|(key, time)| (*time, *key));
        digests(py, keys.into_iter().map(|(key, _)| key).collect())
    }

    /// The keys that were written longest ago, as many as there are more than `keep`.
    fn overflow<'py>(&self, py: Python<'py>, keep: usize) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.store.overflow(keep));
        digests(py, keys.map_err(|error| errors::os_error(&error))?)
    }

    /// Has an entry that was just written count as the newest; to be called after `overflow`.
    fn make_newest(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<()> {
        let Some(key) = hash_of_text(key) else {
            return Ok(());
        };
        let made = py.detach(|| self.store.make_newest(&key));
        made.map_err(|error| errors::os_error(&error))
    }

    /// The keys that start with `prefix`.
    fn candidates<'py>(&self, py: Python<'py>, prefix: &str) -> PyResult<Bound<'py, PyList>> {
        let keys = py.detach(|| self.store.candidates(prefix));
        digests(py, keys.map_err(|error| errors::os_error(&error))?)
    }

    /// The shortest unambiguous prefix of each key; `None` for one that is not here.
    fn shorten<'py>(
        &self,
        py: Python<'py>,
        keys: Vec<Bound<'py, PyString>>,
    ) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
        let list = || self.store.list().map_err(|error| errors::os_error(&error));
        shorten_digests(py, &keys, list)
    }

    /// Whether there may be entries under keys of this digest scheme.
    fn may_hold(&self, py: Python<'_>, scheme: &str) -> PyResult<bool> {
        let scheme = digest::scheme_named(scheme, "the argument `scheme`")?;
        Ok(py.detach(|| self.store.may_hold(scheme)))
    }

    /// Notes that an entry under a key of the scheme in force is about to be written.
    fn note_scheme(&self, py: Python<'_>) -> PyResult<()> {
        let scheme = digest::active_scheme(py)?;
        py.detach(|| self.store.note_scheme(scheme));
        Ok(())
    }

    /// Notes that every entry is under a key of the scheme in force.
    fn hold_only_scheme(&self, py: Python<'_>) -> PyResult<()> {
        let scheme = digest::active_scheme(py)?;
        Ok(py.detach(|| self.store.hold_only(scheme))?)
    }

    fn contains(&self, py: Python<'_>, key: &Bound<'_, PyString>) -> PyResult<bool> {
        let Some(key) = hash_of_text(key) else {
            return Ok(false);
        };
        let contained = py.detach(|| self.store.contains(&key));
        contained.map_err(|error| errors::os_error(&error))
    }

    /// Whether each of these keys is here.
    fn contains_many(&self, py: Python<'_>, keys: Vec<Bound<'_, PyString>>) -> PyResult<Vec<bool>> {
        let keys: Vec<_> = keys.iter().map(hash_of_text).collect();
        let look = |key: &Option<Hash>| match key {
            Some(key) => self.store.contains(key),
            None => Ok(false),
        };
        let found = py.detach(|| keys.iter().map(look).collect::<Result<_, _>>());
        found.map_err(|error| errors::os_error(&error))
    }

    /// Removes the entry of `key`, kept at `place`; it may be absent.
    pub fn evict(&self, py: Python<'_>, key: &Bound<'_, PyString>, place: PathBuf) -> PyResult<()> {
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

/// A lock that was not got: logged with the key and the file, as others may wait for it, too.
pub fn locked(
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

pub fn digests(py: Python<'_>, keys: Vec<Hash>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for key in keys {
        list.append(to_digest(py, &key)?)?;
    }
    Ok(list)
}

/// The key that a text is.
pub fn full_key(key: &Bound<'_, PyString>) -> PyResult<Hash> {
    hash_of_text(key).ok_or_else(|| {
        PyValueError::new_err(format!(
            "cannot save under {key:?}: a key is a digest of {DIGEST_LENGTH} lower-case hex characters"
        ))
    })
}

/// A time in seconds; a negative one has no end.
pub fn seconds(timeout: f64) -> PyResult<Duration> {
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
