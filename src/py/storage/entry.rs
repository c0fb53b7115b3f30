//! What a storage is given to keep.

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::serialised::Serialised;
use crate::engine::digest::Hash;
use crate::py::errors;
use crate::py::names::Imported;

static DUMPS: Imported = Imported::new("pickle", "dumps");
/// The newest protocol that every supported Python reads, which `fleche` pickles with.
const PICKLE_PROTOCOL: u8 = 5;

/// Something to store.
pub struct Entry<'py> {
    pub key: Hash,
    pub value: Bound<'py, PyAny>,
    /// What the storage's serialiser makes of it, if that is known already.
    pub payload: Option<Serialised<'py>>,
}

impl<'py> Entry<'py> {
    pub fn new(key: Hash, value: Bound<'py, PyAny>) -> Self {
        Self {
            key,
            value,
            payload: None,
        }
    }
}

/// What `pickle` makes of a value, in one piece; `None` if it cannot.
pub fn pickled_whole<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let py = value.py();
    let pickled = DUMPS.get(py)?.call1((value, PICKLE_PROTOCOL));
    unless_refused(py, pickled.and_then(|bytes| Ok(bytes.cast_into()?)))
}

/// The same, with large buffers apart.
pub fn pickled<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Serialised<'py>>> {
    let py = value.py();
    unless_refused(
        py,
        Serialised::new(DUMPS.get(py)?, value, Some(PICKLE_PROTOCOL)),
    )
}

fn unless_refused<T>(py: Python<'_>, pickled: PyResult<T>) -> PyResult<Option<T>> {
    match pickled {
        Ok(pickled) => Ok(Some(pickled)),
        Err(error) if errors::is_exception(py, &error) => Ok(None),
        Err(error) => Err(error),
    }
}
