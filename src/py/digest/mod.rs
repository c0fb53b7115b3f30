//! Digests of Python values.
//!
//! [`exact`] and [`sha256`] each walk a value once; what they share is here: what a digest may be
//! ([`known_digest`]), hooks ([`hooks`]), and the error of a value that has none.

mod bytes;
pub mod composite;
pub mod exact;
mod functions;
mod hooks;
pub mod record;
mod scheme;
pub mod sha256;

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::engine::digest::exact::Encoder;
use crate::engine::digest::{Hash, Hex, parse_hex};
use crate::py::names::{DIGEST, INDIGESTIBLE};

pub use exact::definitions::same_definition;
pub use exact::{decided_digest, digest as exact_digest, serialised_digest};
pub use scheme::{
    Scheme, active_scheme, argument_with, content_in_sha256, digest_class, digest_of, digest_with,
    outcome_with, refreshed, scheme_in_force, scheme_named, set_scheme, sha256_of, storage_key,
    storage_key_of,
};

pub use sha256::Outcome;

pub use hooks::{add_hook, get_hooks, manual_hooks, set_entry_point_hooks, set_manual_hooks};

/// How deeply values may be nested in each other; no value that people pass comes near.
const DEEPEST: usize = 1000;

/// What a walk leaves of the thread's stack, for one more level and for the Python code that it
/// calls there.
const RESERVE: usize = 64 * 1024;

/// Fails where a walk must not go one level deeper: at a value that contains itself, or that is
/// nested more deeply than the stack of this thread allows.
pub fn check_depth(py: Python<'_>, depth: usize) -> PyResult<()> {
    if depth == DEEPEST {
        let reason = format!("contains itself, or is nested more than {DEEPEST} levels deep");
        return Err(indigestible_because(py, &reason));
    }
    if stacker::remaining_stack().is_some_and(|left| left < RESERVE) {
        let reason = format!("nested {depth} levels deep, too deeply for this thread's stack");
        return Err(indigestible_because(py, &reason));
    }
    Ok(())
}

/// `Indigestible(value)`, as the exception that Python catches.
pub fn indigestible(value: &Bound<'_, PyAny>) -> PyErr {
    let py = value.py();
    match INDIGESTIBLE.get(py).and_then(|class| class.call1((value,))) {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// `Indigestible` with a reason instead of the value.
pub fn indigestible_because(py: Python<'_>, reason: &str) -> PyErr {
    match INDIGESTIBLE
        .get(py)
        .and_then(|class| class.call1((reason,)))
    {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}

/// Turns an error of a user's code (a hook, `__digest__`, a property) into `Indigestible`, its
/// cause kept; what is no `Exception` (an interrupt, an exit) passes.
pub fn as_indigestible(value: &Bound<'_, PyAny>, error: PyErr) -> PyErr {
    let py = value.py();
    if !error.is_instance_of::<pyo3::exceptions::PyException>(py) || is_indigestible(py, &error) {
        return error;
    }
    let outer = indigestible(value);
    outer.set_cause(py, Some(error));
    outer
}

/// Whether this is `Indigestible`.
pub fn is_indigestible(py: Python<'_>, error: &PyErr) -> bool {
    INDIGESTIBLE
        .get(py)
        .is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}

/// Whether this is `Indigestible` because of a generator of random numbers.
pub fn is_of_random(py: Python<'_>, error: &PyErr) -> bool {
    let random = error.value(py).getattr_opt(intern!(py, "random"));
    random.is_ok_and(|random| random.is_some_and(|random| random.is_truthy().unwrap_or(false)))
}

/// Whether `value` is a `Digest`.
pub fn is_digest(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(value.get_type().is(DIGEST.get(value.py())?))
}

/// The hash that a digest's text shows.
pub fn hash_of_text(text: &Bound<'_, PyString>) -> Option<Hash> {
    parse_hex(text.to_str().ok()?.as_bytes())
}

/// A new `Digest`.
pub fn to_digest<'py>(py: Python<'py>, hash: &Hash) -> PyResult<Bound<'py, PyAny>> {
    DIGEST
        .get(py)?
        .call1((PyString::new(py, Hex::of(hash).as_str()),))
}

/// A value's own `__digest__`, bound to it; only what its type says counts, so that a class
/// that answers to every name has none.
pub fn own_digest<'py>(value: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let name = intern!(value.py(), "__digest__");
    match value.get_type().getattr_opt(name)? {
        Some(_) => value.getattr_opt(name),
        None => Ok(None),
    }
}

/// Whether a hook or a `__digest__` of its own decides the digest of `value`.
pub fn has_own_rule(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(hooks::any() || own_digest(value)?.is_some())
}

/// As `has_own_rule`, of this very value.
pub fn decides_itself(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(hooks::apply_to(value)? || own_digest(value)?.is_some())
}

/// Large buffers are hashed without the GIL; below this size giving it up costs more.
pub const WITHOUT_GIL: usize = 1 << 16;

/// Hashes bytes that nobody changes meanwhile, letting other threads run where that pays.
pub fn hash_bulk(py: Python<'_>, encoder: &mut Encoder, bytes: &[u8]) {
    if bytes.len() < WITHOUT_GIL {
        encoder.raw(bytes);
    } else {
        py.detach(|| encoder.bulk(bytes));
    }
}
