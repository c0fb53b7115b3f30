//! Digests of containers whose children's digests are known: the same as those of the walks, as a
//! container digests the same whether it holds its children or their digests.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple, PyType};

use super::scheme::{Scheme, active_scheme, digest_with, sha256_of};
use super::to_digest;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::engine::digest::{Hash, Hex};

fn digests<'py>(py: Python<'py>, hashes: &[Hash]) -> PyResult<Vec<Bound<'py, PyAny>>> {
    hashes.iter().map(|hash| to_digest(py, hash)).collect()
}

/// A `list` or `tuple` with these elements.
pub fn sequence(py: Python<'_>, scheme: Scheme, list: bool, hashes: &[Hash]) -> PyResult<Hash> {
    match scheme {
        Scheme::Exact => {
            let mut encoder = Encoder::new(Tag::Sequence);
            encoder
                .text(if list { "list" } else { "tuple" })
                .length(hashes.len());
            encoder.raw(hashes.as_flattened());
            Ok(encoder.finish())
        }
        Scheme::Sha256 => {
            let digests = digests(py, hashes)?;
            if list {
                digest_with(scheme, PyList::new(py, digests)?.as_any(), false)
            } else {
                digest_with(scheme, PyTuple::new(py, digests)?.as_any(), false)
            }
        }
    }
}

/// A `dict` by identity of content: with these keys and values, alternating, in this order.
pub fn typed_dict(py: Python<'_>, scheme: Scheme, hashes: &[Hash]) -> PyResult<Hash> {
    match scheme {
        Scheme::Exact => {
            let mut encoder = Encoder::new(Tag::OrderedMapping);
            encoder.text("dict").length(hashes.len() / 2);
            encoder.raw(hashes.as_flattened());
            Ok(encoder.finish())
        }
        Scheme::Sha256 => {
            let items = PyDict::new(py);
            for pair in digests(py, hashes)?.chunks_exact(2) {
                items.set_item(&pair[0], &pair[1])?;
            }
            digest_with(scheme, items.as_any(), false)
        }
    }
}

/// A dataclass or attrs instance by identity of content: of this class, with these fields.
pub fn typed_record<'py>(
    scheme: Scheme,
    class: &Bound<'py, PyType>,
    names: &[Bound<'py, PyString>],
    hashes: &[Hash],
) -> PyResult<Hash> {
    let py = class.py();
    match scheme {
        Scheme::Exact => {
            let names = names.iter().map(|name| name.to_string_lossy().into_owned());
            let mut fields: Vec<(String, Hash)> = names.zip(hashes.iter().copied()).collect();
            fields.sort_unstable();
            let mut encoder = Encoder::new(Tag::TypedRecord);
            encoder
                .text(&super::exact::class_name(class)?)
                .length(fields.len());
            for (name, hash) in &fields {
                encoder.text(name).child(hash);
            }
            Ok(encoder.finish())
        }
        Scheme::Sha256 => {
            let fields = PyDict::new(py);
            for (name, hash) in names.iter().zip(hashes) {
                fields.set_item(name, to_digest(py, hash)?)?;
            }
            let content = digest_with(scheme, fields.as_any(), false)?;
            let name = class.name()?;
            Ok(sha256_of(&[
                name.to_string_lossy().as_bytes(),
                Hex::of(&content).as_bytes(),
            ]))
        }
    }
}

/// The digest of a record of class `cls` that holds these fields, or their digests.
#[pyfunction]
pub fn record_of_fields<'py>(
    cls: &Bound<'py, PyType>,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = cls.py();
    let scheme = active_scheme(py)?;
    let (mut names, mut hashes) = (Vec::new(), Vec::new());
    for (name, field) in fields.iter() {
        names.push(name.cast_into::<PyString>()?);
        hashes.push(digest_with(scheme, &field, true)?);
    }
    to_digest(py, &typed_record(scheme, cls, &names, &hashes)?)
}
