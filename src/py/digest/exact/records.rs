//! Records: instances of dataclasses and attrs classes, namespaces, enum members.

use crate::py::once::intern;
use pyo3::exceptions::PyAttributeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString,
    PyTuple,
};

use super::state::{with_attributes, with_part};
use super::{Walker, leaf, trail};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::record::{self, Fields, fields_of};
use crate::py::digest::{indigestible_because, is_indigestible};
use crate::py::names::Imported;

static ENUM: Imported = Imported::new("enum", "Enum");
static FLAG: Imported = Imported::new("enum", "Flag");
static NAMESPACE: Imported = Imported::new("types", "SimpleNamespace");

impl<'py> Walker<'py> {
    #[inline(never)]
    pub(super) fn record(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let finished = |encoder: Encoder| Some(encoder.finish());
        if ENUM.is_instance(value)? {
            return self.enum_member(value).map(finished);
        }
        if let Some(fields) = fields_of(value)? {
            return match self.fields(value, &fields) {
                // Its own way of being pickled may leave out what has no digest.
                Err(error)
                    if !self.met_random
                        && is_indigestible(self.py, &error)
                        && record::pickles_in_its_own_way(&value.get_type())? =>
                {
                    self.trail.forget();
                    self.reduction(value).map(Some)
                }
                done => done.map(finished),
            };
        }
        if NAMESPACE.is_instance(value)? {
            let name = self.class_name(&value.get_type())?;
            let attributes = value.getattr(intern!(self.py, "__dict__"))?;
            let attributes = self.walk(&attributes)?;
            let mut encoder = Encoder::new(Tag::Namespace);
            encoder.text(&name).child(&attributes);
            return Ok(finished(encoder));
        }
        Ok(None)
    }

    /// Fields by name, in whichever order the class declares them. One that takes no part in
    /// comparison counts if it has a digest.
    fn fields(&mut self, value: &Bound<'py, PyAny>, fields: &Fields<'py>) -> PyResult<Encoder> {
        let mut children: Vec<(Vec<u8>, Hash)> = Vec::with_capacity(fields.names.len());
        for field in &fields.names {
            let child = value.getattr(field).map_err(|error| {
                if !error.is_instance_of::<PyAttributeError>(self.py) {
                    return error;
                }
                let kind = value.get_type();
                let reason = format!("{kind} without a value for its field {field}");
                indigestible_because(self.py, &reason)
            })?;
            let name = leaf::utf8(field)?.into_owned();
            match self.walk(&child) {
                Ok(hash) => children.push((name, hash)),
                Err(error)
                    if !record::is_compared(value, fields, field)?
                        && self.may_be_without(&error) => {}
                Err(error) => return Err(self.past(error, || trail::attribute(&name))),
            }
        }
        // However the class orders them: HDF5, for one, gives them back sorted.
        children.sort_unstable();
        let tag = if self.typed {
            Tag::TypedRecord
        } else {
            Tag::Record
        };
        let mut encoder = Encoder::new(tag);
        encoder.text(&self.class_name(&value.get_type())?);
        encoder.length(children.len());
        for (name, hash) in &children {
            encoder.bytes(name).child(hash);
        }
        // A record that is also a text, number or container keeps that elsewhere than in fields.
        if holds_more(value)
            && let Some(content) = self.base_content(value)?
        {
            encoder = with_part(encoder, &content.finish());
        }
        self.with_more(value, &fields.names, encoder)
    }

    /// Attributes that are no fields make another content, as far as they have digests. Where
    /// equality decides, those that a class keeps to itself (a hash, say, that depends on the hash
    /// seed) do not.
    fn with_more(
        &mut self,
        value: &Bound<'py, PyAny>,
        fields: &[Bound<'py, PyString>],
        content: Encoder,
    ) -> PyResult<Encoder> {
        let typed = self.typed;
        let is_more = |name: &Bound<'py, PyString>| {
            let mut fields = fields.iter();
            let is_field = fields.any(|field| field.as_any().eq(name).unwrap_or(false));
            !is_field && (typed || !name.to_string_lossy().starts_with('_'))
        };
        let attributes = self.digestible_attributes(value, is_more)?;
        Ok(with_attributes(content, &attributes))
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
            Ok(hash) => encoder.byte(1).child(&hash),
            Err(error) if self.may_be_without(&error) => encoder.byte(0),
            Err(error) => return Err(error),
        };
        Ok(encoder)
    }
}

/// Whether an instance of a class with fields has content besides them.
fn holds_more(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyString>()
        || value.is_instance_of::<PyBytes>()
        || value.is_instance_of::<PyByteArray>()
        || value.is_instance_of::<PyInt>()
        || value.is_instance_of::<PyFloat>()
        || value.is_instance_of::<PyComplex>()
        || value.is_instance_of::<PyTuple>()
        || value.is_instance_of::<PyList>()
        || value.is_instance_of::<PyDict>()
        || value.is_instance_of::<PySet>()
        || value.is_instance_of::<PyFrozenSet>()
}
