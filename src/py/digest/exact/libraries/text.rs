//! Columns of text.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::buffer::Objects;

use crate::engine::digest::Hash;
use crate::engine::digest::columns::Texts;
use crate::py::digest::exact::leaf;
use crate::py::names::Imported;

static CHUNKED: Imported = Imported::new("pyarrow", "ChunkedArray");

/// The Arrow data inside of a pandas array, if that is what holds it.
pub fn arrow_of<'py>(array: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = array.py();
    // `_data` before pandas 2.1.
    for name in [intern!(py, "_pa_array"), intern!(py, "_data")] {
        if let Some(data) = array.getattr_opt(name)?
            && CHUNKED.is_instance(&data)?
        {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// The digest of a column of strings; whatever is none counts as missing.
pub fn of_objects(values: Objects<'_>) -> PyResult<Hash> {
    let mut texts = Texts::new();
    for value in values {
        match value?.cast::<PyString>() {
            Ok(text) => texts.push(&leaf::utf8(text)?),
            Err(_) => texts.push_missing(1),
        }
    }
    Ok(texts.finish())
}
