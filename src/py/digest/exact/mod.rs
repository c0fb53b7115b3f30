//! The walk of scheme `exact`: which encoding a Python value has.
//!
//! Built-in types are taken by exact type first ([`leaf`], [`containers`]); everything else is
//! asked for a hook and for `__digest__`, then tried by kind, the more special kinds first.
//!
//! The walk recurses. The functions on its way are never inlined into each other, as a level of a
//! nest would otherwise take the stack of all kinds together, not that of one.

mod callables;
mod containers;
mod content;
mod leaf;
mod libraries;
mod numbers;
mod records;
mod state;
mod stdlib;
mod subclasses;
mod times;

use std::collections::HashMap;

use pyo3::exceptions::PyRecursionError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyFunction, PyList, PySet, PyString, PyTuple, PyType};

use super::{
    as_indigestible, check_depth, functions, hash_of_text, hooks, indigestible,
    indigestible_because, is_digest, own_digest,
};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::names::class_identity;

/// From this depth on values are remembered: what is shared between many places of a deep
/// structure is walked once, not once for every path that leads to it.
const REMEMBERED: usize = 16;

/// From this depth on a value that is met inside of itself ends the walk.
const WATCHED: usize = 64;

/// How many values one walk remembers.
const MOST_REMEMBERED: usize = 1 << 16;

/// The digest of `value`: by equality, or (`typed`) by identity of content.
pub fn digest(value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Hash> {
    match unhooked_leaf(value, typed)? {
        Some(hash) => Ok(hash),
        None => Walker::new(value.py(), typed).walk(value),
    }
}

/// The digest of a leaf, for which no walk has to be set up; `None` if `value` may be none.
fn unhooked_leaf(value: &Bound<'_, PyAny>, typed: bool) -> PyResult<Option<Hash>> {
    if hooks::any() {
        return Ok(None);
    }
    Ok(leaf::encode(value, typed)?.map(Encoder::finish))
}

/// The digest of exactly this content, in which a `Digest` is no other value's name but itself.
pub fn content(value: &Bound<'_, PyAny>) -> PyResult<Hash> {
    if let Some(hash) = unhooked_leaf(value, true)? {
        return Ok(hash);
    }
    let mut walker = Walker::new(value.py(), true);
    walker.literal = true;
    walker.walk(value)
}

/// The digest of a class by its name.
pub fn digest_class(class: &Bound<'_, PyType>) -> PyResult<Hash> {
    Walker::class(class).map(Encoder::finish)
}

/// One walk over one value.
pub struct Walker<'py> {
    py: Python<'py>,
    typed: bool,
    /// Whether a `Digest` counts as a value of its own.
    literal: bool,
    hooked: bool,
    depth: usize,
    /// The values on the way to the current one, from [`WATCHED`] on.
    path: Vec<usize>,
    /// Digests of deep values by address and question, with the values, which keeps their
    /// addresses from being taken by others.
    remembered: HashMap<(usize, bool), (Bound<'py, PyAny>, Hash)>,
    /// The content of objects with rules of their own (literal digests); `None` while it is told.
    states: HashMap<usize, (Bound<'py, PyAny>, Option<Hash>)>,
}

impl<'py> Walker<'py> {
    pub fn new(py: Python<'py>, typed: bool) -> Self {
        Self {
            py,
            typed,
            literal: false,
            hooked: hooks::any(),
            depth: 0,
            path: Vec::new(),
            remembered: HashMap::new(),
            states: HashMap::new(),
        }
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
        // Within functions the digest of a recursive one depends on the path to it.
        let independent = !functions::walking();
        if independent && let Some((_, hash)) = self.remembered.get(&key) {
            return Ok(*hash);
        }
        let watched = self.depth > WATCHED && !value.is_instance_of::<PyFunction>();
        if watched {
            if self.path.contains(&address) {
                return Err(indigestible_because(self.py, "contains itself"));
            }
            self.path.push(address);
        }
        let result = self.walk_node(value);
        if watched {
            self.path.pop();
        }
        if independent && let Ok(hash) = &result {
            if self.remembered.len() == MOST_REMEMBERED {
                self.remembered.clear();
            }
            self.remembered.insert(key, (value.clone(), *hash));
        }
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
        // A function's own answer counts: that of a decorated one names the one it wraps.
        if value.is_instance_of::<PyFunction>()
            && let Some(own) = value.getattr_opt(intern!(self.py, "__digest__"))?
        {
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
        if self.literal {
            return Self::digest_itself(value);
        }
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
        // Any other text is taken as the content that makes the value.
        let mut encoder = Encoder::new(Tag::NamedText);
        encoder.text("\0__digest__").bytes(&leaf::utf8(text)?);
        Ok(encoder.finish())
    }

    /// Everything that is no exact built-in container, number or text.
    #[inline(never)]
    fn by_kind(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let encoder = if let Some(encoder) = self.library(value)? {
            Some(encoder)
        } else if let Some(encoder) = self.singleton(value) {
            Some(encoder)
        } else if let Ok(class) = value.cast::<PyType>() {
            Some(Self::class(class)?)
        } else if let Some(encoder) = self.callable(value)? {
            Some(encoder)
        } else if let Some(encoder) = self.standard_library(value)? {
            Some(encoder)
        } else if let Some(encoder) = self.record(value)? {
            Some(encoder)
        } else if let Some(encoder) = self.number_object(value)? {
            Some(encoder)
        } else {
            self.subclass(value)?
        };
        encoder
            .map(Encoder::finish)
            .ok_or_else(|| indigestible(value))
    }

    /// How a class takes part: by its name where equality decides, by its whole name where
    /// identity does.
    fn class_name(&self, class: &Bound<'py, PyType>) -> PyResult<String> {
        if self.typed {
            class_identity(class)
        } else {
            Ok(class.name()?.to_string_lossy().into())
        }
    }
}
