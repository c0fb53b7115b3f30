//! The walk of scheme `exact`: which encoding a Python value has.
//!
//! Built-in types are taken by exact type first ([`leaf`], [`containers`]); everything else is
//! asked for a hook and for `__digest__`, then tried by kind, the more special kinds first.

mod callables;
mod containers;
mod leaf;
mod libraries;
mod names;
mod numbers;
mod records;
mod stdlib;

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{
    PyByteArray, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString,
    PyTuple, PyType,
};

use super::{
    as_indigestible, check_depth, hash_of_text, hooks, indigestible, indigestible_because,
    is_digest, own_digest,
};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};

/// The digest of `value`: by equality, or (`typed`) by identity of content.
pub fn digest(value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Hash> {
    Walker::new(value.py(), typed).walk(value)
}

/// The digest of a class by its name.
pub fn digest_class(class: &Bound<'_, PyType>) -> PyResult<Hash> {
    Walker::class(class).map(Encoder::finish)
}

/// One walk over one value.
pub struct Walker<'py> {
    py: Python<'py>,
    typed: bool,
    hooked: bool,
    depth: usize,
}

impl<'py> Walker<'py> {
    pub fn new(py: Python<'py>, typed: bool) -> Self {
        Self {
            py,
            typed,
            hooked: hooks::any(),
            depth: 0,
        }
    }

    /// The digest of a value, at whatever depth.
    pub fn walk(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        if !self.hooked {
            if let Some(encoder) = leaf::encode(value, self.typed)? {
                return Ok(encoder.finish());
            }
        }
        check_depth(self.py, self.depth)?;
        self.depth += 1;
        let result = if self.hooked {
            self.any(value)
        } else {
            match self.builtin(value) {
                Ok(None) => self.any(value),
                Ok(Some(hash)) => Ok(hash),
                Err(error) => Err(error),
            }
        };
        self.depth -= 1;
        result
    }

    /// Values of the exact built-in types, which have neither hook nor `__digest__`.
    fn builtin(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let encoder = if let Ok(list) = value.cast_exact::<PyList>() {
            self.sequence("list", list.iter(), list.len())?
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.sequence("tuple", tuple.iter(), tuple.len())?
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.dict(dict)?
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            self.set("set", set.iter(), set.len())?
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.set("frozenset", set.iter(), set.len())?
        } else {
            return Ok(None);
        };
        Ok(Some(encoder.finish()))
    }

    /// Any value: hook, `__digest__`, then everything built in.
    fn any(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        if is_digest(value)? {
            return self.digest_child(value);
        }
        if self.hooked {
            let hooked = hooks::apply(value).map_err(|error| as_indigestible(value, error))?;
            if let Some(result) = hooked {
                return self.accept(value, &result);
            }
        }
        if let Some(method) = own_digest(value).map_err(|error| as_indigestible(value, error))? {
            let result = method
                .call0()
                .map_err(|error| as_indigestible(value, error))?;
            return self.accept(value, &result);
        }
        if self.hooked {
            if let Some(encoder) = leaf::encode(value, self.typed)? {
                return Ok(encoder.finish());
            }
            if let Some(hash) = self.builtin(value)? {
                return Ok(hash);
            }
        }
        self.by_kind(value).map_err(|error| {
            // A very deep nest, or user code that recursed without end.
            if error.is_instance_of::<PyRecursionError>(self.py) {
                indigestible_because(self.py, "nested too deeply")
            } else {
                as_indigestible(value, error)
            }
        })
    }

    /// A `Digest` met inside of another value stands for the value it names.
    fn digest_child(&self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        value
            .cast::<PyString>()
            .ok()
            .and_then(hash_of_text)
            .ok_or_else(|| {
                indigestible_because(
                    self.py,
                    &format!("{value:?} is not a whole digest: expand it first"),
                )
            })
    }

    /// What a hook or `__digest__` returned: a digest, as `Digest` or as text.
    fn accept(&self, value: &Bound<'py, PyAny>, result: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let Ok(text) = result.cast::<PyString>() else {
            let kind = result.get_type().name()?;
            let reason = format!(
                "the hook or __digest__ of {} must return a digest, not {kind}",
                value.get_type().name()?
            );
            return Err(indigestible_because(self.py, &reason));
        };
        if let Some(hash) = hash_of_text(text) {
            return Ok(hash);
        }
        // Any other text is taken as the content that makes the value.
        let mut encoder = Encoder::new(Tag::NamedText);
        encoder.text("__digest__").bytes(&leaf::utf8(text)?);
        Ok(encoder.finish())
    }

    /// Everything that is no exact built-in container, number or text.
    fn by_kind(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let encoder = if let Some(encoder) = self.library(value)? {
            Some(encoder)
        } else if let Some(encoder) = self.singleton(value) {
            Some(encoder)
        } else if let Ok(class) = value.cast::<PyType>() {
            Some(Self::class(class)?)
        } else if let Some(encoder) = self.callable(value)? {
            Some(encoder)
        } else if let Some(encoder) = self.standard_library(value)? {
            Some(encoder)
        } else if let Some(encoder) = self.record(value)? {
            Some(encoder)
        } else if let Some(encoder) = self.number_object(value)? {
            Some(encoder)
        } else {
            self.subclass(value)?
        };
        encoder
            .map(Encoder::finish)
            .ok_or_else(|| indigestible(value))
    }

    /// How a class takes part: by its name where equality decides, by its whole name where
    /// identity does.
    fn class_name(&self, class: &Bound<'py, PyType>) -> PyResult<String> {
        if self.typed {
            names::class_identity(class)
        } else {
            Ok(class.name()?.to_string_lossy().into())
        }
    }

    /// Instances of subclasses of built-in types: the content of the base, the class, and the
    /// attributes that the instance carries besides.
    fn subclass(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        let name = self.class_name(&value.get_type())?;
        let content = if let Ok(text) = value.cast::<PyString>() {
            let mut encoder = Encoder::new(Tag::NamedText);
            encoder.text(&name).bytes(&leaf::utf8(text)?);
            encoder
        } else if let Ok(bytes) = value.cast::<PyBytes>() {
            let mut encoder = Encoder::new(Tag::NamedBytes);
            encoder.text(&name).bytes(bytes.as_bytes());
            encoder
        } else if let Ok(bytes) = value.cast::<PyByteArray>() {
            let mut encoder = Encoder::new(Tag::NamedBytes);
            encoder.text(&name).bytes(&bytes.to_vec());
            encoder
        } else if value.is_instance_of::<PyInt>()
            || value.is_instance_of::<PyFloat>()
            || value.is_instance_of::<PyComplex>()
        {
            self.number_subclass(value, &name)?
        } else if let Some(encoder) = self.container_subclass(value, &name)? {
            encoder
        } else {
            return Ok(None);
        };
        self.with_state(value, content).map(Some)
    }
}
