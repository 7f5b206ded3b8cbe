//! Worker threads behind a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender, bounded};

use super::Batch;
use crate::error::{Error, Result};

/// Called every few milliseconds by whoever waits; an error stops the work.
pub type Poll<'a> = &'a mut dyn FnMut() -> Result<()>;

/// How long a wait goes on before `poll` is asked again.
const PATIENCE: Duration = Duration::from_millis(10);

/// What one thread does with batches.
pub trait Work {
    /// What it has when all is done.
    type Output;

    /// Works on batch number `index`; `stop` says that the result is no longer wanted.
    ///
    /// # Errors
    /// Stops the whole pool.
    fn batch(&mut self, index: u64, batch: Batch, stop: &AtomicBool) -> Result<()>;

    /// Ends the work.
    ///
    /// # Errors
    /// Stops the whole pool.
    fn finish(self) -> Result<Self::Output>;
}

/// Threads that share a queue of batches.
pub struct Pool<T> {
    sender: Option<Sender<(u64, Batch)>>,
    workers: Vec<JoinHandle<Result<T>>>,
    stop: Arc<AtomicBool>,
    next: u64,
}

impl<T: Send + 'static> Pool<T> {
    /// One thread for each of `workers`.
    pub fn start<W: Work<Output = T> + Send + 'static>(workers: Vec<W>) -> Self {
        let (sender, receiver) = bounded::<(u64, Batch)>(workers.len() + 1);
        let stop = Arc::new(AtomicBool::new(false));
        let workers = workers
            .into_iter()
            .map(|mut work| {
                let (receiver, stop) = (receiver.clone(), stop.clone());
                std::thread::spawn(move || {
                    for (index, batch) in receiver {
                        if stop.load(Ordering::Relaxed) {
                            return Err(Error::Interrupted);
                        }
                        if let Err(error) = work.batch(index, batch, &stop) {
                            stop.store(true, Ordering::Relaxed);
                            return Err(error);
                        }
                    }
                    work.finish()
                })
            })
            .collect();
        Self {
            sender: Some(sender),
            workers,
            stop,
            next: 0,
        }
    }

    /// Number of threads.
    pub fn num_workers(&self) -> usize {
        self.workers.len()
    }

    /// Hands a batch to the next free thread; waits while the queue is full.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn send(&mut self, batch: Batch, poll: Poll<'_>) -> Result<()> {
        let mut job = (self.next, batch);
        self.next += 1;
        loop {
            poll()?;
            if self.stop.load(Ordering::Relaxed) {
                return Err(self.failure());
            }
            let Some(sender) = &self.sender else {
                return Err(Error::Interrupted);
            };
            match sender.send_timeout(job, PATIENCE) {
                Ok(()) => return Ok(()),
                Err(SendTimeoutError::Timeout(back)) => job = back,
                Err(SendTimeoutError::Disconnected(_)) => return Err(self.failure()),
            }
        }
    }

    /// Closes the queue and waits for the threads; gives their results in order of threads.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn finish(mut self, poll: Poll<'_>) -> Result<Vec<T>> {
        self.sender = None;
        while !self.workers.iter().all(JoinHandle::is_finished) {
            poll()?;
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(self.failure());
        }
        std::mem::take(&mut self.workers)
            .into_iter()
            .map(joined)
            .collect()
    }

    /// The error of the first thread that failed.
    fn failure(&mut self) -> Error {
        self.sender = None;
        let mut first = Error::Interrupted;
        for worker in std::mem::take(&mut self.workers) {
            match joined(worker) {
                Ok(_) | Err(Error::Interrupted) => {}
                Err(error) => first = error,
            }
        }
        first
    }
}

impl<T> Drop for Pool<T> {
    /// Threads of an abandoned pool end by themselves at their next look at `stop`.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn joined<T>(worker: JoinHandle<Result<T>>) -> Result<T> {
    worker
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
