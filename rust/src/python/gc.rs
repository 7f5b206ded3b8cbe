//! The collector of reference cycles, paused while many lists are made.

use std::marker::PhantomData;

use pyo3::ffi::{PyGC_Disable, PyGC_Enable};
use pyo3::prelude::*;

/// Pauses the collector until it is dropped.
///
/// Each few hundred lists made start a collection that looks at all ids of the young ones, and in vain: lists of
/// numbers are in no cycle. That was a third of the time of a batch of short texts.
pub(super) struct PausedGc<'py> {
    was_enabled: bool,
    /// The interpreter lock is held all the time.
    py: PhantomData<Python<'py>>,
}

impl<'py> PausedGc<'py> {
    pub(super) fn new(_py: Python<'py>) -> Self {
        Self {
            // SAFETY: the lock is held.
            was_enabled: unsafe { PyGC_Disable() } != 0,
            py: PhantomData,
        }
    }
}

impl Drop for PausedGc<'_> {
    fn drop(&mut self) {
        if self.was_enabled {
            // SAFETY: the lock is held, as long as 'py lasts.
            unsafe { PyGC_Enable() };
        }
    }
}
