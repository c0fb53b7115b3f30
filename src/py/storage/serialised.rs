//! What a serialiser made of a value: a stream of bytes, and large buffers that are where they
//! were.

use std::sync::{Mutex, PoisonError};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyMemoryError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::engine::apart::{Kind, Layout, SHORTEST};
use crate::engine::digest::Hash;
use crate::py::digest::exact;
use crate::py::once::intern;

/// A pickle that is its one buffer.
const THE_BUFFER: &[u8] = b"\x80\x05\x97.";

/// What is stored of a value, before signature and compression.
#[derive(Debug)]
pub struct Serialised<'py> {
    stream: Bound<'py, PyBytes>,
    apart: Option<Apart<'py>>,
}

#[derive(Debug)]
struct Apart<'py> {
    layout: Layout,
    head: Vec<u8>,
    buffers: Vec<Buffer<'py>>,
}

/// Memory of an object, which keeps it in place as long as this is there.
#[derive(Debug)]
enum Buffer<'py> {
    Bytes(Bound<'py, PyBytes>),
    Memory(PyUntypedBuffer),
}

impl<'py> Serialised<'py> {
    /// A stream in which everything is.
    pub fn whole(stream: Bound<'py, PyBytes>) -> Self {
        Self {
            stream,
            apart: None,
        }
    }

    /// What `dumps(value, *more)` makes of a value, with large buffers apart.
    pub fn new(
        dumps: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        protocol: Option<u8>,
    ) -> PyResult<Self> {
        let py = value.py();
        if let Ok(bytes) = value.cast_exact::<PyBytes>()
            && bytes.as_bytes().len() >= SHORTEST
        {
            let buffers = vec![Buffer::Bytes(bytes.clone())];
            return Self::with_buffers(PyBytes::new(py, THE_BUFFER), buffers);
        }
        let collector = Bound::new(py, Collector::default())?;
        let keywords = PyDict::new(py);
        keywords.set_item(intern!(py, "buffer_callback"), &collector)?;
        let stream = match protocol {
            Some(protocol) => dumps.call((value, protocol), Some(&keywords))?,
            None => dumps.call((value,), Some(&keywords))?,
        };
        let stream = as_bytes(stream)?;
        let found = std::mem::take(&mut *collector.get().found());
        let buffers = found.into_iter().map(Buffer::Memory).collect::<Vec<_>>();
        if buffers.is_empty() {
            return Ok(Self::whole(stream));
        }
        Self::with_buffers(stream, buffers)
    }

    fn with_buffers(stream: Bound<'py, PyBytes>, buffers: Vec<Buffer<'py>>) -> PyResult<Self> {
        let lengths = buffers.iter().map(|buffer| match buffer {
            Buffer::Bytes(bytes) => (Kind::Bytes, bytes.as_bytes().len()),
            Buffer::Memory(memory) => (Kind::Memory, memory.len_bytes()),
        });
        let layout = Layout::new(stream.as_bytes().len(), lengths);
        let layout = layout.ok_or_else(|| PyMemoryError::new_err("no file is so long"))?;
        let apart = Apart {
            head: layout.head(),
            layout,
            buffers,
        };
        Ok(Self {
            stream,
            apart: Some(apart),
        })
    }

    /// The payload, part by part.
    pub fn parts(&self) -> Vec<&[u8]> {
        let stream = self.stream.as_bytes();
        match &self.apart {
            None => vec![stream],
            Some(Apart {
                layout,
                head,
                buffers,
            }) => layout.parts(head, stream, buffers.iter().map(Buffer::bytes)),
        }
    }

    /// The bytes, if they are in one piece.
    pub fn in_one_piece(&self) -> Option<&Bound<'py, PyBytes>> {
        self.apart.is_none().then_some(&self.stream)
    }

    /// How long the payload is.
    pub fn length(&self) -> usize {
        match &self.apart {
            None => self.stream.as_bytes().len(),
            Some(apart) => apart.layout.length(),
        }
    }

    /// The key of a result of which this is stored.
    pub fn key(&self) -> Hash {
        exact::serialised(self.stream.py(), &self.parts())
    }
}

impl Buffer<'_> {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes.as_bytes(),
            // It was looked at whether it is in one piece.
            Self::Memory(memory) => exact::bytes_of_buffer(memory).unwrap_or(&[]),
        }
    }
}

/// `bytes`, of a serialiser that gives a bytearray or a memoryview, too.
pub fn as_bytes(stream: Bound<'_, PyAny>) -> PyResult<Bound<'_, PyBytes>> {
    let py = stream.py();
    match stream.cast_into::<PyBytes>() {
        Ok(bytes) => Ok(bytes),
        Err(other) => Ok(py
            .get_type::<PyBytes>()
            .call1((other.into_inner(),))?
            .cast_into()?),
    }
}

/// What a serialiser shows its buffers to: the large ones are kept, and left out of its stream.
#[pyclass(frozen)]
#[derive(Default)]
struct Collector {
    found: Mutex<Vec<PyUntypedBuffer>>,
}

#[pymethods]
impl Collector {
    /// Whether a `pickle.PickleBuffer` is to be in the stream.
    fn __call__(&self, buffer: &Bound<'_, PyAny>) -> PyResult<bool> {
        // What is not in one piece, the serialiser knows how to refuse.
        let Ok(memory) = buffer.call_method0(intern!(buffer.py(), "raw")) else {
            return Ok(true);
        };
        let memory = PyUntypedBuffer::get(&memory)?;
        if memory.len_bytes() < SHORTEST || !memory.is_c_contiguous() {
            return Ok(true);
        }
        self.found().push(memory);
        Ok(false)
    }
}

impl Collector {
    fn found(&self) -> std::sync::MutexGuard<'_, Vec<PyUntypedBuffer>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
