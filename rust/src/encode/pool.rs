//! Idle working states, kept for the next call without a lock.
//!
//! A lock that another thread holds at the moment of a fork stays locked in the child for ever. Slots that are
//! emptied by one atomic exchange cannot: a state in use elsewhere is merely missing in the child.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// States kept at most; more threads than this make their own each time.
const SLOTS: usize = 64;

/// A place for boxed states between calls.
pub struct Pool<T: Send> {
    slots: [AtomicPtr<T>; SLOTS],
}

impl<T: Send> Pool<T> {
    /// An empty pool.
    pub fn new() -> Self {
        Self {
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; SLOTS],
        }
    }

    /// A kept state, if any is idle.
    pub fn take(&self) -> Option<Box<T>> {
        self.slots.iter().find_map(|slot| {
            if slot.load(Ordering::Relaxed).is_null() {
                return None;
            }
            let state = slot.swap(ptr::null_mut(), Ordering::Acquire);
            // SAFETY: every non-null pointer in a slot came from `Box::into_raw` in `put`, and the exchange gave it
            // to this thread alone.
            (!state.is_null()).then(|| unsafe { Box::from_raw(state) })
        })
    }

    /// Keeps a state for later; drops it if there is no room.
    pub fn put(&self, state: Box<T>) {
        let state = Box::into_raw(state);
        for slot in &self.slots {
            let empty = ptr::null_mut();
            if slot
                .compare_exchange(empty, state, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                return;
            }
        }
        // SAFETY: the pointer came from `Box::into_raw` above and no slot took it.
        drop(unsafe { Box::from_raw(state) });
    }
}

impl<T: Send> Drop for Pool<T> {
    fn drop(&mut self) {
        while self.take().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_neither_shared_nor_lost() {
        let pool = Pool::new();
        let threads = 8;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        let mut state = pool.take().unwrap_or_else(|| Box::new(0u64));
                        *state += 1;
                        pool.put(state);
                    }
                });
            }
        });
        let total: u64 = std::iter::from_fn(|| pool.take()).map(|state| *state).sum();
        assert_eq!(total, threads * 10_000);
    }
}
