//! Sequences, sets and mappings, and the instances of their subclasses.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyIterator, PyList, PySet, PyTuple};

use super::state::with_part;
use super::{Walker, leaf, trail};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Sink, Tag, Window};
use crate::py::digest::indigestible_because;
use crate::py::errors;
use crate::py::names::Imported;

static USER_TEXT: Imported = Imported::new("collections", "UserString");
static SEQUENCE: Imported = Imported::new("collections.abc", "Sequence");
static SET: Imported = Imported::new("collections.abc", "Set");
static MAPPING: Imported = Imported::new("collections.abc", "Mapping");
static DEQUE: Imported = Imported::new("collections", "deque");
static ARRAY: Imported = Imported::new("array", "array");
static KEYS_VIEW: Imported = Imported::new("collections.abc", "KeysView");
static VALUES_VIEW: Imported = Imported::new("collections.abc", "ValuesView");
static ITEMS_VIEW: Imported = Imported::new("collections.abc", "ItemsView");
static ORDERED: Imported = Imported::new("collections", "OrderedDict");

/// What the children of a container are to it.
#[derive(Clone, Copy)]
pub enum Children {
    Elements,
    /// Keys and values, alternating.
    Items,
    /// Elements that have no place.
    Members,
}

impl Children {
    /// The step to the child of this number; `before` is the one before it.
    fn step(self, number: usize, before: Option<&Bound<'_, PyAny>>) -> String {
        match (self, before) {
            (Self::Elements, _) => trail::element(number),
            (Self::Items, Some(key)) if number % 2 == 1 => trail::item(key),
            _ => "[...]".into(),
        }
    }
}

impl<'py> Walker<'py> {
    /// Hands the digests of `children` to `sink`, in order.
    pub(super) fn children<S: Sink>(
        &mut self,
        sink: &mut S,
        are: Children,
        children: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    ) -> PyResult<usize> {
        let mut window = Window::new(sink);
        let mut count = 0;
        let mut before = None;
        for child in children {
            let child = child?;
            if !self.hooked && leaf::write_block(&child, self.typed, window.next_block()) {
                window.push_block();
            } else {
                let within = self.within.len();
                let walked = self.walk(&child);
                if !matches!(are, Children::Elements) {
                    // They may be sorted afterwards.
                    self.within.truncate(within);
                }
                match walked {
                    Ok(hash) => window.push(hash),
                    Err(error) => return Err(self.past(error, || are.step(count, before.as_ref()))),
                }
            }
            count += 1;
            before = Some(child);
        }
        window.finish();
        Ok(count)
    }

    fn checked(&self, expected: usize, found: usize) -> PyResult<()> {
        if expected == found {
            return Ok(());
        }
        Err(indigestible_because(
            self.py,
            "a container changed while it was digested",
        ))
    }

    /// Elements in order: lists, tuples, and what behaves like them.
    #[inline(never)]
    pub(super) fn sequence(
        &mut self,
        name: &str,
        elements: impl Iterator<Item = Bound<'py, PyAny>>,
        count: usize,
    ) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(Tag::Sequence);
        encoder.text(name).length(count);
        let found = self.children(&mut encoder, Children::Elements, elements.map(Ok))?;
        self.checked(count, found)?;
        Ok(encoder)
    }

    /// The same through Python's iteration, for classes that have their own.
    fn iterated_sequence(&mut self, name: &str, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let count = value.len()?;
        let mut encoder = Encoder::new(Tag::Sequence);
        encoder.text(name).length(count);
        let found = self.children(&mut encoder, Children::Elements, value.try_iter()?)?;
        self.checked(count, found)?;
        Ok(encoder)
    }

    /// Elements in no order: sorted by digest, so that neither hash seed nor history matters.
    pub(super) fn set(
        &mut self,
        name: &str,
        elements: impl Iterator<Item = Bound<'py, PyAny>>,
        count: usize,
    ) -> PyResult<Encoder> {
        self.unordered(name, elements.map(Ok), count)
    }

    #[inline(never)]
    fn unordered(
        &mut self,
        name: &str,
        elements: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
        count: usize,
    ) -> PyResult<Encoder> {
        errors::check_memory_for(count)?;
        let mut hashes: Vec<Hash> = Vec::with_capacity(count);
        let found = self.children(&mut hashes, Children::Members, elements)?;
        self.checked(count, found)?;
        hashes.sort_unstable();
        let mut encoder = Encoder::new(Tag::Set);
        encoder.text(name).length(count);
        for hash in &hashes {
            encoder.child(hash);
        }
        Ok(encoder)
    }

    pub(super) fn dict(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<Encoder> {
        let count = dict.len();
        let items = dict.iter().flat_map(|(key, value)| [Ok(key), Ok(value)]);
        self.mapping("dict", self.typed, count, items)
    }

    /// Keys and values, alternating. Where order does not count, the pairs are sorted by their key's
    /// digest.
    #[inline(never)]
    fn mapping(
        &mut self,
        name: &str,
        ordered: bool,
        count: usize,
        items: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
    ) -> PyResult<Encoder> {
        if ordered {
            let mut encoder = Encoder::new(Tag::OrderedMapping);
            encoder.text(name).length(count);
            let found = self.children(&mut encoder, Children::Items, items)?;
            self.checked(2 * count, found)?;
            return Ok(encoder);
        }
        errors::check_memory_for(2 * count)?;
        let mut hashes: Vec<Hash> = Vec::with_capacity(2 * count);
        let found = self.children(&mut hashes, Children::Items, items)?;
        self.checked(2 * count, found)?;
        let (pairs, _) = hashes.as_chunks_mut::<2>();
        pairs.sort_unstable();
        let mut encoder = Encoder::new(Tag::Mapping);
        encoder.text(name).length(count);
        for [key, value] in pairs {
            encoder.child(key).child(value);
        }
        Ok(encoder)
    }

    fn iterated_mapping(&mut self, name: &str, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let items = value.call_method0(intern!(value.py(), "items"))?;
        let items = items.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let count = items.len();
        let pairs = items.iter().flat_map(|item| match item.extract() {
            Ok((key, value)) => [Ok(key), Ok(value)],
            Err(error) => {
                let again = error.clone_ref(item.py());
                [Err(error), Err(again)]
            }
        });
        let ordered = self.typed || ORDERED.is_instance(value)?;
        self.mapping(name, ordered, count, pairs)
    }

    /// Instances of subclasses of the containers, and of classes that declare themselves
    /// sequences, sets or mappings. Nothing that can be iterated only once comes here.
    pub(super) fn container_subclass(
        &mut self,
        value: &Bound<'py, PyAny>,
        name: &str,
    ) -> PyResult<Option<Encoder>> {
        let encoder = if let Ok(tuple) = value.cast::<PyTuple>() {
            match self.named_tuple(tuple, name)? {
                Some(encoder) => encoder,
                None => self.sequence(name, tuple.iter(), tuple.len())?,
            }
        } else if let Ok(list) = value.cast::<PyList>() {
            self.sequence(name, list.iter(), list.len())?
        } else if value.is_instance_of::<PyDict>() {
            self.dict_subclass(value, name)?
        } else if let Ok(set) = value.cast::<PySet>() {
            self.set(name, set.iter(), set.len())?
        } else if let Ok(set) = value.cast::<PyFrozenSet>() {
            self.set(name, set.iter(), set.len())?
        } else if DEQUE.is_instance(value)? {
            self.deque(value, name)?
        } else if let Some(array) = ARRAY.if_loaded(self.py)?
            && value.is_instance(array)?
        {
            self.array(value, name)?
        } else if KEYS_VIEW.is_instance(value)? || ITEMS_VIEW.is_instance(value)? {
            let iterator = value.try_iter()?;
            self.unordered(name, iterator, value.len()?)?
        } else if VALUES_VIEW.is_instance(value)? {
            self.iterated_sequence(name, value)?
        } else if value.cast::<PyIterator>().is_ok() {
            // Taking its elements would take them from the caller.
            return Ok(None);
        } else if MAPPING.is_instance(value)? {
            self.iterated_mapping(name, value)?
        } else if SET.is_instance(value)? {
            self.unordered(name, value.try_iter()?, value.len()?)?
        } else if USER_TEXT.is_instance(value)? {
            // Its elements are of its own class.
            let text = value.str()?;
            let mut encoder = Encoder::new(Tag::NamedText);
            encoder.text(name).bytes(&leaf::utf8(&text)?);
            encoder
        } else if SEQUENCE.is_instance(value)? {
            self.iterated_sequence(name, value)?
        } else {
            return Ok(None);
        };
        Ok(Some(encoder))
    }

    /// A dictionary subclass by its items; a `defaultdict` by its factory, too.
    fn dict_subclass(&mut self, value: &Bound<'py, PyAny>, name: &str) -> PyResult<Encoder> {
        let items = self.iterated_mapping(name, value)?;
        // Asked of the class first: some dictionaries have any attribute that they are asked for.
        let name = intern!(self.py, "default_factory");
        if !value.get_type().hasattr(name)? {
            return Ok(items);
        }
        let Some(factory) = value.getattr_opt(name)? else {
            return Ok(items);
        };
        if factory.is_none() {
            return Ok(items);
        }
        Ok(with_part(items, &self.walk(&factory)?))
    }

    fn deque(&mut self, value: &Bound<'py, PyAny>, name: &str) -> PyResult<Encoder> {
        let elements = self.iterated_sequence(name, value)?;
        let limit = value.getattr(intern!(self.py, "maxlen"))?;
        if limit.is_none() {
            return Ok(elements);
        }
        Ok(with_part(elements, &self.walk(&limit)?))
    }

    fn named_tuple(
        &mut self,
        tuple: &Bound<'py, PyTuple>,
        name: &str,
    ) -> PyResult<Option<Encoder>> {
        let Some(fields) = tuple.get_type().getattr_opt(intern!(self.py, "_fields"))? else {
            return Ok(None);
        };
        let Ok(fields) = fields.extract::<Vec<String>>() else {
            return Ok(None);
        };
        if fields.len() != tuple.len() {
            return Ok(None);
        }
        let mut encoder = Encoder::new(Tag::NamedTuple);
        encoder.text(name).length(fields.len());
        for field in &fields {
            encoder.text(field);
        }
        self.children(&mut encoder, Children::Elements, tuple.iter().map(Ok))?;
        Ok(Some(encoder))
    }

    fn array(&mut self, value: &Bound<'py, PyAny>, name: &str) -> PyResult<Encoder> {
        let typecode: String = value.getattr(intern!(self.py, "typecode"))?.extract()?;
        let mut encoder = Encoder::new(Tag::PackedArray);
        encoder.text(name).text(&typecode);
        if typecode == "u" || typecode == "w" {
            let text = value.call_method0(intern!(self.py, "tounicode"))?;
            encoder.bytes(&leaf::utf8(text.cast()?)?);
        } else {
            let bytes: Vec<u8> = value.call_method0(intern!(self.py, "tobytes"))?.extract()?;
            encoder.bytes(&bytes);
        }
        Ok(encoder)
    }
}
