//! Values of the standard library that say by themselves what they are.

use crate::py::once::intern;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyMemoryView, PyRange, PySlice, PyString};

use super::state::{with_attributes, with_part};
use super::{Walker, leaf, numbers};
use crate::engine::digest::Hash;
use crate::engine::digest::exact::{Encoder, Tag};
use crate::engine::digest::number;
use crate::py::names::Imported;

static PATH: Imported = Imported::new("pathlib", "PurePath");
static WINDOWS_PATH: Imported = Imported::new("pathlib", "PureWindowsPath");
static UUID: Imported = Imported::new("uuid", "UUID");
static PATTERN: Imported = Imported::new("re", "Pattern");
static IP_ADDRESS: Imported = Imported::new("ipaddress", "_IPAddressBase");

impl<'py> Walker<'py> {
    pub(super) fn singleton(&self, value: &Bound<'py, PyAny>) -> Option<Encoder> {
        if value.is(self.py.Ellipsis()) {
            Some(Encoder::new(Tag::Ellipsis))
        } else if value.is(self.py.NotImplemented()) {
            Some(Encoder::new(Tag::NotImplemented))
        } else {
            None
        }
    }

    #[inline(never)]
    pub(super) fn standard_library(
        &mut self,
        value: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Encoder>> {
        let py = self.py;
        if let Ok(range) = value.cast::<PyRange>() {
            return self.range(range).map(Some);
        }
        if let Ok(bytes) = value.cast_exact::<PyByteArray>() {
            let mut encoder = Encoder::new(Tag::NamedBytes);
            encoder.text("bytearray").bytes(&bytes.to_vec());
            return Ok(Some(encoder));
        }
        if value.is_instance_of::<PyMemoryView>() {
            return self.memory_view(value);
        }
        if value.is_instance_of::<PySlice>() {
            let mut encoder = Encoder::new(Tag::Slice);
            for part in ["start", "stop", "step"] {
                encoder.child(&self.walk(&value.getattr(part)?)?);
            }
            return Ok(Some(encoder));
        }
        if let Some(encoder) = self.time(value)? {
            return Ok(Some(encoder));
        }
        if PATH.is_instance(value)? {
            return self.path(value).map(Some);
        }
        if UUID.is_instance(value)? {
            let bytes: Vec<u8> = value.getattr(intern!(py, "bytes"))?.extract()?;
            let mut encoder = Encoder::new(Tag::Uuid);
            encoder.raw(&bytes);
            return self.of_class(value, encoder, &UUID).map(Some);
        }
        if PATTERN.is_instance(value)? {
            let mut encoder = Encoder::new(Tag::Pattern);
            encoder.child(&self.walk(&value.getattr(intern!(py, "pattern"))?)?);
            encoder.i64(value.getattr(intern!(py, "flags"))?.extract()?);
            return Ok(Some(encoder));
        }
        if IP_ADDRESS.is_instance(value)? {
            return self.named_text(Tag::IpAddress, value).map(Some);
        }
        Ok(None)
    }

    /// Ranges are equal if their elements are: an empty one has no start, a single one no step.
    /// Where identity decides, start, stop and step are what they are.
    fn range(&mut self, range: &Bound<'py, PyRange>) -> PyResult<Encoder> {
        let py = self.py;
        let part = |name: &str| -> PyResult<Hash> {
            // They may be booleans.
            let bytes = numbers::canonical_bytes(&range.getattr(name)?)?;
            Ok(number::integer_from_bytes(&bytes).finish())
        };
        let count = range.call_method0(intern!(py, "__len__"));
        let mut encoder = Encoder::new(Tag::Range);
        match count.and_then(|count| count.extract::<usize>()) {
            Ok(count) if !self.typed => {
                encoder.byte(0).length(count);
                if count > 0 {
                    encoder.child(&part("start")?);
                }
                if count > 1 {
                    encoder.child(&part("step")?);
                }
            }
            // Or more elements than a length can say.
            _ => {
                encoder.byte(if self.typed { 2 } else { 1 });
                for name in ["start", "stop", "step"] {
                    encoder.child(&part(name)?);
                }
            }
        }
        Ok(encoder)
    }

    fn memory_view(&mut self, view: &Bound<'py, PyAny>) -> PyResult<Option<Encoder>> {
        let py = self.py;
        let format: String = view.getattr(intern!(py, "format"))?.extract()?;
        // Addresses, and bytes that belong to no value, are no content.
        if format.contains(['O', 'P', '&', 'X', 'x', 'g', 'T']) {
            return Ok(None);
        }
        let shape = view.getattr(intern!(py, "shape"))?;
        let bytes = view.call_method0(intern!(py, "tobytes"))?;
        let mut encoder = Encoder::new(Tag::MemoryView);
        encoder.text(&format).child(&self.walk(&shape)?);
        encoder.bytes(bytes.cast::<PyBytes>()?.as_bytes());
        Ok(Some(encoder))
    }

    /// Paths by text. Paths of one family compare equal whether they reach for files or not.
    fn path(&mut self, path: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let text = path.str()?;
        let mut encoder = Encoder::new(Tag::Path);
        encoder
            .byte(u8::from(WINDOWS_PATH.is_instance(path)?))
            .bytes(&leaf::utf8(&text)?);
        let class = path.get_type();
        let module = class.getattr(intern!(self.py, "__module__"))?;
        let module = module.extract::<String>().unwrap_or_default();
        let own = module.split('.').next() == Some("pathlib");
        if own && !self.typed {
            return Ok(encoder);
        }
        encoder.text(&self.class_name(&class)?);
        if own {
            return Ok(encoder);
        }
        // pathlib's own attributes are caches of the text.
        let attributes = self.own_attributes(path, WINDOWS_PATH.get(self.py)?)?;
        Ok(with_attributes(encoder, &attributes))
    }

    /// The content, with class and attributes if the class is not `base` itself.
    fn of_class(
        &mut self,
        value: &Bound<'py, PyAny>,
        content: Encoder,
        base: &'static Imported,
    ) -> PyResult<Encoder> {
        let class = value.get_type();
        if class.is(base.get(self.py)?) {
            return Ok(content);
        }
        let name = PyString::new(self.py, &self.class_name(&class)?);
        let content = with_part(content, &self.walk(name.as_any())?);
        self.with_state(value, content)
    }

    fn named_text(&mut self, tag: Tag, value: &Bound<'py, PyAny>) -> PyResult<Encoder> {
        let mut encoder = Encoder::new(tag);
        encoder.text(&self.class_name(&value.get_type())?);
        encoder.bytes(&leaf::utf8(&value.str()?)?);
        Ok(encoder)
    }
}
