//! What is left of a large value once its children are stored by themselves: classes of Python's.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::py::digest::is_digest;
use crate::py::names::Imported;
use crate::py::once::intern;

pub static ITERABLE: Imported = Imported::new("fleche.storage.destructuring", "DigestedIterable");
pub static DICT: Imported = Imported::new("fleche.storage.destructuring", "DigestedDict");
pub static DATACLASS: Imported = Imported::new("fleche.storage.destructuring", "DigestedDataclass");
pub static ATTRS: Imported = Imported::new("fleche.storage.destructuring", "DigestedAttrs");

/// Whether a stored value is a split list, tuple or dict of which nothing but digests is left.
pub fn holds_digests_only(stored: &Bound<'_, PyAny>) -> PyResult<bool> {
    let py = stored.py();
    let class = stored.get_type();
    let all = |held: &mut dyn Iterator<Item = Bound<'_, PyAny>>| -> PyResult<bool> {
        for child in held {
            if !is_digest(&child)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    if class.is(ITERABLE.get(py)?) {
        let items = stored.getattr(intern!(py, "items"))?;
        return match (items.cast_exact::<PyList>(), items.cast_exact::<PyTuple>()) {
            (Ok(list), _) => all(&mut list.iter()),
            (_, Ok(tuple)) => all(&mut tuple.iter()),
            _ => Ok(false),
        };
    }
    if class.is(DICT.get(py)?) {
        let items = stored.getattr(intern!(py, "items"))?;
        return match items.cast_exact::<PyDict>() {
            Ok(dict) => all(&mut dict.iter().flat_map(|(key, item)| [key, item])),
            Err(_) => Ok(false),
        };
    }
    Ok(false)
}
