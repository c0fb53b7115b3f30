//! Objects that are no built-in containers: by their kind, and of records by their fields.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyAttributeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyMemoryView, PyString, PyTuple};
use smallvec::SmallVec;

use super::classes;
use super::encode::Encoder;
use super::kinds::Kind;
use super::records::{Form, Record};
use crate::engine::cbor::{Major, tag};
use crate::py::digest::exact::attribute;
use crate::py::names::Imported;
use crate::py::once::intern;

static UNDEFINED: Imported = Imported::new("pydantic_core", "PydanticUndefined");

impl<'py> Encoder<'_, 'py> {
    /// The start of an object of a kind, with so many parts.
    pub fn start(&mut self, kind: &str, parts: usize) {
        self.out.tag(tag::OBJECT);
        self.out.length(Major::Array, parts + 1);
        self.out.text(kind);
    }

    #[inline(never)]
    pub(super) fn object(&mut self, value: &Bound<'py, PyAny>) -> PyResult<()> {
        if value.is(self.py.Ellipsis()) {
            self.start("Ellipsis", 0);
            return Ok(());
        }
        if value.is(self.py.NotImplemented()) {
            self.start("NotImplemented", 0);
            return Ok(());
        }
        let kind = self.kind_of(&value.get_type())?;
        match &*kind {
            Kind::Standard(standard) => self.standard(value, *standard),
            Kind::NdArray => self.array(value),
            Kind::NumpyScalar => self.scalar(value),
            Kind::NumpyText => {
                self.start("numpy.str_", 1);
                // numpy's own leaves out what is zero at its end.
                let text = self.py.get_type::<PyString>();
                self.value(&text.call_method1(intern!(self.py, "__str__"), (value,))?)
            }
            Kind::NumpyBytes => {
                self.start("numpy.bytes_", 1);
                let bytes = self.py.get_type::<PyBytes>().call1((value,))?;
                self.value(&bytes)
            }
            Kind::NumpyDtype => {
                self.start("numpy.dtype", 1);
                self.dtype(value)
            }
            Kind::Record(record) => self.record(value, record),
            Kind::Library(module) => self.library(value, module),
            Kind::Refused(reason) => Err(self.refuse(value, reason.clone())),
        }
    }

    /// An object that a module of ours takes apart: the name of its kind, and its parts.
    fn library(&mut self, value: &Bound<'py, PyAny>, module: &str) -> PyResult<()> {
        let apart = self.py.import(module)?.getattr("take_apart")?;
        let (kind, parts): (String, Bound<'py, PyList>) = match apart.call1((value,)) {
            Ok(parts) => parts.extract()?,
            Err(error) if error.is_instance_of::<PyTypeError>(self.py) => {
                let reason = error.value(self.py).str()?.to_string_lossy().into_owned();
                return Err(self.refuse(value, reason));
            }
            Err(error) => return Err(error),
        };
        self.start(&kind, parts.len());
        for part in parts.iter() {
            // Memory that is not copied before it is in its place.
            if part.is_exact_instance_of::<PyMemoryView>() {
                self.buffer(PyBuffer::get(&part)?);
            } else {
                self.value(&part)?;
            }
        }
        Ok(())
    }

    fn record(&mut self, value: &Bound<'py, PyAny>, record: &Record) -> PyResult<()> {
        let py = self.py;
        let class = record.class.bind(py);
        // Its module may have been loaded anew.
        if self.found.insert(class.as_ptr() as usize) && !classes::is_found(class)? {
            return Err(self.refuse(value, "the name of its class does not lead to it any more"));
        }
        if !matches!(record.form, Form::Enum | Form::Flag) {
            self.is_early(value);
        }
        if record.hashed_by_identity {
            self.hashed = false;
        }
        match record.form {
            Form::Enum | Form::Flag => self.member(value, record),
            Form::NamedTuple => {
                if record.has_dict && !classes::own_dict(value)?.is_empty() {
                    return Err(self.refuse(value, "it has attributes besides its fields"));
                }
                let fields = &record.fields;
                let tuple = value.cast::<PyTuple>()?;
                if fields.len() != tuple.len() {
                    return Err(self.refuse(value, "it has not the fields of its class"));
                }
                self.start(record.form.name(), 2);
                self.out.text(&record.name);
                self.out.length(Major::Map, fields.len());
                for (name, part) in fields.iter().zip(tuple.iter()) {
                    self.field(name.bind(py), &part)?;
                }
                Ok(())
            }
            Form::Dataclass | Form::Attrs => {
                self.start(record.form.name(), 2);
                self.out.text(&record.name);
                self.fields(value, record, false)
            }
            Form::Pydantic => {
                self.start(record.form.name(), 2);
                self.out.text(&record.name);
                self.fields(value, record, true)
            }
        }
    }

    fn member(&mut self, value: &Bound<'py, PyAny>, record: &Record) -> PyResult<()> {
        let py = self.py;
        let name = if record.form == Form::Flag {
            intern!(py, "_value_")
        } else {
            intern!(py, "_name_")
        };
        let told = value.getattr(name)?;
        let found = record.member(py, &told)?;
        if !found.is_some_and(|found| found.is(value)) {
            return Err(self.refuse(value, "its class does not have it as a member"));
        }
        self.start(record.form.name(), 2);
        self.out.text(&record.name);
        self.value(&told)
    }

    /// What is in an instance: its dictionary, then its slots.
    fn fields(&mut self, value: &Bound<'py, PyAny>, record: &Record, model: bool) -> PyResult<()> {
        let py = self.py;
        let mut items = SmallVec::<[_; 8]>::new();
        if record.has_dict {
            items.extend(classes::own_dict(value)?.iter());
        }
        for (name, slot) in &record.slots {
            let slot = slot.bind(py);
            match slot_of(slot, value) {
                Ok(held) => items.push((name.bind(py).clone().into_any(), held)),
                Err(error) if error.is_instance_of::<PyAttributeError>(py) => {}
                Err(error) => return Err(error),
            }
        }
        self.out.length(Major::Map, items.len());
        for (name, part) in &items {
            let Ok(name) = name.cast_exact::<PyString>() else {
                return Err(self.refuse(value, "it has an attribute whose name is no text"));
            };
            if model && name.to_string_lossy() == "__pydantic_private__" {
                let part = without_undefined(part)?;
                self.field(name, &part)?;
            } else {
                self.field(name, part)?;
            }
        }
        Ok(())
    }

    pub fn field(&mut self, name: &Bound<'py, PyString>, part: &Bound<'py, PyAny>) -> PyResult<()> {
        match name.to_str() {
            Ok(name) => self.out.text(name),
            Err(_) => return Err(self.refuse(part, "its name is no UTF-8")),
        }
        let written = self.value(part);
        self.at(written, || attribute(name.to_string_lossy().as_bytes()))
    }
}

/// `slot.__get__(value)`, of what `__slots__` makes.
fn slot_of<'py>(
    slot: &Bound<'py, PyAny>,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: a type's function is given objects of it; it checks whether the slot is one of
    // the value's class.
    unsafe {
        let Some(get) = (*ffi::Py_TYPE(slot.as_ptr())).tp_descr_get else {
            return Err(PyTypeError::new_err("a slot that cannot be read"));
        };
        let class = ffi::Py_TYPE(value.as_ptr()).cast();
        let held = get(slot.as_ptr(), value.as_ptr(), class);
        Bound::from_owned_ptr_or_err(value.py(), held)
    }
}

/// Private attributes that have a value, as pydantic itself keeps them.
fn without_undefined<'py>(held: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = held.py();
    let Ok(dict) = held.cast_exact::<PyDict>() else {
        return Ok(held.clone());
    };
    let undefined = UNDEFINED.get(py)?;
    if !dict.values().iter().any(|value| value.is(undefined)) {
        return Ok(held.clone());
    }
    let kept = PyDict::new(py);
    for (name, value) in dict.iter() {
        if !value.is(undefined) {
            kept.set_item(name, value)?;
        }
    }
    Ok(kept.into_any())
}
