//! Arguments that are files, by themselves or because their parameters say so.

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use super::{CachedFunction, Keyed};
use crate::py::call::Signature;
use crate::py::files;
use crate::py::once::intern;

/// What makes files of the arguments of a function, by the position of their parameters.
pub struct FileParameters {
    wraps: Vec<Option<Py<PyAny>>>,
    any: bool,
}

impl FileParameters {
    pub fn new(signature: &Signature, wraps: &Bound<'_, PyDict>) -> PyResult<Self> {
        let py = wraps.py();
        let wraps = (0..signature.len())
            .map(|index| {
                let wrap = wraps.get_item(signature.name(py, index))?;
                Ok(wrap.map(Bound::unbind))
            })
            .collect::<PyResult<Vec<_>>>()?;
        let any = wraps.iter().any(Option::is_some);
        Ok(Self { wraps, any })
    }

    /// The arguments as the body gets them; `None` if they are it already.
    pub fn taken<'py>(
        &self,
        signature: &Signature,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Option<(Bound<'py, PyTuple>, Bound<'py, PyDict>)>> {
        let py = args.py();
        if !self.any && !files::any(py) {
            return Ok(None);
        }
        let mut changed = false;
        let mut taken = Vec::with_capacity(args.len());
        for (index, value) in args.iter().enumerate() {
            let new = self.one(signature.of_position(index), &value)?;
            changed |= !new.is(&value);
            taken.push(new);
        }
        let named = PyDict::new(py);
        for (name, value) in kwargs.iter() {
            let new = self.one(signature.of_name(&name)?, &value)?;
            changed |= !new.is(&value);
            named.set_item(name, new)?;
        }
        Ok(if changed {
            Some((PyTuple::new(py, taken)?, named))
        } else {
            None
        })
    }

    fn one<'py>(
        &self,
        parameter: Option<usize>,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = value.py();
        if let Some(wrap) = parameter.and_then(|index| self.wraps[index].as_ref()) {
            wrap.bind(py).call1((value,))
        } else if files::is_file(value) {
            // As it is now, whatever was recorded of it.
            value.call_method0(intern!(py, "_now"))
        } else {
            Ok(value.clone())
        }
    }
}

impl CachedFunction {
    /// The arguments with files where files are wanted; `None` if there is nothing to be done.
    pub fn taken<'py>(
        &self,
        args: &Bound<'py, PyTuple>,
        kwargs: &Bound<'py, PyDict>,
    ) -> PyResult<Option<(Bound<'py, PyTuple>, Bound<'py, PyDict>)>> {
        self.files.taken(self.signature.get(), args, kwargs)
    }
}

impl<'py> Keyed<'py> {
    /// The names of the arguments that hold files.
    pub fn with_files(&self, digests: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyTuple>> {
        let names = digests.keys();
        let held = self.filed.iter().map(|index| names.get_item(*index));
        PyTuple::new(digests.py(), held.collect::<PyResult<Vec<_>>>()?)
    }
}
