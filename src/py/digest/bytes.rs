//! Text and integers of Python as bytes.

use std::borrow::Cow;

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::engine::digest::number;

/// Text as UTF-8. A lone surrogate, which UTF-8 has no bytes for, takes the three bytes that the
/// pattern of UTF-8 would give it; no valid text has those.
pub fn utf8<'a>(text: &'a Bound<'_, PyString>) -> PyResult<Cow<'a, [u8]>> {
    if let Ok(valid) = text.to_str() {
        return Ok(Cow::Borrowed(valid.as_bytes()));
    }
    let bytes = text.call_method1("encode", ("utf-8", "surrogatepass"))?;
    Ok(Cow::Owned(bytes.extract()?))
}

/// The canonical bytes of any Python integer: little-endian two's complement, with room for one
/// bit more than it needs.
pub fn canonical_bytes(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let py = value.py();
    let bits: u64 = value.call_method0(intern!(py, "bit_length"))?.extract()?;
    let length = number::integer_length(bits);
    let arguments = [("signed", true)];
    let kwargs = pyo3::types::IntoPyDict::into_py_dict(arguments, py)?;
    value
        .call_method(intern!(py, "to_bytes"), (length, "little"), Some(&kwargs))?
        .extract()
}
