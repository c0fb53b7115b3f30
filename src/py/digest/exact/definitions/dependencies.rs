//! What a definition depends on: looked at on every call of a function that counts by its code,
//! so that what stayed as it was is told by a comparison of addresses.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFunction, PyInt, PyMappingProxy, PyModule,
    PyString, PyType,
};

use super::Definition;
use crate::engine::digest::Hash;
use crate::py::digest::exact::Walker;

/// Texts and bytes up to this size are kept to compare their addresses; larger ones are not kept
/// alive for that.
const SMALL: usize = 4096;

/// One thing that a definition depends on.
pub enum Dependency {
    /// What a name of a namespace is bound to.
    Name {
        namespace: Namespace,
        name: Py<PyString>,
        bound: Binding,
    },
    /// What a value that stays in its place holds: a default, a field's.
    Value {
        value: Py<PyAny>,
        bound: Binding,
    },
    /// What a captured cell holds.
    Cell {
        cell: Py<PyAny>,
        bound: Binding,
    },
    /// An attribute that is replaced as a whole, if at all: a function's code, its defaults.
    Attribute {
        object: Py<PyAny>,
        name: Py<PyString>,
        value: Option<Py<PyAny>>,
    },
    /// How many names a class or module has.
    Count {
        namespace: Namespace,
        count: usize,
    },
    Definition(Arc<Definition>),
}

/// Where names are bound.
pub enum Namespace {
    /// The globals of a function.
    Globals(Py<PyDict>),
    /// The attributes of a class.
    Class(Py<PyAny>),
}

impl Namespace {
    fn get<'py>(
        &self,
        py: Python<'py>,
        name: &Bound<'py, PyString>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self {
            Self::Globals(names) => names.bind(py).get_item(name),
            Self::Class(class) => {
                let names = class.bind(py).getattr(intern!(py, "__dict__"))?;
                let names = names.cast::<PyMappingProxy>()?;
                match names.get_item(name) {
                    Ok(found) => Ok(Some(found)),
                    Err(_) => Ok(None),
                }
            }
        }
    }

    fn len(&self, py: Python<'_>) -> PyResult<usize> {
        match self {
            Self::Globals(names) => Ok(names.bind(py).len()),
            Self::Class(class) => class.bind(py).getattr(intern!(py, "__dict__"))?.len(),
        }
    }
}

/// What a name or a cell was found to hold.
pub enum Binding {
    Nothing,
    /// This very object, which cannot change, or whose definition is looked at by itself.
    This(Py<PyAny>),
    /// Something of this content, in which there is no definition.
    Content(Hash),
    /// Something of this content, by the addresses of the definitions in it, which are looked at by
    /// themselves.
    Frame(Hash),
    /// Something that has no digest; which one, if it is a definition.
    Undigested(Option<Py<PyAny>>),
}

impl Binding {
    fn holds<'py>(
        &self,
        py: Python<'py>,
        typed: bool,
        found: impl FnOnce() -> PyResult<Option<Bound<'py, PyAny>>>,
    ) -> PyResult<bool> {
        Ok(match (self, found()?) {
            (Self::Nothing, found) => found.is_none(),
            (_, None) => false,
            (Self::This(value) | Self::Undigested(Some(value)), Some(found)) => {
                found.is(value.bind(py))
            }
            (Self::Content(hash), Some(found)) => content(&found, typed, false)? == Some(*hash),
            (Self::Frame(hash), Some(found)) => content(&found, typed, true)? == Some(*hash),
            (Self::Undigested(None), Some(found)) => content(&found, typed, true)?.is_none(),
        })
    }

    /// What a name is bound to that has no digest.
    pub fn undigested(value: &Bound<'_, PyAny>) -> Self {
        let is_definition =
            value.is_instance_of::<PyFunction>() || value.is_instance_of::<PyType>();
        Self::Undigested(is_definition.then(|| value.clone().unbind()))
    }
}

/// The digest of a value that is bound to a name, with the definitions in it by their addresses or
/// by their content; `None` if it has none.
pub fn content(value: &Bound<'_, PyAny>, typed: bool, frame: bool) -> PyResult<Option<Hash>> {
    let mut walker = Walker::new(value.py(), typed);
    walker.refuses_random = true;
    walker.by_address = frame;
    match walker.walk(value) {
        Ok(hash) => Ok(Some(hash)),
        Err(error) if walker.may_be_without(&error) => Ok(None),
        Err(error) => Err(walker.located(error)),
    }
}

/// Whether a value stays what it is as long as it is the same object.
pub fn is_constant(value: &Bound<'_, PyAny>) -> bool {
    value.is_none()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyComplex>()
        || value
            .cast_exact::<PyString>()
            .is_ok_and(|text| text.len().is_ok_and(|length| length <= SMALL))
        || value
            .cast_exact::<PyBytes>()
            .is_ok_and(|bytes| bytes.as_bytes().len() <= SMALL)
        || value.is_instance_of::<PyModule>()
}

/// Definitions by address. Those of a program refer to each other in many ways.
pub type Seen = HashSet<*const Definition>;

/// Everything that a definition depends on.
pub struct Dependencies {
    /// Whether content counts by type.
    typed: bool,
    all: Vec<Dependency>,
}

impl Dependencies {
    pub fn new(typed: bool) -> Self {
        Self {
            typed,
            all: Vec::new(),
        }
    }

    pub fn push(&mut self, dependency: Dependency) {
        self.all.push(dependency);
    }

    /// Whether all is as it was. `seen`: the definitions that were looked at already.
    pub fn hold(&self, py: Python<'_>, seen: &mut Seen) -> PyResult<bool> {
        for dependency in &self.all {
            if !dependency.holds(py, self.typed, seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The names of globals without a digest.
    pub fn undigested(&self, names: &mut BTreeSet<String>, seen: &mut Seen) {
        for dependency in &self.all {
            match dependency {
                Dependency::Name {
                    name,
                    bound: Binding::Undigested(_),
                    namespace: Namespace::Globals(_),
                } => {
                    names.insert(name.to_string());
                }
                Dependency::Definition(inner) if seen.insert(Arc::as_ptr(inner)) => {
                    inner.dependencies.undigested(names, seen);
                }
                _ => {}
            }
        }
    }
}

impl Dependency {
    fn holds(&self, py: Python<'_>, typed: bool, seen: &mut Seen) -> PyResult<bool> {
        match self {
            Self::Name {
                namespace,
                name,
                bound,
            } => bound.holds(py, typed, || namespace.get(py, name.bind(py))),
            Self::Cell { cell, bound } => {
                bound.holds(py, typed, || Ok(cell_content(cell.bind(py))))
            }
            Self::Value { value, bound } => {
                bound.holds(py, typed, || Ok(Some(value.bind(py).clone())))
            }
            Self::Attribute {
                object,
                name,
                value,
            } => {
                let found = object.bind(py).getattr_opt(name.bind(py))?;
                Ok(match (found, value) {
                    (Some(found), Some(value)) => found.is(value.bind(py)),
                    (None, None) => true,
                    _ => false,
                })
            }
            Self::Count { namespace, count } => Ok(namespace.len(py)? == *count),
            Self::Definition(inner) => {
                Ok(!seen.insert(Arc::as_ptr(inner)) || inner.dependencies.hold(py, seen)?)
            }
        }
    }
}

/// What a cell holds; `None` if it is empty.
pub fn cell_content<'py>(cell: &Bound<'py, PyAny>) -> Option<Bound<'py, PyAny>> {
    cell.getattr(intern!(cell.py(), "cell_contents")).ok()
}
