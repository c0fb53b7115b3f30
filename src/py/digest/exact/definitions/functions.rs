//! What counts of a function: code, captured cells, defaults, and the globals that its code names.

use std::sync::Arc;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyCode, PyDict, PyFunction, PyModule, PyString, PyTuple, PyType};

use super::dependencies::{Binding, Dependency, Namespace, is_constant};
use super::syntax::{Use, Uses};
use super::{Globals, bytecode, modules, source};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::naming::{is_installed, is_installed_module, module_of};
use crate::py::digest::exact::{Walker, leaf, trail};
use crate::py::names::Imported;

static BUILTINS: Imported = Imported::new("builtins", "__dict__");

/// The cell that `super()` and `__class__` read.
const CLASS_CELL: &str = "__class__";

/// How a global takes part.
mod global {
    pub const NOTHING: u8 = 0;
    pub const CONTENT: u8 = 1;
    /// It has no digest: its name is all that counts.
    pub const NAME: u8 = 2;
    /// A module of the user's own, by the attributes that the code names.
    pub const MODULE: u8 = 3;
}

/// What a cell holds; `None` if it is empty.
pub fn cell_content<'py>(cell: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    cell.getattr(intern!(cell.py(), "cell_contents")).ok()
}

/// The pre-image of a function.
pub fn content<'py>(
    walker: &mut Walker<'py>,
    function: &Bound<'py, PyFunction>,
    globals: Globals,
) -> PyResult<Encoder> {
    let py = walker.py;
    let code = function.getattr(intern!(py, "__code__"))?;
    let code = code.cast::<PyCode>()?;
    for name in ["__code__", "__defaults__", "__kwdefaults__"] {
        let value = function.getattr_opt(name)?.map(Bound::unbind);
        let object = function.clone().into_any().unbind();
        walker.depends_on(Dependency::Attribute {
            object,
            name,
            value,
        });
    }
    let mut encoder = Encoder::new(Tag::FunctionDefinition);
    let read = if walker.compares_bodies {
        Arc::new(bytecode::read(walker, code)?)
    } else {
        source::read(walker, function, code)?
    };
    encoder.child(&read.hash);
    captured(walker, &mut encoder, function, code)?;
    defaults(walker, &mut encoder, function)?;
    if globals == Globals::Ignored
        || walker.compares_bodies
        || is_installed(py, &module_of(function)?)? {
        encoder.length(0);
    } else {
        named_globals(walker, &mut encoder, function, &read.uses)?;
    }
    Ok(encoder)
}

fn captured<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    function: &Bound<'py, PyFunction>,
    code: &Bound<'py, PyCode>,
) -> PyResult<()> {
    let py = walker.py;
    let cells = function.getattr(intern!(py, "__closure__"))?;
    let Ok(cells) = cells.cast::<PyTuple>() else {
        encoder.length(0);
        return Ok(());
    };
    let names = code.getattr(intern!(py, "co_freevars"))?;
    // By name: versions of Python order them differently.
    let mut named: Vec<(String, Bound<'py, PyAny>)> = Vec::with_capacity(cells.len());
    for (name, cell) in names.cast::<PyTuple>()?.iter().zip(cells.iter()) {
        named.push((name.extract()?, cell));
    }
    named.sort_by(|(one, _), (other, _)| one.cmp(other));
    encoder.length(named.len());
    for (name, cell) in named {
        encoder.text(&name);
        let found = cell_content(&cell);
        let bound = match &found {
            None => {
                encoder.byte(0);
                Binding::Nothing
            }
            Some(class) if name == CLASS_CELL && class.is_instance_of::<PyType>() => {
                let class = Walker::named_class(class.cast()?)?;
                encoder.byte(1).child(&class.finish());
                Binding::This(found.clone().into_iter().next().map_or_else(
                    || py.None(),
                    Bound::unbind,
                ))
            }
            Some(value) => match bound_value(walker, value) {
                Ok((hash, bound)) => {
                    encoder.byte(1).child(&hash);
                    bound
                }
                Err(error) => {
                    return Err(walker.past(error, || format!(" captured {name}")));
                }
            },
        };
        walker.depends_on(Dependency::Cell {
            cell: cell.unbind(),
            bound,
        });
    }
    Ok(())
}

/// The digest of what a name or cell holds, and how to tell whether it still does.
pub fn bound_value<'py>(
    walker: &mut Walker<'py>,
    value: &Bound<'py, PyAny>,
) -> PyResult<(Hash, Binding)> {
    if value.is_instance_of::<PyFunction>() || value.is_instance_of::<PyType>() {
        // Each depends on more, which it notes itself.
        let hash = walker.walk(value)?;
        return Ok((hash, Binding::This(value.clone().unbind())));
    }
    // Its content is looked at as a whole, with all that it depends on.
    let outer = walker.dependencies.take();
    let hash = walker.walk(value);
    walker.dependencies = outer;
    let hash = hash?;
    let bound = if is_constant(value) {
        Binding::This(value.clone().unbind())
    } else {
        Binding::Content(hash)
    };
    Ok((hash, bound))
}

fn defaults<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    function: &Bound<'py, PyFunction>,
) -> PyResult<()> {
    let py = walker.py;
    let default = |walker: &mut Walker<'py>, encoder: &mut Encoder, value: &Bound<'py, PyAny>| {
        // As the argument of a call that leaves it out: what has no digest is that default.
        match bound_value(walker, value) {
            Ok((hash, _)) => encoder.byte(1).child(&hash),
            Err(error) if walker.may_be_without(&error) => encoder.byte(0),
            Err(error) => return Err(error),
        };
        Ok(())
    };
    let given = function.getattr(intern!(py, "__defaults__"))?;
    match given.cast::<PyTuple>() {
        Ok(given) => {
            encoder.length(given.len());
            for value in given.iter() {
                default(walker, encoder, &value)?;
            }
        }
        Err(_) => {
            encoder.length(0);
        }
    }
    let named = function.getattr(intern!(py, "__kwdefaults__"))?;
    let Ok(named) = named.cast::<PyDict>() else {
        encoder.length(0);
        return Ok(());
    };
    let mut sorted: Vec<(String, Bound<'py, PyAny>)> = Vec::with_capacity(named.len());
    for (name, value) in named.iter() {
        sorted.push((name.extract()?, value));
    }
    sorted.sort_by(|(one, _), (other, _)| one.cmp(other));
    encoder.length(sorted.len());
    for (name, value) in sorted {
        encoder.text(&name);
        default(walker, encoder, &value)?;
    }
    Ok(())
}

fn named_globals<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    function: &Bound<'py, PyFunction>,
    uses: &Uses,
) -> PyResult<()> {
    let py = walker.py;
    let namespace = function.getattr(intern!(py, "__globals__"))?;
    let namespace = namespace.cast::<PyDict>()?;
    let mut content = Vec::new();
    for (name, usage) in uses.iter() {
        let name = PyString::new(py, name);
        let found = namespace.get_item(&name)?;
        let Some(bound) = one_global(walker, &mut content, &name, found.as_ref(), usage)? else {
            continue;
        };
        walker.depends_on(Dependency::Name {
            namespace: Namespace::Globals(namespace.clone().unbind()),
            name: name.unbind(),
            bound,
        });
    }
    encoder.length(content.len());
    for (name, kind, hash) in &content {
        encoder.bytes(name).byte(*kind);
        if let Some(hash) = hash {
            encoder.child(hash);
        }
    }
    Ok(())
}

/// Name, kind and digest of the globals that count.
type Content = Vec<(Vec<u8>, u8, Option<Hash>)>;

/// What one global adds; `None` if it does not count, whatever it is.
fn one_global<'py>(
    walker: &mut Walker<'py>,
    content: &mut Content,
    name: &Bound<'py, PyString>,
    found: Option<&Bound<'py, PyAny>>,
    usage: &Use,
) -> PyResult<Option<Binding>> {
    let py = walker.py;
    let written = leaf::utf8(name)?.into_owned();
    let Some(value) = found else {
        // A builtin, or something that is not there yet.
        if !BUILTINS.get(py)?.contains(name)? {
            content.push((written, global::NOTHING, None));
        }
        return Ok(Some(Binding::Nothing));
    };
    if usage.is_written_only(value) {
        return Ok(None);
    }
    if let Ok(module) = value.cast::<PyModule>()
        && !is_installed_module(module)?
        && let Some(attributes) = usage.only_attributes()
    {
        let hash = modules::attributes(walker, module, attributes)?;
        content.push((written, global::MODULE, Some(hash)));
        return Ok(Some(Binding::This(value.clone().unbind())));
    }
    match bound_value(walker, value) {
        Ok((hash, bound)) => {
            content.push((written, global::CONTENT, Some(hash)));
            Ok(Some(bound))
        }
        Err(error) if walker.may_be_without(&error) => {
            content.push((written, global::NAME, None));
            Ok(Some(Binding::Undigested))
        }
        Err(error) => Err(walker.past(error, || {
            trail::attribute(name.to_string_lossy().as_bytes()).replace('.', " global ")
        })),
    }
}
