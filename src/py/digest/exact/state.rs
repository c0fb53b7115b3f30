//! What an instance carries besides the content of its base class.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyType};

use super::{Walker, leaf, trail};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::names::Imported;

static CACHED_PROPERTY: Imported = Imported::new("functools", "cached_property");
static SLOT_NAMES: Imported = Imported::new("copyreg", "_slotnames");

/// What a [`Tag::WithState`] adds to a content.
mod part {
    /// Attributes by name.
    pub const ATTRIBUTES: u8 = 0;
    /// One more part, of which the content's own kind knows: a factory, a limit.
    pub const OTHER: u8 = 1;
}

/// An attribute: its name and what it holds.
type Held<'py> = (Bound<'py, PyString>, Bound<'py, PyAny>);

/// Attributes by name, sorted.
pub type Attributes = Vec<(Vec<u8>, Hash)>;

impl<'py> Walker<'py> {
    /// The content of an instance with the attributes in its `__dict__` and slots, if any.
    pub(super) fn with_state(
        &mut self,
        value: &Bound<'py, PyAny>,
        content: Encoder,
    ) -> PyResult<Encoder> {
        let attributes = self.attributes(value, |_| true)?;
        Ok(with_attributes(content, &attributes))
    }

    /// The attributes of an instance that its base `class` does not know of.
    pub(super) fn own_attributes(
        &mut self,
        value: &Bound<'py, PyAny>,
        class: &Bound<'py, PyAny>,
    ) -> PyResult<Attributes> {
        let known = class.dir()?;
        self.attributes(value, |name| !known.contains(name).unwrap_or(false))
    }

    fn attribute(
        &mut self,
        name: &Bound<'py, PyString>,
        content: &Bound<'py, PyAny>,
    ) -> PyResult<(Vec<u8>, Hash)> {
        let name = leaf::utf8(name)?.into_owned();
        let within = self.within.len();
        let walked = self.walk(content);
        // They are sorted afterwards.
        self.within.truncate(within);
        match walked {
            Ok(hash) => Ok((name, hash)),
            Err(error) => Err(self.past(error, || trail::attribute(&name))),
        }
    }

    /// The attributes of an instance whose names `wanted` picks.
    pub(super) fn attributes(
        &mut self,
        value: &Bound<'py, PyAny>,
        wanted: impl Fn(&Bound<'py, PyString>) -> bool,
    ) -> PyResult<Attributes> {
        let mut found: Attributes = Vec::new();
        for (name, content) in self.held(value, wanted)? {
            found.push(self.attribute(&name, &content)?);
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The same, without those that have no digest.
    pub(super) fn digestible_attributes(
        &mut self,
        value: &Bound<'py, PyAny>,
        wanted: impl Fn(&Bound<'py, PyString>) -> bool,
    ) -> PyResult<Attributes> {
        let mut found: Attributes = Vec::new();
        for (name, content) in self.held(value, wanted)? {
            match self.attribute(&name, &content) {
                Ok(attribute) => found.push(attribute),
                Err(error) if self.may_be_without(&error) => {}
                Err(error) => return Err(error),
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// The attributes in the slots and the `__dict__` of an instance.
    fn held(
        &self,
        value: &Bound<'py, PyAny>,
        wanted: impl Fn(&Bound<'py, PyString>) -> bool,
    ) -> PyResult<Vec<Held<'py>>> {
        let py = self.py;
        let mut found = Vec::new();
        let class = value.get_type();
        if class.hasattr(intern!(py, "__slots__"))? {
            let names = SLOT_NAMES.get(py)?.call1((&class,))?;
            for name in names.cast::<PyList>()?.iter() {
                let name = name.cast_into::<PyString>()?;
                if wanted(&name)
                    && let Some(content) = value.getattr_opt(&name)?
                {
                    found.push((name, content));
                }
            }
        }
        if let Some(state) = value.getattr_opt(intern!(py, "__dict__"))?
            && let Ok(state) = state.cast::<PyDict>()
        {
            for (name, content) in state.iter() {
                let Ok(name) = name.cast_into::<PyString>() else {
                    continue;
                };
                if wanted(&name) && !is_derived(&class, &name)? {
                    found.push((name, content));
                }
            }
        }
        Ok(found)
    }
}

/// Whether an attribute holds what a `functools.cached_property` computed from the others: using an
/// object must not make another one of it.
pub fn is_derived(class: &Bound<'_, PyType>, name: &Bound<'_, PyString>) -> PyResult<bool> {
    match class.getattr_opt(name)? {
        Some(of_class) => CACHED_PROPERTY.is_instance(&of_class),
        None => Ok(false),
    }
}

pub fn with_attributes(content: Encoder, attributes: &Attributes) -> Encoder {
    if attributes.is_empty() {
        return content;
    }
    let mut encoder = Encoder::new(Tag::WithState);
    encoder
        .byte(part::ATTRIBUTES)
        .child(&content.finish())
        .length(attributes.len());
    for (name, hash) in attributes {
        encoder.bytes(name).child(hash);
    }
    encoder
}

pub fn with_part(content: Encoder, part: &Hash) -> Encoder {
    let mut encoder = Encoder::new(Tag::WithState);
    encoder
        .byte(part::OTHER)
        .child(&content.finish())
        .child(part);
    encoder
}
