//! Buffers that go round: filled by whoever reads, emptied by a worker, filled again.
//!
//! A fresh buffer of a megabyte costs 256 page faults each time.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that are not in use.
#[derive(Debug)]
pub(super) struct Spare {
    buffers: Mutex<Vec<Vec<u8>>>,
    most: usize,
}

impl Spare {
    /// Keeps up to `most` buffers.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            buffers: Mutex::default(),
            most,
        })
    }

    /// An empty buffer that comes back when dropped.
    pub fn take(self: &Arc<Self>) -> Buffer {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        Buffer {
            bytes: buffers.pop().unwrap_or_default(),
            home: Some(self.clone()),
        }
    }
}

/// Bytes, and where their memory goes afterwards.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    home: Option<Arc<Spare>>,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        /// A buffer that one huge document has blown up is given back to the system.
        const LARGEST: usize = 4 * super::BATCH_BYTES;
        let Some(home) = self.home.take() else {
            return;
        };
        let mut buffers = home.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < home.most && (1..=LARGEST).contains(&self.bytes.capacity()) {
            self.bytes.clear();
            buffers.push(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.bytes
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}
