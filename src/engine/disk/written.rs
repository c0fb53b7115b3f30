//! How many bytes this thread has written into stores: who wants to know how many an operation
//! writes compares before and after.

use std::cell::Cell;

thread_local! {
    static WRITTEN: Cell<u64> = const { Cell::new(0) };
}

pub fn count(bytes: usize) {
    WRITTEN.set(WRITTEN.get().wrapping_add(bytes as u64));
}

pub fn so_far() -> u64 {
    WRITTEN.get()
}
