//! Errors of the engine, and failures of storages, as the exceptions that Python catches.

use std::io::{self, ErrorKind};
use std::path::Path;

use pyo3::exceptions::{
    PyAttributeError, PyException, PyImportError, PyKeyError, PyKeyboardInterrupt, PyMemoryError,
    PyOSError,
};
use pyo3::prelude::*;

use crate::engine::ballast;
use crate::engine::error::Error;
use crate::py::interrupt;
use crate::py::logs::Logger;
use crate::py::names::Imported;

static PATH: Imported = Imported::new("pathlib", "Path");
static INTERRUPT_MAIN: Imported = Imported::new("_thread", "interrupt_main");
static SAVE_ERROR: Imported = Imported::new("fleche.storage.base", "SaveError");
static SIGNATURE_ERROR: Imported = Imported::new("fleche.security", "SignatureError");
static UNREADABLE: Imported = Imported::new("fleche.storage.base", "Unreadable");
static STORAGE_LOGGER: Logger = Logger::new("fleche.storage");
static SECURITY_LOGGER: Logger = Logger::new("fleche.security");

/// An error of the engine, as the error of the operating system that it stands for.
pub fn os_error(error: &Error) -> PyErr {
    match error {
        Error::Io { source, .. } if source.kind() == ErrorKind::OutOfMemory => {
            PyMemoryError::new_err(error.to_string())
        }
        Error::Io {
            action,
            path,
            source,
        } => match source.raw_os_error() {
            Some(number) => {
                let reason = format!("cannot {action}: {}", without_number(source));
                PyOSError::new_err((number, reason, path.clone()))
            }
            None => PyOSError::new_err(error.to_string()),
        },
        Error::Locked { .. } => PyOSError::new_err(error.to_string()),
        Error::Interrupted => interrupt::raised(),
    }
}

/// The text of an error of the operating system; Python adds its number itself.
pub fn without_number(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// `MemoryError` before something is begun that could not be brought to its end.
pub fn check_memory() -> PyResult<()> {
    check_room(ballast::is_held())
}

/// The same before something that takes memory for each of many parts of a value.
pub fn check_memory_for(parts: usize) -> PyResult<()> {
    /// A hash, its place in a table that is half empty, a reference, and what is written of it.
    const PER_PART: usize = 384;
    check_room(ballast::has_room_for(parts.saturating_mul(PER_PART)))
}

fn check_room(enough: bool) -> PyResult<()> {
    if enough {
        return Ok(());
    }
    Err(PyMemoryError::new_err("there is hardly any memory left"))
}

/// `KeyError(path)`: there is nothing. With a reason, there is something that cannot be used.
pub fn missing(py: Python<'_>, path: &Path, reason: Option<&str>) -> PyErr {
    let shown = match PATH.get(py).and_then(|class| class.call1((path,))) {
        Ok(shown) => shown.unbind(),
        Err(error) => return error,
    };
    match reason {
        None => PyKeyError::new_err((shown,)),
        Some(reason) => PyKeyError::new_err((shown, reason.to_owned())),
    }
}

/// `Unreadable(path, reason)`: there is something that may be in order, but cannot be read now.
pub fn unreadable(py: Python<'_>, path: &Path, reason: &str) -> PyErr {
    let shown = PATH.get(py).and_then(|class| class.call1((path,)));
    let class = UNREADABLE.get(py);
    match shown.and_then(|shown| class?.call1((shown, reason))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// `SignatureError(message)`
pub fn signature_error(py: Python<'_>, message: &str) -> PyErr {
    let class = SIGNATURE_ERROR.get(py);
    match class.and_then(|class| class.call1((message,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// `SaveError(message)`, with what it was caused by.
pub fn save_error(py: Python<'_>, message: &str, cause: Option<PyErr>) -> PyErr {
    match SAVE_ERROR.get(py).and_then(|class| class.call1((message,))) {
        Ok(error) => {
            let error = PyErr::from_value(error);
            error.set_cause(py, cause);
            error
        }
        Err(error) => error,
    }
}

/// Whether this is `SaveError` already.
pub fn is_save_error(py: Python<'_>, error: &PyErr) -> bool {
    SAVE_ERROR
        .get(py)
        .is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}

/// Whether this is an error of a program, and no interrupt or exit, which must pass.
pub fn is_exception(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py)
}

/// Reports an error where none can be raised; an interrupt comes again, where it can be.
pub fn report(py: Python<'_>, error: PyErr) {
    let again = || INTERRUPT_MAIN.get(py)?.call0();
    if !error.is_instance_of::<PyKeyboardInterrupt>(py) || again().is_err() {
        error.write_unraisable(py, None);
    }
}

/// Whether an error of a serialiser tells of what is missing around the bytes, not of the bytes.
pub fn may_pass(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyImportError>(py)
        || error.is_instance_of::<PyAttributeError>(py)
        || error.is_instance_of::<PyMemoryError>(py)
}

/// `TypeError: cannot pickle 'generator' object`
pub fn describe(py: Python<'_>, error: &PyErr) -> String {
    let class = error.get_type(py).name();
    let class = class.map_or_else(|_| String::new(), |name| name.to_string());
    match error.value(py).str() {
        Ok(text) if !text.to_string_lossy().is_empty() => format!("{class}: {text}"),
        _ => class,
    }
}

/// Which logger a message belongs to.
#[derive(Clone, Copy)]
pub enum Log {
    Storage,
    Security,
}

impl Log {
    pub fn error(self, py: Python<'_>, message: &str) {
        self.log(py, "error", message);
    }

    pub fn warning(self, py: Python<'_>, message: &str) {
        self.log(py, "warning", message);
    }

    fn log(self, py: Python<'_>, level: &str, message: &str) {
        let logger = match self {
            Self::Storage => &STORAGE_LOGGER,
            Self::Security => &SECURITY_LOGGER,
        };
        let outcome = logger
            .get(py)
            .and_then(|logger| logger.call_method1(level, ("%s", message)));
        if let Err(error) = outcome {
            report(py, error);
        }
    }
}

/// Whether an error says that a key, a record or a value is not there.
pub fn is_missing(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyKeyError>(py)
}
