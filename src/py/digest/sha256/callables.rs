//! Functions by what they do: code, captured values, defaults; and what wraps functions.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyDict, PyFunction, PyString, PyTuple, PyType};

use super::{Outcome, Walker, text, type_name};
use crate::engine::digest::Hash;
use crate::engine::digest::sha256::{Hasher, integer, of};
use crate::py::digest::bytes::utf8;
use crate::py::digest::functions::Walking;
use crate::py::digest::indigestible;
use crate::py::names::Imported;

static METHOD: Imported = Imported::new("types", "MethodType");
static STATIC: Imported = Imported::new("builtins", "staticmethod");
static CLASS: Imported = Imported::new("builtins", "classmethod");
static PROPERTY: Imported = Imported::new("builtins", "property");

/// What of a code object decides its behaviour: not names, places and line numbers.
const CODE_FIELDS: [&str; 11] = [
    "co_code",
    "co_consts",
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_flags",
    "co_exceptiontable",
];

impl<'py> Walker<'py> {
    /// A function's digest: its own answer, which may be any text, or what it does.
    pub(super) fn function(&mut self, function: &Bound<'py, PyAny>) -> PyResult<Outcome> {
        let py = self.py;
        // That of a decorated function names the one it wraps.
        if let Some(own) = function.getattr_opt(intern!(py, "__digest__"))?
            && !own.is_none()
        {
            return self.accept(function, &own.call0()?);
        }
        let Some(code) = function.getattr_opt(intern!(py, "__code__"))? else {
            return Err(indigestible(function));
        };
        let closure = function.getattr(intern!(py, "__closure__"))?;
        let defaults = function.getattr(intern!(py, "__defaults__"))?;
        let keyword = function.getattr(intern!(py, "__kwdefaults__"))?;
        if !(closure.is_truthy()? || defaults.is_truthy()? || keyword.is_truthy()?) {
            return self.walk(&code);
        }
        let walking = match Walking::enter(function) {
            Ok(walking) => walking,
            Err(distance) => return recursion(distance).map(Outcome::Hash),
        };
        let mut hasher = Hasher::new(b"__fleche_captured__");
        hasher.outcome(&self.walk(&code)?);
        if let Ok(cells) = closure.cast::<PyTuple>() {
            hasher.child(&text("__closure__"));
            self.captured(&mut hasher, &code, cells)?;
        }
        if defaults.is_truthy()? {
            hasher.child(&text("__defaults__"));
            hasher.outcome(&self.walk(&defaults)?);
        }
        if keyword.is_truthy()? {
            hasher.child(&text("__kwdefaults__"));
            self.items(&mut hasher, keyword.cast::<PyDict>()?)?;
        }
        drop(walking);
        Ok(Outcome::Hash(hasher.finish()))
    }

    fn captured(
        &mut self,
        hasher: &mut Hasher,
        code: &Bound<'py, PyAny>,
        cells: &Bound<'py, PyTuple>,
    ) -> PyResult<()> {
        let py = self.py;
        let names = code.getattr(intern!(py, "co_freevars"))?;
        for (name, cell) in names.cast::<PyTuple>()?.iter().zip(cells.iter()) {
            let name = name.cast_into::<PyString>()?;
            hasher.child(&of(&[b"str", &utf8(&name)?]));
            let Ok(content) = cell.getattr(intern!(py, "cell_contents")) else {
                hasher.child(&text("__fleche_empty_cell__"));
                continue;
            };
            if name.to_cow()? == "__class__" && content.is_instance_of::<PyType>() {
                hasher.child(&Self::class(&content)?);
            } else {
                hasher.outcome(&self.walk(&content)?);
            }
        }
        Ok(())
    }

    /// Everything else that is, or holds, a function.
    pub(super) fn callable(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let py = self.py;
        let mut hasher;
        if METHOD.is_instance(value)? {
            hasher = Hasher::new(&type_name(value)?);
            hasher.child(&text("__self__"));
            let receiver = value.getattr(intern!(py, "__self__"))?;
            if receiver.is_instance_of::<PyType>() {
                hasher.child(&Self::class(&receiver)?);
            } else {
                hasher.outcome(&self.walk(&receiver)?);
            }
            let function = value.getattr(intern!(py, "__func__"))?;
            hasher.outcome(&self.function(&function)?);
        } else if value.is_instance_of::<PyCode>() {
            hasher = Hasher::new(&type_name(value)?);
            hasher.child(&self.code(value)?);
        } else if STATIC.is_instance(value)? || CLASS.is_instance(value)? {
            let function = value.getattr(intern!(py, "__func__"))?;
            hasher = Hasher::new(&type_name(value)?);
            hasher.outcome(&self.walk(&function)?);
        } else if PROPERTY.is_instance(value)? {
            let mut accessors = Hasher::new(b"tuple");
            for accessor in ["fget", "fset", "fdel"] {
                accessors.outcome(&self.walk(&value.getattr(accessor)?)?);
            }
            hasher = Hasher::new(&type_name(value)?);
            hasher.child(&accessors.finish());
        } else {
            return Ok(None);
        }
        Ok(Some(hasher.finish()))
    }

    fn code(&mut self, code: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let mut fields = Hasher::new(b"tuple");
        for name in CODE_FIELDS {
            if let Some(content) = code.getattr_opt(PyString::intern(self.py, name))? {
                fields.outcome(&self.walk(&content)?);
            }
        }
        Ok(fields.finish())
    }
}

pub(super) fn is_function(value: &Bound<'_, PyAny>) -> bool {
    value.is_instance_of::<PyFunction>()
}

/// What stands for a function that is met again while it is walked, `distance` functions down.
fn recursion(distance: usize) -> PyResult<Hash> {
    let mut hasher = Hasher::new(b"tuple");
    hasher.child(&text("__fleche_recursive_function__"));
    hasher.child(&integer(b"int", i64::try_from(distance)?));
    Ok(hasher.finish())
}
