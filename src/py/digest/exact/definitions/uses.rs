//! What code does with the globals and captured variables that it names: one that it only writes to
//! decides nothing, and of an instance or module it may ask for some attributes only.

use std::collections::{BTreeMap, BTreeSet};

use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict, PyList, PySet};

use crate::engine::digest::Hash;
use crate::py::names::Imported;

static COLLECTIONS: [Imported; 3] = [
    Imported::new("collections", "deque"),
    Imported::new("collections", "Counter"),
    Imported::new("collections", "defaultdict"),
];

/// Methods of the built-in containers that change them, whatever is in them: they give `None`.
const MUTATORS: [&str; 12] = [
    "add",
    "append",
    "appendleft",
    "clear",
    "discard",
    "extend",
    "extendleft",
    "insert",
    "reverse",
    "sort",
    "subtract",
    "update",
];

/// Whether a method of this name changes a built-in container and tells nothing of it. Others fail
/// if something is not in it.
pub fn is_mutator(name: &str) -> bool {
    MUTATORS.contains(&name)
}

/// The code of a function as it was read.
pub struct Code {
    pub hash: Hash,
    /// How it uses globals.
    pub uses: Uses,
}

/// What code does with one global or captured variable.
#[derive(Default, Clone)]
pub struct Use {
    read: bool,
    /// The attributes that it is asked for.
    attributes: BTreeSet<String>,
    /// The containers that methods change, their results dropped: attributes on the way to each.
    changed: BTreeSet<Vec<String>>,
    /// Whether it is changed in other ways.
    written: bool,
    /// The attributes of it that are bound.
    bound: BTreeSet<String>,
}

impl Use {
    /// Whether the code only changes what the name holds: a list that calls are noted in, a
    /// counter. What it holds then decides nothing.
    pub fn is_written_only(&self, value: &Bound<'_, PyAny>) -> bool {
        let writes = self.written || !self.changed.is_empty();
        writes && !self.read && self.attributes.is_empty() && self.changes_containers(value)
    }

    /// The attributes that the code asks for.
    pub fn attributes(&self) -> &BTreeSet<String> {
        &self.attributes
    }

    /// Whether the code binds an attribute of this name, and does not ask for it.
    pub fn only_writes_attribute(&self, name: &str) -> bool {
        self.bound.contains(name) && !self.attributes.contains(name)
    }

    /// The attributes, if they are all that the code wants of what the name holds.
    pub fn only_attributes(&self, value: &Bound<'_, PyAny>) -> Option<&BTreeSet<String>> {
        let only = !self.read && !self.attributes.is_empty();
        (only && self.changes_containers(value)).then_some(&self.attributes)
    }

    /// Whether the methods that are called are those of built-in containers.
    fn changes_containers(&self, value: &Bound<'_, PyAny>) -> bool {
        self.changed.iter().all(|path| {
            let mut found = value.clone();
            for attribute in path {
                match found.getattr(attribute.as_str()) {
                    Ok(next) => found = next,
                    Err(_) => return false,
                }
            }
            is_container(&found)
        })
    }
}

/// Whether a value is a container whose methods do what they are known to do.
fn is_container(value: &Bound<'_, PyAny>) -> bool {
    let class = value.get_type();
    let py = value.py();
    class.is(py.get_type::<PyList>())
        || class.is(py.get_type::<PyDict>())
        || class.is(py.get_type::<PySet>())
        || COLLECTIONS.iter().any(|known| {
            known
                .if_loaded(py)
                .is_ok_and(|known| known.is_some_and(|known| class.is(known)))
        })
}

/// A use as it travels: name, read, attributes, changed, written, bound.
pub type Packed = (
    String,
    bool,
    Vec<String>,
    Vec<Vec<String>>,
    bool,
    Vec<String>,
);

/// What code does with the globals and captured variables that it names.
pub struct Uses {
    names: BTreeMap<String, Use>,
    /// What it imports: modules and names in them, or the whole (`""`).
    imports: BTreeSet<Import>,
}

/// A module, with a dot in front for each package around, and a name in it.
pub type Import = (String, String);

impl Uses {
    pub fn of(names: BTreeSet<String>) -> Self {
        let names = names.into_iter().map(|name| (name, Use::default()));
        Self {
            names: names.collect(),
            imports: BTreeSet::new(),
        }
    }

    pub fn pack(&self) -> Vec<Packed> {
        let pack = |(name, usage): (&String, &Use)| {
            let attributes = usage.attributes.iter().cloned().collect();
            let changed = usage.changed.iter().cloned().collect();
            let bound = usage.bound.iter().cloned().collect();
            (
                name.clone(),
                usage.read,
                attributes,
                changed,
                usage.written,
                bound,
            )
        };
        self.names.iter().map(pack).collect()
    }

    pub fn unpack(packed: Vec<Packed>, imports: Vec<Import>) -> Self {
        let unpack = |(name, read, attributes, changed, written, bound): Packed| {
            let usage = Use {
                read,
                attributes: attributes.into_iter().collect(),
                changed: changed.into_iter().collect(),
                written,
                bound: bound.into_iter().collect(),
            };
            (name, usage)
        };
        Self {
            names: packed.into_iter().map(unpack).collect(),
            imports: imports.into_iter().collect(),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Use)> {
        self.names
            .iter()
            .map(|(name, usage)| (name.as_str(), usage))
    }

    pub fn imports(&self) -> &BTreeSet<Import> {
        &self.imports
    }

    pub fn note_import(&mut self, import: Import) {
        self.imports.insert(import);
    }

    pub fn note_read(&mut self, name: &str) {
        if let Some(usage) = self.names.get_mut(name) {
            usage.read = true;
        }
    }

    pub fn note_attribute(&mut self, name: &str, attribute: String) {
        if let Some(usage) = self.names.get_mut(name) {
            usage.attributes.insert(attribute);
        }
    }

    pub fn get(&self, name: &str) -> Use {
        self.names.get(name).cloned().unwrap_or_default()
    }

    /// A method that changes what `name`, or what these attributes lead to, is called.
    pub fn note_changed(&mut self, name: &str, attributes: Vec<String>) {
        if let Some(usage) = self.names.get_mut(name) {
            usage.changed.insert(attributes);
        }
    }

    /// An attribute of what `name` holds is bound.
    pub fn note_bound(&mut self, name: &str, attribute: String) {
        if let Some(usage) = self.names.get_mut(name) {
            usage.bound.insert(attribute);
        }
    }

    pub fn note_written(&mut self, name: &str) {
        if let Some(usage) = self.names.get_mut(name) {
            usage.written = true;
        }
    }
}
