//! Files as values: their digests, and which of them were met.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::path::PathBuf;

use pyo3::exceptions::{PyKeyError, PyOSError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::engine::contents;
use crate::engine::error::Error;
use crate::py::digest::{active_scheme, argument_with, is_indigestible, to_digest};
use crate::py::errors;
use crate::py::names::Imported;
use crate::py::once::{Once, intern};

static CHANGED: Imported = Imported::new("fleche.files", "FileChanged");

/// The class `fleche.File`, once it was imported: before that no value can be one.
static FILE: Once<Py<PyAny>> = Once::new();

thread_local! {
    /// How many digests of files this thread asked for.
    static ASKED: Cell<u64> = const { Cell::new(0) };
    /// The files that were loaded from a cache, while somebody wants to know.
    static LOADED: RefCell<Option<Vec<Py<PyAny>>>> = const { RefCell::new(None) };
}

/// Says which class `fleche.File` is.
#[pyfunction]
pub fn set_file_class(py: Python<'_>, class: Py<PyAny>) -> PyResult<()> {
    FILE.get_or_try_init(py, || Ok::<_, PyErr>(class)).map(drop)
}

/// The digest of what is in a file or folder.
#[pyfunction]
pub fn file_digest(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    ASKED.set(ASKED.get() + 1);
    let found = py.detach(|| contents::digest(&path));
    to_digest(py, &found.map_err(as_opening_does)?)
}

/// The error that opening the file would give.
fn as_opening_does(error: Error) -> PyErr {
    match error {
        Error::Io { path, source, .. }
            if source.kind() != ErrorKind::OutOfMemory && source.raw_os_error().is_some() =>
        {
            let reason = errors::without_number(&source);
            PyOSError::new_err((source.raw_os_error(), reason, path.into_os_string()))
        }
        other => errors::os_error(&other),
    }
}

/// Notes that a file was loaded, with the digest that it had.
#[pyfunction]
pub fn note_loaded_file(file: Py<PyAny>) {
    LOADED.with_borrow_mut(|loaded| {
        if let Some(files) = loaded {
            files.push(file);
        }
    });
}

/// A number that is another one after this thread asked for the digest of a file.
pub fn asked() -> u64 {
    ASKED.get()
}

/// Whether a value is a file, itself.
pub fn is_file(value: &Bound<'_, PyAny>) -> bool {
    let class = FILE.get(value.py());
    class.is_some_and(|class| value.get_type().is(class))
}

/// Whether there can be any file.
pub fn any(py: Python<'_>) -> bool {
    FILE.get(py).is_some()
}

/// Does something that loads a value; gives the files that are in that, too.
pub fn loaded_by<T>(work: impl FnOnce() -> T) -> (T, Vec<Py<PyAny>>) {
    let outer = LOADED.replace(Some(Vec::new()));
    let done = work();
    let files = LOADED.replace(outer);
    (done, files.unwrap_or_default())
}

/// Whether all of them are still what they were.
pub fn are_unchanged(py: Python<'_>, files: &[Py<PyAny>]) -> PyResult<bool> {
    for file in files {
        let unchanged = file.bind(py).call_method0(intern!(py, "is_unchanged"))?;
        if !unchanged.is_truthy()? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What `load` gives; `KeyError` if a file in it is no longer what it was.
#[pyfunction]
pub fn load_unchanged<'py>(load: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let (found, files) = loaded_by(|| load.call0());
    let found = found?;
    if are_unchanged(load.py(), &files)? {
        Ok(found)
    } else {
        Err(PyKeyError::new_err("a file in the result changed"))
    }
}

/// Sees that the files in these arguments are what they were when their digests were taken.
#[pyfunction]
pub fn check_files(
    arguments: &Bound<'_, PyDict>,
    digests: &Bound<'_, PyDict>,
    names: Vec<Bound<'_, PyString>>,
    typed: bool,
) -> PyResult<()> {
    let py = arguments.py();
    for name in names {
        let Some(value) = arguments.get_item(&name)? else {
            continue;
        };
        let now = match argument_with(active_scheme(py)?, &value, typed) {
            Ok(outcome) => Some(outcome.to_digest(py)?),
            Err(error) if is_indigestible(py, &error) => None,
            Err(error) => return Err(error),
        };
        let same = match (now, digests.get_item(&name)?) {
            (Some(now), Some(before)) => now.eq(before)?,
            _ => false,
        };
        if !same {
            return Err(PyErr::from_value(CHANGED.get(py)?.call1((name,))?));
        }
    }
    Ok(())
}
