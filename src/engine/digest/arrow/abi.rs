//! The structures of the Arrow C data and stream interfaces, and safe views of them.
//!
//! Layouts and rules: <https://arrow.apache.org/docs/format/CDataInterface.html>. Everything
//! unsafe about reading them is in this file.

use std::ffi::{CStr, c_char, c_int, c_void};

type Release<T> = Option<unsafe extern "C" fn(*mut T)>;

#[repr(C)]
pub struct ArrowSchema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut ArrowSchema,
    dictionary: *mut ArrowSchema,
    release: Release<ArrowSchema>,
    private_data: *mut c_void,
}

#[repr(C)]
pub struct ArrowArray {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut ArrowArray,
    dictionary: *mut ArrowArray,
    release: Release<ArrowArray>,
    private_data: *mut c_void,
}

#[repr(C)]
pub struct ArrowArrayStream {
    get_schema: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowSchema) -> c_int>,
    get_next: Option<unsafe extern "C" fn(*mut ArrowArrayStream, *mut ArrowArray) -> c_int>,
    get_last_error: Option<unsafe extern "C" fn(*mut ArrowArrayStream) -> *const c_char>,
    release: Release<ArrowArrayStream>,
    private_data: *mut c_void,
}

/// Flags of a schema.
pub const DICTIONARY_ORDERED: i64 = 1;
pub const NULLABLE: i64 = 2;
pub const KEYS_SORTED: i64 = 4;

fn empty<T>() -> T
where
    T: Structure,
{
    // SAFETY: all fields are pointers, optional functions and integers, for which zero is valid;
    // the interface defines a structure without a release function as empty.
    unsafe { std::mem::zeroed() }
}

/// The structures of the interface, which say how they are released.
trait Structure {
    fn release(&mut self);
}

macro_rules! released_once {
    ($name:ident) => {
        impl Structure for $name {
            fn release(&mut self) {
                if let Some(release) = self.release {
                    // SAFETY: a structure with a release function is live; releasing clears it.
                    unsafe { release(self) }
                }
            }
        }
    };
}
released_once!(ArrowSchema);
released_once!(ArrowArray);
released_once!(ArrowArrayStream);

/// A structure that was handed over to us, until it is dropped.
struct Owned<T: Structure>(T);

impl<T: Structure> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl ArrowSchema {
    pub fn format(&self) -> &[u8] {
        bytes_of(self.format)
    }

    pub fn name(&self) -> &[u8] {
        bytes_of(self.name)
    }

    pub fn flags(&self) -> i64 {
        self.flags
    }

    pub fn children(&self) -> impl Iterator<Item = &ArrowSchema> {
        // SAFETY: the producer keeps `n_children` valid pointers there while the schema lives.
        unsafe { pointers(self.children, self.n_children) }
    }

    pub fn dictionary(&self) -> Option<&ArrowSchema> {
        // SAFETY: null or a structure that lives as long as this one.
        unsafe { self.dictionary.as_ref() }
    }

    /// The value of a key of the metadata.
    pub fn metadata(&self, wanted: &[u8]) -> Option<&[u8]> {
        if self.metadata.is_null() {
            return None;
        }
        let mut reader = Metadata(self.metadata.cast());
        for _ in 0..reader.number() {
            let key = reader.text();
            let value = reader.text();
            if key == wanted {
                return Some(value);
            }
        }
        None
    }
}

/// Walks over the metadata of a schema: a count, then that many keys and values, each after its
/// length; all numbers are native 32 bit integers without alignment.
struct Metadata(*const u8);

impl Metadata {
    fn number(&mut self) -> usize {
        // SAFETY: the format has a number here.
        let number = unsafe { self.0.cast::<i32>().read_unaligned() };
        self.0 = self.0.wrapping_add(4);
        usize::try_from(number).unwrap_or(0)
    }

    fn text<'a>(&mut self) -> &'a [u8] {
        let length = self.number();
        // SAFETY: the format has that many bytes here, which live as long as the schema.
        let text = unsafe { std::slice::from_raw_parts(self.0, length) };
        self.0 = self.0.wrapping_add(length);
        text
    }
}

// SAFETY: whoever exports an array leaves its memory as it is until it is released.
unsafe impl Sync for ArrowArray {}

fn bytes_of<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return &[];
    }
    // SAFETY: the producer keeps a NUL-terminated text there while the schema lives, to which
    // both callers bind the result.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// # Safety
/// `first` is null, or there are `count` pointers to live structures from there on.
unsafe fn pointers<'a, T: 'a>(first: *mut *mut T, count: i64) -> impl Iterator<Item = &'a T> {
    let count = if first.is_null() {
        0
    } else {
        usize::try_from(count).unwrap_or(0)
    };
    (0..count).filter_map(move |i| {
        // SAFETY: the caller's promise.
        unsafe { (*first.add(i)).as_ref() }
    })
}

impl ArrowArray {
    pub fn length(&self) -> usize {
        usize::try_from(self.length).unwrap_or(0)
    }

    /// How many values of the memory come before the first one of this array.
    pub fn offset(&self) -> usize {
        usize::try_from(self.offset).unwrap_or(0)
    }

    pub fn child(&self, i: usize) -> Option<&ArrowArray> {
        // SAFETY: as for a schema's children.
        unsafe { pointers(self.children, self.n_children) }.nth(i)
    }

    pub fn dictionary(&self) -> Option<&ArrowArray> {
        // SAFETY: null or a structure that lives as long as this one.
        unsafe { self.dictionary.as_ref() }
    }

    fn buffer(&self, i: usize) -> *const u8 {
        if self.buffers.is_null() || i >= usize::try_from(self.n_buffers).unwrap_or(0) {
            return std::ptr::null();
        }
        // SAFETY: there are `n_buffers` pointers.
        unsafe { *self.buffers.add(i) }.cast()
    }

    /// Whether any value may be missing.
    pub fn has_missing(&self) -> bool {
        self.null_count != 0 && !self.buffer(0).is_null()
    }

    /// A bit of a buffer of bits; `i` counts from the start of the memory. False if there is none.
    pub fn bit(&self, buffer: usize, i: usize) -> bool {
        let bits = self.buffer(buffer);
        if bits.is_null() {
            return false;
        }
        // SAFETY: buffers of bits cover `offset + length` values, of which the caller asks one.
        unsafe { *bits.add(i / 8) >> (i % 8) & 1 == 1 }
    }

    /// Bytes of a buffer, from `start` on.
    pub fn bytes(&self, buffer: usize, start: usize, length: usize) -> &[u8] {
        let bytes = self.buffer(buffer);
        if length == 0 || bytes.is_null() {
            return &[];
        }
        // SAFETY: the layouts tell how long each buffer is; callers ask for bytes of their values.
        unsafe { std::slice::from_raw_parts(bytes.add(start), length) }
    }

    /// Number `i` of a buffer of signed integers of `width` bytes.
    pub fn number(&self, buffer: usize, i: usize, width: usize) -> i64 {
        let bytes = self.bytes(buffer, i * width, width);
        match width {
            1 => bytes
                .first_chunk()
                .map(|b| i64::from(i8::from_ne_bytes(*b))),
            2 => bytes
                .first_chunk()
                .map(|b| i64::from(i16::from_ne_bytes(*b))),
            4 => bytes
                .first_chunk()
                .map(|b| i64::from(i32::from_ne_bytes(*b))),
            _ => bytes.first_chunk().map(|b| i64::from_ne_bytes(*b)),
        }
        .unwrap_or(0)
    }
}

/// A stream of arrays of one schema.
pub struct Stream<'a> {
    stream: &'a mut ArrowArrayStream,
    schema: Owned<ArrowSchema>,
}

impl<'a> Stream<'a> {
    /// Reads the schema of a stream.
    pub fn open(stream: &'a mut ArrowArrayStream) -> Result<Self, String> {
        let mut schema = Owned(empty::<ArrowSchema>());
        let Some(get_schema) = stream.get_schema else {
            return Err("the stream was read before".into());
        };
        // SAFETY: the stream is live, the schema empty.
        let status = unsafe { get_schema(stream, &raw mut schema.0) };
        if status != 0 {
            return Err(error_of(stream));
        }
        Ok(Self { stream, schema })
    }

    pub fn schema(&self) -> &ArrowSchema {
        &self.schema.0
    }

    /// Hands every chunk to `work`.
    pub fn each(
        &mut self,
        mut work: impl FnMut(&ArrowArray) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(get_next) = self.stream.get_next else {
            return Err("the stream was read before".into());
        };
        loop {
            let mut chunk = Owned(empty::<ArrowArray>());
            // SAFETY: the stream is live, the array empty.
            let status = unsafe { get_next(self.stream, &raw mut chunk.0) };
            if status != 0 {
                return Err(error_of(self.stream));
            }
            if chunk.0.release.is_none() {
                return Ok(());
            }
            work(&chunk.0)?;
        }
    }
}

fn error_of(stream: &mut ArrowArrayStream) -> String {
    let Some(get_last_error) = stream.get_last_error else {
        return "unknown error".into();
    };
    // SAFETY: the stream is live; the text lives until its next use.
    let text = unsafe { get_last_error(stream) };
    String::from_utf8_lossy(bytes_of(text)).into_owned()
}
