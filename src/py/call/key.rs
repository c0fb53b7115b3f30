//! Lookup keys and the digests of records.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};

use crate::engine::digest::exact::{Encoder, Tag};
use crate::engine::digest::{Hash, Hex};
use crate::py::digest::{self, Outcome, Scheme, hash_of_text, indigestible_because, to_digest};

/// What of a call besides its arguments decides its key.
pub struct CallIdentity<'a, 'py> {
    pub name: &'a Bound<'py, PyAny>,
    pub module: &'a Bound<'py, PyAny>,
    pub version: &'a Bound<'py, PyAny>,
    pub code_digest: &'a Bound<'py, PyAny>,
}

impl<'py> CallIdentity<'_, 'py> {
    /// What every call of a function with these argument names has in common.
    pub fn shape<'a>(&self, names: impl ExactSizeIterator<Item = &'a str>) -> PyResult<Hash> {
        let mut encoder = Encoder::new(Tag::CallShape);
        for part in [self.name, self.module, self.version, self.code_digest] {
            encoder.child(&digest::digest_with(Scheme::Exact, part, false)?);
        }
        encoder.length(names.len());
        for name in names {
            encoder.text(name);
        }
        Ok(encoder.finish())
    }

    fn fields(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let fields = PyDict::new(py);
        fields.set_item(intern!(py, "name"), self.name)?;
        fields.set_item(intern!(py, "module"), self.module)?;
        fields.set_item(intern!(py, "version"), self.version)?;
        fields.set_item(intern!(py, "code_digest"), self.code_digest)?;
        Ok(fields)
    }
}

/// The key, in scheme `exact`, of the call of this shape with these arguments.
pub fn exact_key<'a>(shape: &Hash, arguments: impl Iterator<Item = &'a Hash>) -> Hash {
    let mut encoder = Encoder::new(Tag::LookupKey);
    encoder.child(shape);
    for hash in arguments {
        encoder.child(hash);
    }
    encoder.finish()
}

/// The key under which the record of a call is found.
///
/// In scheme `sha256` it is the digest of the record, a dataclass named `Call`, with its arguments
/// as a tuple of pairs and without metadata and result.
pub fn lookup_key(
    py: Python<'_>,
    scheme: Scheme,
    identity: &CallIdentity<'_, '_>,
    arguments: &[(String, Outcome)],
) -> PyResult<Hash> {
    match scheme {
        Scheme::Exact => {
            let shape = identity.shape(arguments.iter().map(|(name, _)| name.as_str()))?;
            // A record of scheme `sha256` may hold the text that a `__digest__` said.
            let hashes = arguments.iter().map(|(_, digest)| match digest {
                Outcome::Hash(hash) => *hash,
                Outcome::Text(text) => digest::exact::named_by(text.as_bytes()),
            });
            Ok(exact_key(&shape, hashes.collect::<Vec<_>>().iter()))
        }
        Scheme::Sha256 => {
            let pairs = arguments
                .iter()
                .map(|(name, digest)| Ok((PyString::new(py, name), digest.to_digest(py)?)))
                .collect::<PyResult<Vec<_>>>()?;
            let fields = identity.fields(py)?;
            fields.set_item(intern!(py, "arguments"), PyTuple::new(py, pairs)?)?;
            fields.set_item(intern!(py, "metadata"), py.None())?;
            fields.set_item(intern!(py, "result"), py.None())?;
            sha256_record(&fields)
        }
    }
}

fn sha256_record(fields: &Bound<'_, PyDict>) -> PyResult<Hash> {
    let content = digest::digest_with(Scheme::Sha256, fields.as_any(), false)?;
    Ok(digest::sha256_of(&[b"Call", Hex::of(&content).as_bytes()]))
}

/// The fields of a record that `lookup_key_of` and `record_digest` read from any kind of call.
struct Fields<'py> {
    name: Bound<'py, PyAny>,
    module: Bound<'py, PyAny>,
    version: Bound<'py, PyAny>,
    code_digest: Bound<'py, PyAny>,
}

impl<'py> Fields<'py> {
    fn of(call: &Bound<'py, PyAny>) -> PyResult<Self> {
        let py = call.py();
        Ok(Self {
            name: call.getattr(intern!(py, "name"))?,
            module: call.getattr(intern!(py, "module"))?,
            version: call.getattr(intern!(py, "version"))?,
            code_digest: call.getattr(intern!(py, "code_digest"))?,
        })
    }

    fn identity(&self) -> CallIdentity<'_, 'py> {
        CallIdentity {
            name: &self.name,
            module: &self.module,
            version: &self.version,
            code_digest: &self.code_digest,
        }
    }
}

fn digests_of(
    scheme: Scheme,
    arguments: &Bound<'_, PyDict>,
    typed: bool,
) -> PyResult<Vec<(String, Outcome)>> {
    let mut digests = Vec::with_capacity(arguments.len());
    for (name, value) in arguments.iter() {
        let name: String = name.extract()?;
        digests.push((name, digest::outcome_with(scheme, &value, typed)?));
    }
    Ok(digests)
}

/// The lookup key of a call with these fields; `arguments` maps names to values or digests.
#[pyfunction(name = "lookup_key")]
#[pyo3(signature = (call, arguments, typed = false, scheme = None))]
pub fn lookup_key_of<'py>(
    call: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyDict>,
    typed: bool,
    scheme: Option<&str>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = call.py();
    let scheme = match scheme {
        Some(name) => digest::scheme_named(name, "the argument `scheme`")?,
        None => digest::active_scheme(py)?,
    };
    let fields = Fields::of(call)?;
    let arguments = digests_of(scheme, arguments, typed)?;
    to_digest(py, &lookup_key(py, scheme, &fields.identity(), &arguments)?)
}

/// The digest of a record: of what decides its key, and of its metadata and result.
#[pyfunction]
pub fn record_digest<'py>(
    call: &Bound<'py, PyAny>,
    arguments: &Bound<'py, PyDict>,
    result: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let py = call.py();
    let scheme = digest::active_scheme(py)?;
    let fields = Fields::of(call)?;
    let metadata = call.getattr(intern!(py, "metadata"))?;
    let hash = match scheme {
        Scheme::Exact => {
            let arguments = digests_of(scheme, arguments, false)?;
            let mut encoder = Encoder::new(Tag::Call);
            encoder.child(&lookup_key(py, scheme, &fields.identity(), &arguments)?);
            encoder.child(&digest::digest_with(scheme, &metadata, false)?);
            match result.cast::<PyString>().ok().map(hash_of_text) {
                Some(Some(hash)) => encoder.byte(1).child(&hash),
                _ if result.is_none() => encoder.byte(0),
                _ => return Err(indigestible_because(py, "a record's result is no digest")),
            };
            encoder.finish()
        }
        Scheme::Sha256 => {
            let all = fields.identity().fields(py)?;
            all.set_item(intern!(py, "arguments"), arguments)?;
            all.set_item(intern!(py, "metadata"), metadata)?;
            all.set_item(intern!(py, "result"), result)?;
            sha256_record(&all)?
        }
    };
    to_digest(py, &hash)
}
