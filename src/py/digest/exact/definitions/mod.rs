//! Functions, classes and modules of the user's own, by what is in them.
//!
//! A function is its code, the cells it captured, its defaults, and the globals that its code
//! names; a class its bases and attributes; a module its public names. What they refer to is
//! followed as long as it is the user's own. Reading a definition takes time: what was read is
//! kept with what it depends on ([`dependencies`]), and looked at again only where that changed.
//!
//! `functions`, `classes` and `modules` say what counts of each; `source` finds the syntax tree of
//! code, `syntax` writes it down, `bytecode` does both where there is no source.

mod bindings;
mod bytecode;
mod classes;
mod dependencies;
mod functions;
mod luggage;
mod modules;
mod nodes;
mod source;
mod syntax;
mod uses;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyCode, PyFunction, PyModule, PyType};

use super::{Leaving, Walker, leads_to};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::Encoder;
use crate::py::digest::is_indigestible;

pub use dependencies::{Dependencies, Dependency, Seen};

/// A function, class or module as it was read.
pub struct Definition {
    pub hash: Hash,
    dependencies: Dependencies,
    /// If it refers to itself, the addresses of all that it was read with: within one of these it
    /// is read in another way.
    members: Vec<usize>,
}

impl Definition {
    /// Whether nothing that it depends on has changed since.
    pub fn holds(&self, py: Python<'_>) -> PyResult<bool> {
        self.dependencies.hold(py, &mut Seen::new())
    }

    /// The names of globals that have no digest, and count by name alone.
    pub fn undigested(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        self.dependencies.undigested(&mut names, &mut Seen::new());
        names.into_iter().collect()
    }
}

/// Definitions that live as long as their module, by address and question; each is kept alive, so
/// that no other takes its address.
static READ: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

type Known = HashMap<Question, (Py<PyAny>, Arc<Definition>)>;

/// An object's address, whether globals are followed, and whether content counts by type.
pub type Question = (usize, Globals, bool);

/// Programs that make definitions without end must not keep them all alive here.
const MOST_READ: usize = 4096;

/// Whether the globals that code names are followed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Globals {
    Followed,
    /// For a function that is called: what its defaults hold counts as arguments.
    FollowedFromCall,
    Ignored,
}

/// The definition of a function, of which nothing is known to be read already.
pub fn of_function(
    function: &Bound<'_, PyFunction>,
    globals: Globals,
) -> PyResult<Arc<Definition>> {
    let mut walker = Walker::new(function.py(), true);
    walker.refuses_random = true;
    let globals = match globals {
        Globals::Followed => Globals::FollowedFromCall,
        other => other,
    };
    function_definition(&mut walker, function, globals).map_err(|error| walker.located(error))
}

fn function_definition<'py>(
    walker: &mut Walker<'py>,
    function: &Bound<'py, PyFunction>,
    globals: Globals,
) -> PyResult<Arc<Definition>> {
    read(walker, function.as_any(), globals, |walker| {
        walker.enter(function, Leaving::Closed, |walker| {
            functions::content(walker, function, globals)
        })
    })
}

/// The digest of a function by its definition.
pub fn function<'py>(
    walker: &mut Walker<'py>,
    function: &Bound<'py, PyFunction>,
) -> PyResult<Hash> {
    Ok(function_definition(walker, function, Globals::Followed)?.hash)
}

/// The pre-image of a code object that is a value.
pub fn code<'py>(walker: &mut Walker<'py>, code: &Bound<'py, PyCode>) -> PyResult<Encoder> {
    bytecode::content(walker, code)
}

/// The digest of a class by its definition.
pub fn class<'py>(walker: &mut Walker<'py>, class: &Bound<'py, PyType>) -> PyResult<Hash> {
    let definition = read(walker, class.as_any(), Globals::Followed, |walker| {
        walker.enter(class, Leaving::Closed, |walker| {
            classes::content(walker, class)
        })
    })?;
    Ok(definition.hash)
}

/// The digest of a module by its public names.
pub fn module<'py>(walker: &mut Walker<'py>, module: &Bound<'py, PyModule>) -> PyResult<Hash> {
    let content = walker.enter(module, Leaving::Always, |walker| {
        modules::content(walker, module)
    })?;
    Ok(content.finish())
}

/// Whether two classes are made of the same body, whatever it names: one of a running script, and
/// one that was unpickled, whose code has no source and whose globals are copies.
#[pyfunction]
pub fn same_definition(one: &Bound<'_, PyType>, other: &Bound<'_, PyType>) -> PyResult<bool> {
    let body = |class: &Bound<'_, PyType>| -> PyResult<Hash> {
        let mut walker = Walker::new(class.py(), true);
        walker.compares_bodies = true;
        self::class(&mut walker, class)
    };
    let (one, other) = match (body(one), body(other)) {
        (Ok(one), Ok(other)) => (one, other),
        (Err(error), _) | (_, Err(error)) if is_indigestible(one.py(), &error) => return Ok(false),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    Ok(one == other)
}

/// The definition of `object`, from `content` if none that still holds is known.
fn read<'py>(
    walker: &mut Walker<'py>,
    object: &Bound<'py, PyAny>,
    globals: Globals,
    content: impl FnOnce(&mut Walker<'py>) -> PyResult<Encoder>,
) -> PyResult<Arc<Definition>> {
    let key = (object.as_ptr() as usize, globals, walker.typed);
    if let Some(known) = known(walker, &key)? {
        walker.depends_on(Dependency::Definition(known.clone()));
        return Ok(known);
    }
    let level = walker.within.len();
    let begun = Dependencies::new(walker.typed);
    let outer = walker.dependencies.replace(begun);
    let returned_to = std::mem::replace(&mut walker.returned_to, usize::MAX);
    let (returns, entered) = (walker.returns, walker.entered.len());
    walker.reading += 1;
    // What is met again by way of a definition does not contain itself.
    let path = std::mem::take(&mut walker.path);
    let result = content(walker);
    walker.path = path;
    walker.reading -= 1;
    let dependencies = std::mem::replace(&mut walker.dependencies, outer);
    let dependencies = dependencies.unwrap_or_else(|| Dependencies::new(walker.typed));
    let closed = walker.returned_to >= level;
    let inner = if closed {
        usize::MAX
    } else {
        walker.returned_to
    };
    walker.returned_to = returned_to.min(inner);
    let members = if walker.returns == returns {
        Vec::new()
    } else {
        walker.entered[entered..].to_vec()
    };
    if walker.reading == 0 {
        walker.entered.clear();
    }
    let definition = Arc::new(Definition {
        hash: result?.finish(),
        dependencies,
        members,
    });
    walker.depends_on(Dependency::Definition(definition.clone()));
    if closed && !walker.compares_bodies {
        let kept = (object.clone(), definition.clone());
        walker.definitions.insert(key, kept);
        if leads_to(object)? {
            keep(key, object, &definition);
        }
    }
    Ok(definition)
}

/// A definition that was read before and still holds.
fn known(walker: &Walker<'_>, key: &Question) -> PyResult<Option<Arc<Definition>>> {
    if walker.compares_bodies {
        return Ok(None);
    }
    let is_apart = |known: &Definition| {
        let within = |address: &usize| walker.within.contains(address);
        !within(&key.0) && !known.members.iter().any(within)
    };
    if let Some((_, known)) = walker.definitions.get(key) {
        return Ok(is_apart(known).then(|| known.clone()));
    }
    let read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let known = read.get(key).map(|(_, known)| known.clone());
    drop(read);
    match known {
        Some(known) if is_apart(&known) && known.holds(walker.py)? => Ok(Some(known)),
        _ => Ok(None),
    }
}

fn keep(key: Question, object: &Bound<'_, PyAny>, definition: &Arc<Definition>) {
    let kept = (object.clone().unbind(), definition.clone());
    let mut read = READ.lock().unwrap_or_else(PoisonError::into_inner);
    let forgotten = if read.len() == MOST_READ {
        std::mem::take(&mut *read)
    } else {
        HashMap::new()
    };
    let replaced = read.insert(key, kept);
    drop(read);
    // After the lock: what ends here may run Python code.
    drop((forgotten, replaced));
}

impl Walker<'_> {
    /// Notes what the definition that is being read depends on.
    fn depends_on(&mut self, dependency: Dependency) {
        self.noted += 1;
        if let Some(dependencies) = &mut self.dependencies {
            dependencies.push(dependency);
        }
    }
}
