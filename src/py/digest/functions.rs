//! The functions that are being walked, per thread: a function that captures itself, directly or
//! through others, is met again while it is walked.

use std::cell::RefCell;

use pyo3::prelude::*;

thread_local! {
    static WALKING: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// A function on the current thread's path, until it is dropped.
pub struct Walking;

impl Walking {
    /// Enters `function`, or tells how many functions there are from its first appearance on the
    /// path down to the current one.
    pub fn enter(function: &Bound<'_, PyAny>) -> Result<Self, usize> {
        let address = function.as_ptr() as usize;
        WALKING.with_borrow_mut(|path| {
            if let Some(position) = path.iter().position(|walked| *walked == address) {
                return Err(path.len() - position);
            }
            path.push(address);
            Ok(Self)
        })
    }
}

impl Drop for Walking {
    fn drop(&mut self) {
        WALKING.with_borrow_mut(Vec::pop);
    }
}
