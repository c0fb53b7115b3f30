//! Collections of garbage, as storages and caches in Python see them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};

use super::root::FileRoot;
use crate::engine::collection::{self, Mark, Passage};
use crate::engine::digest::Hash;
use crate::engine::error::Error;
use crate::py::digest::{storage_key, to_digest};
use crate::py::errors;

/// The files in which users of values are noted, what these say, and whether there are no others.
type NotedUsers<'py> = (Vec<(PathBuf, Bound<'py, PyBytes>)>, bool);

/// What keeps collections of a storage's values from calls that are being saved.
#[pyclass(frozen, module = "fleche._core")]
pub struct Collection(Arc<collection::Collection>);

#[pymethods]
impl Collection {
    /// Of the storage in a folder; without one, of a storage that is this process's own.
    #[new]
    #[pyo3(signature = (root = None))]
    fn new(root: Option<&Bound<'_, FileRoot>>) -> Self {
        Self(Arc::new(
            root.map_or_else(collection::Collection::in_memory, |root| {
                collection::Collection::in_folder(Arc::clone(&root.get().store))
            }),
        ))
    }

    /// A call that is about to store the values of these digests: they are left alone while it lives.
    pub fn begin(&self, digests: Vec<Bound<'_, PyString>>) -> PyResult<Flight> {
        let keys = digests.iter().map(storage_key).collect::<PyResult<_>>()?;
        self.0.begin();
        Ok(Flight::new(&self.0, keys))
    }

    /// The context in which a result and its record are stored.
    fn saving(&self) -> Gate {
        Gate::new(&self.0, false)
    }

    /// The context in which garbage is evicted.
    fn collecting(&self) -> Gate {
        Gate::new(&self.0, true)
    }

    /// Notes whose record is about to be stored: `name` tells it from others, `text` describes it.
    pub fn note_user(&self, py: Python<'_>, name: &str, text: &[u8]) -> PyResult<()> {
        let Some(folder) = self.0.folder() else {
            return Ok(());
        };
        let noted = py.detach(|| folder.note_user(name, text));
        noted.map_err(|error| errors::save_error(py, &format!("cannot save: {error}"), None))
    }

    /// What was noted, each with its file, and whether that is all; `None` in memory.
    fn users<'py>(&self, py: Python<'py>) -> PyResult<Option<NotedUsers<'py>>> {
        let Some(folder) = self.0.folder() else {
            return Ok(None);
        };
        let users = py.detach(|| folder.users());
        let users = users.map_err(|error| errors::os_error(&error))?;
        let noted = users.noted.into_iter();
        let noted = noted.map(|(path, text)| (path, PyBytes::new(py, &text)));
        Ok(Some((noted.collect(), users.complete)))
    }

    /// Notes that there are no other users than those noted.
    fn complete_users(&self, py: Python<'_>) -> PyResult<()> {
        match self.0.folder() {
            Some(folder) => Ok(py.detach(|| folder.complete_users())?),
            None => Ok(()),
        }
    }

    /// What calls of this process are about to store.
    fn pinned<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let pinned = self.0.pinned();
        pinned.iter().map(|key| to_digest(py, key)).collect()
    }

    /// It travels as a new one.
    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, Bound<'py, PyTuple>) {
        (slf.get_type(), PyTuple::empty(slf.py()))
    }
}

/// A call between the moments that its arguments and its record are stored.
#[pyclass(frozen, module = "fleche._core")]
pub struct Flight {
    collection: Arc<collection::Collection>,
    keys: Vec<Hash>,
    begun: Mark,
}

impl Flight {
    fn new(collection: &Arc<collection::Collection>, keys: Vec<Hash>) -> Self {
        collection.pin(&keys);
        Self {
            collection: Arc::clone(collection),
            keys,
            begun: collection.mark(),
        }
    }

    /// The passage in which the result and the record are stored.
    pub fn land(&self, py: Python<'_>) -> PyResult<Passage> {
        pass(py, &self.collection, false)
    }

    /// Whether values that it stored may be gone.
    pub fn is_disturbed(&self, passage: &Passage) -> bool {
        !self.begun.is_still(passage.mark())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.collection.unpin(&self.keys);
    }
}

/// A context that passes the gate of a collection.
#[pyclass(frozen, module = "fleche._core")]
pub struct Gate {
    collection: Arc<collection::Collection>,
    alone: bool,
    passages: Mutex<Vec<Passage>>,
}

impl Gate {
    fn new(collection: &Arc<collection::Collection>, alone: bool) -> Self {
        Self {
            collection: Arc::clone(collection),
            alone,
            passages: Mutex::default(),
        }
    }
}

#[pymethods]
impl Gate {
    fn __enter__(slf: Py<Self>, py: Python<'_>) -> PyResult<Py<Self>> {
        let gate = slf.get();
        let passage = pass(py, &gate.collection, gate.alone)?;
        let mut passages = gate.passages.lock().unwrap_or_else(PoisonError::into_inner);
        passages.push(passage);
        drop(passages);
        Ok(slf)
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, _exc_info: &Bound<'_, PyTuple>) {
        let mut passages = self.passages.lock().unwrap_or_else(PoisonError::into_inner);
        drop(passages.pop());
    }

    /// Whether values that a call stored may be gone.
    fn disturbed(&self, flight: &Bound<'_, Flight>) -> bool {
        let passages = self.passages.lock().unwrap_or_else(PoisonError::into_inner);
        let passage = passages.last();
        passage.is_none_or(|passage| flight.get().is_disturbed(passage))
    }
}

fn pass(
    py: Python<'_>,
    collection: &Arc<collection::Collection>,
    alone: bool,
) -> PyResult<Passage> {
    let passed = if alone {
        if let Some(folder) = collection.folder() {
            let checked = py.detach(|| folder.check_collectable());
            checked.map_err(|error| errors::os_error(&error))?;
        }
        py.detach(|| collection.collect())
    } else if let Some(passage) = collection.try_save() {
        return Ok(passage);
    } else {
        py.detach(|| collection.save())
    };
    passed.map_err(|error| match error {
        Error::Interrupted => errors::os_error(&error),
        error => {
            let (what, who) = if alone {
                ("collect garbage", "calls are being saved")
            } else {
                ("save", "garbage is being collected")
            };
            let message = format!(
                "cannot {what} while {who}: {error}; try again, or give the storage a longer \
                 lock_timeout"
            );
            errors::save_error(py, &message, None)
        }
    })
}
