//! Which digest scheme is in force, and the entry to each scheme's walk.
//!
//! `FLECHE_DIGEST` decides, or else `[default] digest` of the configuration, or else it is
//! `exact`. Both are read once, when a digest is first needed.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::sha256::{Outcome, Walked};
use super::{exact, hash_of_text, indigestible_because, is_digest, sha256, to_digest};
use crate::engine::digest::Hash;
pub use crate::engine::schemes::Scheme;
use crate::engine::schemes::Schemes;
use crate::py::names::{INDIGESTIBLE, Imported};

static CONFIGURED: Imported = Imported::new("fleche.digest", "_configured_scheme");
static REFRESH: Imported = Imported::new("fleche.digest.hooks", "refresh_entry_points");

/// The scheme of this name, which stands in `source`.
pub fn scheme_named(name: &str, source: &str) -> PyResult<Scheme> {
    Scheme::of_name(name).ok_or_else(|| {
        let valid = Scheme::ALL.map(|scheme| format!("{:?}", scheme.name()));
        PyValueError::new_err(format!(
            "unknown digest scheme {name:?} in {source}: choose {}",
            valid.join(" or ")
        ))
    })
}

fn code(scheme: Scheme) -> u8 {
    Schemes::of(scheme).bits()
}

/// The code of the scheme in force; 0 while nobody asked.
static ACTIVE: AtomicU8 = AtomicU8::new(0);

thread_local! {
    /// The code of the scheme in which this thread walks a value, if that is not the one in force.
    static WALKED_IN: Cell<u8> = const { Cell::new(0) };
}

/// While it lives, this thread digests in one scheme, whichever is in force: what hooks and
/// `__digest__` digest in turn must be of the scheme of the whole.
struct Within(u8);

impl Within {
    fn enter(scheme: Scheme) -> Self {
        Self(WALKED_IN.replace(code(scheme)))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        WALKED_IN.set(self.0);
    }
}

/// The scheme in force.
pub fn active_scheme(py: Python<'_>) -> PyResult<Scheme> {
    let active = match WALKED_IN.get() {
        0 => ACTIVE.load(Ordering::Relaxed),
        code => code,
    };
    if let Some(scheme) = Scheme::ALL.into_iter().find(|one| code(*one) == active) {
        return Ok(scheme);
    }
    let scheme = configured(py)?;
    ACTIVE.store(code(scheme), Ordering::Relaxed);
    Ok(scheme)
}

/// What the environment or the configuration files say.
fn configured(py: Python<'_>) -> PyResult<Scheme> {
    let (name, source): (String, String) = CONFIGURED.get(py)?.call0()?.extract()?;
    scheme_named(&name, &source)
}

/// The name of the scheme in force.
#[pyfunction]
#[pyo3(name = "scheme")]
pub fn scheme_in_force(py: Python<'_>) -> PyResult<&'static str> {
    active_scheme(py).map(Scheme::name)
}

/// Puts a scheme in force; `None`: the configured one, read again when next needed.
#[pyfunction]
#[pyo3(signature = (name))]
pub fn set_scheme(name: Option<&str>) -> PyResult<()> {
    let code = match name {
        Some(name) => scheme_named(name, "the call of set_scheme").map(code)?,
        None => 0,
    };
    ACTIVE.store(code, Ordering::Relaxed);
    Ok(())
}

/// The digest of a value's content in a scheme; `typed` matters to `exact` only.
pub fn digest_with(scheme: Scheme, value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Hash> {
    match outcome_with(scheme, value, typed)? {
        Outcome::Hash(hash) => Ok(hash),
        Outcome::Text(text) => Err(indigestible_because(
            value.py(),
            &format!("{text:?} is not a whole digest"),
        )),
    }
}

/// The same; in scheme `sha256` a hook or `__digest__` may say any text instead.
pub fn outcome_with(scheme: Scheme, value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Outcome> {
    outcome(scheme, value, typed, exact::digest)
}

/// The digest of an argument of a call, which in scheme `exact` may be no generator of random
/// numbers, and hold none.
pub fn argument_with(scheme: Scheme, value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Outcome> {
    outcome(scheme, value, typed, exact::argument)
}

/// A walk of scheme `exact`.
type ExactWalk = fn(&Bound<'_, PyAny>, bool) -> PyResult<Hash>;

fn outcome(
    scheme: Scheme,
    value: &Bound<'_, PyAny>,
    typed: bool,
    exact_walk: ExactWalk,
) -> PyResult<Outcome> {
    let walk = || match scheme {
        Scheme::Exact => Walked {
            outcome: exact_outcome(value, typed, exact_walk),
            repeatable: true,
        },
        Scheme::Sha256 => sha256::digest(value),
    };
    let py = value.py();
    let _within = if active_scheme(py)? == scheme {
        None
    } else {
        Some(Within::enter(scheme))
    };
    let Walked {
        outcome,
        repeatable,
    } = walk();
    match outcome {
        Err(error) if is_indigestible(py, &error) => {
            if refreshed(py)? && repeatable {
                walk().outcome
            } else {
                Err(error)
            }
        }
        done => done,
    }
}

fn exact_outcome(value: &Bound<'_, PyAny>, typed: bool, walk: ExactWalk) -> PyResult<Outcome> {
    if is_digest(value)? {
        return Outcome::of_text(value.cast()?);
    }
    walk(value, typed).map(Outcome::Hash)
}

fn is_indigestible(py: Python<'_>, error: &PyErr) -> bool {
    INDIGESTIBLE
        .get(py)
        .is_ok_and(|class| error.matches(py, class).unwrap_or(false))
}

/// Loads the entry points again; whether that brought other hooks, with which to try once more.
pub fn refreshed(py: Python<'_>) -> PyResult<bool> {
    REFRESH.get(py)?.call0()?.is_truthy()
}

/// The digest of a value's content, as a `Digest`.
#[pyfunction(name = "digest")]
#[pyo3(signature = (value, *, typed = false, scheme = None))]
pub fn digest_of<'py>(
    value: &Bound<'py, PyAny>,
    typed: bool,
    scheme: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = value.py();
    let scheme = match scheme {
        Some(name) => scheme_named(name, "the argument `scheme`")?,
        None => active_scheme(py)?,
    };
    outcome_with(scheme, value, typed)?.to_digest(py)
}

/// The key of a result in scheme `sha256`, and whether that is its digest, which may be another
/// text. A `Digest` is a value, not the name of one, and must not take that one's place.
pub fn content_in_sha256(value: &Bound<'_, PyAny>) -> PyResult<(Hash, bool)> {
    if is_digest(value)? {
        // As the text that it is, by the rule for subclasses of `str`.
        let text = value.cast::<PyString>()?.to_string_lossy();
        return Ok((sha256_of(&[b"Digest", text.as_bytes()]), true));
    }
    let digest = outcome_with(Scheme::Sha256, value, true)?;
    Ok((digest.storage_key(), matches!(digest, Outcome::Hash(_))))
}

/// The key under which a value is stored that has this digest, which is any text in scheme
/// `sha256`.
pub fn storage_key(digest: &Bound<'_, PyString>) -> PyResult<Hash> {
    Outcome::of_text(digest).map(|outcome| outcome.storage_key())
}

/// The key under which a value is stored that has this digest.
#[pyfunction]
#[pyo3(name = "storage_key")]
pub fn storage_key_of<'py>(digest: &Bound<'py, PyString>) -> PyResult<Bound<'py, PyAny>> {
    if hash_of_text(digest).is_some() && is_digest(digest)? {
        return Ok(digest.clone().into_any());
    }
    to_digest(digest.py(), &storage_key(digest)?)
}

/// The digest of a class by its name, whatever hooks and metaclasses say.
#[pyfunction]
#[pyo3(signature = (class, /))]
pub fn digest_class<'py>(class: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = class.py();
    let hash = match active_scheme(py)? {
        Scheme::Exact => exact::digest_class(class.cast()?)?,
        Scheme::Sha256 => sha256::digest_class(class)?,
    };
    to_digest(py, &hash)
}

/// SHA-256 of these parts in a row.
pub fn sha256_of(parts: &[&[u8]]) -> Hash {
    crate::engine::digest::sha256::of(parts)
}
