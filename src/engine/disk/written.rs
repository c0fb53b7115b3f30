//! What this thread has written into stores: who wants to know what an operation writes compares
//! before and after.

use std::cell::Cell;

/// What was written.
#[derive(Clone, Copy, Default)]
pub struct Written {
    pub bytes: u64,
    /// Values that their serializer could not hold, so that they were pickled.
    pub pickled: u64,
}

impl Written {
    /// What was written since it was as much as `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            bytes: self.bytes.wrapping_sub(earlier.bytes),
            pickled: self.pickled.wrapping_sub(earlier.pickled),
        }
    }

    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            bytes: self.bytes.wrapping_add(more.bytes),
            pickled: self.pickled.wrapping_add(more.pickled),
        }
    }
}

thread_local! {
    static WRITTEN: Cell<Written> = const { Cell::new(Written { bytes: 0, pickled: 0 }) };
}

pub fn count(bytes: usize) {
    let bytes = bytes as u64;
    WRITTEN.set(so_far().and(Written { bytes, pickled: 0 }));
}

pub fn count_pickled() {
    let pickled = 1;
    WRITTEN.set(so_far().and(Written { bytes: 0, pickled }));
}

pub fn so_far() -> Written {
    WRITTEN.get()
}
