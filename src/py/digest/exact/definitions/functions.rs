//! What counts of a function: code, captured cells, defaults, and the globals that its code names.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyCode, PyDict, PyFunction, PyModule, PyString, PyTuple, PyType};

use super::bindings::bound_value;
use super::dependencies::{Binding, Dependency, Namespace, cell_content};
use super::modules::Undigested;
use super::uses::{Use, Uses};
use super::{Globals, bytecode, modules, source};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::Walker;
use crate::py::digest::exact::naming::{is_installed, is_installed_module, module_of};
use crate::py::names::Imported;

static BUILTINS: Imported = Imported::new("builtins", "__dict__");
static OBJECT: Imported = Imported::new("builtins", "object");
static NAMESPACE: Imported = Imported::new("types", "SimpleNamespace");

/// The cell that `super()` and `__class__` read.
const CLASS_CELL: &str = "__class__";

/// How a global or a captured variable takes part.
mod variable {
    pub const NOTHING: u8 = 0;
    pub const CONTENT: u8 = 1;
    /// It has no digest: its name is all that counts.
    pub const NAME: u8 = 2;
    /// A module of the user's own or an instance, by the attributes that the code asks it for.
    pub const ATTRIBUTES: u8 = 3;
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
        let name = PyString::intern(py, name);
        let value = function.getattr_opt(&name)?.map(Bound::unbind);
        let object = function.clone().into_any().unbind();
        walker.depends_on(Dependency::Attribute {
            object,
            name: name.unbind(),
            value,
        });
    }
    if let Some(registry) = dispatched(function, code)? {
        let (hash, bound) = bound_value(walker, &registry)?;
        let value = registry.unbind();
        walker.depends_on(Dependency::Value { value, bound });
        let mut encoder = Encoder::new(Tag::Namespace);
        encoder.child(&hash);
        return Ok(encoder);
    }
    let mut encoder = Encoder::new(Tag::FunctionDefinition);
    let read = if walker.compares_bodies {
        Arc::new(bytecode::read(walker, code)?)
    } else {
        source::read(walker, function, code)?
    };
    encoder.child(&read.hash);
    captured(walker, &mut encoder, function, code, &read.uses)?;
    // Those of a function that is called count as arguments, as they are at each call.
    let outer = match globals {
        Globals::Followed => None,
        _ => walker.dependencies.take(),
    };
    let done = defaults(walker, &mut encoder, function);
    if outer.is_some() {
        walker.dependencies = outer;
    }
    done?;
    if globals != Globals::Ignored && !walker.compares_bodies {
        own_attributes(walker, &mut encoder, function, &read.uses)?;
    }
    if globals == Globals::Ignored
        || walker.compares_bodies
        || is_installed(py, &module_of(function)?)?
    {
        encoder.length(0);
    } else {
        named_globals(walker, &mut encoder, function, code, &read.uses)?;
        imported(walker, &mut encoder, function, &read.uses)?;
    }
    Ok(encoder)
}

/// The functions that a `functools.singledispatch` function chooses from; what it remembers of its
/// choices says nothing.
fn dispatched<'py>(
    function: &Bound<'py, PyFunction>,
    code: &Bound<'py, PyCode>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = function.py();
    let made_by: String = code.getattr(intern!(py, "co_qualname"))?.extract()?;
    if made_by != "singledispatch.<locals>.wrapper" {
        return Ok(None);
    }
    function.getattr_opt(intern!(py, "registry"))
}

fn captured<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    function: &Bound<'py, PyFunction>,
    code: &Bound<'py, PyCode>,
    uses: &Uses,
) -> PyResult<()> {
    let py = walker.py;
    let cells = function.getattr(intern!(py, "__closure__"))?;
    let Ok(cells) = cells.cast::<PyTuple>() else {
        encoder.length(0);
        return Ok(());
    };
    let names = code.getattr(intern!(py, "co_freevars"))?;
    let mut content = Vec::with_capacity(cells.len());
    let mut variables = Vec::with_capacity(cells.len());
    for (name, cell) in names.cast::<PyTuple>()?.iter().zip(cells.iter()) {
        variables.push((name.extract::<String>()?, cell));
    }
    // Versions of Python order them differently.
    variables.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, cell) in variables {
        let found = cell_content(&cell);
        let bound = match found {
            None => {
                content.push((name, variable::NOTHING, None));
                Binding::Nothing
            }
            Some(class) if name == CLASS_CELL && class.is_instance_of::<PyType>() => {
                let hash = if walker.compares_bodies {
                    Walker::named_class(class.cast()?)?.finish()
                } else {
                    walker.walk(&class)?
                };
                content.push((name, variable::CONTENT, Some(hash)));
                Binding::This(class.unbind())
            }
            Some(value) => match used(walker, &value, &uses.get(&name)) {
                Ok(None) => continue,
                Ok(Some((kind, hash, bound))) => {
                    content.push((name, kind, Some(hash)));
                    bound
                }
                Err(error) => {
                    return Err(walker.past(error, || format!("captured variable {name}")));
                }
            },
        };
        walker.depends_on(Dependency::Cell {
            cell: cell.unbind(),
            bound,
        });
    }
    write(encoder, content);
    Ok(())
}

/// Name, kind and digest of the variables that count.
type Content = Vec<(String, u8, Option<Hash>)>;

/// By name: versions of Python order them differently.
fn write(encoder: &mut Encoder, mut content: Content) {
    content.sort_unstable();
    encoder.length(content.len());
    for (name, kind, hash) in &content {
        encoder.text(name).byte(*kind);
        if let Some(hash) = hash {
            encoder.child(hash);
        }
    }
}

/// Kind and digest of what a variable holds, and how to tell whether it still does; `None` if the
/// code only changes it.
fn used<'py>(
    walker: &mut Walker<'py>,
    value: &Bound<'py, PyAny>,
    usage: &Use,
) -> PyResult<Option<(u8, Hash, Binding)>> {
    if usage.is_written_only(value) {
        return Ok(None);
    }
    if let Some(names) = usage.only_attributes(value) {
        let this = || Binding::This(value.clone().unbind());
        if let Ok(module) = value.cast::<PyModule>() {
            let hash = if is_installed_module(module)? {
                modules::patched(walker, module, names)?
            } else {
                Some(modules::attributes(walker, module, names)?)
            };
            if let Some(hash) = hash {
                return Ok(Some((variable::ATTRIBUTES, hash, this())));
            }
        } else if let Some(hash) = attributes(walker, value, names)? {
            return Ok(Some((variable::ATTRIBUTES, hash, this())));
        }
    }
    let (hash, bound) = bound_value(walker, value)?;
    if let Ok(function) = value.cast::<PyFunction>()
        && let Some(hash) = with_attributes(walker, function, hash, usage.attributes())?
    {
        return Ok(Some((variable::ATTRIBUTES, hash, bound)));
    }
    Ok(Some((variable::CONTENT, hash, bound)))
}

/// A function with those of its attributes that code asks it for; `None` if it has none of them.
fn with_attributes<'py>(
    walker: &mut Walker<'py>,
    function: &Bound<'py, PyFunction>,
    hash: Hash,
    names: &BTreeSet<String>,
) -> PyResult<Option<Hash>> {
    if names.is_empty() {
        return Ok(None);
    }
    let held = function.getattr(intern!(walker.py, "__dict__"))?;
    let held = held.cast_into::<PyDict>()?;
    let mut encoder = Encoder::new(Tag::Namespace);
    encoder.child(&hash);
    modules::write(walker, &mut encoder, &held, names, Undigested::ByName)?;
    let mut any = false;
    for name in names {
        any |= held.contains(name)?;
    }
    Ok(any.then(|| encoder.finish()))
}

/// The attributes that a program gave a function, except those that only its own code changes, as
/// a count of its calls.
fn own_attributes<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    function: &Bound<'py, PyFunction>,
    uses: &Uses,
) -> PyResult<()> {
    let py = walker.py;
    let held = function.getattr(intern!(py, "__dict__"))?;
    let held = held.cast_into::<PyDict>()?;
    let own: String = function.getattr(intern!(py, "__name__"))?.extract()?;
    let own = uses.get(&own);
    let mut names = BTreeSet::new();
    for name in held.keys().iter() {
        let name: String = name.extract()?;
        if !name.starts_with("__") && !own.only_writes_attribute(&name) {
            names.insert(name);
        }
    }
    walker.depends_on(Dependency::Count {
        namespace: Namespace::Globals(held.clone().unbind()),
        count: held.len(),
    });
    modules::write(walker, encoder, &held, &names, Undigested::ByName)
}

/// The attributes of an instance that code asks it for, if these are kept in its `__dict__` and
/// nothing stands between.
fn attributes<'py>(
    walker: &mut Walker<'py>,
    value: &Bound<'py, PyAny>,
    names: &BTreeSet<String>,
) -> PyResult<Option<Hash>> {
    let py = walker.py;
    let class = value.get_type();
    let plain = OBJECT.get(py)?.getattr(intern!(py, "__getattribute__"))?;
    let is_plain =
        class.getattr(intern!(py, "__getattribute__"))?.is(&plain) || class.is(NAMESPACE.get(py)?);
    if !is_plain || value.is_instance_of::<PyFunction>() || value.is_instance_of::<PyType>() {
        return Ok(None);
    }
    let Some(held) = value.getattr_opt(intern!(py, "__dict__"))? else {
        return Ok(None);
    };
    let Ok(held) = held.cast_into::<PyDict>() else {
        return Ok(None);
    };
    for name in names {
        // A property or method may look at everything.
        if !held.contains(name)? || class.hasattr(name.as_str())? {
            return Ok(None);
        }
    }
    let mut encoder = Encoder::new(Tag::Namespace);
    encoder.text(&walker.class_name(&class)?);
    modules::write(walker, &mut encoder, &held, names, Undigested::Refused)?;
    Ok(Some(encoder.finish()))
}

fn defaults<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    function: &Bound<'py, PyFunction>,
) -> PyResult<()> {
    let py = walker.py;
    let default = |walker: &mut Walker<'py>, encoder: &mut Encoder, value: &Bound<'py, PyAny>| {
        // As the argument of a call that leaves it out: what has no digest is that default.
        let bound = match bound_value(walker, value) {
            Ok((hash, bound)) => {
                encoder.byte(1).child(&hash);
                bound
            }
            Err(error) if walker.may_be_without(&error) => {
                encoder.byte(0);
                Binding::undigested(value)
            }
            Err(error) => return Err(error),
        };
        let value = value.clone().unbind();
        walker.depends_on(Dependency::Value { value, bound });
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
        // Unlike that of the others, this mapping may be changed in place.
        walker.depends_on(Dependency::Name {
            namespace: Namespace::Globals(named.clone().unbind()),
            name: PyString::new(py, &name).unbind(),
            bound: Binding::This(value.unbind()),
        });
    }
    Ok(())
}

fn named_globals<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    function: &Bound<'py, PyFunction>,
    code: &Bound<'py, PyCode>,
    uses: &Uses,
) -> PyResult<()> {
    let py = walker.py;
    let captured: Vec<String> = code.getattr(intern!(py, "co_freevars"))?.extract()?;
    let namespace = function.getattr(intern!(py, "__globals__"))?;
    let namespace = namespace.cast::<PyDict>()?;
    let builtins = BUILTINS.get(py)?.cast::<PyDict>()?;
    let mut content = Vec::new();
    for (name, usage) in uses.iter() {
        if captured.iter().any(|captured| captured == name) {
            continue;
        }
        let name = PyString::new(py, name);
        let mut held_by = namespace;
        let mut found = namespace.get_item(&name)?;
        if found.is_none() {
            let builtin = builtins.get_item(&name)?;
            if let Some(builtin) = &builtin {
                walker.depends_on(Dependency::Name {
                    namespace: Namespace::Globals(namespace.clone().unbind()),
                    name: name.clone().unbind(),
                    bound: Binding::Nothing,
                });
                held_by = builtins;
                if is_of_python(builtin)? {
                    walker.depends_on(Dependency::Name {
                        namespace: Namespace::Globals(builtins.clone().unbind()),
                        name: name.unbind(),
                        bound: Binding::This(builtin.clone().unbind()),
                    });
                    continue;
                }
            }
            found = builtin;
        }
        let Some(bound) = one_global(walker, &mut content, &name, found.as_ref(), usage)? else {
            continue;
        };
        walker.depends_on(Dependency::Name {
            namespace: Namespace::Globals(held_by.clone().unbind()),
            name: name.unbind(),
            bound,
        });
    }
    write(encoder, content);
    Ok(())
}

/// What code takes from modules of the user's own that it imports when it runs.
fn imported<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    function: &Bound<'py, PyFunction>,
    uses: &Uses,
) -> PyResult<()> {
    for (from, name) in uses.imports() {
        let Some(module) = modules::of_import(function, from)? else {
            continue;
        };
        encoder.text(from).text(name);
        if name.is_empty() {
            encoder.child(&walker.walk(module.as_any())?);
        } else {
            let names = BTreeSet::from([name.clone()]);
            encoder.child(&modules::attributes(walker, &module, &names)?);
        }
    }
    Ok(())
}

/// What one global adds; `None` if it does not count, whatever it is.
fn one_global<'py>(
    walker: &mut Walker<'py>,
    content: &mut Content,
    name: &Bound<'py, PyString>,
    found: Option<&Bound<'py, PyAny>>,
    usage: &Use,
) -> PyResult<Option<Binding>> {
    let text: String = name.extract()?;
    let Some(value) = found else {
        // It is not there yet.
        content.push((text, variable::NOTHING, None));
        return Ok(Some(Binding::Nothing));
    };
    match used(walker, value, usage) {
        Ok(None) => Ok(None),
        Ok(Some((kind, hash, bound))) => {
            content.push((text, kind, Some(hash)));
            Ok(Some(bound))
        }
        Err(error) if walker.may_be_without(&error) => {
            content.push((text, variable::NAME, None));
            Ok(Some(Binding::undigested(value)))
        }
        Err(error) => Err(walker.past(error, || format!("global {text}"))),
    }
}

/// Whether a builtin is what Python itself put there.
fn is_of_python(builtin: &Bound<'_, PyAny>) -> PyResult<bool> {
    Ok(builtin.is_none()
        || builtin.is_instance_of::<PyBool>()
        || builtin.is(builtin.py().Ellipsis())
        || builtin.is(builtin.py().NotImplemented())
        || module_of(builtin)? == "builtins"
        || module_of(builtin)? == "_sitebuiltins"
        || module_of(builtin)? == "io"
        || module_of(builtin)? == "_io")
}
