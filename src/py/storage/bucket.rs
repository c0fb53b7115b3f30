//! Buckets, as storages in Python see them.

use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use super::file::compression;
use super::root::seconds;
use crate::engine::bucket::{Bucket as Engine, Error, Object, Service, Settings, Version, Write};
use crate::engine::bucket::{Listed, Written};
use crate::engine::codec;
use crate::engine::compression::{Compression, Method};
use crate::engine::error::Fault;
use crate::engine::sign::Keys;
use crate::py::errors;
use crate::py::interrupt;
use crate::py::names::Imported;

static BUCKET_ERROR: Imported = Imported::new("fleche._foundation.errors", "BucketError");

/// What tells one state of an object from another.
type PyVersion = (Option<String>, Option<String>);

/// An object in a listing: its name, its length, and when it was written, as the server's clock says.
type PyListed = (String, u64, f64);

fn raised(py: Python<'_>, error: &Error) -> PyErr {
    if matches!(error, Error::Interrupted) {
        return interrupt::raised();
    }
    let made = BUCKET_ERROR
        .get(py)
        .and_then(|class| class.call1((error.to_string(), error.name())));
    match made {
        Ok(made) => PyErr::from_value(made),
        Err(error) => error,
    }
}

/// A bucket, or a part of it.
#[pyclass(frozen, module = "fleche._core")]
pub struct Bucket(Engine);

#[pymethods]
impl Bucket {
    /// Nothing is asked for yet.
    #[new]
    fn new(
        service: &str,
        name: String,
        bucket: String,
        prefix: String,
        options: Vec<(String, String)>,
        timeout: f64,
    ) -> PyResult<Self> {
        let service = match service {
            "s3" => Service::S3,
            "gs" => Service::Google,
            "az" => Service::Azure,
            "file" => Service::Folder,
            other => return Err(PyValueError::new_err(format!("no service {other:?}"))),
        };
        let timeout = seconds(timeout)?.max(Duration::from_millis(1));
        Ok(Self(Engine::new(Settings {
            service,
            name,
            bucket,
            prefix,
            options,
            timeout,
        })))
    }

    /// The bytes of an object, and what tells its state; `None` if there is none.
    fn get<'py>(
        &self,
        py: Python<'py>,
        path: &str,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, PyVersion)>> {
        match py.detach(|| self.0.get(path)) {
            Ok(Some(object)) => {
                let bytes = bytes_of(py, &object)?;
                Ok(Some((bytes, (object.version.tag, object.version.number))))
            }
            Ok(None) => Ok(None),
            Err(error) => Err(raised(py, &error)),
        }
    }

    /// The bytes of many objects; `None` for each that is not there.
    fn get_many<'py>(
        &self,
        py: Python<'py>,
        paths: Vec<String>,
    ) -> PyResult<Vec<Option<Bound<'py, PyBytes>>>> {
        let objects = py
            .detach(|| self.0.get_many(&paths))
            .map_err(|error| raised(py, &error))?;
        let bytes = objects
            .iter()
            .map(|one| one.as_ref().map(|object| bytes_of(py, object)).transpose());
        bytes.collect()
    }

    /// When each of these objects was written, as the server's clock says; `None` if it is not there.
    fn changed_many(&self, py: Python<'_>, paths: Vec<String>) -> PyResult<Vec<Option<f64>>> {
        py.detach(|| self.0.changed_many(&paths))
            .map_err(|error| raised(py, &error))
    }

    /// What tells the present state of an object; `None` if there is none.
    fn version(&self, py: Python<'_>, path: &str) -> PyResult<Option<PyVersion>> {
        match py.detach(|| self.0.version(path)) {
            Ok(found) => Ok(found.map(|version| (version.tag, version.number))),
            Err(error) => Err(raised(py, &error)),
        }
    }

    /// Writes an object where there is none; its version, or `None` if there is one.
    fn create(
        &self,
        py: Python<'_>,
        path: &str,
        data: PyBackedBytes,
    ) -> PyResult<Option<PyVersion>> {
        self.put(py, path, data, &Write::Create)
    }

    /// Writes an object in place of the one that was read; its version, or `None` if that is not
    /// there any more.
    fn replace(
        &self,
        py: Python<'_>,
        path: &str,
        data: PyBackedBytes,
        version: PyVersion,
    ) -> PyResult<Option<PyVersion>> {
        let (tag, number) = version;
        self.put(py, path, data, &Write::Replace(Version { tag, number }))
    }

    /// Writes an object, whatever is there.
    fn overwrite(
        &self,
        py: Python<'_>,
        path: &str,
        data: PyBackedBytes,
    ) -> PyResult<Option<PyVersion>> {
        self.put(py, path, data, &Write::Anyway)
    }

    /// Removes an object, which may be absent.
    fn delete(&self, py: Python<'_>, path: &str) -> PyResult<()> {
        py.detach(|| self.0.delete(path))
            .map_err(|error| raised(py, &error))
    }

    /// The objects in a folder, in the order of their names; those after one of them, if it is given.
    #[pyo3(signature = (folder, after = None))]
    fn list(&self, py: Python<'_>, folder: &str, after: Option<&str>) -> PyResult<Vec<PyListed>> {
        let listed = py
            .detach(|| self.0.list(folder, after))
            .map_err(|error| raised(py, &error))?;
        let parts = |one: Listed| (one.path, one.length, one.changed);
        Ok(listed.into_iter().map(parts).collect())
    }

    /// Whether conditions on writes hold where several write at once; else in what they fail.
    fn probe(&self, py: Python<'_>, folder: &str, nonce: &str) -> PyResult<Option<&'static str>> {
        py.detach(|| self.0.probe(folder, nonce))
            .map_err(|error| raised(py, &error))
    }

    /// Forgets connections and credentials: the next request makes new ones.
    fn forget(&self, py: Python<'_>) {
        py.detach(|| self.0.forget());
    }
}

impl Bucket {
    fn put(
        &self,
        py: Python<'_>,
        path: &str,
        data: PyBackedBytes,
        how: &Write,
    ) -> PyResult<Option<PyVersion>> {
        let bytes = Bytes::from_owner(data);
        match py.detach(|| self.0.put(path, &bytes, how)) {
            Ok(Written::Done(version)) => Ok(Some((version.tag, version.number))),
            Ok(Written::Refused) => Ok(None),
            Err(error) => Err(raised(py, &error)),
        }
    }
}

/// A `bytes` object of what came in pieces; `MemoryError` if there is no memory for it.
fn bytes_of<'py>(py: Python<'py>, object: &Object) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, object.length, |mut room| {
        for piece in &object.pieces {
            let (here, rest) = room.split_at_mut(piece.len());
            here.copy_from_slice(piece);
            room = rest;
        }
        Ok(())
    })
}

/// How a storage that has no folder signs and compresses what it keeps.
#[pyclass(frozen, module = "fleche._core")]
pub struct Codec {
    keys: Keys,
    compression: Option<Compression>,
}

#[pymethods]
impl Codec {
    #[new]
    fn new(keys: Vec<Vec<u8>>, compress: Option<&str>, level: Option<u32>) -> PyResult<Self> {
        Ok(Self {
            keys: Keys::new(keys),
            compression: compress.map(|name| compression(name, level)).transpose()?,
        })
    }

    /// The bytes to store for a payload.
    fn encode<'py>(&self, payload: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
        if self.keys.is_empty() && self.compression.is_none() {
            return Ok(payload.clone());
        }
        let py = payload.py();
        let bytes = payload.as_bytes();
        let encoded = py.detach(|| codec::encode(bytes, &self.keys, self.compression))?;
        Ok(PyBytes::new(py, &encoded))
    }

    /// The payload of stored bytes, its signature verified.
    ///
    /// Raises `SignatureError` if it has none that holds, `OSError` if the bytes are damaged.
    fn decode<'py>(&self, stored: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyBytes>> {
        let py = stored.py();
        let bytes = stored.as_bytes();
        if self.keys.is_empty() && !bytes.is_empty() && Method::of(bytes).is_none() {
            return Ok(stored.clone());
        }
        match py.detach(|| codec::view(bytes, &self.keys)) {
            Ok(payload) => Ok(PyBytes::new(py, &payload)),
            Err(fault @ (Fault::Unsigned | Fault::Forged)) => {
                Err(errors::signature_error(py, &fault.to_string()))
            }
            Err(fault) => Err(PyOSError::new_err(fault.to_string())),
        }
    }
}
