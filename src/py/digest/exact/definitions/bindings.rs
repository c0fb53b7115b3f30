//! What a name or a captured variable is bound to.

use pyo3::prelude::*;
use pyo3::types::{PyFunction, PyModule, PyType};

use super::dependencies::{Binding, content as content_of, is_constant};
use crate::engine::digest::Hash;
use crate::py::digest::exact::Walker;
use crate::py::digest::record::DecoratedDigest;
use crate::py::once::intern;

/// Whether a value is a function or class whose definition is all that counts of it.
fn is_definition<'py>(walker: &Walker<'py>, value: &Bound<'py, PyAny>) -> PyResult<bool> {
    // A hook may say of it what it wants.
    if walker.hooked {
        return Ok(false);
    }
    if !value.is_instance_of::<PyFunction>() {
        return Ok(value.is_instance_of::<PyType>());
    }
    match value.getattr_opt(intern!(walker.py, "__digest__"))? {
        None => Ok(true),
        Some(own) => match own.cast::<DecoratedDigest>() {
            Ok(own) => is_definition(walker, &own.get().parts(walker.py).0),
            Err(_) => Ok(false),
        },
    }
}

/// The digest of what a name or cell holds, and how to tell whether it still does.
pub fn bound_value<'py>(
    walker: &mut Walker<'py>,
    value: &Bound<'py, PyAny>,
) -> PyResult<(Hash, Binding)> {
    if value.is_instance_of::<PyModule>() || is_definition(walker, value)? {
        // Each depends on more, which it notes itself.
        let hash = walker.walk(value)?;
        return Ok((hash, Binding::This(value.clone().unbind())));
    }
    let noted = walker.noted;
    let hash = walker.walk(value)?;
    let bound = if is_constant(value) {
        Binding::This(value.clone().unbind())
    } else if walker.noted == noted {
        Binding::Content(hash)
    } else {
        match content_of(value, walker.typed, true)? {
            Some(frame) => Binding::Frame(frame),
            None => Binding::Undigested(None),
        }
    };
    Ok((hash, bound))
}
