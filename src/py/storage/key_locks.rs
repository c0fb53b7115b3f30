//! One lock a key, as contexts of Python.

use std::sync::Arc;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyTuple, PyType};

use crate::engine::key_locks;
use crate::py::errors;

/// One lock a key, kept as long as somebody holds it; travels empty.
#[pyclass(frozen, module = "fleche._core")]
#[derive(Default)]
pub struct KeyLocks(Arc<key_locks::KeyLocks>);

#[pymethods]
impl KeyLocks {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The lock of a key, a context; the thread that holds it may take it again.
    fn of(&self, key: String) -> KeyLock {
        let locks = Arc::clone(&self.0);
        KeyLock { locks, key }
    }

    /// How many are held.
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> (Bound<'py, PyType>, Bound<'py, PyTuple>) {
        (slf.get_type(), PyTuple::empty(slf.py()))
    }
}

impl KeyLocks {
    /// The lock of a key, held until it is dropped.
    pub fn hold(&self, py: Python<'_>, key: &str) -> PyResult<Holding> {
        let locks = Arc::clone(&self.0);
        acquire(py, &locks, key)?;
        Ok(Holding {
            locks,
            key: key.to_owned(),
        })
    }
}

/// A held lock.
pub struct Holding {
    locks: Arc<key_locks::KeyLocks>,
    key: String,
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.locks.release(&self.key);
    }
}

/// The lock of one key.
#[pyclass(frozen, module = "fleche._core")]
pub struct KeyLock {
    locks: Arc<key_locks::KeyLocks>,
    key: String,
}

#[pymethods]
impl KeyLock {
    fn acquire(&self, py: Python<'_>) -> PyResult<()> {
        acquire(py, &self.locks, &self.key)
    }

    /// `RuntimeError` if this thread does not hold it.
    fn release(&self) -> PyResult<()> {
        if self.locks.release(&self.key) {
            return Ok(());
        }
        Err(PyRuntimeError::new_err("cannot release un-acquired lock"))
    }

    fn __enter__(slf: PyRef<'_, Self>) -> PyResult<PyRef<'_, Self>> {
        acquire(slf.py(), &slf.locks, &slf.key)?;
        Ok(slf)
    }

    #[pyo3(signature = (*_exc_info))]
    fn __exit__(&self, _exc_info: &Bound<'_, PyTuple>) {
        self.locks.release(&self.key);
    }
}

fn acquire(py: Python<'_>, locks: &key_locks::KeyLocks, key: &str) -> PyResult<()> {
    if locks.try_acquire(key) {
        return Ok(());
    }
    let acquired = py.detach(|| locks.acquire(key));
    acquired.map_err(|error| errors::os_error(&error))
}
