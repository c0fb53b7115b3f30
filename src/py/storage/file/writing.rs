//! Writing what was serialised: one entry, or many small ones.

use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::super::entry::Entry;
use super::super::root::locked;
use super::super::serialised::Serialised;
use super::{FileStore, fits};
use crate::engine::codec;
use crate::engine::digest::{Hash, Hex};
use crate::engine::error::Error;
use crate::py::errors;

/// Up to this many entries are written without giving up the GIL.
const FEW: usize = 16;

/// How much of a batch is serialised before it is written.
const BATCH_BYTES: usize = 1 << 22;

impl FileStore {
    pub(super) fn write(
        &self,
        py: Python<'_>,
        key: &Hash,
        payload: &Serialised<'_>,
    ) -> PyResult<()> {
        let parts = payload.parts();
        let write = |timeout| {
            let fill = |file: &mut _| codec::write(&parts, &self.keys, self.compression, file);
            self.store.write_within(key, timeout, fill)
        };
        let short = fits(payload.length());
        // What is long is not written a second time for a lock that is held at the moment.
        let timeout = if short {
            Duration::ZERO
        } else {
            self.store.lock_timeout()
        };
        let mut written = self.swiftly(py, short, || write(timeout));
        if short && let Err(Error::Locked { .. }) = written {
            written = py.detach(|| write(self.store.lock_timeout()));
        }
        written.map_err(|error| self.unsaved(py, key, &error))
    }

    /// As `put` for each of them, in this order; small ones that are there already are left alone:
    /// replacing a file makes some file systems wait for the disk.
    pub fn put_many<'py>(&self, py: Python<'py>, entries: &[Entry<'py>]) -> PyResult<()> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for Entry {
            key,
            value,
            payload,
        } in entries
        {
            let dumped;
            let payload = if let Some(payload) = payload {
                payload
            } else {
                dumped = self.dump_for(key, value)?;
                &dumped
            };
            let length = payload.length();
            bytes += length;
            let Some(short) = payload.in_one_piece().filter(|_| length <= BATCH_BYTES) else {
                self.write_batch(py, &std::mem::take(&mut batch))?;
                self.write(py, key, payload)?;
                bytes = 0;
                continue;
            };
            batch.push((key, short.clone()));
            if bytes > BATCH_BYTES {
                self.write_batch(py, &std::mem::take(&mut batch))?;
                bytes = 0;
            }
        }
        self.write_batch(py, &batch)
    }

    fn write_batch(&self, py: Python<'_>, batch: &[(&Hash, Bound<'_, PyBytes>)]) -> PyResult<()> {
        let batch: Vec<_> = batch
            .iter()
            .map(|(key, payload)| (*key, payload.as_bytes()))
            .collect();
        let bytes = batch.iter().map(|(_, payload)| payload.len()).sum();
        let write = |timeout| {
            batch.iter().try_for_each(|(key, payload)| {
                let encoded = codec::encode(payload, &self.keys, self.compression)
                    .map_err(Error::io("encode", &self.store.path(key)));
                let stored =
                    encoded.and_then(|bytes| self.store.write_unless_equal(key, timeout, &bytes));
                stored.map_err(|error| (*key, error))
            })
        };
        let short = batch.len() <= FEW && fits(bytes);
        let mut written = self.swiftly(py, short, || write(Duration::ZERO));
        if let Err((_, Error::Locked { .. })) = written {
            written = py.detach(|| write(self.store.lock_timeout()));
        }
        written.map_err(|(key, error)| self.unsaved(py, key, &error))
    }

    fn unsaved(&self, py: Python<'_>, key: &Hash, error: &Error) -> PyErr {
        match error {
            Error::Locked { .. } => locked(py, "save", &self.store, self.lock_timeout, key, error),
            Error::Interrupted => errors::os_error(error),
            Error::Io { .. } => {
                let message = format!("cannot save {}: {error}", Hex::of(key).as_str());
                errors::save_error(py, &message, Some(errors::os_error(error)))
            }
        }
    }
}
