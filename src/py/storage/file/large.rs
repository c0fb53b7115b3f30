//! Entries too large to be read in passing: straight into the object that the serialiser gets.

use std::io::{self, Seek};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::failure::{Failure, faulty, unreadable};
use super::{DIRECT, FileStore, PayloadBytes};
use crate::engine::codec;
use crate::engine::compression::{Method, TELLING};
use crate::engine::error::{Error, Fault};
use crate::engine::files;
use crate::engine::sign::SIGNATURE_LENGTH;
use crate::py::bytes::bytes_with;

impl FileStore {
    pub(super) fn read_large<'py>(
        &self,
        py: Python<'py>,
        mut entry: files::Entry,
    ) -> PyResult<PayloadBytes<'py>> {
        let path = entry.path().to_owned();
        let mut start = [0; TELLING];
        let peeked = py.detach(|| entry.peek(&mut start));
        peeked.map_err(|error| unreadable(py, &error))?;
        if let Some(method) = Method::of(&start) {
            return self.read_compressed(py, method, entry);
        }
        if entry.length() <= DIRECT {
            let decoded = py.detach(|| {
                let bytes = entry.read().map_err(Failure::Io)?;
                codec::verify(bytes, &self.keys).map_err(Failure::from)
            });
            return decoded
                .map(PayloadBytes::Read)
                .map_err(|failure| failure.into_python(py, &path));
        }
        let signature_length = if self.keys.is_empty() {
            0
        } else {
            SIGNATURE_LENGTH
        };
        let length = usize::try_from(entry.length())? - signature_length;
        let mut failure = None;
        let bytes = bytes_with(py, length, |bytes| {
            let read = py.detach(|| {
                entry.read_exact(bytes)?;
                if self.keys.is_empty() {
                    return Ok(());
                }
                let mut signature = [0; SIGNATURE_LENGTH];
                entry.read_exact(&mut signature)?;
                self.keys.verify(bytes, &signature).map_err(Failure::Fault)
            });
            failure = read.err();
            Ok(())
        })?;
        match failure {
            Some(failure) => Err(failure.into_python(py, &path)),
            None => Ok(PayloadBytes::Direct(bytes)),
        }
    }

    /// The same where it is compressed: straight into the object that the serialiser gets, as there
    /// may be no memory for a second one.
    fn read_compressed<'py>(
        &self,
        py: Python<'py>,
        method: Method,
        mut entry: files::Entry,
    ) -> PyResult<PayloadBytes<'py>> {
        let path = entry.path().to_owned();
        let stated = py.detach(|| method.stated_length(entry.file()));
        let stated = stated.map_err(|error| unreadable(py, &Error::io("read", &path)(error)))?;
        if let Some(length) = stated
            && let Some(bytes) = self.decompress_into(py, method, &mut entry, length)?
        {
            return Ok(PayloadBytes::Direct(bytes));
        }
        let counted = py.detach(|| {
            let rewound = entry.file().rewind();
            rewound.map_err(|error| method.fault(&error))?;
            codec::counted_length(method, entry.file())
        });
        let length = counted.map_err(|fault| faulty(py, &path, &fault))?;
        match self.decompress_into(py, method, &mut entry, length)? {
            Some(bytes) => Ok(PayloadBytes::Direct(bytes)),
            None => Err(faulty(
                py,
                &path,
                &method.fault(&io::Error::other("it changed")),
            )),
        }
    }

    /// What was compressed, its signature verified; `None` if its length, with the signature, is
    /// another one.
    fn decompress_into<'py>(
        &self,
        py: Python<'py>,
        method: Method,
        entry: &mut files::Entry,
        length: u64,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let mut signature = [0; SIGNATURE_LENGTH];
        let signature = &mut signature[..if self.keys.is_empty() {
            0
        } else {
            SIGNATURE_LENGTH
        }];
        let path = entry.path().to_owned();
        let Some(length) = usize::try_from(length)?.checked_sub(signature.len()) else {
            return Err(faulty(py, &path, &Fault::Unsigned));
        };
        let mut outcome = Ok(false);
        let bytes = bytes_with(py, length, |bytes| {
            outcome = py.detach(|| {
                let fits = codec::decompress_into(method, entry.file(), bytes, signature)?;
                if fits && !self.keys.is_empty() {
                    self.keys.verify(bytes, signature)?;
                }
                Ok(fits)
            });
            Ok(())
        })?;
        match outcome {
            Ok(fits) => Ok(fits.then_some(bytes)),
            Err(fault) => Err(faulty(py, &path, &fault)),
        }
    }
}
