//! The walk of scheme `exact`: which encoding a Python value has.
//!
//! Built-in types are taken by exact type first ([`leaf`], [`containers`]); everything else is
//! asked for a hook and for `__digest__`, then tried by kind, the more special kinds first, and
//! at last by its [`reduction`].
//!
//! The walk recurses. The functions on its way are never inlined into each other, as a level of a
//! nest would otherwise take the stack of all kinds together, not that of one.

mod callables;
mod class_names;
mod containers;
pub mod definitions;
mod leaf;
mod libraries;
mod naming;
mod numbers;
mod records;
mod reduction;
mod results;
mod state;
mod stdlib;
mod subclasses;
mod times;
mod trail;

use std::collections::HashMap;
use std::sync::Arc;

use crate::py::once::intern;
use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::{
    PyDict, PyFrozenSet, PyFunction, PyList, PyModule, PySet, PyString, PyTuple, PyType,
};

use super::{
    as_indigestible, check_depth, hash_of_text, hooks, indigestible, indigestible_because,
    is_digest, own_digest,
};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use definitions::{Definition, Dependencies, Question};
use libraries::Kind;
use trail::Trail;

pub use libraries::buffer::bytes as bytes_of_buffer;
pub use numbers::canonical_bytes;
pub use trail::{attribute, element, item};

pub use naming::{is_named_function, leads_to, module_of};
pub use results::{decided, decided_digest, serialised, serialised_digest, unique};

/// From this depth on values are remembered: what is shared between many places of a deep
/// structure is walked once, not once for every path that leads to it.
const REMEMBERED: usize = 16;

/// From this depth on a value that is met inside of itself ends the walk.
const WATCHED: usize = 64;

/// How many values one walk remembers.
const MOST_REMEMBERED: usize = 1 << 16;

/// How often a walk may come back to a value that it is within: objects that all refer to each
/// other are reached by more paths than anybody can follow.
const MOST_RETURNS: usize = 1 << 16;

/// The digest of `value`: by equality, or (`typed`) by identity of content.
pub fn digest(value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Hash> {
    match unhooked_leaf(value, typed)? {
        Some(hash) => Ok(hash),
        None => Walker::new(value.py(), typed).walk_outermost(value),
    }
}

/// The digest of an argument of a call. Generators of random numbers are refused: using one
/// changes it, so that a hit would replay one draw for ever.
pub fn argument(value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Hash> {
    if let Some(hash) = unhooked_leaf(value, typed)? {
        return Ok(hash);
    }
    let mut walker = Walker::new(value.py(), typed);
    walker.refuses_random = true;
    walker.walk_outermost(value)
}

/// The digest of a leaf, for which no walk has to be set up; `None` if `value` may be none.
fn unhooked_leaf(value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Option<Hash>> {
    if hooks::any() {
        return Ok(None);
    }
    Ok(leaf::encode(value, typed)?.map(Encoder::finish))
}

/// The digest of a class by its name.
pub fn digest_class(class: &Bound<'_, PyType>) -> PyResult<Hash> {
    Walker::named_class(class).map(Encoder::finish)
}

/// How the class of a record takes part in its digest.
pub fn class_name(class: &Bound<'_, PyType>) -> PyResult<String> {
    Walker::new(class.py(), true).class_name(class)
}

/// The digest of a value of which a hook or `__digest__` says some text: its content, then.
pub fn named_by(text: &[u8]) -> Hash {
    let mut encoder = Encoder::new(Tag::NamedText);
    encoder.text("\0__digest__").bytes(text);
    encoder.finish()
}

/// When the walk leaves what it entered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    Always,
    /// When nothing in it refers to what is around it.
    Closed,
}

/// One walk over one value.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what was asked, and what was met, independent of each other"
)]
pub struct Walker<'py> {
    py: Python<'py>,
    typed: bool,
    hooked: bool,
    depth: usize,
    /// Whether generators of random numbers end the walk, and whether one did.
    refuses_random: bool,
    met_random: bool,
    /// The values on the way to the current one, from [`WATCHED`] on.
    path: Vec<usize>,
    /// The objects, functions, classes and modules that the walk is within.
    within: Vec<usize>,
    /// The outermost of those that the walk came back to; what is deeper than it depends on the
    /// path that led there.
    returned_to: usize,
    returns: usize,
    /// How many definitions are being read, all that was entered meanwhile, and those that are
    /// read.
    reading: usize,
    /// How often something was noted that the definition that is being read depends on.
    noted: usize,
    /// Whether definitions count by their addresses.
    by_address: bool,
    entered: Vec<usize>,
    definitions: HashMap<Question, (Bound<'py, PyAny>, Arc<Definition>)>,
    /// Digests of deep values by address and question, with the values, which keeps their
    /// addresses from being taken by others.
    remembered: HashMap<(usize, bool), (Bound<'py, PyAny>, Hash)>,
    class_names: HashMap<usize, (Bound<'py, PyType>, String)>,
    /// Whether definitions are compared by what their bodies say alone.
    compares_bodies: bool,
    /// What the definition that is being read depends on.
    dependencies: Option<Dependencies>,
    /// Where in the value the walk failed.
    trail: Trail,
}

impl<'py> Walker<'py> {
    pub fn new(py: Python<'py>, typed: bool) -> Self {
        Self {
            py,
            typed,
            hooked: hooks::any(),
            depth: 0,
            refuses_random: false,
            met_random: false,
            path: Vec::new(),
            within: Vec::new(),
            returned_to: usize::MAX,
            returns: 0,
            reading: 0,
            noted: 0,
            by_address: false,
            entered: Vec::new(),
            definitions: HashMap::new(),
            remembered: HashMap::new(),
            class_names: HashMap::new(),
            compares_bodies: false,
            dependencies: None,
            trail: Trail::default(),
        }
    }

    /// The digest of the whole value; an error says where in it.
    fn walk_outermost(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        self.walk(value).map_err(|error| self.located(error))
    }

    /// The digest of a value, at whatever depth.
    pub fn walk(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        if !self.hooked
            && let Some(encoder) = leaf::encode(value, self.typed)?
        {
            return Ok(encoder.finish());
        }
        check_depth(self.py, self.depth)?;
        self.depth += 1;
        let result = if self.depth > REMEMBERED {
            self.walk_deep(value)
        } else {
            self.walk_node(value)
        };
        self.depth -= 1;
        result
    }

    fn walk_node(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        if !self.hooked
            && let Some(hash) = self.builtin(value)?
        {
            return Ok(hash);
        }
        self.any(value)
    }

    /// A value deep inside of another one: neither cycles nor sharing may keep the walk going.
    #[cold]
    fn walk_deep(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let address = value.as_ptr() as usize;
        let key = (address, self.typed);
        // Those are remembered with what they depend on.
        let is_definition = value.is_instance_of::<PyFunction>()
            || value.is_instance_of::<PyType>()
            || value.is_instance_of::<PyModule>();
        if is_definition {
            return self.walk_node(value);
        }
        if let Some((_, hash)) = self.remembered.get(&key) {
            return Ok(*hash);
        }
        let watched = self.depth > WATCHED;
        if watched {
            if self.path.contains(&address) && !self.within.contains(&address) {
                return Err(indigestible_because(self.py, "contains itself"));
            }
            self.path.push(address);
        }
        let (returns, noted) = (self.returns, self.noted);
        let result = self.walk_node(value);
        if watched {
            self.path.pop();
        }
        // What the walk came back to depends on the path to it.
        if self.returns == returns
            && self.noted == noted
            && let Ok(hash) = &result
        {
            if self.remembered.len() == MOST_REMEMBERED {
                self.remembered.clear();
            }
            self.remembered.insert(key, (value.clone(), *hash));
        }
        result
    }

    /// Walks what `value` is made of. Met again within itself, it counts as how many steps back
    /// it is: so cycles end, and agree wherever they are entered.
    ///
    /// What refers to something around it is part of a cycle that is not walked to its end: if it
    /// is left only when that is, it is walked once, in however many ways the others refer to it.
    /// Only what is walked in an order that is always the same may be left so.
    fn enter(
        &mut self,
        value: &Bound<'py, PyAny>,
        leaving: Leaving,
        content: impl FnOnce(&mut Self) -> PyResult<Encoder>,
    ) -> PyResult<Encoder> {
        let address = value.as_ptr() as usize;
        if let Some(level) = self.within.iter().position(|entered| *entered == address) {
            self.returned_to = self.returned_to.min(level);
            self.returns += 1;
            self.noted += 1;
            if self.returns > MOST_RETURNS {
                let reason = "refers to itself in more ways than can be followed";
                return Err(indigestible_because(self.py, reason));
            }
            let mut encoder = Encoder::new(Tag::Recursion);
            encoder.length(self.within.len() - level);
            return Ok(encoder);
        }
        check_depth(self.py, self.depth)?;
        self.depth += 1;
        let level = self.within.len();
        self.within.push(address);
        if self.reading > 0 {
            self.entered.push(address);
        }
        let result = content(self);
        if leaving == Leaving::Always || self.returned_to >= level || result.is_err() {
            self.within.truncate(level);
        }
        self.depth -= 1;
        result
    }

    /// Values of the exact built-in types, which have neither hook nor `__digest__`.
    #[inline(never)]
    fn builtin(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let encoder = if let Ok(list) = value.cast_exact::<PyList>() {
            self.sequence("list", list.iter(), list.len())?
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.sequence("tuple", tuple.iter(), tuple.len())?
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.dict(dict)?
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            self.set("set", set.iter(), set.len())?
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.set("frozenset", set.iter(), set.len())?
        } else {
            return Ok(None);
        };
        Ok(Some(encoder.finish()))
    }

    /// Any value: hook, `__digest__`, then everything built in.
    #[inline(never)]
    fn any(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        if is_digest(value)? {
            return self.digest_child(value);
        }
        if self.hooked {
            let hooked = hooks::apply(value).map_err(|error| as_indigestible(value, error))?;
            if let Some(result) = hooked {
                return self.accept_own(value, &result);
            }
        }
        if let Some(method) = own_digest(value).map_err(|error| as_indigestible(value, error))? {
            let result = method
                .call0()
                .map_err(|error| as_indigestible(value, error))?;
            return self.accept_own(value, &result);
        }
        self.without_own_rule(value)
    }

    /// What is built in.
    fn without_own_rule(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        if self.hooked {
            if let Some(encoder) = leaf::encode(value, self.typed)? {
                return Ok(encoder.finish());
            }
            if let Some(hash) = self.builtin(value)? {
                return Ok(hash);
            }
        }
        // A function's own answer counts; a decorated one names the one that it wraps.
        if value.is_instance_of::<PyFunction>()
            && let Some(own) = value.getattr_opt(intern!(self.py, "__digest__"))?
        {
            if let Some(hash) = self.decorated(&own)? {
                return Ok(hash);
            }
            let result = own.call0().map_err(|error| as_indigestible(value, error))?;
            return self.accept(value, &result);
        }
        self.by_kind(value).map_err(|error| {
            // A very deep nest, or user code that recursed without end.
            if error.is_instance_of::<PyRecursionError>(self.py) {
                indigestible_because(self.py, "nested too deeply")
            } else {
                as_indigestible(value, error)
            }
        })
    }

    /// A `Digest` met inside of another value stands for the value it names.
    fn digest_child(&self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        value
            .cast::<PyString>()
            .ok()
            .and_then(hash_of_text)
            .ok_or_else(|| {
                indigestible_because(
                    self.py,
                    &format!("{value:?} is not a whole digest: expand it first"),
                )
            })
    }

    /// What a hook or `__digest__` says of an instance. Where identity decides, its class counts
    /// too: an object that digests as its only attribute does is not that attribute.
    fn accept_own(
        &mut self,
        value: &Bound<'py, PyAny>,
        result: &Bound<'py, PyAny>,
    ) -> PyResult<Hash> {
        let hash = self.accept(value, result)?;
        if !self.typed || results::stands_for_another(value)? {
            return Ok(hash);
        }
        let mut encoder = Encoder::new(Tag::OwnRule);
        encoder
            .text(&self.class_name(&value.get_type())?)
            .child(&hash);
        Ok(encoder.finish())
    }

    /// What a hook or `__digest__` returned: a digest, as `Digest` or as text.
    fn accept(&self, value: &Bound<'py, PyAny>, result: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let Ok(text) = result.cast::<PyString>() else {
            let kind = result.get_type().name()?;
            let reason = format!(
                "the hook or __digest__ of {} must return a digest, not {kind}",
                value.get_type().name()?
            );
            return Err(indigestible_because(self.py, &reason));
        };
        if let Some(hash) = hash_of_text(text) {
            return Ok(hash);
        }
        Ok(named_by(&leaf::utf8(text)?))
    }

    /// Everything that is no exact built-in container, number or text.
    #[inline(never)]
    fn by_kind(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let kind = libraries::kind(&value.get_type())?;
        if kind == Kind::Object || kind == Kind::Random {
            return self.object(value, kind);
        }
        let encoder = if let Some(encoder) = self.library(value, kind)? {
            encoder
        } else if let Some(encoder) = self.singleton(value) {
            encoder
        } else if let Ok(class) = value.cast::<PyType>() {
            return self.class(class);
        } else if let Some(hash) = self.callable(value)? {
            return Ok(hash);
        } else if let Some(encoder) = self.standard_library(value)? {
            encoder
        } else if let Some(hash) = self.record(value)? {
            return Ok(hash);
        } else if let Some(encoder) = self.number_object(value)? {
            encoder
        } else if let Some(encoder) = self.subclass(value)? {
            encoder
        } else {
            return self.reduction(value);
        };
        Ok(encoder.finish())
    }
}
