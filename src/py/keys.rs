//! Short forms of keys, for any storage whose keys are strings.

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::engine::digest::Hash;
use crate::engine::prefix::{self, Expansion};
use crate::py::digest::hash_of_text;
use crate::py::names::{AMBIGUOUS_DIGEST, DIGEST};

/// The key among `candidates` that starts with `key`, as a `Digest`.
#[pyfunction]
pub fn resolve_prefix<'py>(
    key: &Bound<'py, PyString>,
    candidates: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = key.py();
    let candidates = strings(candidates)?;
    let candidates = texts(&candidates)?;
    match prefix::expand(text(key)?, candidates.into_iter()) {
        Expansion::One(full) => DIGEST.get(py)?.call1((full,)),
        Expansion::Missing => Err(missing(key)),
        Expansion::Several(ambiguity) => Err(ambiguous(py, &ambiguity.message(text(key)?))),
    }
}

/// The shortest unambiguous prefix of each of `keys` among `every` key, as `Digest`s. A prefix
/// stands for the key that it expands to.
#[pyfunction]
pub fn shrink_keys<'py>(
    keys: Vec<Bound<'py, PyString>>,
    every: &Bound<'py, PyAny>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let every = strings(every)?;
    let mut sorted = texts(&every)?;
    sorted.sort_unstable();
    let shrink_one = |key: &Bound<'py, PyString>| {
        let py = key.py();
        let given = text(key)?;
        let short = if let Some(short) = prefix::shrink(given, &sorted) {
            Some(short)
        } else {
            match prefix::expand(given, sorted.iter().copied()) {
                Expansion::One(full) => prefix::shrink(full, &sorted),
                Expansion::Missing => None,
                Expansion::Several(found) => return Err(ambiguous(py, &found.message(given))),
            }
        };
        DIGEST.get(py)?.call1((short.ok_or_else(|| missing(key))?,))
    };
    keys.iter().map(shrink_one).collect()
}

/// The shortest unambiguous prefix of each of `keys` among `every` key, as `Digest`s; `None` for
/// one that is not there.
#[pyfunction]
pub fn shorten_keys<'py>(
    keys: Vec<Bound<'py, PyString>>,
    every: &Bound<'py, PyAny>,
) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
    let every = strings(every)?;
    let mut sorted = texts(&every)?;
    sorted.sort_unstable();
    let shorten = |key: &Bound<'py, PyString>| {
        let short = prefix::shrink(text(key)?, &sorted);
        short
            .map(|short| DIGEST.get(key.py())?.call1((short,)))
            .transpose()
    };
    keys.iter().map(shorten).collect()
}

/// The same among digests.
pub fn shorten_digests<'py>(
    py: Python<'py>,
    keys: &[Bound<'py, PyString>],
    every: impl FnOnce() -> Result<Vec<Hash>, PyErr> + Send,
) -> PyResult<Vec<Option<Bound<'py, PyAny>>>> {
    let hashes: Vec<_> = keys.iter().map(hash_of_text).collect();
    let lengths = py.detach(|| -> PyResult<_> {
        let mut every = every()?;
        every.sort_unstable();
        every.dedup();
        Ok(prefix::lengths(&hashes, &every))
    })?;
    let shorten = |(key, length): (&Bound<'py, PyString>, Option<usize>)| {
        let short = length.map(|length| text(key).map(|text| &text[..length]));
        short
            .map(|short| DIGEST.get(py)?.call1((short?,)))
            .transpose()
    };
    keys.iter().zip(lengths).map(shorten).collect()
}

fn strings<'py>(keys: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyString>>> {
    let cast = |key: PyResult<Bound<'py, PyAny>>| Ok(key?.cast_into::<PyString>()?);
    keys.try_iter()?.map(cast).collect()
}

fn texts<'a>(keys: &'a [Bound<'_, PyString>]) -> PyResult<Vec<&'a str>> {
    keys.iter().map(text).collect()
}

fn text<'a>(key: &'a Bound<'_, PyString>) -> PyResult<&'a str> {
    key.to_str()
}

fn missing(key: &Bound<'_, PyString>) -> PyErr {
    PyKeyError::new_err((key.clone().unbind(),))
}

fn ambiguous(py: Python<'_>, message: &str) -> PyErr {
    match AMBIGUOUS_DIGEST
        .get(py)
        .and_then(|class| class.call1((message,)))
    {
        Ok(error) => PyErr::from_value(error),
        Err(error) => error,
    }
}
