//! Look-ups that take more than one key: of what is fresh, and of what is filed under the key of an
//! older scheme or of a function that was moved.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{CachedFunction, Keyed};
use crate::py::caches::{self, Wanted};
use crate::py::digest::{self, to_digest};
use crate::py::older::{OLDER, OlderCall};
use crate::py::once::intern;

impl CachedFunction {
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
