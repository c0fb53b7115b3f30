//! Keys of results: what comes back is what was returned.
//!
//! A typed digest is a key only where it decides every byte of what is loaded. Everything else is
//! told from others by its serialised bytes, which take in what equal values may differ in: an
//! array's order and flags, a frame's `attrs`, the order of a set.

use crate::py::once::intern;
use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDate, PyDateTime, PyDelta, PyFunction, PyRange, PyString, PyTime};
use ring::rand::SecureRandom;

use super::libraries::is_plain_array;
use super::{Walker, hooks, leaf, own_digest};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::to_digest;
use crate::py::names::Imported;

static SPLIT: Imported = Imported::new("fleche.storage.destructuring", "Digested");
static DECIMAL: Imported = Imported::new("decimal", "Decimal");
static FRACTION: Imported = Imported::new("fractions", "Fraction");

/// The typed digest of a value without children, if it decides every byte of what is loaded.
pub fn decided(value: &Bound<'_, PyAny>) -> PyResult<Option<Hash>> {
    if let Some(encoder) = leaf::encode(value, true)? {
        return Ok(Some(encoder.finish()));
    }
    if !is_decided(value)? {
        return Ok(None);
    }
    Walker::new(value.py(), true).walk(value).map(Some)
}

fn is_decided(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = value.py();
    if (hooks::any() && hooks::apply_to(value)?) || own_digest(value)?.is_some() {
        return Ok(false);
    }
    let class = value.get_type();
    let is = |known: &'static Imported| -> PyResult<bool> {
        Ok(known.if_loaded(py)?.is_some_and(|known| class.is(known)))
    };
    if value.is_exact_instance_of::<PyDateTime>() || value.is_exact_instance_of::<PyTime>() {
        return Ok(value.getattr(intern!(py, "tzinfo"))?.is_none());
    }
    Ok(is_plain_array(value)?
        || value.is_exact_instance_of::<PyDate>()
        || value.is_exact_instance_of::<PyDelta>()
        || value.is_exact_instance_of::<PyRange>()
        || is(&DECIMAL)?
        || is(&FRACTION)?)
}

/// The key of a result that was serialised to these bytes, which may be in parts.
pub fn serialised(py: Python<'_>, parts: &[&[u8]]) -> Hash {
    let mut encoder = Encoder::new(Tag::Serialised);
    encoder.length(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        crate::py::digest::hash_bulk(py, &mut encoder, part);
    }
    encoder.finish()
}

/// As `decided`, for Python.
#[pyfunction]
pub fn decided_digest<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let hash = decided(value)?;
    hash.map(|hash| to_digest(value.py(), &hash)).transpose()
}

/// As `serialised`, for Python.
#[pyfunction]
pub fn serialised_digest<'py>(bytes: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
    let py = bytes.py();
    to_digest(py, &serialised(py, &[bytes.as_bytes()]))
}

/// A key that no other result has.
pub fn unique() -> PyResult<Hash> {
    let mut random = [0; 32];
    ring::rand::SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| PyOSError::new_err("the system gives no random numbers"))?;
    let mut encoder = Encoder::new(Tag::Unique);
    encoder.raw(&random);
    Ok(encoder.finish())
}

/// Whether `value` is one of our own objects, which digest as what they stand for: call records,
/// stored values that were split. So do functions, as those they wrap.
pub fn stands_for_another(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyFunction>() || SPLIT.is_instance(value)? {
        return Ok(true);
    }
    let module = value
        .get_type()
        .getattr(intern!(value.py(), "__module__"))?;
    let ours = |module: &Bound<'_, PyString>| module.to_string_lossy() == "fleche.call";
    Ok(module.cast::<PyString>().is_ok_and(ours))
}
