//! Locks on one file, as the `filelock` package takes them.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;

use super::root::seconds;
use crate::engine::error::Error;
use crate::engine::files::{self, Held, Mode};
use crate::engine::mounts;
use crate::py::errors;

/// A lock on a file, until it is released.
#[pyclass(frozen, module = "fleche._core")]
pub struct FileLock(Mutex<Option<Held>>);

#[pymethods]
impl FileLock {
    /// Whether others are kept out: not where the file system has no locks, or once released.
    #[getter]
    fn is_held(&self) -> bool {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.as_ref().is_some_and(Held::is_locked)
    }

    fn release(&self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(held.take());
    }
}

/// The network file system that `path` lies on; `None` for a local one, or where nobody tells.
#[pyfunction]
pub fn network_file_system(path: PathBuf) -> Option<String> {
    mounts::network_file_system(&path)
}

/// The lock that the file at `path` is, waited for no longer than `timeout` seconds; `None` if
/// somebody held it all the time.
#[pyfunction]
pub fn lock_file(
    py: Python<'_>,
    path: PathBuf,
    timeout: f64,
    shared: bool,
) -> PyResult<Option<FileLock>> {
    let timeout = seconds(timeout)?;
    let mode = if shared {
        Mode::Shared
    } else {
        Mode::Exclusive
    };
    match py.detach(|| files::lock_file(&path, mode, timeout)) {
        Ok(held) => Ok(Some(FileLock(Mutex::new(Some(held))))),
        Err(Error::Locked { .. }) => Ok(None),
        Err(error) => Err(errors::os_error(&error)),
    }
}
