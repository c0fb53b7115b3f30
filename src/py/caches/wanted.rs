//! The call that is looked up, and whether a record is really its.
//!
//! A signature covers what a file holds, not its name: two signed records that changed places
//! would each give the other one's result. So a hit takes a record only if what it says is the
//! call that its key was made of.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString};

use crate::engine::digest::{Hash, Hex};
use crate::engine::pickle::{Record, Value};
use crate::py::call::{CallIdentity, lookup_key};
use crate::py::digest::{self, hash_of_text, storage_key, to_digest};
use crate::py::errors::Log;

/// A call: its key, and what the key was made of.
pub struct Wanted<'a, 'py> {
    pub key: &'a Hash,
    pub identity: CallIdentity<'a, 'py>,
    pub names: &'a [String],
    pub hashes: &'a [Hash],
}

impl<'py> Wanted<'_, 'py> {
    /// Whether a record that was found under the key is that of the call; if not, the log says so.
    pub fn is_in(&self, py: Python<'py>, record: &Record<'_>) -> PyResult<bool> {
        // Nearly always in the very same words; equal versions of different types are left to
        // the digests.
        if self.says_the_same(record) || key_of(py, record)? == *self.key {
            return Ok(true);
        }
        self.warn(py, record.name);
        Ok(false)
    }

    /// As `is_in`, of a record that is a Python object.
    pub fn is_record(&self, record: &Bound<'py, PyAny>) -> PyResult<bool> {
        let py = record.py();
        let key = record.call_method0(intern!(py, "to_lookup_key"))?;
        if key.cast::<PyString>().ok().and_then(hash_of_text) == Some(*self.key) {
            return Ok(true);
        }
        if self.says_the_same_in_another_order(record)? {
            return Ok(true);
        }
        let name = record.getattr(intern!(py, "name"))?;
        self.warn(py, &name.str()?.to_string_lossy());
        Ok(false)
    }

    fn says_the_same(&self, record: &Record<'_>) -> bool {
        let arguments = self.names.iter().zip(self.hashes);
        let version = match &record.version {
            Value::None => self.identity.version.is_none(),
            Value::Text(version) => is_text(self.identity.version, version),
            Value::Int(version) => {
                self.identity.version.is_exact_instance_of::<PyInt>()
                    && self.identity.version.extract::<i64>().ok() == Some(*version)
            }
            _ => false,
        };
        let code = match &record.code_digest {
            None => self.identity.code_digest.is_none(),
            Some(Value::Digest(hash)) => is_text(self.identity.code_digest, Hex::of(hash).as_str()),
            Some(Value::Text(digest)) => is_text(self.identity.code_digest, digest),
            Some(_) => false,
        };
        let module = match record.module {
            None => self.identity.module.is_none(),
            Some(module) => is_text(self.identity.module, module),
        };
        version
            && code
            && module
            && is_text(self.identity.name, record.name)
            && record.arguments.len() == self.hashes.len()
            && (record.arguments.iter().zip(arguments))
                .all(|((name, hash), (wanted, digest))| hash == digest && name == wanted)
    }

    /// Whether a record says what this one does, but for the order of its arguments: bags of the
    /// reference do not keep it.
    fn says_the_same_in_another_order(&self, record: &Bound<'py, PyAny>) -> PyResult<bool> {
        let py = record.py();
        let arguments = record.getattr(intern!(py, "arguments"))?;
        let Ok(arguments) = arguments.cast::<PyDict>() else {
            return Ok(false);
        };
        if arguments.len() != self.names.len() {
            return Ok(false);
        }
        for (name, hash) in self.names.iter().zip(self.hashes) {
            let held = arguments.get_item(name)?;
            match held.as_ref().map(|digest| digest.cast::<PyString>()) {
                Some(Ok(digest)) if storage_key(digest)? == *hash => {}
                _ => return Ok(false),
            }
        }
        let [name, module, version, code_digest] =
            ["name", "module", "version", "code_digest"].map(|field| record.getattr(field));
        let recorded = CallIdentity {
            name: &name?,
            module: &module?,
            version: &version?,
            code_digest: &code_digest?,
        };
        let shape = |identity: &CallIdentity<'_, 'py>| identity.shape([].into_iter());
        Ok(shape(&recorded)? == shape(&self.identity)?)
    }

    fn warn(&self, py: Python<'_>, name: &str) {
        Log::Storage.warning(
            py,
            &format!(
                "The record under {} is that of another call, of {name}: taken as missing. Its \
                 file was renamed, or changed places with another one",
                Hex::of(self.key).as_str()
            ),
        );
    }
}

/// The key that a record belongs under.
fn key_of(py: Python<'_>, record: &Record<'_>) -> PyResult<Hash> {
    let value = |value: &Value<'_>| {
        match value {
            Value::Text(text) => Ok(PyString::new(py, text).into_any()),
            Value::Int(number) => Ok(number.into_pyobject(py)?.into_any()),
            Value::Digest(hash) => to_digest(py, hash),
            // Records are read with no other values in these places.
            _ => Ok(py.None().into_bound(py)),
        }
    };
    let module = record.module.map_or(Value::None, Value::Text);
    let code = record.code_digest.as_ref().unwrap_or(&Value::None);
    let identity = CallIdentity {
        name: &value(&Value::Text(record.name))?,
        module: &value(&module)?,
        version: &value(&record.version)?,
        code_digest: &value(code)?,
    };
    let arguments = record.arguments.iter();
    let arguments: Vec<_> = arguments
        .map(|(n, hash)| ((*n).to_owned(), (*hash).into()))
        .collect();
    lookup_key(py, digest::active_scheme(py)?, &identity, &arguments)
}

fn is_text(value: &Bound<'_, PyAny>, text: &str) -> bool {
    value
        .cast::<PyString>()
        .is_ok_and(|value| value.to_str().is_ok_and(|value| value == text))
}
