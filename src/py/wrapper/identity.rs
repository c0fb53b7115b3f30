//! Which function it is whose calls are cached.
//!
//! A function that can be imported counts by name, module and version. One of a script, a notebook
//! or a prompt, one made by another function, and a lambda have no name that is theirs alone: they
//! count by what they do, too, as it is at the call.

use std::sync::{Arc, Mutex, PoisonError};

use crate::py::once::Once;
use crate::py::once::intern;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyFunction;

use super::misses::LOGGER;
use crate::engine::digest::Hash;
use crate::py::call::CallIdentity;
use crate::py::digest::exact::definitions::{Definition, Globals, of_function};
use crate::py::digest::exact::is_named_function;
use crate::py::digest::record::DecoratedDigest;
use crate::py::digest::{self, Scheme, to_digest};
use crate::py::older::OlderFunction;

/// When the code of a function counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HashCode {
    /// `None`: where the name is not the function's alone.
    Unnamed,
    /// `True`: its code and what it captured; where the name does not tell it, globals too.
    Always,
    /// `"deep"`: with the functions of the user's own that it reaches.
    Deep,
    /// `False`
    Never,
}

/// What decides the keys of a function's calls, besides their arguments.
pub struct Identity {
    pub name: Py<PyAny>,
    pub module: Py<PyAny>,
    pub version: Py<PyAny>,
    pub code_digest: Py<PyAny>,
    /// The names of the arguments that a record holds.
    pub names: Vec<String>,
    /// In scheme `exact`: the shape of its calls.
    pub shape: Hash,
    /// What the code digest was made of.
    definition: Option<Arc<Definition>>,
    scheme: Scheme,
    /// Whether a record without code digest, or with one of an older scheme, says enough.
    verifiable: bool,
    /// What an older scheme makes of the function; `None` if it has no digest for it.
    older: Once<Option<OlderFunction>>,
}

impl Identity {
    pub fn of_call<'a, 'py>(&'a self, py: Python<'py>) -> CallIdentity<'a, 'py> {
        CallIdentity {
            name: self.name.bind(py),
            module: self.module.bind(py),
            version: self.version.bind(py),
            code_digest: self.code_digest.bind(py),
        }
    }

    /// The function as an older scheme has it; `None` if its records say too little.
    pub fn older(&self, function: &Bound<'_, PyAny>) -> PyResult<Option<&OlderFunction>> {
        let py = function.py();
        if !self.verifiable {
            return Ok(None);
        }
        let older = self.older.get_or_try_init(py, || {
            OlderFunction::of(function, !self.code_digest.is_none(py))
        })?;
        Ok(older.as_ref())
    }
}

/// The function below decorated ones, which say so themselves.
fn undecorated<'py>(function: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = function.py();
    let mut found = function.clone();
    while let Some(own) = found.getattr_opt(intern!(py, "__digest__"))?
        && let Ok(own) = own.cast::<DecoratedDigest>()
    {
        found = own.get().parts(py).0;
    }
    Ok(found)
}

/// The identity of one function, made anew when what it depends on changes.
pub struct Identities {
    /// Gives name, module, version and, for scheme `sha256`, code digest.
    identify: Py<PyAny>,
    hash_code: HashCode,
    current: Mutex<Option<Arc<Identity>>>,
    /// Globals without a digest of which a warning told.
    told: Mutex<Vec<String>>,
}

impl Identities {
    pub fn new(identify: Py<PyAny>, hash_code: &str) -> PyResult<Self> {
        let hash_code = match hash_code {
            "unnamed" => HashCode::Unnamed,
            "always" => HashCode::Always,
            "deep" => HashCode::Deep,
            "never" => HashCode::Never,
            other => return Err(PyValueError::new_err(format!("hash_code: {other}"))),
        };
        Ok(Self {
            identify,
            hash_code,
            current: Mutex::new(None),
            told: Mutex::default(),
        })
    }

    /// The identity at this moment; `Indigestible` if something captured has no digest.
    pub fn get(
        &self,
        function: &Bound<'_, PyAny>,
        names: impl FnOnce() -> Vec<String>,
    ) -> PyResult<Arc<Identity>> {
        let py = function.py();
        let lock = || self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let current = lock().clone();
        if let Some(current) = current
            && current.scheme == digest::active_scheme(py)?
            && match &current.definition {
                None => true,
                Some(definition) => definition.holds(py)?,
            }
        {
            return Ok(current);
        }
        let identity = Arc::new(self.identity(function, names())?);
        let replaced = lock().replace(identity.clone());
        // After the lock: what ends here may run Python code.
        drop(replaced);
        Ok(identity)
    }

    fn identity(&self, function: &Bound<'_, PyAny>, names: Vec<String>) -> PyResult<Identity> {
        let py = function.py();
        let (name, module, version, mut code_digest): (Py<PyAny>, Py<PyAny>, Py<PyAny>, Py<PyAny>) =
            self.identify.bind(py).call0()?.extract()?;
        let mut definition = None;
        let mut verifiable = true;
        let scheme = digest::active_scheme(py)?;
        if scheme == Scheme::Exact {
            let has_name = is_named_function(function)?;
            let globals = match (self.hash_code, has_name) {
                (HashCode::Never, _) | (HashCode::Unnamed, true) => None,
                (HashCode::Always, true) => Some(Globals::Ignored),
                (HashCode::Unnamed | HashCode::Always, false) | (HashCode::Deep, _) => {
                    Some(Globals::Followed)
                }
            };
            // What has no code of its own counts by its name.
            if let Some(globals) = globals
                && let Ok(function) = undecorated(function)?.cast::<PyFunction>()
            {
                let read = of_function(function, globals)?;
                self.tell_of(py, &name, &read.undigested())?;
                code_digest = to_digest(py, &read.hash)?.unbind();
                // An older scheme knows nothing of globals.
                verifiable = self.hash_code == HashCode::Always
                    && (globals == Globals::Ignored
                        || of_function(function, Globals::Ignored)?.hash == read.hash);
                definition = Some(read);
            }
        }
        let mut identity = Identity {
            name,
            module,
            version,
            code_digest,
            names,
            shape: [0; 32],
            definition,
            scheme,
            verifiable,
            older: Once::new(),
        };
        let names = identity.names.iter().map(String::as_str);
        identity.shape = identity.of_call(py).shape(names)?;
        Ok(identity)
    }

    /// Says, once, which globals count by their names alone.
    fn tell_of(&self, py: Python<'_>, function: &Py<PyAny>, names: &[String]) -> PyResult<()> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let new: Vec<&String> = names.iter().filter(|name| !told.contains(name)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let shown = new
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>()
            .join(", ");
        told.extend(names.iter().cloned());
        drop(told);
        LOGGER.warning(
            py,
            "%s uses globals that have no digest: %s. They count by their names alone; pass them \
             as arguments, or change the version when they change",
            function.bind(py).clone(),
            shown,
        )
    }
}
