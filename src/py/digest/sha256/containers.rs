//! Sequences, mappings, and whatever else can be iterated.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList, PyTuple};

use super::{Outcome, Walker, type_name};
use crate::engine::digest::Hash;
use crate::engine::digest::sha256::Hasher;
use crate::py::names::Imported;

static MAPPING: Imported = Imported::new("collections.abc", "Mapping");
static ITERABLE: Imported = Imported::new("collections.abc", "Iterable");

impl<'py> Walker<'py> {
    /// Containers of the exact built-in types.
    pub(super) fn builtin_container(
        &mut self,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Hash>> {
        let hash = if let Ok(list) = value.cast_exact::<PyList>() {
            self.elements(b"list", list.iter().map(Ok))?
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.elements(b"tuple", tuple.iter().map(Ok))?
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.dict(b"dict", dict)?
        } else {
            return Ok(None);
        };
        Ok(Some(hash))
    }

    /// Mappings and iterables of any other type; iterators are consumed.
    pub(super) fn container(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        if MAPPING.is_instance(value)? {
            // As `dict(value)` sees it, whatever the class overrides.
            let dict = self.py.get_type::<PyDict>().call1((value,))?;
            return self
                .dict(&type_name(value)?, dict.cast::<PyDict>()?)
                .map(Some);
        }
        if ITERABLE.is_instance(value)? {
            self.consumed |= value.cast::<PyIterator>().is_ok();
            return self
                .elements(&type_name(value)?, value.try_iter()?)
                .map(Some);
        }
        Ok(None)
    }

    /// A container of this type name with these elements.
    pub(super) fn elements(
        &mut self,
        name: &[u8],
        elements: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    ) -> PyResult<Hash> {
        let mut hasher = Hasher::new(name);
        for element in elements {
            hasher.outcome(&self.walk(&element?)?);
        }
        Ok(hasher.finish())
    }

    /// A mapping of this type name with these items.
    pub(super) fn dict(&mut self, name: &[u8], dict: &Bound<'py, PyDict>) -> PyResult<Hash> {
        let mut hasher = Hasher::new(name);
        self.items(&mut hasher, dict)?;
        Ok(hasher.finish())
    }

    /// Keys and values in the order of the keys' digests, so that insertion does not matter.
    pub(super) fn items(&mut self, hasher: &mut Hasher, dict: &Bound<'py, PyDict>) -> PyResult<()> {
        // Copied: hooks and `__digest__` may change the dictionary.
        let items: Vec<_> = dict.iter().collect();
        let mut digested = Vec::with_capacity(items.len());
        for (key, value) in &items {
            digested.push((self.walk(key)?, self.walk(value)?));
        }
        write_items(hasher, digested);
        Ok(())
    }

    /// `module.qualname` of a class, as the reference digests it.
    pub(super) fn class(class: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let py = class.py();
        let module = class.getattr(intern!(py, "__module__"))?.str()?;
        let name = class.getattr(intern!(py, "__qualname__"))?.str()?;
        let text = format!("{}.{}", module.to_str()?, name.to_str()?);
        Ok(super::text(&text))
    }
}

/// Feeds pairs in the order of their first parts; of equal ones, in the order given.
pub(super) fn write_items(hasher: &mut Hasher, mut items: Vec<(Outcome, Outcome)>) {
    items.sort_by(|one, two| one.0.compare(&two.0));
    for (key, value) in &items {
        hasher.outcome(key).outcome(value);
    }
}
