//! Instances of classes that are let in, made without any of their code.

use pyo3::exceptions::{PyImportError, PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::classes;
use super::decode::Decoder;
use super::memory::{nones, put, tuple_of_class};
use super::records::{Attribute, Form, Record};

impl<'py> Decoder<'_, 'py> {
    /// An instance of a class of this form.
    pub(super) fn instance(
        &mut self,
        form: Form,
        mark: Option<usize>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let record = self.record()?;
        if record.form != form {
            return Err(PyImportError::new_err(format!(
                "{} is no {} any more",
                record.name,
                form.name()
            )));
        }
        match form {
            Form::Enum | Form::Flag => {
                let told = self.value()?;
                record.member(py, &told)?.ok_or_else(|| {
                    PyImportError::new_err(format!("{} has no member {told}", record.name))
                })
            }
            Form::NamedTuple => self.named_tuple(&record, mark),
            Form::Dataclass | Form::Attrs | Form::Pydantic => {
                let made = record.blank(py)?;
                self.early(mark, &made);
                self.set_attributes(&made, &record)?;
                Ok(made)
            }
        }
    }

    /// What a map says of an instance, put into its slots and its dictionary.
    fn set_attributes(&mut self, made: &Bound<'py, PyAny>, record: &Record) -> PyResult<()> {
        let py = self.py;
        let dict = if record.has_dict {
            Some(classes::own_dict(made)?)
        } else {
            None
        };
        let known = record.known_attributes(py);
        let mut met = Vec::new();
        for index in 0..self.expect_map()? {
            let name = self.short_text()?;
            let part = self.value()?;
            if let Some(known) = known.and_then(|known| known.get(index))
                && known.name.bind(py).to_str()? == name
            {
                set_attribute(made, record, dict.as_ref(), known, part)?;
                continue;
            }
            let attribute = record.attribute(py, name)?;
            set_attribute(made, record, dict.as_ref(), &attribute, part)?;
            if known.is_none() {
                met.push(attribute);
            }
        }
        if known.is_none() {
            record.keep_attributes(py, met);
        }
        Ok(())
    }

    /// A named tuple. What is in it may refer to it, if it is marked.
    fn named_tuple(&mut self, record: &Record, mark: Option<usize>) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py;
        let class = record.class.bind(py);
        if self.expect_map()? != record.fields.len() {
            return Err(other_fields());
        }
        let blank = nones(py, record.fields.len())?;
        let marked = match mark {
            Some(_) => {
                let made = tuple_of_class(class, &blank)?;
                self.early(mark, made.as_any());
                Some(made)
            }
            None => None,
        };
        let filled = marked.as_ref().unwrap_or(&blank);
        for (index, field) in record.fields.iter().enumerate() {
            let name = self.short_text()?;
            if field.bind(py).to_str()? != name {
                return Err(other_fields());
            }
            put(filled, index, self.value()?);
        }
        match marked {
            Some(made) => Ok(made.into_any()),
            None => Ok(tuple_of_class(class, &blank)?.into_any()),
        }
    }
}

fn set_attribute<'py>(
    made: &Bound<'py, PyAny>,
    record: &Record,
    dict: Option<&Bound<'py, PyDict>>,
    attribute: &Attribute,
    part: Bound<'py, PyAny>,
) -> PyResult<()> {
    let py = made.py();
    if let Some(slot) = &attribute.slot {
        return set_slot(slot.bind(py), made, &part);
    }
    let name = attribute.name.bind(py);
    let Some(dict) = dict else {
        return Err(PyImportError::new_err(format!(
            "{} has no field {name} any more",
            record.name
        )));
    };
    dict.set_item(name, part)
}

/// `slot.__set__(made, part)`, of what `__slots__` makes.
fn set_slot(
    slot: &Bound<'_, PyAny>,
    made: &Bound<'_, PyAny>,
    part: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // SAFETY: a type's function is given objects of it; it checks whether the slot is one of
    // `made`'s class.
    let status = unsafe {
        let Some(set) = (*ffi::Py_TYPE(slot.as_ptr())).tp_descr_set else {
            return Err(PyTypeError::new_err("a slot that cannot be set"));
        };
        set(slot.as_ptr(), made.as_ptr(), part.as_ptr())
    };
    if status == 0 {
        return Ok(());
    }
    Err(PyErr::fetch(made.py()))
}

fn other_fields() -> PyErr {
    PyValueError::new_err("the fields of a named tuple are not those that were saved")
}
