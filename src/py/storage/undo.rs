//! A file that is changed so that the change can be undone, as `h5py` takes file objects.
//!
//! No Python runs in here, where HDF5 could not bear what a signal's handler raises.

use std::io::SeekFrom;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyValueError};
use pyo3::prelude::*;

use crate::engine::undo::{self, Undoable};

/// A change of a file in place; see `fleche.storage.bags.journal`.
#[pyclass(frozen, module = "fleche._core")]
pub struct UndoableFile(Mutex<Undoable>);

impl UndoableFile {
    fn lock(&self) -> MutexGuard<'_, Undoable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl UndoableFile {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let opened = py.detach(|| Undoable::open(&path));
        Ok(Self(Mutex::new(opened?)))
    }

    #[pyo3(signature = (offset, whence = 0))]
    fn seek(&self, offset: i64, whence: u8) -> PyResult<u64> {
        let place = match whence {
            0 => SeekFrom::Start(offset.try_into()?),
            1 => SeekFrom::Current(offset),
            2 => SeekFrom::End(offset),
            _ => return Err(PyValueError::new_err("whence is 0, 1 or 2")),
        };
        Ok(self.lock().seek(place)?)
    }

    fn tell(&self) -> PyResult<u64> {
        Ok(self.lock().seek(SeekFrom::Current(0))?)
    }

    fn readinto(&self, py: Python<'_>, buffer: PyBuffer<u8>) -> PyResult<usize> {
        let Some(cells) = buffer.as_mut_slice(py) else {
            return Err(PyBufferError::new_err(
                "a writable, contiguous buffer is needed",
            ));
        };
        // SAFETY: HDF5 waits for it, and lends the memory to nobody else; `Cell<u8>` has the layout
        // of `u8`.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(cells.as_ptr().cast_mut().cast::<u8>(), cells.len())
        };
        Ok(self.lock().read(bytes)?)
    }

    fn write(&self, py: Python<'_>, buffer: PyBuffer<u8>) -> PyResult<usize> {
        let Some(cells) = buffer.as_slice(py) else {
            return Err(PyBufferError::new_err("a contiguous buffer is needed"));
        };
        // SAFETY: HDF5 waits for it, and nobody changes the memory; `ReadOnlyCell<u8>` has the
        // layout of `u8`.
        let bytes = unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), cells.len()) };
        self.lock().write(bytes);
        Ok(bytes.len())
    }

    fn truncate(&self, length: u64) -> u64 {
        self.lock().truncate(length);
        length
    }

    #[expect(clippy::unused_self, reason = "a file object has it")]
    fn flush(&self) {}

    /// Ends the change; one in which something failed is undone, and fails now.
    fn finish(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.lock().finish())?)
    }

    /// Undoes the change, and fails if something in it had failed.
    fn give_up(&self, py: Python<'_>) -> PyResult<()> {
        Ok(py.detach(|| self.lock().give_up())?)
    }
}

/// Undoes a change that was not finished, if there is one.
#[pyfunction]
pub fn undo_change(py: Python<'_>, path: PathBuf) -> PyResult<()> {
    Ok(py.detach(|| undo::undo(&path))?)
}
