//! Calls under the keys of an older scheme: a store that the reference filled keeps hitting, but
//! only where the arguments show that it is the same call.

use crate::py::once::intern;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

use crate::engine::digest::Hash;
use crate::py::call::{CallIdentity, lookup_key};
use crate::py::digest::sha256::{is_unambiguous, is_unambiguous_function};
use crate::py::digest::{self, Scheme, hash_of_text, is_digest, is_indigestible, to_digest};
use crate::py::errors;

/// The scheme that came before ours.
pub const OLDER: Scheme = Scheme::Sha256;

/// What the older scheme makes of a function whose code counts.
pub struct OlderFunction {
    pub code_digest: Py<PyAny>,
    /// Whether no other function has this digest.
    sure: bool,
}

impl OlderFunction {
    /// `None` if the older scheme has no digest for it.
    pub fn of(function: &Bound<'_, PyAny>, code_counts: bool) -> PyResult<Option<Self>> {
        let py = function.py();
        if !code_counts {
            let (code_digest, sure) = (py.None(), true);
            return Ok(Some(Self { code_digest, sure }));
        }
        let code_digest = match digest::digest_with(OLDER, function, false) {
            Ok(hash) => to_digest(py, &hash)?.unbind(),
            Err(error) if is_indigestible(py, &error) => return Ok(None),
            Err(error) => return Err(error),
        };
        // A constant that is unlike anything else says nothing either.
        let sure = match is_unambiguous_function(function) {
            Err(error) if errors::is_exception(py, &error) => false,
            answer => answer?,
        };
        Ok(Some(Self { code_digest, sure }))
    }
}

/// A call, and the key under which an older scheme would have filed it.
#[pyclass(frozen, module = "fleche._core")]
pub struct OlderCall {
    /// The key that it has today.
    #[pyo3(get)]
    key: Py<PyAny>,
    #[pyo3(get)]
    older_key: Py<PyAny>,
    /// Its arguments by name, and their digests of today.
    #[pyo3(get)]
    arguments: Py<PyDict>,
    #[pyo3(get)]
    digests: Py<PyDict>,
    #[pyo3(get)]
    code_digest: Py<PyAny>,
    #[pyo3(get)]
    typed: bool,
    name: Py<PyAny>,
    /// What it has in common with every call of the function, as the older record says it.
    shape: Hash,
    sure_of_code: bool,
}

impl OlderCall {
    /// `None` if the older scheme has no key for the call.
    pub fn new(
        identity: &CallIdentity<'_, '_>,
        function: &OlderFunction,
        key: &Hash,
        arguments: Bound<'_, PyDict>,
        digests: Bound<'_, PyDict>,
        typed: bool,
    ) -> PyResult<Option<Self>> {
        let py = arguments.py();
        let mut pairs = Vec::with_capacity(arguments.len());
        for (name, value) in arguments.iter() {
            let digest = match digest::outcome_with(OLDER, &value, false) {
                Ok(digest) => digest,
                Err(error) if is_indigestible(py, &error) => return Ok(None),
                Err(error) => return Err(error),
            };
            pairs.push((name.extract::<String>()?, digest));
        }
        let older = CallIdentity {
            name: identity.name,
            module: identity.module,
            version: identity.version,
            code_digest: function.code_digest.bind(py),
        };
        let older_key = lookup_key(py, OLDER, &older, &pairs)?;
        let names = pairs.into_iter().map(|(name, _)| name).collect();
        Ok(Some(Self {
            key: to_digest(py, key)?.unbind(),
            older_key: to_digest(py, &older_key)?.unbind(),
            code_digest: identity.code_digest.clone().unbind(),
            name: identity.name.clone().unbind(),
            shape: shape_of(&older, names)?,
            sure_of_code: function.sure,
            arguments: arguments.unbind(),
            digests: digests.unbind(),
            typed,
        }))
    }
}

/// What a record has to do with: the order of its arguments is not kept by all storages, and part of
/// the key anyway.
fn shape_of(identity: &CallIdentity<'_, '_>, mut names: Vec<String>) -> PyResult<Hash> {
    names.sort_unstable();
    identity.shape(names.iter().map(String::as_str))
}

#[pymethods]
impl OlderCall {
    /// Why a call that was found under the older key is not taken for this one; `None` if it is.
    fn refusal(&self, found: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
        let py = found.py();
        let recorded = found.getattr(intern!(py, "_arguments"))?;
        let recorded = recorded.cast::<PyDict>()?;
        let names = recorded.keys().extract::<Vec<String>>()?;
        let [name, module, version, code_digest] =
            ["name", "module", "version", "code_digest"].map(|field| found.getattr(field));
        let identity = CallIdentity {
            name: &name?,
            module: &module?,
            version: &version?,
            code_digest: &code_digest?,
        };
        if shape_of(&identity, names)? != self.shape {
            return Ok(Some("the record is of another function or version".into()));
        }
        if !self.sure_of_code {
            return Ok(Some(
                "its code may be another one: numbers in it have digests that others share".into(),
            ));
        }
        let held = found.getattr(intern!(py, "arguments"))?;
        for (name, value) in self.arguments.bind(py).iter() {
            let name = name.cast_into::<PyString>()?;
            let stored = held.get_item(&name)?;
            if is_digest(&stored)? {
                if !is_unambiguous(&value)? {
                    return Ok(Some(format!(
                        "the value of argument {name} is not stored, and others share its digest"
                    )));
                }
                continue;
            }
            if !self.is_same(&name, &stored)? {
                return Ok(Some(format!(
                    "argument {name} is stored with another value"
                )));
            }
        }
        Ok(None)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let name = self.name.bind(py).str()?;
        Ok(format!("OlderCall({name}, {})", self.older_key.bind(py)))
    }
}

impl OlderCall {
    /// Whether a stored argument is what was passed.
    fn is_same(&self, name: &Bound<'_, PyString>, stored: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = name.py();
        let passed = self.digests.bind(py).get_item(name)?;
        let passed = passed.and_then(|digest| hash_of_text(digest.cast::<PyString>().ok()?));
        let passed = passed.ok_or_else(|| PyValueError::new_err("an argument without digest"))?;
        match digest::digest_with(Scheme::Exact, stored, self.typed) {
            Ok(hash) => Ok(hash == passed),
            Err(error) if is_indigestible(py, &error) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
