//! Mending a value that is loaded.

use std::collections::HashMap;
use std::path::Path;

use crate::py::once::intern;
use pyo3::exceptions::{PyKeyError, PyMemoryError, PyRecursionError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PySet, PyString, PyTuple, PyType};

use super::super::Backend;
use super::super::memory::immutable;
use super::super::pieces::{ATTRS, DATACLASS, DICT, ITERABLE};
use crate::engine::digest::{Hash, Hex};
use crate::py::digest::{check_depth, hash_of_text, is_digest};
use crate::py::errors::{self, Log};
use crate::py::names::Imported;

static DIGESTED: Imported = Imported::new("fleche.storage.destructuring", "Digested");
static OBJECT: Imported = Imported::new("builtins", "object");

/// Loads and mends the value under a whole digest; `KeyError` if it or a child is missing.
#[pyfunction]
pub fn load_value<'py>(
    storage: &Bound<'py, PyAny>,
    key: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    let hash = hash_of_text(key).ok_or_else(|| PyKeyError::new_err(key.clone().unbind()))?;
    load(storage, &hash)
}

/// Loads and mends the value under a key.
fn load<'py>(storage: &Bound<'py, PyAny>, key: &Hash) -> PyResult<Bound<'py, PyAny>> {
    load_from(storage, Backend::of(storage)?, key)
}

/// The same, where the storage's backend is known.
pub fn load_from<'py>(
    storage: &Bound<'py, PyAny>,
    backend: Backend<'py>,
    key: &Hash,
) -> PyResult<Bound<'py, PyAny>> {
    Mender::new(storage, backend).load(key)
}

/// The same, where what is stored under the key is known as well.
pub fn load_found<'py>(
    storage: &Bound<'py, PyAny>,
    backend: Backend<'py>,
    key: impl FnOnce() -> Hash,
    stored: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let mended = Mender::new(storage, backend).whole(stored);
    mended.map_err(|error| unmendable(storage.py(), &key(), error))
}

/// A stored value with its children in place.
#[pyfunction]
pub fn mend<'py>(
    storage: &Bound<'py, PyAny>,
    stored: Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let backend = Backend::of(storage)?;
    Mender::new(storage, backend).whole(stored)
}

struct Mender<'a, 'py> {
    py: Python<'py>,
    storage: &'a Bound<'py, PyAny>,
    backend: Backend<'py>,
    /// Children that nobody can change are loaded once, however often they occur.
    leaves: HashMap<Hash, Bound<'py, PyAny>>,
    level: usize,
}

impl<'a, 'py> Mender<'a, 'py> {
    fn new(storage: &'a Bound<'py, PyAny>, backend: Backend<'py>) -> Self {
        Self {
            py: storage.py(),
            storage,
            backend,
            leaves: HashMap::new(),
            level: 0,
        }
    }

    fn load(&mut self, key: &Hash) -> PyResult<Bound<'py, PyAny>> {
        let stored = self.backend.get(self.py, key)?;
        self.whole(stored)
            .map_err(|error| unmendable(self.py, key, error))
    }

    fn child(&mut self, held: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if !is_digest(&held)? {
            return self.backend.hand_out(held);
        }
        let hash = held.cast::<PyString>().ok().and_then(hash_of_text);
        let Some(hash) = hash else {
            return Err(PyKeyError::new_err(held.unbind()));
        };
        if let Some(leaf) = self.leaves.get(&hash) {
            return Ok(leaf.clone());
        }
        let value = self.load(&hash)?;
        if immutable(&value, 0) {
            self.leaves.insert(hash, value.clone());
        }
        Ok(value)
    }

    fn whole(&mut self, stored: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        // What was saved at the last level may load.
        check_depth(self.py, self.level.saturating_sub(1))?;
        self.level += 1;
        let value = self.whole_at_level(stored);
        self.level -= 1;
        value
    }

    fn whole_at_level(&mut self, stored: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        if immutable(&stored, 0) {
            return Ok(stored);
        }
        let class = stored.get_type();
        if class.is(ITERABLE.get(py)?) {
            let items = stored.getattr(intern!(py, "items"))?;
            return self.elements(&items);
        }
        if class.is(DICT.get(py)?) {
            let mended = PyDict::new(py);
            let items = stored.getattr(intern!(py, "items"))?;
            for (key, item) in items.cast::<PyDict>()?.iter() {
                mended.set_item(self.child(key)?, self.child(item)?)?;
            }
            return Ok(mended.into_any());
        }
        if class.is(DATACLASS.get(py)?) || class.is(ATTRS.get(py)?) {
            let record = stored.getattr(intern!(py, "cls"))?;
            let fields = stored.getattr(intern!(py, "fields"))?;
            // Not through `__init__`: the record is restored, not made anew.
            let object = OBJECT.get(py)?;
            let mended =
                object.call_method1(intern!(py, "__new__"), (record.cast::<PyType>()?,))?;
            for (name, field) in fields.cast::<PyDict>()?.iter() {
                let field = self.child(field)?;
                object.call_method1(intern!(py, "__setattr__"), (&mended, name, field))?;
            }
            return Ok(mended);
        }
        if stored.is_instance(DIGESTED.get(py)?)? {
            return stored.call_method1(intern!(py, "mend"), (self.storage,));
        }
        self.backend.hand_out(stored)
    }

    fn elements(&mut self, items: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(list) = items.cast_exact::<PyList>() {
            let mended = list
                .iter()
                .map(|held| self.child(held))
                .collect::<PyResult<Vec<_>>>()?;
            return Ok(PyList::new(self.py, mended)?.into_any());
        }
        if let Ok(tuple) = items.cast_exact::<PyTuple>() {
            let mended = tuple
                .iter()
                .map(|held| self.child(held))
                .collect::<PyResult<Vec<_>>>()?;
            return Ok(PyTuple::new(self.py, mended)?.into_any());
        }
        // A subclass of list or tuple, as the reference splits them, too.
        let mended = items
            .try_iter()?
            .map(|held| held.and_then(|held| self.child(held)))
            .collect::<PyResult<Vec<_>>>()?;
        items.get_type().call1((PyList::new(self.py, mended)?,))
    }
}

/// A miss, if a class does not take what is stored of an instance, as after a change of it.
fn unmendable(py: Python<'_>, key: &Hash, error: PyErr) -> PyErr {
    let passes = error.is_instance_of::<PyKeyError>(py)
        || error.is_instance_of::<PyMemoryError>(py)
        || error.is_instance_of::<PyRecursionError>(py);
    if passes || !errors::is_exception(py, &error) {
        return error;
    }
    let key = Hex::of(key);
    let reason = errors::describe(py, &error);
    let message = format!(
        "Cannot restore value {}, taken as missing: {reason}",
        key.as_str()
    );
    Log::Storage.warning(py, &message);
    let reason = format!("Value present but cannot be restored: {reason}");
    let missing = errors::unreadable(py, Path::new(key.as_str()), &reason);
    missing.set_cause(py, Some(error));
    missing
}

/// The digests of the children that a stored value holds.
#[pyfunction]
pub fn child_digests<'py>(stored: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PySet>> {
    let py = stored.py();
    let found = PySet::empty(py)?;
    if !stored.is_instance(DIGESTED.get(py)?)? {
        return Ok(found);
    }
    let held = stored.call_method0(intern!(py, "underlying"))?;
    let add = |child: Bound<'py, PyAny>| -> PyResult<()> {
        if is_digest(&child)? {
            found.add(child)
        } else {
            Ok(())
        }
    };
    if let Ok(dict) = held.cast::<PyDict>() {
        for (key, item) in dict.iter() {
            add(key)?;
            add(item)?;
        }
    } else {
        for child in held.try_iter()? {
            add(child?)?;
        }
    }
    Ok(found)
}
