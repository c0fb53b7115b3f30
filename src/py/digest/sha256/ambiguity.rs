//! Which values no other value shares its `sha256` digest with.
//!
//! Pre-images of this scheme have no framing and numbers go by Python's `hash`, so that only of few
//! values the digest says which one it was. What is not known to be one of them is none.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyCode, PyDict, PyFrozenSet, PyFunction, PyInt, PyList, PySet, PyString,
    PyTuple,
};

use crate::py::digest::{check_depth, hooks, is_digest, own_digest, record};
use crate::py::names::Imported;

static ARRAY: Imported = Imported::new("numpy", "ndarray");

/// From here on an integer is no number's hash, and has its own bytes for itself.
const BEYOND_HASHES: u64 = (1 << 61) - 1;

/// Below this an integer is the hash of no number that people compute with, but for itself:
/// fractions hash to large integers, complex numbers near to multiples of 1,000,003.
const NO_OTHERS_HASH: u64 = 500_000;

/// Such integers that are another number's hash: that of `-1.0` and that of the infinities.
const OTHERS_HASHES: [i64; 3] = [-2, 314_159, -314_159];

/// Kinds of arrays whose bytes say what they hold: booleans, numbers, text, bytes, times.
const PLAIN_KINDS: &str = "biufcSUmM";

/// Whether no other value has the digest of this one.
#[pyfunction]
pub fn is_unambiguous(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    at_level(value, 0)
}

fn at_level(value: &Bound<'_, PyAny>, level: usize) -> PyResult<bool> {
    check_depth(value.py(), level)?;
    if is_digest(value)? || hooks::apply_to(value)? {
        return Ok(false);
    }
    if value.is_none() || value.is_exact_instance_of::<PyBool>() {
        return Ok(true);
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        return integer(number);
    }
    // numpy's `str_` and `bytes_` begin with the names of the built-in types.
    if let Ok(text) = value.cast_exact::<PyString>() {
        return Ok(!text.to_string_lossy().starts_with('_'));
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        return Ok(!bytes.as_bytes().starts_with(b"_"));
    }
    let py = value.py();
    if value.is_exact_instance_of::<PyList>()
        || value.is_exact_instance_of::<PyTuple>()
        || value.is_exact_instance_of::<PySet>()
        || value.is_exact_instance_of::<PyFrozenSet>()
    {
        return all(value.try_iter()?, level);
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        let items = dict.iter().flat_map(|(key, item)| [key, item]);
        return all(items.map(Ok), level);
    }
    if ARRAY
        .if_loaded(py)?
        .is_some_and(|class| value.get_type().is(class))
    {
        return array(value, level);
    }
    if own_digest(value)?.is_some() {
        return Ok(false);
    }
    match record::splittable_fields(value)? {
        Some(fields) => all(fields.names.iter().map(|name| value.getattr(name)), level),
        None => Ok(false),
    }
}

fn all<'py>(
    values: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    level: usize,
) -> PyResult<bool> {
    for value in values {
        if !at_level(&value?, level + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn integer(number: &Bound<'_, PyInt>) -> PyResult<bool> {
    let size = number.abs()?;
    if size.ge(BEYOND_HASHES)? {
        return Ok(true);
    }
    Ok(size.lt(NO_OTHERS_HASH)? && !OTHERS_HASHES.contains(&number.extract()?))
}

fn array(array: &Bound<'_, PyAny>, level: usize) -> PyResult<bool> {
    let py = array.py();
    let dtype = array.getattr(intern!(py, "dtype"))?;
    if let Ok(names) = dtype.getattr(intern!(py, "names"))?.cast::<PyTuple>() {
        let fields = names.iter().map(|name| array.get_item(name));
        return Ok(!names.is_empty() && all(fields, level)?);
    }
    let kind: String = dtype.getattr(intern!(py, "kind"))?.extract()?;
    if kind == "O" {
        let flat = array.call_method0(intern!(py, "ravel"))?;
        let elements = flat.call_method0(intern!(py, "tolist"))?;
        return all(elements.try_iter()?, level);
    }
    Ok(PLAIN_KINDS.contains(&kind))
}

/// Whether no other function has the digest of this one: of its code's constants, its defaults and
/// what it captured.
pub fn is_unambiguous_function(function: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = function.py();
    if !function.is_exact_instance_of::<PyFunction>() || hooks::apply_to(function)? {
        return Ok(false);
    }
    for held in [intern!(py, "__defaults__"), intern!(py, "__kwdefaults__")] {
        if !is_unambiguous(&function.getattr(held)?)? {
            return Ok(false);
        }
    }
    if let Ok(cells) = function
        .getattr(intern!(py, "__closure__"))?
        .cast::<PyTuple>()
    {
        for cell in cells.iter() {
            let content = cell.getattr(intern!(py, "cell_contents"))?;
            if !is_unambiguous(&content)? {
                return Ok(false);
            }
        }
    }
    code(&function.getattr(intern!(py, "__code__"))?, 0)
}

fn code(code_object: &Bound<'_, PyAny>, level: usize) -> PyResult<bool> {
    check_depth(code_object.py(), level)?;
    let constants = code_object.getattr(intern!(code_object.py(), "co_consts"))?;
    for constant in constants.try_iter()? {
        let constant = constant?;
        let sure = if constant.is_exact_instance_of::<PyCode>() {
            code(&constant, level + 1)?
        } else {
            is_unambiguous(&constant)?
        };
        if !sure {
            return Ok(false);
        }
    }
    Ok(true)
}
