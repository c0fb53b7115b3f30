//! What is said, and raised, about entries that cannot be read or written.

use std::path::Path;

use pyo3::prelude::*;

use crate::engine::error::{Error, Fault};
use crate::py::errors::{self, Log};

/// `SaveError`: the serialiser refuses a value that was to go to `place`.
pub fn unserialised(value: &Bound<'_, PyAny>, error: PyErr, place: &Path) -> PyErr {
    let py = value.py();
    if !errors::is_exception(py, &error) {
        return error;
    }
    if errors::is_save_error(py, &error) {
        let text = error.value(py).str();
        let text = text.map_or_else(
            |_| String::new(),
            |text| text.to_string_lossy().into_owned(),
        );
        return errors::save_error(
            py,
            &format!("cannot save {}: {text}", place.display()),
            None,
        );
    }
    let class = value.get_type();
    let class = class.name();
    let class = class.map_or_else(|_| String::new(), |name| name.to_string());
    let message = format!(
        "cannot save {}: its {class} cannot be serialised ({}); return something that can, \
         or choose another serializer ('cloudpickle' and 'dill' take more than 'pickle')",
        place.display(),
        errors::describe(py, &error)
    );
    errors::save_error(py, &message, Some(error))
}

/// Why reading failed in the middle.
pub enum Failure {
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
    pub fn into_python(self, py: Python<'_>, path: &Path) -> PyErr {
        match self {
            Self::Io(error) => unreadable(py, &error),
            Self::Fault(fault) => faulty(py, path, &fault),
        }
    }
}

/// A miss: the entry cannot be trusted, or it is damaged.
pub fn faulty(py: Python<'_>, path: &Path, fault: &Fault) -> PyErr {
    match fault {
        Fault::Unsigned | Fault::Forged => {
            Log::Security.error(py, &format!("{fault} ({})", path.display()));
            let missing = errors::unreadable(py, path, "Value present but failed signature check.");
            missing.set_cause(py, Some(errors::signature_error(py, &fault.to_string())));
            missing
        }
        Fault::Empty | Fault::Compressed(..) | Fault::Cut => useless(py, path, &fault.to_string()),
    }
}

/// A miss: there is something that cannot be read.
pub fn useless(py: Python<'_>, path: &Path, reason: &str) -> PyErr {
    let message = format!(
        "Cannot read cache entry {}, taken as missing: {reason}",
        path.display()
    );
    Log::Storage.warning(py, &message);
    errors::missing(py, path, Some(&cannot_be_read(reason)))
}

pub fn cannot_be_read(reason: &str) -> String {
    format!("Value present but cannot be read: {reason}")
}

/// A miss as well: missing permissions, a failing disk, a folder in place of an entry. Its cause
/// says that the entry itself may be in order.
pub fn unreadable(py: Python<'_>, error: &Error) -> PyErr {
    match error {
        Error::Io { path, source, .. } if source.kind() != std::io::ErrorKind::OutOfMemory => {
            let reason = source.to_string();
            let missing = useless(py, path, &reason);
            let missing = if source.kind() == std::io::ErrorKind::IsADirectory {
                missing
            } else {
                errors::unreadable(py, path, &cannot_be_read(&reason))
            };
            missing.set_cause(py, Some(errors::os_error(error)));
            missing
        }
        _ => errors::os_error(error),
    }
}
