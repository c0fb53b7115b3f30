//! Dates and times, classes, records and modules.

use crate::py::once::intern;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{PyDate, PyDelta, PyDict, PyModule, PyString, PyTime, PyType};

use super::containers::write_items;
use super::{Outcome, Walker, type_name};
use crate::engine::digest::Hash;
use crate::engine::digest::sha256::{Hasher, of};
use crate::py::digest::bytes::utf8;
use crate::py::digest::indigestible_because;
use crate::py::digest::record::fields_of;
use crate::py::names::Imported;

static TIMEZONE: Imported = Imported::new("datetime", "timezone");

impl<'py> Walker<'py> {
    pub(super) fn object(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        if let Some(hash) = self.time(value)? {
            return Ok(Some(hash));
        }
        if let Ok(class) = value.cast::<PyType>()
            && class
                .getattr(intern!(self.py, "__module__"))?
                .eq("builtins")?
        {
            return Self::class(class).map(Some);
        }
        if let Some(fields) = fields_of(value)? {
            return self.record(value, &fields.names).map(Some);
        }
        if value.is_instance_of::<PyModule>() {
            return self.module(value).map(Some);
        }
        Ok(None)
    }

    fn time(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let py = self.py;
        let mut hasher;
        if TIMEZONE.is_instance(value)? {
            let offset = value.call_method1(intern!(py, "utcoffset"), (py.None(),))?;
            hasher = Hasher::new(&type_name(value)?);
            hasher.outcome(&self.walk(&offset)?);
        } else if value.is_instance_of::<PyDelta>() {
            let seconds = value.call_method0(intern!(py, "total_seconds"))?;
            hasher = Hasher::new(&type_name(value)?);
            hasher.outcome(&self.walk(&seconds)?);
        } else if value.is_instance_of::<PyDate>() || value.is_instance_of::<PyTime>() {
            let text = value.call_method0(intern!(py, "isoformat"))?;
            hasher = Hasher::new(&type_name(value)?);
            hasher.bytes(&utf8(text.cast::<PyString>()?)?);
        } else {
            return Ok(None);
        }
        Ok(Some(hasher.finish()))
    }

    /// A dataclass or attrs instance: its fields, as the dictionary of them.
    fn record(
        &mut self,
        value: &Bound<'py, PyAny>,
        names: &[Bound<'py, PyString>],
    ) -> PyResult<Hash> {
        let mut items = Vec::with_capacity(names.len());
        for name in names {
            let field = value.getattr(name).map_err(|error| {
                if !error.is_instance_of::<PyAttributeError>(self.py) {
                    return error;
                }
                let class = value.get_type();
                let reason = format!("{class} without a value for its field {name}");
                indigestible_because(self.py, &reason)
            })?;
            let key = of(&[b"str", &utf8(name)?]);
            items.push((Outcome::Hash(key), self.walk(&field)?));
        }
        let mut dict = Hasher::new(b"dict");
        write_items(&mut dict, items);
        let mut hasher = Hasher::new(&type_name(value)?);
        hasher.child(&dict.finish());
        Ok(hasher.finish())
    }

    /// A module: what it exports.
    fn module(&mut self, module: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let py = self.py;
        let exported = match module.getattr_opt(intern!(py, "__all__"))? {
            Some(names) if !names.is_none() => names,
            _ => module.dir()?.into_any(),
        };
        let contents = PyDict::new(py);
        for name in exported.try_iter()? {
            let name = name?.cast_into::<PyString>()?;
            contents.set_item(&name, module.getattr(&name)?)?;
        }
        self.dict(&type_name(module)?, &contents)
    }
}
