//! Rows that wait for the record that names them, to be saved with it in one transaction.

use std::cell::RefCell;

use crate::engine::digest::Hash;
use crate::engine::sqlite::{Database, Identity, NewValue};

struct Waiting {
    database: Identity,
    rows: Vec<NewValue>,
}

thread_local! {
    static WAITING: RefCell<Option<Waiting>> = const { RefCell::new(None) };
}

/// Has this thread's rows of a database wait; false if some wait already.
pub fn begin(database: &Database) -> bool {
    WAITING.with_borrow_mut(|waiting| {
        if waiting.is_some() {
            return false;
        }
        *waiting = Some(Waiting {
            database: database.identity(),
            rows: Vec::new(),
        });
        true
    })
}

/// Ends that, and gives those that wait still.
pub fn end() -> Vec<NewValue> {
    let waiting = WAITING.with_borrow_mut(Option::take);
    waiting.map_or_else(Vec::new, |waiting| waiting.rows)
}

/// Has rows wait, if those of their database do; else they come back.
pub fn wait(database: &Database, rows: Vec<NewValue>) -> Option<Vec<NewValue>> {
    WAITING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) if waiting.database == database.identity() => {
            waiting.rows.extend(rows);
            None
        }
        _ => Some(rows),
    })
}

/// Whether a row of this key waits.
pub fn is_waiting(database: &Database, key: &Hash) -> bool {
    WAITING.with_borrow(|waiting| {
        waiting.as_ref().is_some_and(|waiting| {
            waiting.database == database.identity()
                && waiting.rows.iter().any(|row| row.key == *key)
        })
    })
}

/// The rows that wait for a record that is about to be saved here.
pub fn waiting_for(database: &Database) -> Vec<NewValue> {
    WAITING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) if waiting.database == database.identity() => {
            std::mem::take(&mut waiting.rows)
        }
        _ => Vec::new(),
    })
}
