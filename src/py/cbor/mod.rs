//! Python objects as CBOR: no pickle, no code that runs, nothing that is imported by name.
//!
//! [`encode`] walks an object ([`objects`] those that are no containers), [`decode`], [`made`] and [`instances`]
//! make it again ([`memory`] what is filled in place, [`texts`] what repeats); [`classes`] says which classes there may be
//! instances of, [`kinds`] what a class is, [`standard`] and [`arrays`] know the classes of the
//! standard library and of numpy. Those of pandas, polars and Arrow are taken apart, into what is
//! known here, by `fleche.storage.cbor`.

mod arrays;
mod classes;
mod decode;
mod encode;
mod instances;
mod kinds;
mod large;
mod made;
mod memory;
mod objects;
mod records;
mod standard;
mod texts;

use std::sync::Arc;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyImportError, PyMemoryError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};

use crate::engine::cbor::{Error, Head, Major, Reader, Writer, tag};
use crate::engine::disk::written;
use crate::engine::sign::Keys;
use crate::py::bytes;
use crate::py::errors;
use crate::py::names::Imported;
use crate::py::once::intern;
pub use classes::note_function_module;
use decode::Decoder;
use encode::Encoder;
use kinds::Kinds;
use large::Large;
use texts::Lent;

static PICKLE_DUMPS: Imported = Imported::new("pickle", "dumps");
static PICKLE_LOADS: Imported = Imported::new("pickle", "loads");
static NOTE_FALLBACK: Imported = Imported::new("fleche.storage.cbor.fallback", "note");

const ADVICE: &str = "Return plain data instead, take a storage of another type, or have such \
                      values pickled and signed (fallback = \"pickle\" and a secret_key)";

/// Makes bytes of objects, and objects of bytes.
///
/// `allow` are patterns of the qualified names of classes; `keys` sign and verify pickles of what
/// CBOR cannot hold, which are made only if `fallback` says so.
#[pyclass(frozen, module = "fleche._core")]
pub struct CborSerializer {
    kinds: Arc<Kinds>,
    texts: Lent,
    keys: Keys,
    fallback: bool,
}

#[pymethods]
impl CborSerializer {
    #[new]
    fn new(allow: Vec<String>, keys: Vec<Vec<u8>>, fallback: bool) -> PyResult<Self> {
        let keys = Keys::new(keys);
        if fallback && keys.is_empty() {
            return Err(PyValueError::new_err(
                "fallback = 'pickle' needs a secret key: whoever can write to the store could run \
                 code in those who read it. Give secret_key, or set FLECHE_SECRET_KEY",
            ));
        }
        Ok(Self {
            kinds: Arc::new(Kinds::new(allow)),
            texts: Lent::default(),
            keys,
            fallback,
        })
    }

    /// The bytes of an object; `SaveError` if it cannot be held.
    pub fn dumps<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
        let py = value.py();
        let mut encoder = Encoder::new(py, &self.kinds);
        match encoder.value(value) {
            Ok(()) => bytes_of(py, encoder.written()),
            Err(error) => match encoder.refused(error) {
                Ok(refusal) if self.fallback => {
                    drop(encoder);
                    self.pickled(value, &refusal)
                }
                Ok(refusal) => {
                    let message = format!("{}. {ADVICE}", refusal.message());
                    Err(errors::save_error(py, &message, None))
                }
                Err(error) => Err(error),
            },
        }
    }

    /// The object that was made bytes of.
    ///
    /// Raises:
    ///     ValueError: if the bytes are no CBOR of an object.
    ///     ImportError: if a class is not allowed, not imported, or not there any more.
    pub fn loads<'py>(&self, data: &Bound<'py, PyBytes>) -> PyResult<Bound<'py, PyAny>> {
        let py = data.py();
        let mut reader = Reader::new(data.as_bytes()).map_err(|error| damaged(&error))?;
        let pickle = [0xd9, 0xf1, 0xf1];
        if data.as_bytes().get(3..6) == Some(&pickle) {
            return self.unpickled(py, &mut reader);
        }
        let mut texts = self.texts.take();
        let value = Decoder::new(py, reader, &self.kinds, &mut texts).whole();
        self.texts.give_back(texts);
        value.map_err(|error| as_damage(py, error))
    }
}

impl CborSerializer {
    fn pickled<'py>(
        &self,
        value: &Bound<'py, PyAny>,
        refusal: &encode::Refusal,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let py = value.py();
        let pickle = PICKLE_DUMPS.get(py)?.call1((value, 5)).map_err(|error| {
            if !errors::is_exception(py, &error) {
                return error;
            }
            let reason = errors::describe(py, &error);
            let message = format!("{}; nor can pickle: {reason}", refusal.message());
            errors::save_error(py, &message, Some(error))
        })?;
        let pickle = pickle.cast_into::<PyBytes>()?;
        let Some(signature) = py.detach({
            let bytes = pickle.as_bytes();
            move || self.keys.sign(bytes)
        }) else {
            return Err(PyValueError::new_err("no key to sign a pickle with"));
        };
        NOTE_FALLBACK
            .get(py)?
            .call1((&refusal.class, refusal.message()))?;
        written::count_pickled();
        let mut writer = Writer::new();
        writer.tag(tag::PICKLE);
        writer.length(Major::Array, 2);
        writer.text(signature.as_str());
        writer.large_byte_string(Large::bytes(&pickle));
        bytes_of(py, &writer)
    }

    fn unpickled<'py>(&self, py: Python<'py>, reader: &mut Reader) -> PyResult<Bound<'py, PyAny>> {
        let mut parts = || -> Result<_, Error> {
            reader.head()?;
            let Head::Array(2) = reader.head()? else {
                return Err(reader.malformed("a pickle without its signature"));
            };
            let Head::Text(length) = reader.head()? else {
                return Err(reader.malformed("a pickle without its signature"));
            };
            let signature = reader.text(length)?;
            let Head::Bytes(length) = reader.head()? else {
                return Err(reader.malformed("a signature without its pickle"));
            };
            let pickle = reader.take(length)?;
            reader.end()?;
            Ok((signature, pickle))
        };
        let (signature, pickle) = parts().map_err(|error| damaged(&error))?;
        if !self.fallback {
            return Err(PyImportError::new_err(
                "it is a pickle, which is read only with fallback = 'pickle' and its secret key",
            ));
        }
        let verified = self.keys.verify(pickle, signature.as_bytes());
        verified.map_err(|fault| errors::signature_error(py, &fault.to_string()))?;
        PICKLE_LOADS.get(py)?.call1((PyBytes::new(py, pickle),))
    }
}

/// Whether the texts of an Arrow array are UTF-8 each: `offsets` of `width` bytes each say where in
/// `data` one ends and the next begins. False also if that is not to be seen at once, as where
/// there is something else under missing ones.
#[pyfunction]
pub fn are_texts(offsets: PyBuffer<u8>, data: PyBuffer<u8>, width: usize) -> bool {
    let (offsets, data) = (Large::Buffer(offsets), Large::Buffer(data));
    match width {
        4 => texts::are_texts(
            offsets
                .as_ref()
                .as_chunks()
                .0
                .iter()
                .map(|offset| i64::from(i32::from_le_bytes(*offset))),
            data.as_ref(),
        ),
        8 => texts::are_texts(
            offsets
                .as_ref()
                .as_chunks()
                .0
                .iter()
                .map(|offset| i64::from_le_bytes(*offset)),
            data.as_ref(),
        ),
        _ => false,
    }
}

/// `ValueError`: these bytes are not what was written.
fn damaged(error: &Error) -> PyErr {
    PyValueError::new_err(format!("this is no CBOR that fleche wrote: {error}"))
}

fn bytes_of<'py>(py: Python<'py>, writer: &Writer<Large<'py>>) -> PyResult<Bound<'py, PyBytes>> {
    if let Some(bytes) = writer.simple() {
        return bytes::bytes(py, bytes);
    }
    let finished = writer.finish();
    bytes::bytes_of_pieces(py, finished.length(), |give| finished.for_each(give))
}

/// `fleche.storage.cbor`, without the dots of the class's own text: `mypackage.models.Params`.
fn dotted(class: &Bound<'_, PyAny>) -> String {
    let py = class.py();
    let text = |name: &Bound<'_, PyString>| {
        let found = class.getattr(name).ok()?;
        Some(found.str().ok()?.to_string_lossy().into_owned())
    };
    let name = text(intern!(py, "__qualname__")).unwrap_or_default();
    match text(intern!(py, "__module__")) {
        Some(module) if module != "builtins" => format!("{module}.{name}"),
        _ => name,
    }
}

/// What a class says of parts that it does not take: the bytes are not what was written.
fn as_damage(py: Python<'_>, error: PyErr) -> PyErr {
    let is_told = error.is_instance_of::<PyValueError>(py)
        || error.is_instance_of::<PyImportError>(py)
        || error.is_instance_of::<PyMemoryError>(py)
        || !errors::is_exception(py, &error);
    if is_told {
        return error;
    }
    let reason = errors::describe(py, &error);
    let damage = PyValueError::new_err(format!("this is no CBOR that fleche wrote: {reason}"));
    damage.set_cause(py, Some(error));
    damage
}
