//! Saving a value: what the splitter made of it, children first.

use pyo3::prelude::*;
use pyo3::types::PyString;

use super::super::backend::Backend;
use super::super::entry::Entry;
use super::split::{Node, OPAQUE, Splitter};
use crate::engine::digest::Hash;
use crate::py::digest::{self, hash_of_text, is_digest, to_digest};

/// Saves a value and its split-off children; returns the digest it is stored under.
#[pyfunction]
pub fn save_value<'py>(
    storage: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
    key: Option<&Bound<'py, PyAny>>,
    remaining_depth: i64,
) -> PyResult<Bound<'py, PyAny>> {
    let py = storage.py();
    let key = match key {
        Some(key) => key.clone(),
        None => digest::digest_of(value, false, None)?,
    };
    let hash = key
        .cast::<PyString>()
        .ok()
        .and_then(hash_of_text)
        .ok_or_else(|| {
            pyo3::exceptions::PyValueError::new_err(format!(
                "cannot save a value under {key:?}: a key is a digest of 64 hex characters"
            ))
        })?;
    save(
        storage,
        &Backend::of(storage)?,
        value,
        &hash,
        remaining_depth,
    )?;
    if is_digest(&key)? {
        Ok(key)
    } else {
        to_digest(py, &hash)
    }
}

/// Saves a value under a key that is known: in pieces, unless the key is that of a result that is
/// stored whole.
pub fn save<'py>(
    storage: &Bound<'py, PyAny>,
    backend: &Backend<'py>,
    value: &Bound<'py, PyAny>,
    key: &Hash,
    remaining_depth: i64,
) -> PyResult<()> {
    let entries = entries_of(storage, backend, value, key, remaining_depth)?;
    backend.put_many(storage.py(), entries)
}

/// What `save` stores, children first.
pub fn entries_of<'py>(
    storage: &Bound<'py, PyAny>,
    backend: &Backend<'py>,
    value: &Bound<'py, PyAny>,
    key: &Hash,
    remaining_depth: i64,
) -> PyResult<Vec<Entry<'py>>> {
    let py = storage.py();
    let under_key = || -> PyResult<Splitter<'_, 'py>> {
        let mut splitter = Splitter::new(py, Some(storage), Some(backend), remaining_depth)?;
        splitter.keyed = true;
        Ok(splitter)
    };
    let mut splitter = under_key()?;
    let mut node = splitter.outermost(value)?;
    if splitter.is_whole && !is_key_of_result(value, key)? {
        splitter = under_key()?;
        splitter.watched = false;
        node = splitter.node(value)?;
    }
    splitter.children.push(Entry::new(*key, node.stored));
    Ok(splitter.children)
}

/// Saves a result under the digest of exactly its content, which the one walk over it gives.
pub fn save_result<'py>(
    storage: &Bound<'py, PyAny>,
    backend: &Backend<'py>,
    value: &Bound<'py, PyAny>,
    remaining_depth: i64,
) -> PyResult<Hash> {
    let (hash, entries) = result_entries(storage, backend, value, remaining_depth)?;
    backend.put_many(storage.py(), entries)?;
    Ok(hash)
}

/// The digest of a result, and what `save_result` stores, children first.
pub fn result_entries<'py>(
    storage: &Bound<'py, PyAny>,
    backend: &Backend<'py>,
    value: &Bound<'py, PyAny>,
    remaining_depth: i64,
) -> PyResult<(Hash, Vec<Entry<'py>>)> {
    let py = storage.py();
    let mut splitter = Splitter::new(py, Some(storage), Some(backend), remaining_depth)?;
    let Node {
        stored,
        hash,
        payload,
        ..
    } = splitter.outermost(value)?;
    splitter.children.push(Entry {
        key: hash,
        value: stored,
        payload,
    });
    Ok((hash, splitter.children))
}

/// The digest under which a result is stored, where nothing but `pickle` serialises it.
#[pyfunction]
pub fn result_digest<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    to_digest(value.py(), &result_hash(value, false)?.0)
}

/// That digest, and the one of before large buffers lay apart, if it was another one.
#[pyfunction]
pub fn result_digests<'py>(value: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let py = value.py();
    let (today, is_apart) = result_hash(value, false)?;
    let mut all = vec![to_digest(py, &today)?];
    if is_apart {
        all.push(to_digest(py, &result_hash(value, true)?.0)?);
    }
    Ok(all)
}

fn is_key_of_result(value: &Bound<'_, PyAny>, key: &Hash) -> PyResult<bool> {
    match result_hash(value, false) {
        Ok((today, _)) if today == *key => Ok(true),
        Ok((_, true)) => Ok(result_hash(value, true)?.0 == *key),
        Ok(_) => Ok(false),
        Err(error) if digest::is_indigestible(value.py(), &error) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The digest of a result, today or before large buffers lay apart, and whether they do.
fn result_hash(value: &Bound<'_, PyAny>, before: bool) -> PyResult<(Hash, bool)> {
    let mut splitter = Splitter::new(value.py(), None, None, i64::MAX)?;
    splitter.older = before;
    let hash = splitter.outermost(value)?.hash;
    Ok((hash, splitter.is_apart))
}

/// What a parent holds of a child of this value, and the child's depth; a child that is deep
/// enough is stored.
#[pyfunction]
pub fn intern_value<'py>(
    storage: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
    remaining_depth: i64,
) -> PyResult<(Bound<'py, PyAny>, f64)> {
    let py = storage.py();
    let backend = Backend::of(storage)?;
    let mut splitter = Splitter::new(py, Some(storage), Some(&backend), remaining_depth)?;
    let (mut deepest, mut split) = (None, false);
    let held = splitter.child(value.clone(), &mut deepest, &mut Vec::new(), &mut split)?;
    backend.put_many(py, splitter.children)?;
    #[expect(clippy::cast_precision_loss, reason = "depths are small")]
    let depth = deepest
        .filter(|depth| *depth != OPAQUE)
        .map_or(f64::INFINITY, |depth| depth as f64);
    Ok((held, depth))
}
