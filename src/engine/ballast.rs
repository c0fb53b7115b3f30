//! Memory that is kept for the moment when there is none left.
//!
//! A collection of Rust's that cannot grow ends the process. Where the operating system refuses
//! memory, the ballast goes overboard, so that what was begun comes to its end; before the next
//! thing is begun, [`is_held`] says whether it could be taken aboard again. Its pages are never
//! touched: it takes addresses, and no memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

const SIZE: usize = 1 << 24;
const LAYOUT: Layout = match Layout::from_size_align(SIZE, 16) {
    Ok(layout) => layout,
    Err(_) => Layout::new::<u8>(),
};

static HELD: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());

#[global_allocator]
static ALLOCATOR: WithBallast = WithBallast;

/// The system's allocator, with ballast.
struct WithBallast;

/// Whether there is ballast: if it was thrown overboard, whether there is memory for it again.
pub fn is_held() -> bool {
    if !HELD.load(Ordering::Relaxed).is_null() {
        return true;
    }
    // SAFETY: the layout has a size.
    let new = unsafe { System.alloc(LAYOUT) };
    if new.is_null() {
        return false;
    }
    let known = HELD.compare_exchange(ptr::null_mut(), new, Ordering::AcqRel, Ordering::Relaxed);
    if known.is_err() {
        // SAFETY: another thread was faster; this one is nobody else's, and of this layout.
        unsafe { System.dealloc(new, LAYOUT) };
    }
    true
}

/// Whether there is memory for so many bytes, with the ballast aboard.
pub fn has_room_for(bytes: usize) -> bool {
    // What is less is what the ballast is for.
    if bytes < SIZE / 16 {
        return true;
    }
    let room = Vec::<u8>::new().try_reserve_exact(bytes).is_ok();
    // It may have been thrown overboard for that.
    room && is_held()
}

/// Throws the ballast overboard; whether there was any.
#[cold]
fn throw_overboard() -> bool {
    let held = HELD.swap(ptr::null_mut(), Ordering::AcqRel);
    if held.is_null() {
        return false;
    }
    // SAFETY: it was allocated with this layout, and whoever swaps it out is its only owner.
    unsafe { System.dealloc(held, LAYOUT) };
    true
}

// SAFETY: all that is done is the system allocator's; a request is at most made a second time.
unsafe impl GlobalAlloc for WithBallast {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let new = unsafe { System.alloc(layout) };
        if new.is_null() && throw_overboard() {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc(layout) };
        }
        new
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        let new = unsafe { System.alloc_zeroed(layout) };
        if new.is_null() && throw_overboard() {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc_zeroed(layout) };
        }
        new
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        let new = unsafe { System.realloc(old, layout, size) };
        if new.is_null() && throw_overboard() {
            // SAFETY: as the caller promises; a request that failed left `old` as it was.
            return unsafe { System.realloc(old, layout, size) };
        }
        new
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(old, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_thrown_overboard_is_taken_aboard_again() {
        assert!(is_held());
        // Other tests may run out of memory, too.
        throw_overboard();
        assert!(is_held());
        assert!(has_room_for(0) && has_room_for(1 << 22));
        assert!(!has_room_for(usize::MAX / 4));
    }
}
