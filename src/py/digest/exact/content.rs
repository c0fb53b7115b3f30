//! Digests of exactly one content: the keys of results.
//!
//! Two objects may say that they are equal, by a hook or `__digest__`, and still not be the same.
//! As results both must come back as they are, so that here their state counts besides what they
//! say, as far as it can be told.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyFunction, PyString};

use super::{Walker, leaf};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::is_indigestible;
use crate::py::names::{Imported, class_identity};

static SPLIT: Imported = Imported::new("fleche.storage.destructuring", "Digested");
static DUMPS: Imported = Imported::new("pickle", "dumps");

/// The oldest protocol that every supported Python reads and that tells all of an object's state.
const PICKLE_PROTOCOL: u8 = 4;

impl<'py> Walker<'py> {
    /// What a hook or `__digest__` says of an instance. Where identity decides, its class counts
    /// too: an object that digests as its only attribute does is not that attribute.
    pub(super) fn accept_own(
        &mut self,
        value: &Bound<'py, PyAny>,
        result: &Bound<'py, PyAny>,
    ) -> PyResult<Hash> {
        let hash = self.accept(value, result)?;
        if !self.typed || stands_for_another(value)? {
            return Ok(hash);
        }
        let mut encoder = Encoder::new(Tag::OwnRule);
        encoder
            .text(&class_identity(&value.get_type())?)
            .child(&hash);
        if self.literal {
            match self.state_of(value)? {
                Some(state) => encoder.byte(1).child(&state),
                None => encoder.byte(0),
            };
        }
        Ok(encoder.finish())
    }

    /// The content of an object that has a rule of its own, without that rule; `None` within
    /// itself. Each object is looked into once, however many ways lead to it.
    fn state_of(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Hash>> {
        let address = value.as_ptr() as usize;
        if let Some((_, state)) = self.states.get(&address) {
            return Ok(*state);
        }
        self.states.insert(address, (value.clone(), None));
        let state = match self.without_own_rule(value) {
            Err(error) if is_indigestible(self.py, &error) => self.attributes_told(value)?,
            done => done?,
        };
        self.states.insert(address, (value.clone(), Some(state)));
        Ok(Some(state))
    }

    /// All attributes; those without a digest as far as they can be told.
    fn attributes_told(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let mut encoder = Encoder::new(Tag::WithState);
        let attributes = self.attributes(value, |_| true)?;
        encoder.length(attributes.len());
        for (name, hash) in &attributes {
            encoder.bytes(name).child(hash);
        }
        Ok(encoder.finish())
    }

    /// The digest of an attribute. In a result one that has no digest counts by its pickle, which
    /// tells it from others, though not for sure from itself in another process.
    pub(super) fn attribute(&mut self, content: &Bound<'py, PyAny>) -> PyResult<Hash> {
        match self.walk(content) {
            Err(error) if self.literal && is_indigestible(self.py, &error) => self.pickled(content),
            done => done,
        }
    }

    fn pickled(&self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let py = self.py;
        let class = class_identity(&value.get_type())?;
        let dumped = DUMPS.get(py)?.call1((value, PICKLE_PROTOCOL));
        let mut encoder = Encoder::new(Tag::NamedBytes);
        match dumped {
            Ok(bytes) => encoder
                .text(&format!("\0pickle.{class}"))
                .bytes(bytes.cast::<PyBytes>()?.as_bytes()),
            Err(error) if error.is_instance_of::<pyo3::exceptions::PyException>(py) => {
                encoder.text("\0opaque").bytes(class.as_bytes())
            }
            Err(error) => return Err(error),
        };
        Ok(encoder.finish())
    }

    /// A `Digest` that is a value of its own.
    pub(super) fn digest_itself(value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let mut encoder = Encoder::new(Tag::NamedText);
        encoder
            .text(&class_identity(&value.get_type())?)
            .bytes(&leaf::utf8(value.cast()?)?);
        Ok(encoder.finish())
    }
}

/// Whether `value` is one of our own objects, which digest as what they stand for: call records,
/// stored values that were split. So do functions, as those they wrap.
fn stands_for_another(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if value.is_instance_of::<PyFunction>() || SPLIT.is_instance(value)? {
        return Ok(true);
    }
    let module = value
        .get_type()
        .getattr(intern!(value.py(), "__module__"))?;
    let ours = |module: &Bound<'_, PyString>| module.to_string_lossy() == "fleche.call";
    Ok(module.cast::<PyString>().is_ok_and(ours))
}
