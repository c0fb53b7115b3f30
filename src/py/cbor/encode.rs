//! From objects to bytes: the walk, and what is built in.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyByteArray, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet,
    PyString, PyTuple, PyType,
};
use smallvec::SmallVec;

use super::dotted;
use super::kinds::{Kind, Kinds};
use super::large::Large;
use crate::engine::cbor::{DEEPEST, Major, Place, Writer, tag};
use crate::py::digest::exact::{element, item};
use crate::py::errors;
use crate::py::once::intern;

/// From this length on texts and bytes are kept beside until all is put together.
const LARGE: usize = 1 << 14;

/// From this length on texts and bytes that are one object stay one.
const WORTH_SHARING: usize = 64;

/// What a walk leaves of the thread's stack.
const RESERVE: usize = 64 * 1024;

/// What cannot be held, and why.
pub struct Refusal {
    pub class: String,
    reason: String,
    place: String,
}

impl Refusal {
    pub fn message(&self) -> String {
        let Self {
            class,
            reason,
            place,
        } = self;
        let at = if place.is_empty() {
            String::new()
        } else {
            format!(" at value{place}")
        };
        format!("cbor cannot hold the {class}{at}: {reason}")
    }
}

/// What is known of an object that may be met again.
#[derive(Clone, Copy)]
struct Met {
    place: Place,
    /// Whether the walk is within it.
    open: bool,
    /// Whether it can be referred to from within.
    early: bool,
}

/// Spreads addresses, which are multiples of 16.
#[derive(Default)]
struct ByAddress(u64);

impl Hasher for ByAddress {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize(usize::from(*byte));
        }
    }

    fn write_usize(&mut self, address: usize) {
        let spread = (self.0 ^ address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

pub struct Encoder<'a, 'py> {
    pub py: Python<'py>,
    kinds: &'a Kinds,
    pub out: Writer<Large<'py>>,
    /// What is met first is the whole value.
    root: Option<(usize, Met)>,
    met: HashMap<usize, Met, BuildHasherDefault<ByAddress>>,
    /// Keeps what was met alive, so that nothing else takes its address.
    kept: Vec<Bound<'py, PyAny>>,
    depth: usize,
    /// Whether what is written decides the hash of a key.
    pub hashed: bool,
    /// The classes of records whose names were found to lead to them.
    pub found: HashSet<usize>,
    /// While elements of a set are sorted: the objects that the walk is within.
    sorting: Option<Vec<usize>>,
    refusal: Option<(String, String)>,
    trail: Vec<String>,
}

impl<'a, 'py> Encoder<'a, 'py> {
    pub fn new(py: Python<'py>, kinds: &'a Arc<Kinds>) -> Self {
        Self {
            py,
            kinds,
            out: Writer::new(),
            root: None,
            met: HashMap::default(),
            kept: Vec::new(),
            depth: 0,
            hashed: false,
            found: HashSet::new(),
            sorting: None,
            refusal: None,
            trail: Vec::new(),
        }
    }

    pub fn written(&self) -> &Writer<Large<'py>> {
        &self.out
    }

    /// What was refused, or the error if that was of another cause.
    pub fn refused(&mut self, error: PyErr) -> Result<Refusal, PyErr> {
        let Some((class, reason)) = self.refusal.take() else {
            return Err(error);
        };
        let mut place: String = self.trail.drain(..).rev().take(16).collect();
        if place.len() > 400 {
            place = place.chars().take(400).collect::<String>() + "...";
        }
        Ok(Refusal {
            class,
            reason,
            place,
        })
    }

    /// The error that says that a value cannot be held; the walk adds where it lies.
    #[cold]
    pub fn refuse(&mut self, value: &Bound<'py, PyAny>, reason: impl Into<String>) -> PyErr {
        let reason = reason.into();
        let error = errors::save_error(self.py, &reason, None);
        self.refusal = Some((dotted(value.get_type().as_any()), reason));
        error
    }

    /// What a class is.
    pub fn kind_of(&self, class: &Bound<'py, PyType>) -> PyResult<Arc<Kind>> {
        self.kinds.of(class)
    }

    /// Says that it was another class that was refused.
    pub fn name_refused(&mut self, class: String) {
        if let Some((refused, _)) = &mut self.refusal {
            *refused = class;
        }
    }

    /// Notes the step to what failed.
    pub fn at(&mut self, written: PyResult<()>, step: impl FnOnce() -> String) -> PyResult<()> {
        if written.is_err() && self.refusal.is_some() {
            self.trail.push(step());
        }
        written
    }

    /// Writes any object.
    pub fn value(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if self.leaf(value)? {
            return Ok(());
        }
        if self.depth == DEEPEST {
            let reason = format!("it is nested more than {DEEPEST} levels deep");
            return Err(self.refuse(value, reason));
        }
        if stacker::remaining_stack().is_some_and(|left| left < RESERVE) {
            return Err(self.refuse(value, "it is nested too deeply for this thread's stack"));
        }
        let Some(address) = self.meet(value)? else {
            return Ok(());
        };
        self.depth += 1;
        let hashed = self.hashed;
        let written = self.content(value);
        self.hashed = hashed;
        self.depth -= 1;
        if let Some(within) = &mut self.sorting {
            within.pop();
        } else if let Some(met) = self.met(address) {
            met.open = false;
        }
        written
    }

    /// What is known of the object at an address.
    #[inline]
    fn met(&mut self, address: usize) -> Option<&mut Met> {
        match &mut self.root {
            Some((root, met)) if *root == address => Some(met),
            _ if self.met.is_empty() => None,
            _ => self.met.get_mut(&address),
        }
    }

    /// What has no identity that is kept.
    #[inline]
    fn leaf(&mut self, value: &Bound<'py, PyAny>) -> PyResult<bool> {
        if let Ok(text) = value.cast_exact::<PyString>() {
            return self.text(text);
        }
        if let Ok(integer) = value.cast_exact::<PyInt>() {
            self.integer(integer)?;
        } else if let Ok(float) = value.cast_exact::<PyFloat>() {
            self.out.float(float.value());
        } else if value.is_none() {
            self.out.null();
        } else if let Ok(boolean) = value.cast_exact::<PyBool>() {
            self.out.bool(boolean.is_true());
        } else if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            if bytes.as_bytes().len() >= WORTH_SHARING {
                return Ok(false);
            }
            self.out.byte_string(bytes.as_bytes());
        } else if let Ok(complex) = value.cast_exact::<PyComplex>() {
            self.out.tag(tag::COMPLEX);
            self.out.length(Major::Array, 2);
            self.out.float(complex.real());
            self.out.float(complex.imag());
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn integer(&mut self, value: &Bound<'py, PyInt>) -> PyResult<()> {
        if let Ok(small) = value.extract::<i64>() {
            self.out.integer(small);
            return Ok(());
        }
        let mut bytes = crate::py::digest::exact::canonical_bytes(value.as_any())?;
        let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
        if negative {
            for byte in &mut bytes {
                *byte = !*byte;
            }
        }
        self.out.big_integer(negative, &bytes);
        Ok(())
    }

    /// A text, if it is short; one that is no UTF-8 in the form in which it is some.
    fn text(&mut self, text: &Bound<'py, PyString>) -> PyResult<bool> {
        let Ok(utf8) = text.to_str() else {
            self.out.tag(tag::WTF8);
            let bytes =
                text.call_method1(intern!(self.py, "encode"), ("utf-8", "surrogatepass"))?;
            self.out.byte_string(bytes.cast::<PyBytes>()?.as_bytes());
            return Ok(true);
        };
        if utf8.len() >= WORTH_SHARING {
            return Ok(false);
        }
        self.out.text(utf8);
        Ok(true)
    }

    fn long_text(&mut self, text: &Bound<'py, PyString>) -> PyResult<()> {
        let utf8 = text.to_str()?;
        if utf8.len() < LARGE || self.sorting.is_some() {
            self.out.text(utf8);
        } else {
            let large = Large::Slice(utf8.as_ptr(), utf8.len(), text.clone().into_any());
            self.out.large_text(large);
        }
        Ok(())
    }

    pub fn bytes(&mut self, bytes: &Bound<'py, PyBytes>) {
        let slice = bytes.as_bytes();
        if slice.len() < LARGE || self.sorting.is_some() {
            self.out.byte_string(slice);
        } else {
            self.out.large_byte_string(Large::bytes(bytes));
        }
    }

    /// A byte string of what has the buffer protocol.
    pub fn buffer(&mut self, buffer: PyBuffer<u8>) {
        let large = Large::Buffer(buffer);
        if large.as_ref().len() < LARGE || self.sorting.is_some() {
            self.out.byte_string(large.as_ref());
        } else {
            self.out.large_byte_string(large);
        }
    }

    /// Notes an object, or writes a reference to it if it was met before: `None` then.
    fn meet(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Option<usize>> {
        let address = value.as_ptr() as usize;
        if let Some(within) = &mut self.sorting {
            if let Some(level) = within.iter().position(|entered| *entered == address) {
                self.out.tag(tag::REFERENCE);
                self.out.integer(i64::try_from(level).unwrap_or(i64::MAX));
                return Ok(None);
            }
            within.push(address);
            if let Some(met) = self.met(address) {
                let number = met.place.number();
                self.out.tag(tag::REFERENCE);
                self.out.length(Major::Unsigned, number);
                if let Some(within) = &mut self.sorting {
                    within.pop();
                }
                return Ok(None);
            }
            return Ok(Some(address));
        }
        // Held by whoever walks it, and by one part at most: it is met once.
        if self.depth > 0 && references(value) <= 2 {
            return Ok(Some(address));
        }
        if let Some(Met { place, open, early }) = self.met(address).copied() {
            if open && !early {
                return Err(self.refuse(value, "it contains itself, and is not to be changed"));
            }
            if open && self.hashed {
                return Err(self.refuse(value, "it contains itself as a key or an element"));
            }
            self.out.reference(place);
            return Ok(None);
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>()
            && tuple.is_empty()
        {
            return Ok(Some(address));
        }
        let place = self.out.place();
        let met = Met {
            place,
            open: true,
            early: false,
        };
        if self.root.is_none() {
            // Whoever wants its bytes keeps it alive.
            self.root = Some((address, met));
        } else {
            self.kept.push(value.clone());
            self.met.insert(address, met);
        }
        Ok(Some(address))
    }

    /// Says that what is being written can be referred to from within.
    pub fn is_early(&mut self, value: &Bound<'py, PyAny>) {
        if let Some(met) = self.met(value.as_ptr() as usize) {
            met.early = true;
        }
    }

    #[inline(never)]
    fn content(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if let Ok(text) = value.cast_exact::<PyString>() {
            return self.long_text(text);
        }
        if let Ok(list) = value.cast_exact::<PyList>() {
            self.is_early(value);
            self.hashed = false;
            return self.list(list);
        }
        if let Ok(dict) = value.cast_exact::<PyDict>() {
            self.is_early(value);
            self.hashed = false;
            return self.dict(dict);
        }
        if let Ok(tuple) = value.cast_exact::<PyTuple>() {
            self.is_early(value);
            self.out.tag(tag::TUPLE);
            self.out.length(Major::Array, tuple.len());
            for (index, part) in tuple.iter().enumerate() {
                let written = self.value(&part);
                self.at(written, || element(index))?;
            }
            return Ok(());
        }
        if let Ok(bytes) = value.cast_exact::<PyBytes>() {
            self.bytes(bytes);
            return Ok(());
        }
        if let Ok(set) = value.cast_exact::<PySet>() {
            self.is_early(value);
            self.out.tag(tag::SET);
            return self.set(&set.iter().collect::<Vec<_>>());
        }
        if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.out.tag(tag::FROZENSET);
            return self.set(&set.iter().collect::<Vec<_>>());
        }
        if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
            self.out.tag(tag::BYTEARRAY);
            self.buffer(PyBuffer::get(bytes.as_any())?);
            return Ok(());
        }
        self.object(value)
    }

    fn list(&mut self, list: &Bound<'py, PyList>) -> PyResult<()> {
        let count = list.len();
        self.out.length(Major::Array, count);
        let mut walked = 0;
        for part in list.iter().take(count) {
            let written = self.value(&part);
            self.at(written, || element(walked))?;
            walked += 1;
        }
        if walked != count || list.len() != count {
            return Err(self.refuse(list.as_any(), "it was changed while it was saved"));
        }
        Ok(())
    }

    /// A map, in the order of the dictionary.
    pub fn dict(&mut self, dict: &Bound<'py, PyDict>) -> PyResult<()> {
        // Copied: others may change it meanwhile.
        let items = dict.iter().collect::<SmallVec<[_; 8]>>();
        self.out.length(Major::Map, items.len());
        for (key, part) in &items {
            self.key(key)?;
            let written = self.value(part);
            self.at(written, || item(key))?;
        }
        Ok(())
    }

    fn key(&mut self, key: &Bound<'py, PyAny>) -> PyResult<()> {
        let hashed = std::mem::replace(&mut self.hashed, true);
        let written = self.value(key);
        self.hashed = hashed;
        self.at(written, || "<key>".to_owned())
    }

    /// The elements of a set, in the order of their bytes.
    fn set(&mut self, elements: &[Bound<'py, PyAny>]) -> PyResult<()> {
        let hashed = std::mem::replace(&mut self.hashed, true);
        let written = self.elements(elements);
        self.hashed = hashed;
        self.at(written, || "<element>".to_owned())
    }

    fn elements(&mut self, elements: &[Bound<'py, PyAny>]) -> PyResult<()> {
        self.out.length(Major::Array, elements.len());
        let mut part = Writer::of_part();
        let mut starts = Vec::with_capacity(elements.len());
        let mut plain = true;
        std::mem::swap(&mut self.out, &mut part);
        let sorting = self.sorting.is_some();
        if !sorting {
            self.sorting = Some(Vec::new());
        }
        let written: PyResult<()> = elements.iter().try_for_each(|one| {
            starts.push(self.out.written());
            if !self.leaf(one)? {
                plain = false;
                self.value(one)?;
            }
            Ok(())
        });
        std::mem::swap(&mut self.out, &mut part);
        if !sorting {
            self.sorting = None;
        }
        written?;
        if plain || sorting {
            self.out.append_sorted(&part, &starts);
            return Ok(());
        }
        for index in part.sorted(&starts) {
            self.value(&elements[index])?;
        }
        Ok(())
    }
}

/// How many hold an object.
fn references(value: &Bound<'_, PyAny>) -> isize {
    // SAFETY: it is an object, and alive.
    unsafe { pyo3::ffi::Py_REFCNT(value.as_ptr()) }
}
