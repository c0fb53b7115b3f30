//! What can be called, classes and modules: the user's own by what they do ([`definitions`]), those
//! of the standard library and of installed distributions by name.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyCode, PyFunction, PyModule, PyType};

use super::definitions;
use super::naming::{
    is_installed, is_installed_module, is_installed_name, is_made_by_a_program, leads_to, module_of,
};
use super::{Walker, leaf};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::record::DecoratedDigest;
use crate::py::names::{Imported, class_identity, identity};

static METHOD: Imported = Imported::new("types", "MethodType");
static METHOD_DESCRIPTOR: Imported = Imported::new("types", "MethodDescriptorType");
static WRAPPER_DESCRIPTOR: Imported = Imported::new("types", "WrapperDescriptorType");
static METHOD_WRAPPER: Imported = Imported::new("types", "MethodWrapperType");
static CLASS_METHOD_DESCRIPTOR: Imported = Imported::new("types", "ClassMethodDescriptorType");
static PARTIAL: Imported = Imported::new("functools", "partial");
static STATIC: Imported = Imported::new("builtins", "staticmethod");
static CLASS: Imported = Imported::new("builtins", "classmethod");
static PROPERTY: Imported = Imported::new("builtins", "property");
static CACHED_PROPERTY: Imported = Imported::new("functools", "cached_property");
static LRU_CACHE: Imported = Imported::new("functools", "_lru_cache_wrapper");

impl<'py> Walker<'py> {
    #[inline(never)]
    pub(super) fn callable(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let encoder = if let Ok(function) = value.cast::<PyFunction>() {
            return self.function(function).map(Some);
        } else if LRU_CACHE.is_instance(value)? {
            // As what it wraps.
            let wrapped = value.getattr(intern!(self.py, "__wrapped__"))?;
            return self.walk(&wrapped).map(Some);
        } else if METHOD.is_instance(value)? {
            self.method(value)?
        } else if let Ok(code) = value.cast::<PyCode>() {
            definitions::code(self, code)?
        } else if let Ok(builtin) = value.cast::<PyCFunction>() {
            self.builtin_function(builtin)?
        } else if METHOD_DESCRIPTOR.is_instance(value)?
            || WRAPPER_DESCRIPTOR.is_instance(value)?
            || CLASS_METHOD_DESCRIPTOR.is_instance(value)?
        {
            let class = value.getattr(intern!(self.py, "__objclass__"))?;
            let mut encoder = Encoder::new(Tag::Builtin);
            let name: String = value.getattr(intern!(self.py, "__name__"))?.extract()?;
            encoder
                .text(&class_identity(class.cast()?)?)
                .text(&name)
                .byte(0);
            encoder
        } else if METHOD_WRAPPER.is_instance(value)? {
            self.builtin_method(value)?
        } else if PARTIAL.is_instance(value)? {
            self.partial(value)?
        } else if STATIC.is_instance(value)? || CLASS.is_instance(value)? {
            let function = value.getattr(intern!(self.py, "__func__"))?;
            let mut encoder = Encoder::new(Tag::Descriptor);
            encoder.text(&value.get_type().name()?.to_string_lossy());
            encoder.child(&self.walk(&function)?);
            encoder
        } else if PROPERTY.is_instance(value)? {
            let mut encoder = Encoder::new(Tag::Descriptor);
            encoder.text("property");
            for accessor in ["fget", "fset", "fdel"] {
                encoder.child(&self.walk(&value.getattr(accessor)?)?);
            }
            encoder
        } else if CACHED_PROPERTY.is_instance(value)? {
            let mut encoder = Encoder::new(Tag::Descriptor);
            encoder.text("cached_property");
            encoder.child(&self.walk(&value.getattr(intern!(self.py, "func"))?)?);
            encoder
        } else if let Ok(module) = value.cast::<PyModule>() {
            if is_installed_module(module)? {
                let mut encoder = Encoder::new(Tag::Module);
                encoder.bytes(&leaf::utf8(&module.name()?)?);
                encoder
            } else if self.by_address {
                return Ok(Some(Self::address(module)));
            } else {
                return definitions::module(self, module).map(Some);
            }
        } else {
            return Ok(None);
        };
        Ok(Some(encoder.finish()))
    }

    /// A definition by where it is, for comparison within a process.
    fn address(definition: &Bound<'py, PyAny>) -> Hash {
        let mut encoder = Encoder::new(Tag::Builtin);
        encoder.length(definition.as_ptr() as usize);
        encoder.finish()
    }

    /// A class by its name.
    pub(super) fn named_class(class: &Bound<'py, PyType>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Class);
        encoder.text(&class_identity(class)?);
        Ok(encoder)
    }

    /// A class that is a value: of the standard library or an installed distribution by its name,
    /// else by what is in it.
    pub(super) fn class(&mut self, class: &Bound<'py, PyType>) -> PyResult<Hash> {
        if self.by_address {
            return Ok(Self::address(class));
        }
        let known = is_installed(self.py, &module_of(class)?)?;
        if known && (!is_made_by_a_program(class)? || leads_to(class)?) {
            return Ok(Self::named_class(class)?.finish());
        }
        definitions::class(self, class)
    }

    /// A function or class by its name alone.
    pub(super) fn by_name(named: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Builtin);
        encoder.text(&identity(named)?).byte(0);
        Ok(encoder)
    }

    /// A function: of the standard library or an installed distribution by its name, else by what
    /// it does.
    fn function(&mut self, function: &Bound<'py, PyFunction>) -> PyResult<Hash> {
        if self.by_address {
            return Ok(Self::address(function));
        }
        if is_installed_name(function)? {
            return Ok(Self::by_name(function)?.finish());
        }
        definitions::function(self, function)
    }

    /// A decorated function as the one that it wraps, with its version; `None` if this is not
    /// what a decorated function says.
    pub(super) fn decorated(&mut self, own: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let Ok(own) = own.cast::<DecoratedDigest>() else {
            return Ok(None);
        };
        let (original, version) = own.get().parts(self.py);
        let hash = self.walk(&original)?;
        if version.is_none() {
            return Ok(Some(hash));
        }
        let mut encoder = Encoder::new(Tag::Versioned);
        encoder.child(&hash).child(&self.walk(&version)?);
        Ok(Some(encoder.finish()))
    }

    /// A bound method is its function and its receiver; a class as receiver goes by name.
    fn method(&mut self, method: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let receiver = method.getattr(intern!(self.py, "__self__"))?;
        let function = method.getattr(intern!(self.py, "__func__"))?;
        let mut encoder = Encoder::new(Tag::Method);
        encoder
            .child(&self.walk(&receiver)?)
            .child(&self.walk(&function)?);
        Ok(encoder)
    }

    /// `len`, `math.sin`, `[].append`: by qualified name, and receiver if it is bound to one.
    fn builtin_function(&mut self, function: &Bound<'py, PyCFunction>) -> PyResult<Encoder> {
        self.builtin_method(function.as_any())
    }

    fn builtin_method(&mut self, function: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let module = function.getattr_opt(intern!(py, "__module__"))?;
        let module = module
            .and_then(|module| module.extract::<String>().ok())
            .unwrap_or_default();
        let name: String = function.getattr(intern!(py, "__qualname__"))?.extract()?;
        let mut encoder = Encoder::new(Tag::Builtin);
        encoder.text(&module).text(&name);
        let receiver = function.getattr(intern!(py, "__self__"))?;
        if receiver.is_none() || receiver.is_instance_of::<PyModule>() {
            encoder.byte(0);
        } else {
            encoder.byte(1).child(&self.walk(&receiver)?);
        }
        Ok(encoder)
    }

    fn partial(&mut self, partial: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let mut encoder = Encoder::new(Tag::Partial);
        let class = partial.get_type();
        encoder.text(&self.class_name(&class)?);
        for part in [
            intern!(py, "func"),
            intern!(py, "args"),
            intern!(py, "keywords"),
        ] {
            encoder.child(&self.walk(&partial.getattr(part)?)?);
        }
        self.with_state(partial, encoder)
    }
}
