//! What a memory storage gives and takes is independent of the caller's objects.

use crate::py::once::intern;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyString, PyTuple, PyType,
};

use super::entry::pickled_whole;
use crate::py::digest::exact::module_of;
use crate::py::names::Imported;

static SAVE_ERROR: Imported = Imported::new("fleche.storage.base", "SaveError");
static DEEPCOPY: Imported = Imported::new("copy", "deepcopy");
static LOADS: Imported = Imported::new("pickle", "loads");
static KEPT: Imported = Imported::new("fleche.storage.kept", "kept");
static ARRAY: Imported = Imported::new("numpy", "ndarray");

/// A value as it is if nobody can change it, else a deep copy.
#[pyfunction]
pub fn independent<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    if immutable(value, 0) {
        return Ok(value.clone());
    }
    let py = value.py();
    if let Some(array) = ARRAY.if_loaded(py)?
        && value.is_instance(array)?
    {
        return independent_array(value, array);
    }
    DEEPCOPY.get(py)?.call1((value,))
}

/// A copy of an array: `deepcopy` forgets that it may not be written to, and what a subclass holds
/// besides.
fn independent_array<'py>(
    value: &Bound<'py, PyAny>,
    array: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let class = value.get_type();
    let copies = |class: &Bound<'py, PyAny>| class.getattr(intern!(py, "__deepcopy__"));
    if !class.is(array) && copies(class.as_any())?.is(&copies(array)?) {
        let again = |bytes| LOADS.get(py)?.call1((bytes,));
        if let Some(bytes) = pickled_whole(value)?
            && let Ok(copy) = again(bytes)
        {
            return Ok(copy);
        }
    }
    let copy = DEEPCOPY.get(py)?.call1((value,))?;
    let is_writable = |array: &Bound<'py, PyAny>| -> PyResult<bool> {
        let flags = array.getattr(intern!(py, "flags"))?;
        flags.getattr(intern!(py, "writeable"))?.is_truthy()
    };
    if class.is(array) && !is_writable(value)? {
        copy.call_method1(intern!(py, "setflags"), (false,))?;
    }
    Ok(copy)
}

/// The same for a value that goes in: `SaveError` if it cannot be copied.
#[pyfunction]
pub fn independent_copy<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    copy_to_keep(value).map_err(|error| {
        if !error.is_instance_of::<PyException>(py) {
            return error;
        }
        let kind = value.get_type();
        let reason = format!("cannot copy a {kind} into memory: {error}");
        match SAVE_ERROR.get(py).and_then(|class| class.call1((reason,))) {
            Ok(outer) => {
                let outer = PyErr::from_value(outer);
                outer.set_cause(py, Some(error));
                outer
            }
            Err(failure) => failure,
        }
    })
}

fn copy_to_keep<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    if let Some(array) = ARRAY.if_loaded(py)?
        && !immutable(value, 0)
        && !value.is_instance(array)?
        && !module_of(&value.get_type())?.starts_with("fleche.")
    {
        let kept = KEPT.get(py)?.call1((value,))?;
        if !kept.is_none() {
            return Ok(kept);
        }
    }
    independent(value)
}

/// Puts an entry into a dictionary as its newest, last in its order; no reader finds it missing.
#[pyfunction]
pub fn put_newest(
    entries: &Bound<'_, PyAny>,
    key: &Bound<'_, PyAny>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let Ok(entries) = entries.cast_exact::<PyDict>() else {
        let py = entries.py();
        entries.call_method1(intern!(py, "pop"), (key, py.None()))?;
        return entries.set_item(key, value);
    };
    // Kept until the new one is there: what its end runs may let other threads in.
    let old = entries.get_item(key)?;
    if old.is_some() {
        entries.del_item(key)?;
    }
    entries.set_item(key, value)
}

/// Whether a value and all that it holds are of built-in types without mutable state.
pub fn immutable(value: &Bound<'_, PyAny>, depth: usize) -> bool {
    if value.is_none()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyBytes>()
        || value.is_exact_instance_of::<PyComplex>()
        || value.is_instance_of::<PyType>()
    {
        return true;
    }
    // A deeper nest is copied: that costs time, recursing without end would cost the process.
    if depth > 100 {
        return false;
    }
    if let Ok(tuple) = value.cast_exact::<PyTuple>() {
        return tuple.iter().all(|item| immutable(&item, depth + 1));
    }
    if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
        return set.iter().all(|item| immutable(&item, depth + 1));
    }
    false
}
