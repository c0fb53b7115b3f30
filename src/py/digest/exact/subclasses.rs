//! Instances of subclasses of built-in types.

use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyComplex, PyFloat, PyInt, PyString};

use super::{Walker, leaf};
use crate::engine::digest::exact::{Encoder, Tag};

impl<'py> Walker<'py> {
    /// The content of the base, the class, and the attributes that the instance carries besides.
    #[inline(never)]
    pub(super) fn subclass(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        match self.base_content(value)? {
            Some(content) => self.with_state(value, content).map(Some),
            None => Ok(None),
        }
    }

    /// What the instance holds as a text, number or container, with its class.
    pub(super) fn base_content(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        let name = self.class_name(&value.get_type())?;
        if let Ok(text) = value.cast::<PyString>() {
            let mut encoder = Encoder::new(Tag::NamedText);
            encoder.text(&name).bytes(&leaf::utf8(text)?);
            return Ok(Some(encoder));
        }
        if let Ok(bytes) = value.cast::<PyBytes>() {
            let mut encoder = Encoder::new(Tag::NamedBytes);
            encoder.text(&name).bytes(bytes.as_bytes());
            return Ok(Some(encoder));
        }
        if let Ok(bytes) = value.cast::<PyByteArray>() {
            let mut encoder = Encoder::new(Tag::NamedBytes);
            encoder.text(&name).bytes(&bytes.to_vec());
            return Ok(Some(encoder));
        }
        if value.is_instance_of::<PyInt>()
            || value.is_instance_of::<PyFloat>()
            || value.is_instance_of::<PyComplex>()
        {
            return self.number_subclass(value, &name).map(Some);
        }
        self.container_subclass(value, &name)
    }
}
