//! Files that the workers read themselves, block by block in turn.
//!
//! A block that is counted where it was read lies in that core's cache, and no thread beside the workers takes time
//! from them. Against a reader that hands batches over, counting 100 MB of English on two Zen 5 cores takes 7 % less
//! processor time, with one thread and with two; with two 5 % less time. One thread takes 7 % more time, since it had
//! a reader on the other core.
//!
//! Only reading, separating and cutting go on in turn: a tenth of the time of counting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};

use super::pool::{PATIENCE, Source};
use super::{Batch, Cutter, Feed, Poll};
use crate::error::{Error, Result};

/// What is read block by block.
pub(super) trait Blocks: Send {
    /// The next batch; none are left after None.
    ///
    /// # Errors
    /// What is wrong with the file, and what `poll` raised.
    fn next(&mut self, cutter: &mut Cutter, poll: Poll<'_>) -> Result<Option<Batch>>;
}

/// Looks at a lock before a thread sleeps, about 50 microseconds.
const AWAKE: usize = 2000;

/// A file that is being read; None once that has ended.
struct Shared(Mutex<Option<Open>>);

struct Open {
    blocks: Box<dyn Blocks>,
    cutter: Cutter,
    /// Number of the next batch.
    next: u64,
    /// Gets cutter and number back at the end; closed without them when reading fails.
    ended: Sender<(Cutter, u64)>,
}

impl Open {
    fn fetch(&mut self, stop: &AtomicBool) -> Result<Option<(u64, Batch)>> {
        let mut wanted = || {
            if stop.load(Ordering::Relaxed) {
                Err(Error::Interrupted)
            } else {
                Ok(())
            }
        };
        let batch = self.blocks.next(&mut self.cutter, &mut wanted)?;
        Ok(batch.map(|batch| {
            self.next += 1;
            (self.next - 1, batch)
        }))
    }
}

impl Shared {
    /// Waits awake for as long as another thread reads a block: to sleep and be woken takes longer.
    fn lock(&self) -> Result<MutexGuard<'_, Option<Open>>> {
        for _ in 0..AWAKE {
            match self.0.try_lock() {
                Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
                // Poisoned by a thread that panicked, and what that was will be told.
                held => return held.map_err(|_| Error::Interrupted),
            }
        }
        self.0.lock().map_err(|_| Error::Interrupted)
    }
}

impl Source for Shared {
    fn fetch(&self, stop: &AtomicBool) -> Result<Option<(u64, Batch)>> {
        let mut held = self.lock()?;
        let fetched = match held.as_mut() {
            Some(open) => open.fetch(stop),
            None => return Ok(None),
        };
        if !matches!(fetched, Ok(Some(_)))
            && let Some(open) = held.take()
            && fetched.is_ok()
        {
            // Nobody waits any more after an interrupt.
            let _ = open.ended.send((open.cutter, open.next));
        }
        fetched
    }
}

impl<T: Send + 'static> Feed<T> {
    /// Reads blocks to their end, or lets the workers read them and waits for that.
    ///
    /// # Errors
    /// What is wrong with the file, and what a worker or `poll` raised.
    pub(super) fn read(
        &mut self,
        mut blocks: impl Blocks + 'static,
        by_workers: bool,
        poll: Poll<'_>,
    ) -> Result<()> {
        self.flush(poll)?;
        if by_workers {
            return self.read_by_workers(Box::new(blocks), poll);
        }
        while let Some(batch) = blocks.next(self.cutter()?, poll)? {
            self.pool.send(batch, poll)?;
        }
        Ok(())
    }

    fn read_by_workers(&mut self, blocks: Box<dyn Blocks>, poll: Poll<'_>) -> Result<()> {
        let (ended, end) = bounded(1);
        let open = Open {
            blocks,
            cutter: self.cutter.take().ok_or(Error::Interrupted)?,
            next: self.pool.num_sent(),
            ended,
        };
        self.pool.share(Shared(Mutex::new(Some(open))), poll)?;
        loop {
            match end.recv_timeout(PATIENCE) {
                Ok((cutter, next)) => {
                    self.cutter = Some(cutter);
                    self.pool.set_sent(next);
                    return Ok(());
                }
                Err(RecvTimeoutError::Timeout) => {
                    poll()?;
                    self.pool.check()?;
                }
                Err(RecvTimeoutError::Disconnected) => return Err(self.pool.failure()),
            }
        }
    }
}
