//! Saving values, alone or with the record of their call.

use pyo3::prelude::*;
use pyo3::types::PyBytesMethods;

use super::super::entry::Entry;
use super::super::serialised::Serialised;
use super::super::sqlite::row_of;
use super::super::waiting;
use super::{SqliteValues, files};
use crate::engine::digest::{Hash, Hex};
use crate::engine::sqlite::{Error, NewValue};
use crate::py::digest;
use crate::py::errors::{self, Log};

impl SqliteValues {
    /// Stores entries, in this order, in one transaction.
    pub fn put_many<'py>(slf: &Bound<'py, Self>, entries: Vec<Entry<'py>>) -> PyResult<()> {
        let staged = Self::stage(slf, entries)?;
        match waiting::wait(&slf.get().database, staged) {
            Some(staged) => slf.get().save(slf.py(), &staged),
            None => Ok(()),
        }
    }

    /// As `stage`, of the parts of a value, itself the last one, of which nothing takes the place
    /// of what is there already.
    pub fn stage_new<'py>(
        slf: &Bound<'py, Self>,
        entries: Vec<Entry<'py>>,
    ) -> PyResult<Vec<NewValue>> {
        let mut staged = Vec::with_capacity(entries.len());
        for entry in entries {
            let entry = Self::serialised(slf, entry)?;
            let is_large = slf.get().short(&entry).is_none();
            if is_large && Self::contains(slf, &entry.key)? {
                continue;
            }
            for mut row in Self::stage(slf, vec![entry])? {
                row.replaces = is_large;
                staged.push(row);
            }
        }
        Ok(staged)
    }

    /// The rows to store for entries; what goes to files is written there.
    pub fn stage<'py>(slf: &Bound<'py, Self>, entries: Vec<Entry<'py>>) -> PyResult<Vec<NewValue>> {
        let (py, this, files) = (slf.py(), slf.get(), files(slf));
        let mut staged = Vec::with_capacity(entries.len());
        let mut large = Vec::new();
        for entry in entries {
            let entry = Self::serialised(slf, entry)?;
            let data = this.short(&entry).map(|bytes| files.framed(py, bytes));
            let data = data.transpose()?;
            staged.push(NewValue {
                key: entry.key,
                replaces: true,
                serializer: this.serializer,
                size: entry.payload.as_ref().map_or(0, Serialised::length),
                data,
            });
            if staged.last().is_some_and(|row| row.data.is_none()) {
                large.push(entry);
            }
        }
        files.put_many(py, &large)?;
        Ok(staged)
    }

    fn serialised<'py>(slf: &Bound<'py, Self>, mut entry: Entry<'py>) -> PyResult<Entry<'py>> {
        if entry.payload.is_none() {
            entry.payload = Some(files(slf).dump_for(&entry.key, &entry.value)?);
        }
        Ok(entry)
    }

    /// The payload of an entry that was serialised, if it goes into the table.
    fn short<'a>(&self, entry: &'a Entry<'_>) -> Option<&'a [u8]> {
        let payload = entry.payload.as_ref()?;
        if payload.length() > self.largest {
            return None;
        }
        payload.in_one_piece().map(PyBytesMethods::as_bytes)
    }

    /// Stores rows.
    pub fn save(&self, py: Python<'_>, values: &[NewValue]) -> PyResult<()> {
        let Some(first) = values.first() else {
            return Ok(());
        };
        let saved = match self.database.save_values_at_once(values) {
            Some(saved) => saved,
            None => py.detach(|| self.database.save_values(values)),
        };
        self.fold_log(py);
        saved.map_err(|error| unsaved(py, &first.key, error))
    }

    /// Stores rows and the record of a call, in one transaction.
    pub fn save_call(
        &self,
        record: &Bound<'_, PyAny>,
        key: &Hash,
        values: &[NewValue],
    ) -> PyResult<()> {
        let py = record.py();
        let row = row_of(record, Hex::of(key).as_str().to_owned())?;
        let scheme = digest::active_scheme(py)?;
        let saved = match self.database.save_call_at_once(&row, scheme, values) {
            Some(saved) => saved,
            None => py.detach(|| self.database.save_call(&row, scheme, values)),
        };
        self.fold_log(py);
        saved.map_err(|error| unsaved(py, key, error))
    }

    fn fold_log(&self, py: Python<'_>) {
        if self.database.is_log_long() {
            py.detach(|| self.database.fold_log());
        }
    }
}

fn unsaved(py: Python<'_>, key: &Hash, error: Error) -> PyErr {
    if matches!(error, Error::Interrupted) {
        return error.into();
    }
    let message = format!("cannot save {}: {error}", Hex::of(key).as_str());
    if matches!(error, Error::Locked { .. }) {
        Log::Storage.error(py, &message);
    }
    errors::save_error(py, &message, Some(error.into()))
}
