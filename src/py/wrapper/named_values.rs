//! Arguments that are digests: each stands for the value that it names.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::py::digest::is_digest;
use crate::py::once::intern;

/// Whether a `Digest` is among the arguments themselves.
pub fn any_digest(args: &Bound<'_, PyTuple>, kwargs: &Bound<'_, PyDict>) -> PyResult<bool> {
    for value in args.iter() {
        if is_digest(&value)? {
            return Ok(true);
        }
    }
    for (_, value) in kwargs.iter() {
        if is_digest(&value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The arguments with every `Digest` among them replaced by the value that it names; `None` if
/// there is none.
pub fn load_digest_arguments<'py>(
    cache: &Bound<'py, PyAny>,
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
) -> PyResult<Option<(Bound<'py, PyTuple>, Bound<'py, PyDict>)>> {
    let py = cache.py();
    if !any_digest(args, kwargs)? {
        return Ok(None);
    }
    let load = |value: Bound<'py, PyAny>| -> PyResult<Bound<'py, PyAny>> {
        if !is_digest(&value)? {
            return Ok(value);
        }
        let loaded = cache.call_method1(intern!(py, "load_value"), (&value,));
        loaded.inspect_err(|error| {
            let note = format!(
                "The argument Digest({value:?}) names a value that the active cache does not give: \
                 pass the value itself, or activate the cache that holds it."
            );
            // Python 3.11 and up have notes; without one the error still says which digest.
            let _ = error.value(py).call_method1("add_note", (note,));
        })
    };
    let loaded = args.iter().map(load).collect::<PyResult<Vec<_>>>()?;
    let named = PyDict::new(py);
    for (name, value) in kwargs.iter() {
        named.set_item(name, load(value)?)?;
    }
    Ok(Some((PyTuple::new(py, loaded)?, named)))
}
