//! Decorated functions: the walk from a call to its cached result.

mod files;
mod identity;
mod look_up;
mod misses;
mod named_values;

use std::sync::Arc;

use crate::py::once::Once;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use smallvec::SmallVec;

use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::caches;
use crate::py::call::{Arguments, Signature, exact_key, lookup_key};
use crate::py::digest::{self, Outcome, Scheme, is_indigestible, to_digest};
use crate::py::errors;
use crate::py::files::asked;
use crate::py::names::Imported;
use crate::py::older::{OLDER, OlderCall};
use crate::py::tally::{Tallies, Tally, Watch};
use files::FileParameters;
use identity::{Identities, Identity};
use misses::{Missed, Misses};
use named_values::any_digest;

static ACTIVE_CACHE: Imported = Imported::new("fleche.state", "_CACHE");
static DEFAULT_CACHE: Imported = Imported::new("fleche.state", "get_cache");
static TELL_HIT: Imported = Imported::new("fleche.events", "tell_hit");

/// A function whose calls are cached.
///
/// `run` is the hit path; what is not a hit goes on in Python, in the callables given as `on_miss`
/// and `on_uncached` (`fleche.wrapper.misses`).
#[pyclass(frozen, module = "fleche._core")]
pub struct CachedFunction {
    function: Py<PyAny>,
    signature: Py<Signature>,
    /// Parameters that do not take part in keys and records.
    ignored: Vec<bool>,
    /// Names that have to be passed explicitly.
    required: Vec<Py<PyString>>,
    files: FileParameters,
    typed: bool,
    identities: Identities,
    on_miss: Py<PyAny>,
    on_uncached: Py<PyAny>,
    /// In the place of a plain look-up: loads what is fresh.
    look_up: Option<Py<PyAny>>,
    /// Asked at last: loads what was recorded before the function was moved.
    on_absent: Option<Py<PyAny>>,
    /// What a miss in a plain cache needs.
    misses: Misses,
    tallies: Tallies,
}

/// A call on its way to its key.
struct Keyed<'py> {
    identity: Arc<Identity>,
    arguments: Arguments<'py>,
    /// The digests of the arguments; of those in `texts`, the keys under which they are stored.
    hashes: SmallVec<[Hash; 8]>,
    /// Digests that are other texts, as hooks may say in scheme `sha256`, by position.
    texts: Vec<(usize, Outcome)>,
    /// Which arguments hold files, by position.
    filed: Vec<usize>,
    key: Hash,
}

/// Name, module, version and code digest.
type IdentityParts<'py> = (
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
    Bound<'py, PyAny>,
);

/// How a look-up ended.
enum Looked<'py> {
    Given(Bound<'py, PyAny>),
    /// The call does not fit the signature.
    Unbound(Bound<'py, PyTuple>, Bound<'py, PyDict>),
    /// It is not to be cached, for a reason.
    Uncached(Bound<'py, PyTuple>, Bound<'py, PyDict>, Bound<'py, PyAny>),
    Missed(Box<Missed<'py>>),
}

/// Why a call has no key.
enum Unkeyed {
    /// It does not fit the signature.
    Unbound,
    /// The argument for the parameter of this number has no digest.
    Indigestible(usize, PyErr),
    /// Something that the function captured has no digest.
    Captured(PyErr),
    Failed(PyErr),
}

impl From<PyErr> for Unkeyed {
    fn from(error: PyErr) -> Self {
        Self::Failed(error)
    }
}

#[pymethods]
impl CachedFunction {
    #[new]
    #[expect(
        clippy::too_many_arguments,
        reason = "called from one place, by keyword"
    )]
    #[pyo3(signature = (*, function, signature, ignored, required, files, typed, identify, hash_code, on_miss, on_uncached, in_python, metadata, pending, on_unusual, on_unsaved, on_raised, is_strict, look_up, on_absent))]
    fn new(
        py: Python<'_>,
        function: Py<PyAny>,
        signature: Py<Signature>,
        ignored: Vec<Bound<'_, PyString>>,
        required: Vec<Py<PyString>>,
        files: &Bound<'_, PyDict>,
        typed: bool,
        identify: Py<PyAny>,
        hash_code: &str,
        on_miss: Py<PyAny>,
        on_uncached: Py<PyAny>,
        in_python: bool,
        metadata: Py<PyTuple>,
        pending: Py<PyDict>,
        on_unusual: Py<PyAny>,
        on_unsaved: Py<PyAny>,
        on_raised: Py<PyAny>,
        is_strict: Py<PyAny>,
        look_up: Option<Py<PyAny>>,
        on_absent: Option<Py<PyAny>>,
    ) -> PyResult<Self> {
        let mut flags = vec![false; signature.get().len()];
        for name in &ignored {
            if let Some(index) = signature.get().position(py, name)? {
                flags[index] = true;
            }
        }
        Ok(Self {
            files: FileParameters::new(signature.get(), files)?,
            function,
            signature,
            ignored: flags,
            required,
            typed,
            identities: Identities::new(identify, hash_code)?,
            on_miss,
            on_uncached,
            look_up,
            on_absent,
            misses: Misses {
                in_python,
                metadata,
                pending,
                on_unusual,
                on_unsaved,
                on_raised,
                is_strict,
                strict: Once::new(),
            },
            tallies: Tallies::default(),
        })
    }

    /// The result of a call: from the active cache, or computed.
    fn run<'py>(
        slf: &Bound<'py, Self>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let this = slf.get();
        // What a look-up takes of the stack is free again when the function runs, and may call
        // itself.
        match this.look(py, args, kwargs)? {
            Looked::Given(result) => Ok(result),
            Looked::Unbound(args, kwargs) => this.function.bind(py).call(&args, Some(&kwargs)),
            Looked::Uncached(args, kwargs, reason) => {
                this.on_uncached.bind(py).call1((args, kwargs, reason))
            }
            Looked::Missed(call) => this.compute(&call),
        }
    }

    /// The lookup key of a call; `TypeError` if it does not fit, `Indigestible` if it has none.
    /// `None` if a `Digest` is among the arguments, unless these are to be taken as they are.
    #[pyo3(signature = (args, kwargs, as_they_are = false))]
    fn key<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
        as_they_are: bool,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        errors::check_memory()?;
        if !as_they_are && any_digest(args, kwargs)? {
            return Ok(None);
        }
        let taken = self.taken(args, kwargs)?;
        let (args, kwargs) = taken.as_ref().map_or((args, kwargs), |(a, k)| (a, k));
        match self.keyed(py, args, kwargs) {
            Ok(keyed) => to_digest(py, &keyed.key).map(Some),
            Err(Unkeyed::Unbound) => Err(PyTypeError::new_err("the arguments do not fit")),
            Err(
                Unkeyed::Indigestible(_, error) | Unkeyed::Captured(error) | Unkeyed::Failed(error),
            ) => Err(error),
        }
    }

    /// Name, module, version and code digest, as they count now.
    fn identity<'py>(&self, py: Python<'py>) -> PyResult<IdentityParts<'py>> {
        let identity = self.identified(py)?;
        let part = |part: &Py<PyAny>| part.bind(py).clone();
        Ok((
            part(&identity.name),
            part(&identity.module),
            part(&identity.version),
            part(&identity.code_digest),
        ))
    }

    /// The call as an older scheme would have filed it; `None` if it is in force itself, has no key
    /// for the call, or the cache holds nothing of it.
    fn older<'py>(
        &self,
        cache: &Bound<'py, PyAny>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Option<OlderCall>> {
        let py = cache.py();
        if digest::active_scheme(py)? == OLDER || !caches::may_hold(cache, OLDER)? {
            return Ok(None);
        }
        let taken = self.taken(args, kwargs)?;
        let (args, kwargs) = taken.as_ref().map_or((args, kwargs), |(a, k)| (a, k));
        match self.keyed(py, args, kwargs) {
            Ok(keyed) => self.older_call(py, &keyed),
            Err(Unkeyed::Failed(error)) => Err(error),
            Err(_) => Ok(None),
        }
    }
}

impl CachedFunction {
    /// Runs a call that is not in the cache.
    fn compute<'py>(&self, call: &Missed<'py>) -> PyResult<Bound<'py, PyAny>> {
        if call.failure.is_none()
            && let Some(result) = self.run_plain(call)?
        {
            return Ok(result);
        }
        let py = call.key.py();
        let code = call.identity.code_digest.bind(py);
        self.on_miss.bind(py).call1((
            &call.cache,
            &call.key,
            &call.arguments,
            &call.digests,
            &call.args,
            &call.kwargs,
            &call.failure,
            code,
            &call.with_files,
        ))
    }

    fn keyed<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> Result<Keyed<'py>, Unkeyed> {
        let signature = self.signature.get();
        let bound = signature.bind(py, args, Some(kwargs), true, false)?;
        let arguments = bound.ok_or(Unkeyed::Unbound)?;
        let scheme = digest::active_scheme(py)?;
        let (mut hashes, mut texts, mut filed) = (SmallVec::new(), Vec::new(), Vec::new());
        for (index, slot) in arguments.slots.iter().enumerate() {
            let Some(value) = slot.as_ref().filter(|_| !self.ignored[index]) else {
                continue;
            };
            let before = asked();
            let outcome = digest::argument_with(scheme, value, self.typed);
            if asked() != before {
                filed.push(hashes.len());
            }
            match outcome {
                Ok(Outcome::Hash(hash)) => hashes.push(hash),
                Ok(text) => {
                    let key = text.storage_key();
                    texts.push((hashes.len(), text));
                    hashes.push(key);
                }
                Err(error) if !is_indigestible(py, &error) => return Err(Unkeyed::Failed(error)),
                Err(error) => {
                    let default = signature.default(py, index);
                    let left = default.is_some_and(|default| default.is(value));
                    match default_digest(scheme, left, &error) {
                        Some(hash) => hashes.push(hash),
                        None => return Err(Unkeyed::Indigestible(index, error)),
                    }
                }
            }
        }
        let identity = match self.identified(py) {
            Ok(identity) => identity,
            Err(error) if is_indigestible(py, &error) => return Err(Unkeyed::Captured(error)),
            Err(error) => return Err(Unkeyed::Failed(error)),
        };
        let key = match scheme {
            Scheme::Exact => exact_key(&identity.shape, hashes.iter()),
            Scheme::Sha256 => {
                let names = self.names(py).into_iter().map(|name| name.to_string());
                let mut pairs: Vec<_> = names
                    .zip(hashes.iter().copied().map(Outcome::Hash))
                    .collect();
                for (position, text) in &texts {
                    pairs[*position].1 = text.clone();
                }
                lookup_key(py, scheme, &identity.of_call(py), &pairs)?
            }
        };
        Ok(Keyed {
            identity,
            arguments,
            hashes,
            texts,
            filed,
            key,
        })
    }

    /// The names of the arguments that a record holds.
    fn names<'py>(&self, py: Python<'py>) -> Vec<Bound<'py, PyString>> {
        let signature = self.signature.get();
        let counted = (0..signature.len()).filter(|index| !self.ignored[*index]);
        counted
            .map(|index| signature.name(py, index).clone())
            .collect()
    }

    fn identified(&self, py: Python<'_>) -> PyResult<Arc<Identity>> {
        let names = || {
            let names = self.names(py);
            names.iter().map(ToString::to_string).collect()
        };
        self.identities.get(self.function.bind(py), names)
    }

    /// Arguments and their digests by name, in the order of the parameters.
    fn by_name<'py>(
        &self,
        py: Python<'py>,
        keyed: &Keyed<'py>,
    ) -> PyResult<(Bound<'py, PyDict>, Bound<'py, PyDict>)> {
        let (values, digests) = (PyDict::new(py), PyDict::new(py));
        let slots = keyed.arguments.slots.iter().enumerate();
        let counted = slots.filter(|(index, slot)| slot.is_some() && !self.ignored[*index]);
        for ((index, value), hash) in counted.zip(&keyed.hashes) {
            let name = self.signature.get().name(py, index);
            values.set_item(name, value)?;
            digests.set_item(name, to_digest(py, hash)?)?;
        }
        for (position, text) in &keyed.texts {
            digests.set_item(digests.keys().get_item(*position)?, text.to_digest(py)?)?;
        }
        Ok((values, digests))
    }

    /// Counts a hit, and tells those who listen.
    fn note_hit(&self, cache: &Bound<'_, PyAny>, keyed: &Keyed<'_>, watch: &Watch) -> PyResult<()> {
        let py = cache.py();
        let Identity { name, module, .. } = &*keyed.identity;
        self.tallies.count_last(cache, (name, module), Tally::hit)?;
        if let Some(seconds) = watch.seconds() {
            let key = to_digest(py, &keyed.key)?;
            TELL_HIT.get(py)?.call1((name, module, key, seconds))?;
        }
        Ok(())
    }

    /// Which required arguments the call leaves to their defaults.
    fn missing_required(
        &self,
        py: Python<'_>,
        arguments: &Arguments<'_>,
        kwargs: &Bound<'_, PyDict>,
    ) -> PyResult<Vec<Py<PyString>>> {
        let mut missing = Vec::new();
        for name in &self.required {
            let name = name.bind(py);
            let passed = match self.signature.get().position(py, name)? {
                Some(index) => arguments.passed[index],
                // Among the arguments that `**kwargs` collects.
                None => kwargs.contains(name)?,
            };
            if !passed {
                missing.push(name.clone().unbind());
            }
        }
        Ok(missing)
    }
}

/// What stands for an argument that was left at a default which has no digest (a sentinel, a
/// logger): that default. Whoever passes something else passes something that has one.
fn default_digest(scheme: Scheme, left: bool, error: &PyErr) -> Option<Hash> {
    // A generator of random numbers changes, whoever made it.
    let random = Python::attach(|py| digest::is_of_random(py, error));
    (scheme == Scheme::Exact && left && !random).then(|| Encoder::new(Tag::Default).finish())
}

/// The value of a context variable, if it has one: by its method it takes four times as long.
fn value_of<'py>(variable: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = variable.py();
    let mut value = std::ptr::null_mut();
    // SAFETY: anything but a context variable is refused with an error; the value comes as a
    // reference of our own, or as null.
    unsafe {
        if ffi::PyContextVar_Get(variable.as_ptr(), std::ptr::null_mut(), &raw mut value) < 0 {
            return Err(PyErr::fetch(py));
        }
        Ok(Bound::from_owned_ptr_or_opt(py, value))
    }
}

/// The cache of this thread or task.
pub fn active_cache(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    match value_of(ACTIVE_CACHE.get(py)?)?.filter(|cache| !cache.is_none()) {
        Some(cache) => Ok(cache),
        None => DEFAULT_CACHE.get(py)?.call0(),
    }
}
