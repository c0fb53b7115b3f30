//! pyarrow: arrays, tables, scalars and types.

use crate::py::once::intern;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use super::buffer;
use crate::engine::digest::Hash;
use crate::engine::digest::arrow::{ArrowArrayStream, ArrowSchema, Column, Stream, describe};
use crate::engine::digest::exact::{Encoder, Tag};
use crate::py::digest::exact::Walker;
use crate::py::digest::exact::state::with_part;
use crate::py::names::Imported;

static ARRAY: Imported = Imported::new("pyarrow", "Array");
static CHUNKED_ARRAY: Imported = Imported::new("pyarrow", "chunked_array");
static MAKE_ARRAY: Imported = Imported::new("pyarrow", "array");

/// What an Arrow stream holds: the digests of its type and of its content.
struct Exported {
    kind: Hash,
    content: Hash,
}

/// Reads everything that `value` exports as a stream.
fn read(value: &Bound<'_, PyAny>) -> PyResult<Exported> {
    let py = value.py();
    let capsule = value.call_method0(intern!(py, "__arrow_c_stream__"))?;
    let capsule = capsule.cast::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(c"arrow_array_stream"))?;
    // SAFETY: a capsule of this name holds such a structure, which is ours alone: the capsule was
    // made for this call.
    let stream = unsafe { pointer.cast::<ArrowArrayStream>().as_mut() };
    let mut stream = Stream::open(stream).map_err(PyValueError::new_err)?;
    let kind = describe(stream.schema()).finish();
    let mut column = Column::new(stream.schema()).map_err(PyValueError::new_err)?;
    stream
        .each(|chunk| {
            py.detach(|| column.push(chunk));
            Ok(())
        })
        .map_err(PyValueError::new_err)?;
    Ok(Exported {
        kind,
        content: column.finish(),
    })
}

/// The digest of the values, whatever their type is called.
pub fn content(value: &Bound<'_, PyAny>) -> PyResult<Hash> {
    Ok(read(value)?.content)
}

/// The digest of type and values.
pub fn content_with_type(value: &Bound<'_, PyAny>) -> PyResult<Hash> {
    let read = read(value)?;
    let mut encoder = Encoder::new(Tag::ArrowArray);
    encoder.byte(3).child(&read.kind).child(&read.content);
    Ok(encoder.finish())
}

/// The encoding of the type that `value` exports.
fn exported_type(value: &Bound<'_, PyAny>) -> PyResult<Encoder> {
    let capsule = value.call_method0(intern!(value.py(), "__arrow_c_schema__"))?;
    let capsule = capsule.cast::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(c"arrow_schema"))?;
    // SAFETY: a capsule of this name holds such a structure while it lives.
    Ok(describe(unsafe { pointer.cast::<ArrowSchema>().as_ref() }))
}

impl<'py> Walker<'py> {
    /// Tables and record batches: kind, column names and types, values.
    pub(super) fn arrow_table(&mut self, table: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let read = read(table)?;
        let mut encoder = Encoder::new(Tag::ArrowTable);
        encoder
            .text(&table.get_type().name()?.to_string_lossy())
            .child(&read.kind)
            .child(&read.content);
        self.with_metadata(&table.getattr(intern!(table.py(), "schema"))?, encoder)
    }

    /// What was written on a schema and on its fields counts where there is any.
    fn with_metadata(&mut self, schema: &Bound<'py, PyAny>, content: Encoder) -> PyResult<Encoder> {
        let name = intern!(self.py, "metadata");
        let mut written = vec![schema.getattr(name)?];
        for field in schema.try_iter()? {
            written.push(field?.getattr(name)?);
        }
        if written.iter().all(Bound::is_none) {
            return Ok(content);
        }
        let mut encoder = Encoder::new(Tag::Sequence);
        encoder.text("metadata").length(written.len());
        for metadata in &written {
            encoder.child(&self.walk(metadata)?);
        }
        Ok(with_part(content, &encoder.finish()))
    }

    /// Arrays, and arrays in chunks: one kind and another, each by type and values.
    pub(super) fn arrow_array(&mut self, array: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let mut encoder = Encoder::new(Tag::ArrowArray);
        let read = if ARRAY.is_instance(array)? {
            encoder.byte(0);
            read(&CHUNKED_ARRAY.get(py)?.call1(([array],))?)?
        } else {
            encoder.byte(1);
            read(array)?
        };
        encoder.child(&read.kind).child(&read.content);
        Ok(encoder)
    }

    pub(super) fn arrow_scalar(&mut self, scalar: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = self.py;
        let kind = scalar.getattr(intern!(py, "type"))?;
        let one = PyTuple::new(py, [scalar])?;
        let array = MAKE_ARRAY.get(py)?.call1((one, kind))?;
        let read = read(&CHUNKED_ARRAY.get(py)?.call1(([array],))?)?;
        let mut encoder = Encoder::new(Tag::ArrowArray);
        encoder.byte(2).child(&read.kind).child(&read.content);
        Ok(encoder)
    }

    /// Schemas, fields and data types.
    pub(super) fn arrow_type(value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let py = value.py();
        let mut encoder = Encoder::new(Tag::ArrowTable);
        encoder.text("type");
        if let Some(nullable) = value.getattr_opt(intern!(py, "nullable"))? {
            let name: String = value.getattr(intern!(py, "name"))?.extract()?;
            encoder
                .byte(1)
                .text(&name)
                .byte(u8::from(nullable.is_truthy()?));
        } else if value.hasattr(intern!(py, "names"))? {
            encoder.byte(2);
        } else {
            encoder.byte(0);
        }
        encoder.child(&exported_type(value)?.finish());
        Ok(encoder)
    }

    pub(super) fn arrow_buffer(&mut self, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let size: usize = value.getattr(intern!(self.py, "size"))?.extract()?;
        let mut encoder = Encoder::new(Tag::NamedBytes);
        encoder.text("pyarrow\0Buffer").length(size);
        buffer::hash_buffer(&mut encoder, value)?;
        Ok(encoder)
    }
}
