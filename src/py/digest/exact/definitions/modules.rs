//! Modules of the user's own, by the public names in them.

use std::collections::BTreeSet;

use crate::py::once::intern;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::{PyCFunction, PyDict, PyFunction, PyModule, PyString, PyType};

use super::bindings::bound_value;
use super::dependencies::{Binding, Dependency, Namespace};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::naming::{
    is_installed, is_installed_module, is_installed_spec, module_of,
};
use crate::py::digest::exact::{Walker, leaf};
use crate::py::names::loaded_module;

/// What makes the attributes that a module does not have.
const GET_ATTRIBUTE: &str = "__getattr__";

/// The pre-image of a module: its name and all of its public names.
pub fn content<'py>(walker: &mut Walker<'py>, module: &Bound<'py, PyModule>) -> PyResult<Encoder> {
    let py = walker.py;
    let names = module.dict();
    let listed = names.get_item(intern!(py, "__all__"))?;
    let mut public = BTreeSet::new();
    if let Some(listed) = listed.filter(|listed| !listed.is_none()) {
        for name in listed.try_iter()? {
            public.insert(name?.extract()?);
        }
    } else {
        for name in names.keys().iter() {
            let name: String = name.extract()?;
            if !name.starts_with('_') {
                public.insert(name);
            }
        }
    }
    if names.contains(GET_ATTRIBUTE)? {
        public.insert(GET_ATTRIBUTE.into());
    }
    walker.depends_on(Dependency::Count {
        namespace: Namespace::Globals(names.clone().unbind()),
        count: names.len(),
    });
    let mut encoder = Encoder::new(Tag::ModuleContent);
    encoder.bytes(&leaf::utf8(&module.name()?)?);
    write(walker, &mut encoder, &names, &public, Undigested::ByName)?;
    Ok(encoder)
}

/// The digest of those names of a module that code asks it for.
pub fn attributes<'py>(
    walker: &mut Walker<'py>,
    module: &Bound<'py, PyModule>,
    names: &BTreeSet<String>,
) -> PyResult<Hash> {
    // Not entered: within it, other names of the module may be asked for.
    let mut encoder = Encoder::new(Tag::ModuleContent);
    encoder.bytes(&leaf::utf8(&module.name()?)?);
    let held = module.dict();
    let mut asked = names.clone();
    if held.contains(GET_ATTRIBUTE)? {
        asked.insert(GET_ATTRIBUTE.into());
    }
    write(walker, &mut encoder, &held, &asked, Undigested::ByName)?;
    Ok(encoder.finish())
}

/// The digest of those names of an installed module that a program gave functions and classes of
/// its own; `None` if there are none.
pub fn patched<'py>(
    walker: &mut Walker<'py>,
    module: &Bound<'py, PyModule>,
    names: &BTreeSet<String>,
) -> PyResult<Option<Hash>> {
    let held = module.dict();
    let mut own = BTreeSet::new();
    for name in names {
        let key = PyString::new(walker.py, name);
        let Some(value) = held.get_item(&key)? else {
            continue;
        };
        if value.is_instance_of::<PyFunction>() || value.is_instance_of::<PyType>() {
            if !is_installed(walker.py, &module_of(&value)?)? {
                own.insert(name.clone());
            }
        } else if !value.is_instance_of::<PyCFunction>() {
            continue;
        }
        walker.depends_on(Dependency::Name {
            namespace: Namespace::Globals(held.clone().unbind()),
            name: key.unbind(),
            bound: Binding::This(value.unbind()),
        });
    }
    if own.is_empty() {
        return Ok(None);
    }
    let mut encoder = Encoder::new(Tag::Namespace);
    encoder.bytes(&leaf::utf8(&module.name()?)?);
    write(walker, &mut encoder, &held, &own, Undigested::ByName)?;
    Ok(Some(encoder.finish()))
}

/// The module of the user's own that a function imports under this name when it runs, imported
/// now; `None` if it is of the standard library or an installed distribution, or not there.
pub fn of_import<'py>(
    function: &Bound<'py, PyFunction>,
    name: &str,
) -> PyResult<Option<Bound<'py, PyModule>>> {
    let py = function.py();
    let find = || -> PyResult<Option<Bound<'py, PyModule>>> {
        let globals = function.getattr(intern!(py, "__globals__"))?;
        let package = globals
            .cast::<PyDict>()?
            .get_item(intern!(py, "__package__"))?;
        let library = py.import(intern!(py, "importlib.util"))?;
        let full = library.call_method1(intern!(py, "resolve_name"), (name, package))?;
        let full: String = full.extract()?;
        let top = full.split('.').next().unwrap_or_default();
        if is_installed(py, top)? {
            return Ok(None);
        }
        if loaded_module(py, top)?.is_none() {
            let spec = library.call_method1(intern!(py, "find_spec"), (top,))?;
            if spec.is_none() || is_installed_spec(&spec)? {
                return Ok(None);
            }
        }
        let module = py.import(&*full)?;
        Ok((!is_installed_module(&module)?).then_some(module))
    };
    match find() {
        // It may be optional.
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(None),
        found => found,
    }
}

/// What becomes of a name whose value has no digest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Undigested {
    ByName,
    Refused,
}

/// What these names of a namespace are bound to.
pub fn write<'py>(
    walker: &mut Walker<'py>,
    encoder: &mut Encoder,
    namespace: &Bound<'py, PyDict>,
    names: &BTreeSet<String>,
    undigested: Undigested,
) -> PyResult<()> {
    encoder.length(names.len());
    for name in names {
        encoder.text(name);
        let name = PyString::new(walker.py, name);
        let bound = match namespace.get_item(&name)? {
            None => {
                encoder.byte(0);
                Binding::Nothing
            }
            Some(value) => match bound_value(walker, &value) {
                Ok((hash, bound)) => {
                    encoder.byte(1).child(&hash);
                    bound
                }
                Err(error) if undigested == Undigested::ByName && walker.may_be_without(&error) => {
                    encoder.byte(2);
                    Binding::undigested(&value)
                }
                Err(error) => return Err(walker.past(error, || format!(".{name}"))),
            },
        };
        walker.depends_on(Dependency::Name {
            namespace: Namespace::Globals(namespace.clone().unbind()),
            name: name.unbind(),
            bound,
        });
    }
    Ok(())
}
