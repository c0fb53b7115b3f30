//! Records: instances of dataclasses and attrs classes, namespaces, enum members.

use pyo3::exceptions::PyAttributeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt, PyString};

use super::{Walker, leaf};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::indigestible_because;
use crate::py::digest::record::fields_of;
use crate::py::names::{Imported, qualified_name};

static ENUM: Imported = Imported::new("enum", "Enum");
static FLAG: Imported = Imported::new("enum", "Flag");
static NAMESPACE: Imported = Imported::new("types", "SimpleNamespace");

impl<'py> Walker<'py> {
    pub(super) fn record(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        if ENUM.is_instance(value)? {
            return self.enum_member(value).map(Some);
        }
        if let Some(fields) = fields_of(value)? {
            return self.fields(value, &fields.names).map(Some);
        }
        if NAMESPACE.is_instance(value)? {
            let name = self.class_name(&value.get_type())?;
            let attributes = value.getattr(intern!(self.py, "__dict__"))?;
            let attributes = self.dict(attributes.cast::<PyDict>()?)?;
            let mut encoder = Encoder::new(Tag::Namespace);
            encoder.text(&name).child(&attributes.finish());
            return Ok(Some(encoder));
        }
        Ok(None)
    }

    /// Fields by name. Where equality decides, a class of the same name with the same fields is
    /// the same, however it was made and in whichever order it declares them.
    fn fields(
        &mut self,
        value: &Bound<'py, PyAny>,
        fields: &[Bound<'py, PyString>],
    ) -> PyResult<Encoder> {
        let mut children: Vec<(String, Hash)> = Vec::with_capacity(fields.len());
        for field in fields {
            let child = value.getattr(field).map_err(|error| {
                if !error.is_instance_of::<PyAttributeError>(self.py) {
                    return error;
                }
                let kind = value.get_type();
                let reason = format!("{kind} without a value for its field {field}");
                indigestible_because(self.py, &reason)
            })?;
            children.push((field.to_string_lossy().into_owned(), self.walk(&child)?));
        }
        // However the class orders them: HDF5, for one, gives them back sorted.
        children.sort_unstable();
        let mut encoder = if self.typed {
            let mut encoder = Encoder::new(Tag::TypedRecord);
            encoder.text(&qualified_name(&value.get_type())?);
            encoder
        } else {
            let mut encoder = Encoder::new(Tag::Record);
            encoder.text(&value.get_type().name()?.to_string_lossy());
            encoder
        };
        encoder.length(children.len());
        for (name, hash) in &children {
            encoder.text(name).child(hash);
        }
        // A record that is also a container keeps its elements elsewhere than in its fields.
        let name = self.class_name(&value.get_type())?;
        if let Some(content) = self.container_subclass(value, &name)? {
            let mut both = Encoder::new(Tag::WithState);
            both.child(&encoder.finish()).child(&content.finish());
            return Ok(both);
        }
        Ok(encoder)
    }

    fn enum_member(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let class = self.class_name(&value.get_type())?;
        if FLAG.is_instance(value)? {
            // A combination has no name of its own; its bits say all.
            let bits = value.getattr(intern!(self.py, "_value_"))?;
            let bits = bits.cast::<PyInt>()?;
            let mut encoder = Encoder::new(Tag::Flag);
            encoder
                .text(&class)
                .bytes(&super::numbers::canonical_bytes(bits)?);
            return Ok(encoder);
        }
        let name = value.getattr(intern!(self.py, "_name_"))?;
        let mut encoder = Encoder::new(Tag::Enum);
        encoder
            .text(&class)
            .bytes(&leaf::utf8(name.cast::<PyString>()?)?);
        // The value counts where it can: a member that was given another one is another one.
        match self.walk(&value.getattr(intern!(self.py, "_value_"))?) {
            Ok(hash) => encoder.child(&hash),
            Err(_) => encoder.byte(0),
        };
        Ok(encoder)
    }
}
