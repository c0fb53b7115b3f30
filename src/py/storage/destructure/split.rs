//! Splitting a value that is saved.

use std::collections::HashSet;

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use super::super::backend::Backend;
use super::super::entry::{Entry, pickled, pickled_whole};
use super::super::pieces::{ATTRS, DATACLASS, DICT, ITERABLE};
use super::super::serialised::Serialised;
use super::sharing::{Sharing, has_identity, may_refer};
use crate::engine::digest::Hash;
use crate::py::digest::{self, Scheme, check_depth, composite, is_digest, record, to_digest};
use crate::py::errors;
use crate::py::names::Imported;

static DESTRUCTURERS: Imported = Imported::new("fleche.storage.destructuring", "_DESTRUCTURERS");
/// The nesting depth of what cannot be looked into: deeper than any limit.
pub(super) const OPAQUE: usize = usize::MAX;

/// From this length on, in characters or bytes, a part is worth an entry of its own.
const LARGEST_PART: usize = 256;

/// A value as it would be stored under a key of its own.
pub(super) struct Node<'py> {
    /// The value, or a `Digested...` object that holds the digests of its children.
    pub(super) stored: Bound<'py, PyAny>,
    pub(super) depth: usize,
    pub(super) hash: Hash,
    /// The bytes that made the hash.
    pub(super) payload: Option<Serialised<'py>>,
}

#[expect(
    clippy::struct_excessive_bools,
    reason = "each says a thing of its own"
)]
pub(super) struct Splitter<'a, 'py> {
    pub(super) py: Python<'py>,
    /// For rules of users; `None` where nothing is stored.
    pub(super) storage: Option<Bound<'py, PyAny>>,
    pub(super) backend: Option<&'a Backend<'py>>,
    pub(super) scheme: Scheme,
    pub(super) remaining_depth: i64,
    pub(super) custom: Option<Bound<'py, PyList>>,
    pub(super) level: usize,
    /// Whether the key of the outermost value is given, so that its digest is not needed.
    pub(super) keyed: bool,
    /// Whether keys are those of before large buffers lay apart.
    pub(super) older: bool,
    /// Whether large buffers lay apart from something that a key was made of.
    pub(super) is_apart: bool,
    /// Children to store, each before its parent.
    pub(super) children: Vec<Entry<'py>>,
    pub(super) seen: HashSet<Hash>,
    /// The keys of values whose digest is another text, as hooks may say in scheme `sha256`.
    pub(super) named: HashSet<Hash>,
    /// Whether it is kept in mind what was met.
    pub(super) watched: bool,
    pub(super) sharing: Sharing<'py>,
    /// Whether the outermost value is not in pieces, as something is in it more than once.
    pub(super) is_whole: bool,
}

impl<'a, 'py> Splitter<'a, 'py> {
    pub(super) fn new(
        py: Python<'py>,
        storage: Option<&Bound<'py, PyAny>>,
        backend: Option<&'a Backend<'py>>,
        remaining_depth: i64,
    ) -> PyResult<Self> {
        let custom = DESTRUCTURERS.get(py)?.cast::<PyList>()?;
        let scheme = digest::active_scheme(py)?;
        Ok(Self {
            py,
            storage: storage.cloned(),
            backend,
            scheme,
            remaining_depth,
            custom: (!custom.is_empty() && storage.is_some()).then(|| custom.clone()),
            level: 0,
            keyed: false,
            older: false,
            is_apart: false,
            children: Vec::new(),
            seen: HashSet::new(),
            named: HashSet::new(),
            watched: scheme == Scheme::Exact,
            sharing: Sharing::default(),
            is_whole: false,
        })
    }

    /// Whether the value at this level has its key already.
    fn at_keyed_root(&self) -> bool {
        self.keyed && self.level == 1
    }

    fn splits_off(&self, depth: usize) -> bool {
        i64::try_from(depth).map_or(true, |depth| depth >= self.remaining_depth)
    }

    pub(super) fn node(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Node<'py>> {
        check_depth(self.py, self.level)?;
        self.level += 1;
        let node = self.node_at_level(value);
        self.level -= 1;
        node
    }

    /// The outermost value: in pieces, or whole if something is in it more than once.
    pub(super) fn outermost(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Node<'py>> {
        let node = self.node(value)?;
        self.is_whole = self.sharing.found(self.py)?;
        if !self.is_whole {
            return Ok(node);
        }
        self.children.clear();
        self.level += 1;
        let whole = self.whole(value, OPAQUE);
        self.level -= 1;
        whole
    }

    fn node_at_level(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Node<'py>> {
        if self.sharing.met_twice() {
            // It will be stored whole.
            return Ok(Node {
                stored: value.clone(),
                depth: OPAQUE,
                hash: Hash::default(),
                payload: None,
            });
        }
        if value.is_instance_of::<PyInt>()
            || value.is_instance_of::<PyFloat>()
            || (value.is_instance_of::<PyString>() && !is_digest(value)?)
            || value.is_instance_of::<PyBytes>()
            || value.is_instance_of::<PyComplex>()
        {
            return self.whole(value, 0);
        }
        if self.watched && has_identity(value)? {
            self.sharing.meet(value);
            if self.sharing.met_twice() {
                return self.node_at_level(value);
            }
        }
        let before = self.children.len();
        match self.parent(value) {
            Ok(Some(node)) => return Ok(node),
            Ok(None) => {}
            // A child has no digest, which is no matter where the whole has one without it.
            Err(error)
                if digest::is_indigestible(self.py, &error) && digest::decides_itself(value)? => {}
            Err(error) => return Err(error),
        }
        // Stored whole: nobody needs the children that were split off already.
        for child in self.children.drain(before..) {
            self.seen.remove(&child.key);
        }
        self.custom(value)
    }

    /// A value that holds others, if it can be split.
    fn parent(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<Node<'py>>> {
        if let Ok(list) = value.cast_exact::<PyList>() {
            self.elements(value, true, list.iter(), list.len())
        } else if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.elements(value, false, tuple.iter(), tuple.len())
        } else if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.items(value, dict)
        } else if let Some(names) = record::splittable_fields(value)? {
            self.fields(value, &names)
        } else {
            Ok(None)
        }
    }

    /// A value that is stored as it is.
    pub(super) fn whole(&mut self, value: &Bound<'py, PyAny>, depth: usize) -> PyResult<Node<'py>> {
        let (hash, payload) = if self.at_keyed_root() {
            (Hash::default(), None)
        } else {
            self.key_of(value)?
        };
        Ok(Node {
            stored: value.clone(),
            depth,
            hash,
            payload,
        })
    }

    /// The key of a result that is stored whole, and the bytes of it, if these decide.
    fn key_of(&mut self, value: &Bound<'py, PyAny>) -> PyResult<(Hash, Option<Serialised<'py>>)> {
        if self.scheme == Scheme::Sha256 {
            return Ok((self.content_in_sha256(value)?, None));
        }
        if let Some(hash) = digest::exact::decided(value)? {
            return Ok((hash, None));
        }
        let payload = match self.backend {
            None if self.older => pickled_whole(value)?.map(Serialised::whole),
            Some(backend) => backend.payload(value)?,
            None => pickled(value)?,
        };
        match payload {
            Some(payload) => {
                self.is_apart |= payload.in_one_piece().is_none();
                Ok((payload.key(), Some(payload)))
            }
            // Where it cannot be stored, storing it says so.
            None => Ok((digest::exact::unique()?, None)),
        }
    }

    fn content_in_sha256(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Hash> {
        let (hash, is_digest) = digest::content_in_sha256(value)?;
        if !is_digest {
            self.named.insert(hash);
        }
        Ok(hash)
    }

    /// What the parent holds of a child: the child, or the digest under which it is stored.
    pub(super) fn child(
        &mut self,
        value: Bound<'py, PyAny>,
        deepest: &mut Option<usize>,
        hashes: &mut Vec<Hash>,
        split: &mut bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let node = self.node(&value)?;
        *deepest = Some(deepest.map_or(node.depth, |deepest| deepest.max(node.depth)));
        hashes.push(node.hash);
        if !self.splits_off(node.depth) || (self.scheme == Scheme::Exact && is_small(&value)?) {
            return Ok(value);
        }
        *split = true;
        if self.seen.insert(node.hash) {
            self.children.push(Entry {
                key: node.hash,
                value: node.stored,
                payload: node.payload,
            });
        }
        to_digest(self.py, &node.hash)
    }

    /// The digest of a parent: from its children's, unless it is digested in a way of its own.
    fn parent_hash(
        &mut self,
        value: &Bound<'py, PyAny>,
        hashes: &[Hash],
        compose: impl FnOnce(Scheme) -> PyResult<Hash>,
    ) -> PyResult<Hash> {
        if self.at_keyed_root() {
            return Ok(Hash::default());
        }
        let named = || hashes.iter().any(|hash| self.named.contains(hash));
        if self.scheme == Scheme::Sha256 && (digest::has_own_rule(value)? || named()) {
            return self.content_in_sha256(value);
        }
        compose(self.scheme)
    }

    fn elements(
        &mut self,
        value: &Bound<'py, PyAny>,
        list: bool,
        elements: impl Iterator<Item = Bound<'py, PyAny>>,
        count: usize,
    ) -> PyResult<Option<Node<'py>>> {
        errors::check_memory_for(count)?;
        let elements = elements.collect::<Vec<_>>();
        if any_digest(&elements)? {
            return Ok(None);
        }
        let (mut deepest, mut split) = (None, false);
        let mut hashes = Vec::with_capacity(count);
        let mut slots = Vec::with_capacity(count);
        for element in elements {
            slots.push(self.child(element, &mut deepest, &mut hashes, &mut split)?);
        }
        let py = self.py;
        let hash = self.parent_hash(value, &hashes, |scheme| {
            composite::sequence(py, scheme, list, &hashes)
        })?;
        let stored = if !split {
            value.clone()
        } else if list {
            ITERABLE
                .get(self.py)?
                .call1((PyList::new(self.py, slots)?,))?
        } else {
            ITERABLE
                .get(self.py)?
                .call1((PyTuple::new(self.py, slots)?,))?
        };
        Ok(Some(Node {
            stored,
            depth: above(deepest),
            hash,
            payload: None,
        }))
    }

    fn items(
        &mut self,
        value: &Bound<'py, PyAny>,
        dict: &Bound<'py, PyDict>,
    ) -> PyResult<Option<Node<'py>>> {
        errors::check_memory_for(2 * dict.len())?;
        // Copied: hooks and `__digest__` may change the dictionary.
        let items = dict.iter().collect::<Vec<_>>();
        for (key, item) in &items {
            if is_digest(key)? || is_digest(item)? {
                return Ok(None);
            }
        }
        let (mut deepest, mut split) = (None, false);
        let mut hashes = Vec::with_capacity(2 * items.len());
        let slots = PyDict::new(self.py);
        let count = items.len();
        for (key, item) in items {
            let key = self.child(key, &mut deepest, &mut hashes, &mut split)?;
            let item = self.child(item, &mut deepest, &mut hashes, &mut split)?;
            slots.set_item(key, item)?;
        }
        if slots.len() != count {
            // Several keys that are the same content, as NaNs are, would become one.
            return Ok(None);
        }
        let py = self.py;
        let hash = self.parent_hash(value, &hashes, |scheme| {
            composite::typed_dict(py, scheme, &hashes)
        })?;
        let stored = if split {
            DICT.get(self.py)?.call1((slots,))?
        } else {
            value.clone()
        };
        Ok(Some(Node {
            stored,
            depth: above(deepest),
            hash,
            payload: None,
        }))
    }

    fn fields(
        &mut self,
        value: &Bound<'py, PyAny>,
        fields: &record::Fields<'py>,
    ) -> PyResult<Option<Node<'py>>> {
        let mut held = Vec::with_capacity(fields.names.len());
        for name in &fields.names {
            let Some(field) = value.getattr_opt(name)? else {
                return Ok(None);
            };
            held.push(field);
        }
        if any_digest(&held)? {
            return Ok(None);
        }
        let (mut deepest, mut split) = (None, false);
        let mut hashes = Vec::with_capacity(held.len());
        let slots = PyDict::new(self.py);
        for (name, field) in fields.names.iter().zip(held) {
            let field = self.child(field, &mut deepest, &mut hashes, &mut split)?;
            slots.set_item(name, field)?;
        }
        let class = value.get_type();
        let hash = self.parent_hash(value, &hashes, |scheme| {
            composite::typed_record(scheme, &class, &fields.names, &hashes)
        })?;
        let holder = if fields.attrs { &ATTRS } else { &DATACLASS };
        let stored = if split {
            holder.get(self.py)?.call1((class, slots))?
        } else {
            value.clone()
        };
        Ok(Some(Node {
            stored,
            depth: above(deepest),
            hash,
            payload: None,
        }))
    }

    /// A value of a class for which a user registered a destructurer, or one that is opaque.
    fn custom(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Node<'py>> {
        for entry in self.custom.iter().flat_map(PyListMethods::iter) {
            let (applies, split): (Bound<'py, PyAny>, Bound<'py, PyAny>) = entry.extract()?;
            if !applies.call1((value,))?.is_truthy()? {
                continue;
            }
            let Some(storage) = &self.storage else {
                continue;
            };
            let intern = storage.getattr(intern!(self.py, "_intern_rec"))?;
            let (stored, depth): (Bound<'py, PyAny>, f64) =
                split.call1((intern, value))?.extract()?;
            let (hash, _) = if self.at_keyed_root() {
                (Hash::default(), None)
            } else {
                self.key_of(value)?
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "checked"
            )]
            let depth = if depth.is_finite() && depth >= 0.0 {
                depth as usize
            } else {
                OPAQUE
            };
            return Ok(Node {
                stored,
                depth,
                hash,
                payload: None,
            });
        }
        if self.watched && has_identity(value)? && may_refer(value)? {
            self.sharing.may_refer(value);
        }
        self.whole(value, OPAQUE)
    }
}

/// Whether any of these is a `Digest`, which could not be told, once stored, from that of a child.
fn any_digest(values: &[Bound<'_, PyAny>]) -> PyResult<bool> {
    for value in values {
        if is_digest(value)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a value is smaller than an entry of its own would be: a parent holds it, at any depth.
fn is_small(value: &Bound<'_, PyAny>) -> PyResult<bool> {
    if let Ok(text) = value.cast_exact::<PyString>() {
        return Ok(text.len()? < LARGEST_PART);
    }
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        return Ok(bytes.as_bytes().len() < LARGEST_PART);
    }
    if value.is_exact_instance_of::<PyInt>() {
        let bits = value.call_method0(intern!(value.py(), "bit_length"))?;
        return Ok(bits.extract::<usize>()? < 8 * LARGEST_PART);
    }
    Ok(value.is_none()
        || value.is_exact_instance_of::<PyBool>()
        || value.is_exact_instance_of::<PyFloat>()
        || value.is_exact_instance_of::<PyComplex>())
}

/// The depth of a container whose deepest child has this depth; an empty one counts as a leaf.
fn above(deepest: Option<usize>) -> usize {
    deepest.map_or(0, |depth| depth.saturating_add(1))
}
