//! Functions by what they do: code, captured values, defaults. Classes, built-in functions and
//! modules by name.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyCFunction, PyCode, PyDict, PyFunction, PyList, PyModule, PyString, PyTuple, PyType,
};

use super::{Walker, leaf};
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::functions::Walking;
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
/// The cell that `super()` and `__class__` read.
const CLASS_CELL: &str = "__class__";

/// What of a code object decides its behaviour: not names, places and line numbers.
const CODE_FIELDS: [&str; 10] = [
    "co_code",
    "co_consts",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_exceptiontable",
];

/// The flags of a code object that change what it does: variable arguments, generators,
/// coroutines. Others say where it was defined and what its module imported.
const BEHAVIOUR: u32 = 0x04 | 0x08 | 0x20 | 0x80 | 0x100 | 0x200;

impl<'py> Walker<'py> {
    #[inline(never)]
    pub(super) fn callable(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        let encoder = if let Ok(function) = value.cast::<PyFunction>() {
            self.function(function)?
        } else if METHOD.is_instance(value)? {
            self.method(value)?
        } else if let Ok(code) = value.cast::<PyCode>() {
            self.code(code)?
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
        } else if let Ok(module) = value.cast::<PyModule>() {
            let mut encoder = Encoder::new(Tag::Module);
            encoder.bytes(&leaf::utf8(&module.name()?)?);
            encoder
        } else {
            return Ok(None);
        };
        Ok(Some(encoder))
    }

    /// A class by its name.
    pub(super) fn class(class: &Bound<'py, PyType>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Class);
        encoder.text(&class_identity(class)?);
        Ok(encoder)
    }

    fn function(&mut self, function: &Bound<'py, PyFunction>) -> PyResult<Encoder> {
        let py = self.py;
        let walking = match Walking::enter(function) {
            Ok(walking) => walking,
            Err(distance) => {
                let mut encoder = Encoder::new(Tag::Recursion);
                encoder.length(distance);
                return Ok(encoder);
            }
        };
        let code = function.getattr(intern!(py, "__code__"))?;
        let code = code.cast::<PyCode>()?;
        let mut encoder = Encoder::new(Tag::Function);
        encoder.byte(u8::from(self.typed));
        if self.typed {
            // Another function with the same body is an equal one, not the same.
            encoder.text(&identity(function)?);
        }
        encoder.child(&self.code(code)?.finish());
        self.captured(&mut encoder, function, code)?;
        self.defaults(&mut encoder, function)?;
        drop(walking);
        Ok(encoder)
    }

    fn captured(
        &mut self,
        encoder: &mut Encoder,
        function: &Bound<'py, PyFunction>,
        code: &Bound<'py, PyCode>,
    ) -> PyResult<()> {
        let py = self.py;
        let cells = function.getattr(intern!(py, "__closure__"))?;
        let Ok(cells) = cells.cast::<PyTuple>() else {
            encoder.length(0);
            return Ok(());
        };
        let names = code.getattr(intern!(py, "co_freevars"))?;
        encoder.length(cells.len());
        for (name, cell) in names.cast::<PyTuple>()?.iter().zip(cells.iter()) {
            let name = name.cast_into::<PyString>()?;
            encoder.bytes(&leaf::utf8(&name)?);
            let Ok(content) = cell.getattr(intern!(py, "cell_contents")) else {
                encoder.byte(0);
                continue;
            };
            let hash = match content.cast::<PyType>() {
                Ok(class) if name.to_cow()? == CLASS_CELL => Self::class(class)?.finish(),
                _ => self.walk(&content)?,
            };
            encoder.byte(1).child(&hash);
        }
        Ok(())
    }

    fn defaults(
        &mut self,
        encoder: &mut Encoder,
        function: &Bound<'py, PyFunction>,
    ) -> PyResult<()> {
        let py = self.py;
        let defaults = function.getattr(intern!(py, "__defaults__"))?;
        let keyword = function.getattr(intern!(py, "__kwdefaults__"))?;
        match defaults.cast::<PyTuple>() {
            Ok(defaults) => {
                encoder.length(defaults.len());
                for default in defaults.iter() {
                    encoder.child(&self.walk(&default)?);
                }
            }
            Err(_) => {
                encoder.length(0);
            }
        }
        let Ok(keyword) = keyword.cast::<PyDict>() else {
            encoder.length(0);
            return Ok(());
        };
        let mut named = Vec::with_capacity(keyword.len());
        for (name, default) in keyword.iter() {
            let name = leaf::utf8(name.cast::<PyString>()?)?.into_owned();
            named.push((name, self.walk(&default)?));
        }
        named.sort_unstable();
        encoder.length(named.len());
        for (name, hash) in &named {
            encoder.bytes(name).child(hash);
        }
        Ok(())
    }

    pub(super) fn code(&mut self, code: &Bound<'py, PyCode>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Code);
        let flags: u32 = code.getattr(intern!(self.py, "co_flags"))?.extract()?;
        encoder.u64(u64::from(flags & BEHAVIOUR));
        // Constants by type and value: a body that says 1.0 is not one that says 1.
        let typed = std::mem::replace(&mut self.typed, true);
        for field in CODE_FIELDS {
            let hash = match code.getattr_opt(field)? {
                Some(content) => self.walk(&content),
                None => self.walk(&PyList::empty(self.py)),
            };
            match hash {
                Ok(hash) => encoder.child(&hash),
                Err(error) => {
                    self.typed = typed;
                    return Err(error);
                }
            };
        }
        self.typed = typed;
        Ok(encoder)
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
