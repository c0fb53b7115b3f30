//! Entries whose large buffers lie apart: they are mapped, or read into memory that is theirs.

use std::ffi::c_int;
use std::io::{Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::failure::{Failure, faulty};
use super::{FileStore, bytes_of};
use crate::engine::apart::{self, Kind, Layout, Place};
use crate::engine::disk::File;
use crate::engine::error::{Error, Fault};
use crate::engine::files;
use crate::engine::sign::SIGNATURE_LENGTH;
use crate::engine::system::{self, Memory};
use crate::py::once::intern;

/// What a serialiser makes a value of.
pub struct Loaded<'py> {
    pub stream: Bound<'py, PyBytes>,
    buffers: Bound<'py, PyList>,
}

impl<'py> Loaded<'py> {
    /// Of a payload that is in memory.
    pub fn from_payload(py: Python<'py>, payload: &[u8], path: &Path) -> PyResult<Self> {
        let (stream, layout) = apart::view(payload).map_err(|fault| faulty(py, path, &fault))?;
        let buffers = PyList::empty(py);
        for place in layout.places() {
            let bytes = &payload[place.start..place.end()];
            buffers.append(match place.kind {
                Kind::Bytes => bytes_of(py, bytes)?.into_any(),
                Kind::Memory => {
                    let mut memory = Memory::zeros(bytes.len()).map_err(PyErr::from)?;
                    memory.bytes_mut().copy_from_slice(bytes);
                    Part::object(py, &Arc::new(memory), 0, place.length)?
                }
            })?;
        }
        Ok(Self {
            stream: bytes_of(py, stream)?,
            buffers,
        })
    }

    /// What `loads` makes of it.
    pub fn load(&self, loads: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let keywords = PyDict::new(loads.py());
        keywords.set_item(intern!(loads.py(), "buffers"), &self.buffers)?;
        loads.call((&self.stream,), Some(&keywords))
    }
}

impl FileStore {
    /// What is in an entry that begins as one whose buffers lie apart.
    pub(super) fn read_apart<'py>(
        &self,
        py: Python<'py>,
        mut entry: files::Entry,
    ) -> PyResult<Loaded<'py>> {
        let path = entry.path().to_owned();
        let failed = |failure: Failure| failure.into_python(py, &path);
        let layout = py.detach(|| self.layout(&mut entry)).map_err(failed)?;
        let mut read = Ok(());
        let stream = PyBytes::new_with(py, layout.stream_end() - layout.head_length(), |bytes| {
            read = py.detach(|| entry.read_exact(bytes));
            Ok(())
        })?;
        read.map_err(|error| failed(error.into()))?;
        let buffers = PyList::empty(py);
        let content = stream.as_bytes();
        if let [
            place @ Place {
                kind: Kind::Bytes, ..
            },
        ] = layout.places()
        {
            let mut read = Ok(());
            let bytes = PyBytes::new_with(py, place.length, |bytes| {
                read = py.detach(|| {
                    let padding = padding(&mut entry, &layout)?;
                    entry.read_exact(bytes)?;
                    self.verify_parts(&mut entry, &layout, content, &padding, bytes)
                });
                Ok(())
            })?;
            read.map_err(failed)?;
            buffers.append(bytes)?;
            return Ok(Loaded { stream, buffers });
        }
        let memory = py.detach(|| {
            let padding = padding(&mut entry, &layout)?;
            let memory = self.memory(&mut entry, &layout)?;
            self.verify_parts(&mut entry, &layout, content, &padding, memory.bytes())?;
            Ok(memory)
        });
        let memory = Arc::new(memory.map_err(failed)?);
        for place in layout.places() {
            let start = place.start - layout.first();
            buffers.append(match place.kind {
                Kind::Memory => Part::object(py, &memory, start, place.length)?,
                Kind::Bytes => {
                    bytes_of(py, &memory.bytes()[start..start + place.length])?.into_any()
                }
            })?;
        }
        Ok(Loaded { stream, buffers })
    }

    /// Where everything is in an entry, which has just that length.
    fn layout(&self, entry: &mut files::Entry) -> Result<Layout, Failure> {
        let signature = SIGNATURE_LENGTH as u64;
        let length = if self.keys.is_empty() {
            entry.length()
        } else {
            let unsigned = entry.length().checked_sub(signature);
            unsigned.ok_or(Fault::Unsigned)?
        };
        let path = entry.path().to_owned();
        let layout = Layout::read(entry.file(), length).map_err(Error::io("read", &path))??;
        let more = length - layout.length() as u64;
        // Opened without keys, what was signed has its signature at the end.
        if more == 0 || (self.keys.is_empty() && more == signature) {
            Ok(layout)
        } else {
            Err(Fault::Cut.into())
        }
    }

    /// The memory of the buffers; the file is read up to the first one of them.
    fn memory(&self, entry: &mut files::Entry, layout: &Layout) -> Result<Memory, Error> {
        let length = layout.length() - layout.first();
        if self.mapped
            && let Some(memory) = self.map(entry, layout.first() as u64, length)
        {
            return Ok(memory);
        }
        let path = entry.path().to_owned();
        let mut memory = Memory::zeros(length).map_err(Error::io("read", &path))?;
        entry.read_exact(memory.bytes_mut())?;
        Ok(memory)
    }

    /// The same, mapped; `None` if that cannot be, or should not.
    fn map(&self, entry: &mut files::Entry, start: u64, length: usize) -> Option<Memory> {
        let file: &mut File = entry.file();
        if !file.is_local() {
            return None;
        }
        let is_signed = !self.keys.is_empty();
        // Somebody else could change the file behind the signature's back.
        if is_signed
            && !file
                .metadata()
                .is_ok_and(|file| system::is_owners_alone(&file))
        {
            return None;
        }
        let memory = file.map(start, length).ok()?;
        // All of it is looked at: where the disk does not give it, reading it says so.
        if is_signed && !memory.populate() {
            return None;
        }
        Some(memory)
    }

    /// Verifies the signature behind the buffers, if one is asked for.
    fn verify_parts(
        &self,
        entry: &mut files::Entry,
        layout: &Layout,
        stream: &[u8],
        padding: &[u8],
        buffers: &[u8],
    ) -> Result<(), Failure> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let mut signature = [0; SIGNATURE_LENGTH];
        let path = entry.path().to_owned();
        let end = SeekFrom::Start(layout.length() as u64);
        let sought = entry.file().seek(end);
        sought.map_err(Error::io("read", &path))?;
        entry.read_exact(&mut signature)?;
        let head = layout.head();
        let parts = [&head[..], stream, padding, buffers];
        Ok(self.keys.verify_parts(&parts, &signature)?)
    }
}

/// What stands between the stream and the first buffer.
fn padding(entry: &mut files::Entry, layout: &Layout) -> Result<Vec<u8>, Error> {
    let mut padding = vec![0; layout.first() - layout.stream_end()];
    entry.read_exact(&mut padding)?;
    Ok(padding)
}

/// A part of memory that several buffers share, for the object that is a view of it.
#[pyclass(frozen)]
struct Part {
    memory: Arc<Memory>,
    start: usize,
    length: usize,
}

impl Part {
    fn object<'py>(
        py: Python<'py>,
        memory: &Arc<Memory>,
        start: usize,
        length: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let part = Self {
            memory: memory.clone(),
            start,
            length,
        };
        Ok(Bound::new(py, part)?.into_any())
    }
}

#[pymethods]
impl Part {
    unsafe fn __getbuffer__(
        slf: Bound<'_, Self>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        let part = slf.get();
        let length = isize::try_from(part.length)
            .map_err(|_| PyBufferError::new_err("too long for a buffer"))?;
        let start = part.memory.as_ptr().wrapping_add(part.start);
        // SAFETY: `view` is the caller's; the memory has so many bytes from there on, it is nobody
        // else's, and the view keeps this object, and with it the memory.
        let filled =
            unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), start.cast(), length, 0, flags) };
        if filled == 0 {
            Ok(())
        } else {
            Err(PyErr::fetch(slf.py()))
        }
    }
}
