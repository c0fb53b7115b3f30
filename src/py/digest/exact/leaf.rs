//! Values without children, of exact built-in types.

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyFloat, PyInt, PyString};

use super::numbers;
use crate::engine::digest::exact::{BLOCK, Encoder, Tag};
use crate::engine::digest::number;
pub use crate::py::digest::bytes::utf8;

/// The pre-image of a leaf; `None` if `value` is none.
#[inline(never)]
pub fn encode(value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Option<Encoder>> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        let mut encoder = Encoder::new(Tag::Text);
        encoder.bytes(&utf8(text)?);
        return Ok(Some(encoder));
    }
    if let Ok(number) = value.cast_exact::<PyInt>() {
        return numbers::integer(number, typed).map(Some);
    }
    if let Ok(number) = value.cast_exact::<PyFloat>() {
        return Ok(Some(numbers::float(number.value(), typed)));
    }
    if value.is_none() {
        return Ok(Some(Encoder::new(Tag::None)));
    }
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        let mut encoder = Encoder::new(Tag::Bool);
        encoder.byte(u8::from(flag.is_true()));
        return Ok(Some(encoder));
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        let mut encoder = Encoder::new(Tag::Bytes);
        let bytes = bytes.as_bytes();
        encoder.length(bytes.len());
        // `bytes` never change, so that other threads may run meanwhile.
        super::super::hash_bulk(value.py(), &mut encoder, bytes);
        return Ok(Some(encoder));
    }
    if let Ok(number) = value.cast_exact::<PyComplex>() {
        return Ok(Some(numbers::complex(number.real(), number.imag(), typed)));
    }
    Ok(None)
}

/// Writes the pre-image of the commonest small leaves into a window's block; whether it did.
pub fn write_block(value: &Bound<'_, PyAny>, typed: bool, block: &mut [u8; BLOCK]) -> bool {
    if let Ok(text) = value.cast_exact::<PyString>() {
        let Ok(text) = text.to_str() else {
            return false;
        };
        let Ok(length @ 0..=62) = u8::try_from(text.len()) else {
            return false;
        };
        block[0] = Tag::Text as u8;
        block[1] = length;
        block[2..2 + text.len()].copy_from_slice(text.as_bytes());
        return true;
    }
    if let Ok(integer) = value.cast_exact::<PyInt>() {
        let Ok(integer) = integer.extract::<i64>() else {
            return false;
        };
        if typed {
            numbers::typed_integer_block(block, integer);
        } else {
            number::integer_block(block, integer);
        }
        return true;
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        let Some(encoded) = numbers::float(float.value(), typed).block() else {
            return false;
        };
        *block = encoded;
        return true;
    }
    if value.is_none() {
        block[0] = Tag::None as u8;
        return true;
    }
    if let Ok(flag) = value.cast_exact::<PyBool>() {
        block[0] = Tag::Bool as u8;
        block[1] = u8::from(flag.is_true());
        return true;
    }
    false
}
