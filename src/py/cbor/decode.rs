//! From bytes to objects.

use std::collections::HashMap;
use std::sync::Arc;
use std::vec::Drain;

use pyo3::exceptions::PyUnicodeDecodeError;
use pyo3::prelude::*;
use pyo3::types::{
    PyBool, PyBytes, PyComplex, PyDict, PyFloat, PyFrozenSet, PyInt, PyList, PySet, PyString,
    PyTuple,
};

use super::damaged;
use super::kinds::Kinds;
use super::memory::{nones, put};
use super::records::Record;
use super::texts::Texts;
use crate::engine::cbor::typed::Element;
use crate::engine::cbor::{DEEPEST, Error, Head, Reader, simple, tag};
use crate::py::bytes;
use crate::py::names::Imported;
use crate::py::once::intern;

static INT: Imported = Imported::new("builtins", "int");
static FRACTION: Imported = Imported::new("fractions", "Fraction");
static UUID: Imported = Imported::new("uuid", "UUID");
static DATE: Imported = Imported::new("datetime", "date");
static DIGEST: Imported = Imported::new("fleche.digest", "Digest");

/// What a walk leaves of the thread's stack.
const RESERVE: usize = 64 * 1024;

pub struct Decoder<'a, 'py> {
    pub py: Python<'py>,
    reader: Reader<'a>,
    kinds: &'a Arc<Kinds>,
    depth: usize,
    /// What was marked as shared, as soon as it is there.
    shared: Vec<Option<Bound<'py, PyAny>>>,
    texts: &'a mut Texts,
    records: HashMap<&'a str, Arc<Record>>,
    last_record: Option<(&'a str, Arc<Record>)>,
    /// Parts of what is being made, of each container behind those of the one that it is in.
    parts: Vec<Bound<'py, PyAny>>,
}

impl<'a, 'py> Decoder<'a, 'py> {
    pub fn new(
        py: Python<'py>,
        reader: Reader<'a>,
        kinds: &'a Arc<Kinds>,
        texts: &'a mut Texts,
    ) -> Self {
        Self {
            py,
            reader,
            kinds,
            depth: 0,
            shared: Vec::new(),
            texts,
            records: HashMap::new(),
            last_record: None,
            parts: Vec::new(),
        }
    }

    /// The object, and that there is nothing behind it.
    pub fn whole(mut self) -> PyResult<Bound<'py, PyAny>> {
        let value = self.value()?;
        self.reader.end().map_err(|error| damaged(&error))?;
        Ok(value)
    }

    /// The error that says where the bytes are not what was written.
    #[cold]
    pub fn wrong(&self, what: &'static str) -> PyErr {
        damaged(&self.reader.malformed(what))
    }

    #[inline]
    pub fn value(&mut self) -> PyResult<Bound<'py, PyAny>> {
        if let Some(text) = self.reader.short_text() {
            return self.text(text).map(Bound::into_any);
        }
        match self.reader.leaf() {
            Some(head) => self.leaf(head),
            None => self.item(None),
        }
    }

    #[inline]
    pub fn head(&mut self) -> PyResult<Head> {
        self.reader.head().map_err(|error| damaged(&error))
    }

    pub fn take(&mut self, length: usize) -> PyResult<&'a [u8]> {
        self.reader.take(length).map_err(|error| damaged(&error))
    }

    pub fn enter(&mut self) -> PyResult<()> {
        if self.depth > 2 * DEEPEST {
            return Err(damaged(&Error::TooDeep));
        }
        if stacker::remaining_stack().is_some_and(|left| left < RESERVE) {
            return Err(damaged(&Error::TooDeep));
        }
        self.depth += 1;
        Ok(())
    }

    pub fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Says what is at a place, as soon as it may be referred to.
    pub fn early(&mut self, mark: Option<usize>, value: &Bound<'py, PyAny>) {
        if let Some(mark) = mark {
            self.shared[mark] = Some(value.clone());
        }
    }

    /// A number or a simple value.
    #[inline]
    fn leaf(&self, head: Head) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        Ok(match head {
            Head::Unsigned(number) => match i64::try_from(number) {
                Ok(number) => number.into_pyobject(py)?.into_any(),
                Err(_) => number.into_pyobject(py)?.into_any(),
            },
            Head::Negative(number) => match i64::try_from(number) {
                Ok(number) => (!number).into_pyobject(py)?.into_any(),
                Err(_) => (!i128::from(number)).into_pyobject(py)?.into_any(),
            },
            Head::Float(number) => PyFloat::new(py, number).into_any(),
            Head::Simple(value) => match u64::from(value) {
                simple::NULL => py.None().into_bound(py),
                simple::TRUE => PyBool::new(py, true).to_owned().into_any(),
                simple::FALSE => PyBool::new(py, false).to_owned().into_any(),
                _ => return Err(self.wrong("a simple value that is not known")),
            },
            _ => return Err(self.wrong("something else where a number belongs")),
        })
    }

    /// The next object, which is at a place if it is marked.
    #[inline(never)]
    fn item(&mut self, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let value = match self.head()? {
            head @ (Head::Unsigned(_) | Head::Negative(_) | Head::Float(_) | Head::Simple(_)) => {
                self.leaf(head)?
            }
            Head::Text(length) => {
                let bytes = self.take(length)?;
                self.text(bytes)?.into_any()
            }
            Head::Bytes(length) => bytes::bytes(py, self.take(length)?)?.into_any(),
            Head::Array(count) => {
                self.enter()?;
                let list = self.list(count, mark)?;
                self.leave();
                return Ok(list.into_any());
            }
            Head::Map(count) => {
                self.enter()?;
                let dict = PyDict::new(py);
                self.early(mark, dict.as_any());
                self.fill(&dict, count)?;
                self.leave();
                return Ok(dict.into_any());
            }
            Head::Tag(tag) => {
                self.enter()?;
                let value = self.tagged(tag, mark)?;
                self.leave();
                value
            }
        };
        if let Some(mark) = mark
            && self.shared[mark].is_none()
        {
            self.shared[mark] = Some(value.clone());
        }
        Ok(value)
    }

    fn text(&mut self, bytes: &[u8]) -> PyResult<Bound<'py, PyString>> {
        self.texts.text(self.py, bytes).map_err(|error| {
            if error.is_instance_of::<PyUnicodeDecodeError>(self.py) {
                return self.wrong("a text that is no UTF-8");
            }
            error
        })
    }

    fn list(&mut self, count: usize, mark: Option<usize>) -> PyResult<Bound<'py, PyList>> {
        if mark.is_some() {
            let list = PyList::empty(self.py);
            self.early(mark, list.as_any());
            for _ in 0..count {
                list.append(self.value()?)?;
            }
            return Ok(list);
        }
        let py = self.py;
        PyList::new(py, self.parts(count)?)
    }

    /// So many values, which follow one another.
    pub fn parts(&mut self, count: usize) -> PyResult<Drain<'_, Bound<'py, PyAny>>> {
        let start = self.parts.len();
        // As many bytes are there, at least.
        self.parts.reserve(count);
        for _ in 0..count {
            let part = self.value()?;
            self.parts.push(part);
        }
        Ok(self.parts.drain(start..))
    }

    pub fn fill(&mut self, dict: &Bound<'py, PyDict>, count: usize) -> PyResult<()> {
        for _ in 0..count {
            let key = self.value()?;
            let value = self.value()?;
            dict.set_item(&key, value)?;
        }
        Ok(())
    }

    /// The items of a map that may follow: its length.
    pub fn expect_map(&mut self) -> PyResult<usize> {
        match self.head()? {
            Head::Map(count) => Ok(count),
            _ => Err(self.wrong("something else where a map belongs")),
        }
    }

    pub fn expect_any_array(&mut self) -> PyResult<usize> {
        match self.head()? {
            Head::Array(count) => Ok(count),
            _ => Err(self.wrong("something else where an array belongs")),
        }
    }

    pub fn expect_array(&mut self, length: usize) -> PyResult<()> {
        if self.expect_any_array()? == length {
            return Ok(());
        }
        Err(self.wrong("an array of another length than it should have"))
    }

    pub fn expect_tag(&mut self) -> PyResult<u64> {
        match self.head()? {
            Head::Tag(tag) => Ok(tag),
            _ => Err(self.wrong("something without its tag")),
        }
    }

    pub fn unsigned(&mut self) -> PyResult<usize> {
        match self.head()? {
            Head::Unsigned(number) => usize::try_from(number)
                .ok()
                .filter(|number| isize::try_from(*number).is_ok())
                .ok_or_else(|| self.wrong("a number that is too large")),
            _ => Err(self.wrong("something else where a length belongs")),
        }
    }

    pub fn byte_string(&mut self) -> PyResult<&'a [u8]> {
        match self.head()? {
            Head::Bytes(length) => self.take(length),
            _ => Err(self.wrong("something else where bytes belong")),
        }
    }

    pub fn next_is_text(&self) -> bool {
        self.reader.peek() == Some(3)
    }

    /// A text that is ours: the name of a kind or of a class.
    pub fn short_text(&mut self) -> PyResult<&'a str> {
        if let Some(text) = self.reader.short_text() {
            return std::str::from_utf8(text).map_err(|_| self.wrong("a text that is no UTF-8"));
        }
        let Head::Text(length) = self.head()? else {
            return Err(self.wrong("something else where a name belongs"));
        };
        self.reader.text(length).map_err(|error| damaged(&error))
    }

    pub fn record(&mut self) -> PyResult<Arc<Record>> {
        let name = self.short_text()?;
        if let Some((last, record)) = &self.last_record
            && *last == name
        {
            return Ok(record.clone());
        }
        let record = match self.records.get(name) {
            Some(record) => record.clone(),
            None => self.kinds.record(self.py, name)?,
        };
        self.records.insert(name, record.clone());
        self.last_record = Some((name, record.clone()));
        Ok(record)
    }

    #[inline(never)]
    fn tagged(&mut self, tag: u64, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        match tag {
            tag::SHARED => {
                if mark.is_some() {
                    return Err(self.wrong("two marks for one object"));
                }
                let mark = self.shared.len();
                self.shared.push(None);
                self.item(Some(mark))
            }
            tag::REFERENCE => {
                let index = self.unsigned()?;
                let found = self.shared.get(index).and_then(Option::as_ref);
                found
                    .cloned()
                    .ok_or_else(|| self.wrong("a reference to what is not there"))
            }
            tag::TUPLE => self.tuple(mark),
            tag::SET => {
                let set = PySet::empty(py)?;
                self.early(mark, set.as_any());
                for _ in 0..self.expect_any_array()? {
                    let element = self.value()?;
                    set.add(element)?;
                }
                Ok(set.into_any())
            }
            tag::FROZENSET => {
                let count = self.expect_any_array()?;
                let set = PyFrozenSet::new(py, self.parts(count)?)?;
                Ok(set.into_any())
            }
            tag::BYTEARRAY => {
                let bytes = self.byte_string()?;
                Ok(bytes::byte_array(py, bytes)?.into_any())
            }
            tag::OBJECT => self.object(mark),
            tag::COMPLEX => {
                self.expect_array(2)?;
                let (Head::Float(real), Head::Float(imaginary)) = (self.head()?, self.head()?)
                else {
                    return Err(self.wrong("a complex number of other parts"));
                };
                Ok(PyComplex::from_doubles(py, real, imaginary).into_any())
            }
            tag::POSITIVE | tag::NEGATIVE => {
                let bytes = PyBytes::new(py, self.byte_string()?);
                let number = INT
                    .get(py)?
                    .call_method1(intern!(py, "from_bytes"), (bytes, intern!(py, "big")))?;
                if tag == tag::NEGATIVE {
                    return number.bitnot();
                }
                Ok(number)
            }
            tag::WTF8 => {
                let bytes = PyBytes::new(py, self.byte_string()?);
                let decoded = bytes.call_method1("decode", ("utf-8", "surrogatepass"));
                decoded.map_err(|_| self.wrong("a text that is no WTF-8"))
            }
            tag::DIGEST => DIGEST.get(py)?.call1((self.short_text()?,)),
            tag::ROW_MAJOR => self.dimensions(false),
            tag::COLUMN_MAJOR => self.dimensions(true),
            tag::DATE_TIME => {
                let text = self.short_text()?;
                self.utc(text)
            }
            tag::DATE => {
                let text = self.short_text()?;
                let date = DATE.get(py)?.call_method1("fromisoformat", (text,));
                date.map_err(|_| self.wrong("a date that there is not"))
            }
            tag::FRACTION => {
                self.expect_array(2)?;
                let parts = (self.value()?, self.value()?);
                if !parts.0.is_exact_instance_of::<PyInt>()
                    || !parts.1.is_exact_instance_of::<PyInt>()
                {
                    return Err(self.wrong("a fraction of other parts"));
                }
                let fraction = FRACTION.get(py)?.call1(parts);
                fraction.map_err(|_| self.wrong("a fraction that there is not"))
            }
            tag::UUID => {
                let bytes = self.byte_string()?;
                self.uuid(bytes, None)
            }
            _ => match Element::of(tag) {
                Some(element) => self.typed_array(element),
                None => Err(self.wrong("a tag that is not known")),
            },
        }
    }

    pub fn uuid(
        &self,
        bytes: &[u8],
        safe: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        static SAFE: Imported = Imported::new("uuid", "SafeUUID");
        let py = self.py;
        if bytes.len() != 16 {
            return Err(self.wrong("a UUID of another length"));
        }
        let arguments = PyDict::new(py);
        arguments.set_item("bytes", PyBytes::new(py, bytes))?;
        if let Some(safe) = safe {
            let safe = SAFE.get(py)?.call1((safe,));
            arguments.set_item(
                "is_safe",
                safe.map_err(|_| self.wrong("a UUID of other parts"))?,
            )?;
        }
        UUID.get(py)?.call((), Some(&arguments))
    }

    /// A tuple. What is in it may refer to it: it is there before its parts are, if it is marked.
    fn tuple(&mut self, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let count = self.expect_any_array()?;
        if mark.is_none() {
            let py = self.py;
            return Ok(PyTuple::new(py, self.parts(count)?)?.into_any());
        }
        let tuple = nones(self.py, count)?;
        self.early(mark, tuple.as_any());
        for index in 0..count {
            let part = self.value()?;
            put(&tuple, index, part);
        }
        Ok(tuple.into_any())
    }
}
