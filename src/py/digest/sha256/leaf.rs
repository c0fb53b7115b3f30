//! Values without children: numbers, text, bytes, `None`.

use crate::py::once::intern;
use pyo3::exceptions::{PyOverflowError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyFloat, PyInt, PyString};

use super::type_name;
use crate::engine::digest::Hash;
use crate::engine::digest::sha256::{Hasher, integer, of};
use crate::py::digest::WITHOUT_GIL;
use crate::py::digest::bytes::{canonical_bytes, utf8};
use crate::py::names::{DIGEST, Imported};

static NUMBER: Imported = Imported::new("numbers", "Number");
static COMPLEX: Imported = Imported::new("numbers", "Complex");
static IS_NAN: Imported = Imported::new("math", "isnan");
static IS_COMPLEX_NAN: Imported = Imported::new("cmath", "isnan");

/// The digest of a leaf of an exact built-in type.
pub fn digest(value: &Bound<'_, PyAny>) -> PyResult<Option<Hash>> {
    let hash = if let Ok(text) = value.cast_exact::<PyString>() {
        of(&[b"str", &utf8(text)?])
    } else if let Ok(number) = value.cast_exact::<PyInt>() {
        whole_number(b"int", number)?
    } else if let Ok(number) = value.cast_exact::<PyFloat>() {
        let number = number.value();
        if number.is_nan() {
            not_a_number(b"float", &[number, 0.0])
        } else {
            by_hash(value)?
        }
    } else if value.is_none() {
        of(&[b"NoneType", b"__None__"])
    } else if let Ok(flag) = value.cast_exact::<PyBool>() {
        integer(b"bool", i64::from(flag.is_true()))
    } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        content(b"bytes", bytes)
    } else if let Ok(number) = value.cast_exact::<PyComplex>() {
        let parts = [number.real(), number.imag()];
        if parts.iter().any(|part| part.is_nan()) {
            not_a_number(b"complex", &parts)
        } else {
            by_hash(value)?
        }
    } else {
        return Ok(None);
    };
    Ok(Some(hash))
}

/// The text of a `Digest`, which stands for itself.
pub fn digest_text<'a, 'py>(
    value: &'a Bound<'py, PyAny>,
) -> PyResult<Option<&'a Bound<'py, PyString>>> {
    match value.cast::<PyString>() {
        Ok(text) if value.is_instance(DIGEST.get(value.py())?)? => Ok(Some(text)),
        _ => Ok(None),
    }
}

/// The digest of a leaf of any other type.
pub fn digest_subclass(value: &Bound<'_, PyAny>) -> PyResult<Option<Hash>> {
    if let Ok(number) = value.cast::<PyInt>() {
        return whole_number(&type_name(value)?, number).map(Some);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return encoded(text).map(Some);
    }
    if value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyComplex>()
        || NUMBER.is_instance(value)?
    {
        return number(value).map(Some);
    }
    if let Ok(bytes) = value.cast::<PyBytes>() {
        return Ok(Some(content(&type_name(value)?, bytes)));
    }
    Ok(None)
}

/// Text of a class that may have its own `encode`.
fn encoded(text: &Bound<'_, PyString>) -> PyResult<Hash> {
    let name = type_name(text)?;
    match text.call_method0(intern!(text.py(), "encode")) {
        Ok(bytes) => Ok(of(&[&name, bytes.cast::<PyBytes>()?.as_bytes()])),
        Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(text.py()) => {
            Ok(of(&[&name, &utf8(text)?]))
        }
        Err(error) => Err(error),
    }
}

fn content(name: &[u8], bytes: &Bound<'_, PyBytes>) -> Hash {
    let content = bytes.as_bytes();
    if content.len() < WITHOUT_GIL {
        return of(&[name, content]);
    }
    // `bytes` never change, so that other threads may run meanwhile.
    bytes.py().detach(|| of(&[name, content]))
}

fn whole_number(name: &[u8], number: &Bound<'_, PyInt>) -> PyResult<Hash> {
    match number.extract::<i64>() {
        Ok(small) => Ok(integer(name, small)),
        Err(_) => Ok(of(&[name, &canonical_bytes(number)?])),
    }
}

/// Numbers other than integers: by Python's hash, which equal numbers share; only a NaN, whose
/// hash is that of the object, by its bits.
fn number(value: &Bound<'_, PyAny>) -> PyResult<Hash> {
    let py = value.py();
    let complex = value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyComplex>()
        || COMPLEX.is_instance(value)?;
    let test = if complex { &IS_COMPLEX_NAN } else { &IS_NAN };
    let nan = match test.get(py)?.call1((value,)) {
        Ok(answer) => answer.is_truthy()?,
        // Too large for a float, which no NaN is.
        Err(error) if error.is_instance_of::<PyOverflowError>(py) => false,
        Err(error) => return Err(error),
    };
    if !nan {
        return by_hash(value);
    }
    let name = type_name(value)?;
    if complex {
        let real = value.getattr(intern!(py, "real"))?.extract()?;
        let imag = value.getattr(intern!(py, "imag"))?.extract()?;
        Ok(not_a_number(&name, &[real, imag]))
    } else {
        Ok(not_a_number(&name, &[value.extract()?]))
    }
}

fn by_hash(value: &Bound<'_, PyAny>) -> PyResult<Hash> {
    let hash = i64::try_from(value.hash()?)?;
    Ok(integer(b"int", hash))
}

fn not_a_number(name: &[u8], parts: &[f64]) -> Hash {
    let mut hasher = Hasher::new(name);
    for part in parts {
        hasher.bytes(&part.to_le_bytes());
    }
    hasher.finish()
}
