//! The walk of scheme `sha256`: which digest the reference package gives a Python value.
//!
//! The order of the rules is part of the scheme: the first that fits decides. Built-in types are
//! taken by exact type first, which changes nothing as no other rule can fit them.

mod ambiguity;
mod arrays;
mod callables;
mod containers;
mod frames;
mod leaf;
mod objects;

use std::borrow::Cow;
use std::cmp::Ordering;

use pyo3::exceptions::PyRecursionError;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::{
    as_indigestible, check_depth, hash_of_text, hooks, indigestible, indigestible_because,
    own_digest, to_digest,
};
use crate::engine::digest::sha256::{Hasher, of};
use crate::engine::digest::{Hash, Hex};
use crate::py::names::DIGEST;

pub use ambiguity::{is_unambiguous, is_unambiguous_function};

/// What a value digests to. The text of a `Digest`, of a hook or of `__digest__` is taken as it
/// is, whatever it says: a prefix stays a prefix.
#[derive(Clone)]
pub enum Outcome {
    Hash(Hash),
    Text(String),
}

impl From<Hash> for Outcome {
    fn from(hash: Hash) -> Self {
        Self::Hash(hash)
    }
}

impl Outcome {
    pub fn of_text(text: &Bound<'_, PyString>) -> PyResult<Self> {
        Ok(match hash_of_text(text) {
            Some(hash) => Self::Hash(hash),
            None => Self::Text(text.to_str()?.to_owned()),
        })
    }

    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Hash(hash) => Cow::Owned(Hex::of(hash).as_str().to_owned()),
            Self::Text(text) => Cow::Borrowed(text),
        }
    }

    /// The key under which a value of this digest is stored. Any text may be one in this scheme,
    /// but no key, which names files and is shortened.
    pub fn storage_key(&self) -> Hash {
        match self {
            Self::Hash(hash) => *hash,
            Self::Text(text) => of(&[b"__fleche_own_digest__", text.as_bytes()]),
        }
    }

    /// As the `Digest` that Python sees.
    pub fn to_digest<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Self::Hash(hash) => to_digest(py, hash),
            Self::Text(text) => DIGEST.get(py)?.call1((text,)),
        }
    }

    /// The order of the texts.
    fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Hash(one), Self::Hash(two)) => one.cmp(two),
            _ => self.text().cmp(&other.text()),
        }
    }
}

impl Hasher {
    fn outcome(&mut self, outcome: &Outcome) -> &mut Self {
        match outcome {
            Outcome::Hash(hash) => self.child(hash),
            Outcome::Text(text) => self.bytes(text.as_bytes()),
        }
    }
}

/// A walk that is over.
pub struct Walked {
    pub outcome: PyResult<Outcome>,
    /// Whether another walk would find the same: not if an iterator was consumed.
    pub repeatable: bool,
}

/// The digest of `value`.
pub fn digest(value: &Bound<'_, PyAny>) -> Walked {
    let mut walker = Walker {
        py: value.py(),
        hooked: hooks::any(),
        depth: 0,
        consumed: false,
    };
    Walked {
        outcome: walker.walk(value),
        repeatable: !walker.consumed,
    }
}

/// The digest of a class by its name.
pub fn digest_class(class: &Bound<'_, PyAny>) -> PyResult<Hash> {
    Walker::class(class)
}

/// One walk over one value.
struct Walker<'py> {
    py: Python<'py>,
    hooked: bool,
    depth: usize,
    /// Whether an iterator gave up its elements.
    consumed: bool,
}

impl<'py> Walker<'py> {
    /// The digest of a value, at whatever depth.
    fn walk(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Outcome> {
        if !self.hooked
            && let Some(hash) = leaf::digest(value)?
        {
            return Ok(Outcome::Hash(hash));
        }
        check_depth(self.py, self.depth)?;
        self.depth += 1;
        let result = self.nested(value);
        self.depth -= 1;
        result
    }

    fn nested(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Outcome> {
        if !self.hooked
            && let Some(hash) = self.builtin_container(value)?
        {
            return Ok(Outcome::Hash(hash));
        }
        self.any(value).map_err(|error| {
            // User code that recursed without end.
            if error.is_instance_of::<PyRecursionError>(self.py) {
                indigestible_because(self.py, "nested too deeply")
            } else {
                as_indigestible(value, error)
            }
        })
    }

    /// Any value: hook, `__digest__`, then everything built in.
    fn any(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Outcome> {
        if self.hooked
            && let Some(result) = hooks::apply(value)?
        {
            return self.accept(value, &result);
        }
        if let Some(method) = own_digest(value)? {
            return self.accept(value, &method.call0()?);
        }
        if let Some(text) = leaf::digest_text(value)? {
            return Outcome::of_text(text);
        }
        if callables::is_function(value) {
            return self.function(value);
        }
        self.by_kind(value)?
            .map(Outcome::Hash)
            .ok_or_else(|| indigestible(value))
    }

    /// The rules in the reference's order. Functions stand apart: theirs may say any text.
    fn by_kind(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        if let Some(hash) = leaf::digest(value)? {
            return Ok(Some(hash));
        }
        if let Some(hash) = leaf::digest_subclass(value)? {
            return Ok(Some(hash));
        }
        if let Some(hash) = self.array(value)? {
            return Ok(Some(hash));
        }
        if let Some(hash) = self.frame(value)? {
            return Ok(Some(hash));
        }
        if let Some(hash) = self.callable(value)? {
            return Ok(Some(hash));
        }
        if let Some(hash) = self.object(value)? {
            return Ok(Some(hash));
        }
        if let Some(hash) = self.builtin_container(value)? {
            return Ok(Some(hash));
        }
        self.container(value)
    }

    /// What a hook or `__digest__` returned: the digest, as text.
    fn accept(&self, value: &Bound<'py, PyAny>, result: &Bound<'py, PyAny>) -> PyResult<Outcome> {
        if let Ok(text) = result.cast::<PyString>() {
            return Outcome::of_text(text);
        }
        let reason = format!(
            "the hook or __digest__ of {} must return a digest, not {}",
            value.get_type().name()?,
            result.get_type().name()?
        );
        Err(indigestible_because(self.py, &reason))
    }
}

/// The name of a value's type, with which its pre-image starts.
fn type_name(value: &Bound<'_, PyAny>) -> PyResult<Vec<u8>> {
    let name = value.get_type().name()?;
    Ok(super::bytes::utf8(&name)?.into_owned())
}

/// The digest of a text.
fn text(text: &str) -> Hash {
    crate::engine::digest::sha256::text(text)
}
