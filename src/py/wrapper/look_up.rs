//! Look-ups: the walk of a hit; what is fresh, and what is filed under the key of an older scheme or
//! of a function that was moved.

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyException, PyOSError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::misses::{LOGGER, Missed};
use super::named_values::load_digest_arguments;
use super::{CachedFunction, Keyed, Looked, Unkeyed, active_cache};
use crate::py::caches::{self, Wanted};
use crate::py::digest::{self, to_digest};
use crate::py::errors;
use crate::py::files::{are_unchanged, loaded_by};
use crate::py::names::Imported;
use crate::py::older::{OLDER, OlderCall};
use crate::py::once::intern;
use crate::py::tally::Watch;

static OUTCOME: Imported = Imported::new("fleche.call.outcomes", "Outcome");

impl CachedFunction {
    /// Looks a call up in the active cache.
    pub(super) fn look<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Looked<'py>> {
        errors::check_memory()?;
        let watch = Watch::start();
        let taken = self.taken(args, kwargs)?;
        let (args, kwargs) = taken.as_ref().map_or((args, kwargs), |(a, k)| (a, k));
        let cache = match active_cache(py) {
            Ok(cache) => cache,
            // Its files are out of reach or damaged; a mistake in its configuration is raised.
            Err(error) if error.is_instance_of::<PyOSError>(py) => {
                let reason = (intern!(py, "cache"), py.None(), error.into_value(py));
                return uncached(args, kwargs, reason);
            }
            Err(error) => return Err(error),
        };
        let loaded = match load_digest_arguments(&cache, args, kwargs)? {
            Some((args, kwargs)) => self.taken(&args, &kwargs)?.or(Some((args, kwargs))),
            None => None,
        };
        let (args, kwargs) = loaded.as_ref().map_or((args, kwargs), |(a, k)| (a, k));
        let keyed = match self.keyed(py, args, kwargs) {
            Ok(keyed) => keyed,
            // Python raises the error that users know.
            Err(Unkeyed::Unbound) => return Ok(Looked::Unbound(args.clone(), kwargs.clone())),
            Err(Unkeyed::Failed(error)) => return Err(error),
            Err(Unkeyed::Indigestible(index, error)) => {
                let name = self.signature.get().name(py, index);
                let reason = (intern!(py, "indigestible"), name, error.value(py));
                return uncached(args, kwargs, reason);
            }
            Err(Unkeyed::Captured(error)) => {
                let reason = (intern!(py, "captured"), py.None(), error.value(py));
                return uncached(args, kwargs, reason);
            }
        };
        let missing = self.missing_required(py, &keyed.arguments, kwargs)?;
        if !missing.is_empty() {
            let reason = (intern!(py, "required"), missing, py.None());
            return uncached(args, kwargs, reason);
        }
        // A cache that fails to load misses; what is no `Exception` (an interrupt) passes.
        let identity = &keyed.identity;
        let wanted = Wanted {
            key: &keyed.key,
            identity: identity.of_call(py),
            names: &identity.names,
            hashes: &keyed.hashes,
        };
        let (found, loaded_files) = loaded_by(|| match &self.look_up {
            Some(look_up) => {
                self.load_fresh(look_up.bind(py), &cache, &keyed, &wanted, (args, kwargs))
            }
            None => match caches::load_result(&cache, &wanted) {
                Ok(None) => self.load_otherwise_filed(&cache, &keyed, &wanted),
                found => found,
            },
        });
        let found = match found {
            // Files that it stands for are gone.
            Ok(Some(_)) if !loaded_files.is_empty() && !are_unchanged(py, &loaded_files)? => {
                Ok(None)
            }
            found => found,
        };
        let failure = match found {
            Ok(Some(result)) => {
                self.note_hit(&cache, &keyed, &watch)?;
                return given(&keyed, result).map(Looked::Given);
            }
            Ok(None) => None,
            Err(error) if error.is_instance_of::<PyException>(py) => Some(error.into_value(py)),
            Err(error) => return Err(error),
        };
        let (arguments, digests) = self.by_name(py, &keyed)?;
        Ok(Looked::Missed(Box::new(Missed {
            key: to_digest(py, &keyed.key)?,
            with_files: keyed.with_files(&digests)?,
            identity: keyed.identity,
            cache,
            arguments,
            digests,
            args: args.clone(),
            kwargs: kwargs.clone(),
            failure,
        })))
    }

    /// As `load_result` and `load_older`, of what `look_up` finds fresh.
    pub(super) fn load_fresh<'py>(
        &self,
        look_up: &Bound<'py, PyAny>,
        cache: &Bound<'py, PyAny>,
        keyed: &Keyed<'py>,
        wanted: &Wanted<'_, 'py>,
        (args, kwargs): (&Bound<'py, PyTuple>, &Bound<'py, PyDict>),
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let key = to_digest(cache.py(), &keyed.key)?;
        let look = || -> PyResult<Option<Bound<'py, PyTuple>>> {
            let found = look_up.call1((cache, &key, args, kwargs))?;
            Ok(found.extract()?)
        };
        let found = match look()? {
            // What is filed under today's key from now on is looked at like any other.
            None if self.load_otherwise_filed(cache, keyed, wanted)?.is_some() => look()?,
            found => found,
        };
        // An empty one: it is there, and not fresh.
        found
            .filter(|found| !found.is_empty())
            .map(|found| found.get_item(0))
            .transpose()
    }

    /// The result of a call that is filed under another key than today's.
    pub(super) fn load_otherwise_filed<'py>(
        &self,
        cache: &Bound<'py, PyAny>,
        keyed: &Keyed<'py>,
        wanted: &Wanted<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = cache.py();
        let found = self.load_older(cache, keyed, wanted)?;
        let (None, Some(ask)) = (&found, &self.on_absent) else {
            return Ok(found);
        };
        let (values, digests) = self.by_name(py, keyed)?;
        let (key, code) = (
            to_digest(py, &keyed.key)?,
            keyed.identity.code_digest.bind(py),
        );
        let found = ask.bind(py).call1((cache, key, values, digests, code))?;
        Ok((!found.is_none()).then_some(found))
    }

    /// The result of a call that is filed under the key of an older scheme, if it is known to be the
    /// same call.
    fn load_older<'py>(
        &self,
        cache: &Bound<'py, PyAny>,
        keyed: &Keyed<'py>,
        wanted: &Wanted<'_, 'py>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = cache.py();
        if digest::active_scheme(py)? == OLDER || !caches::may_hold(cache, OLDER)? {
            return Ok(None);
        }
        let Some(call) = self.older_call(py, keyed)? else {
            return Ok(None);
        };
        let found = cache.call_method1(intern!(py, "_take_older"), (call,))?;
        match found.extract::<Option<(Bound<'py, PyAny>,)>>()? {
            Some((result,)) => Ok(Some(result)),
            // Somebody may have filed it anew between the two looks.
            None => caches::load_result(cache, wanted),
        }
    }

    pub(super) fn older_call<'py>(
        &self,
        py: Python<'py>,
        keyed: &Keyed<'py>,
    ) -> PyResult<Option<OlderCall>> {
        let identity = &keyed.identity;
        let Some(function) = identity.older(self.function.bind(py))? else {
            return Ok(None);
        };
        let (values, digests) = self.by_name(py, keyed)?;
        let (identity, key) = (identity.of_call(py), &keyed.key);
        OlderCall::new(&identity, function, key, values, digests, self.typed)
    }
}

/// What a hit gives.
fn given<'py>(keyed: &Keyed<'py>, result: Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = result.py();
    if LOGGER.listens(py)? {
        let name = keyed.identity.name.bind(py).clone();
        let key = to_digest(py, &keyed.key)?;
        LOGGER.debug(py, "Cache hit for %s with key %s", name, key)?;
    }
    if OUTCOME
        .if_loaded(py)?
        .is_some_and(|outcome| result.get_type().is(outcome))
    {
        result.call_method0(intern!(py, "give"))
    } else {
        Ok(result)
    }
}

fn uncached<'py, T: IntoPyObject<'py>>(
    args: &Bound<'py, PyTuple>,
    kwargs: &Bound<'py, PyDict>,
    reason: T,
) -> PyResult<Looked<'py>> {
    let reason = reason.into_bound_py_any(args.py())?;
    Ok(Looked::Uncached(args.clone(), kwargs.clone(), reason))
}
