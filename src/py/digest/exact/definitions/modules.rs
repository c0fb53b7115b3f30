//! Modules of the user's own, by the public names in them.

use std::collections::BTreeSet;

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};

use super::dependencies::{Binding, Dependency, Namespace};
use super::functions::bound_value;
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::{Walker, leaf};

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
    write(walker, &mut encoder, &held, names, Undigested::ByName)?;
    Ok(encoder.finish())
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
                    Binding::Undigested
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
