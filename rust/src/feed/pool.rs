//! Worker threads behind a bounded queue.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, SendTimeoutError, Sender, bounded};

use super::Batch;
use crate::error::{Error, Result};

/// Called every few milliseconds by whoever waits; an error stops the work.
pub type Poll<'a> = &'a mut dyn FnMut() -> Result<()>;

/// How long a wait goes on before `poll` is asked again.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);

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

/// Where threads fetch batches themselves.
pub(super) trait Source: Send + Sync {
    /// The next batch and its number; none are left after None.
    ///
    /// # Errors
    /// Stops the whole pool.
    fn fetch(&self, stop: &AtomicBool) -> Result<Option<(u64, Batch)>>;
}

enum Job {
    Batch(u64, Batch),
    Source(Arc<dyn Source>),
}

/// Threads that share a queue of batches.
pub struct Pool<T> {
    sender: Option<Sender<Job>>,
    workers: Vec<JoinHandle<Result<T>>>,
    /// Closed when the last thread has ended.
    ended: Receiver<()>,
    stop: Arc<AtomicBool>,
    next: u64,
}

impl<T: Send + 'static> Pool<T> {
    /// One thread for each of `workers`.
    pub fn start<W: Work<Output = T> + Send + 'static>(workers: Vec<W>) -> Self {
        let (sender, receiver) = bounded::<Job>(workers.len() + 1);
        let (running, ended) = bounded(0);
        let stop = Arc::new(AtomicBool::new(false));
        let workers = workers
            .into_iter()
            .map(|mut work| {
                let (receiver, stop) = (receiver.clone(), stop.clone());
                let running = running.clone();
                std::thread::spawn(move || {
                    // Dropped at the end, and by a panic.
                    let _running: Sender<()> = running;
                    for job in receiver {
                        if let Err(error) = work_on(&mut work, job, &stop) {
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
            ended,
            stop,
            next: 0,
        }
    }

    /// Number of threads.
    pub fn num_workers(&self) -> usize {
        self.workers.len()
    }

    /// Number of batches so far.
    pub(super) fn num_sent(&self) -> u64 {
        self.next
    }

    /// Says how many batches there were after those that the threads fetched.
    pub(super) fn set_sent(&mut self, num_sent: u64) {
        self.next = num_sent;
    }

    /// Hands a batch to the next free thread; waits while the queue is full.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn send(&mut self, batch: Batch, poll: Poll<'_>) -> Result<()> {
        let job = Job::Batch(self.next, batch);
        self.next += 1;
        self.hand_over(job, poll)
    }

    /// Lets every thread fetch from a source when it has done what was sent before.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub(super) fn share(&mut self, source: impl Source + 'static, poll: Poll<'_>) -> Result<()> {
        let source: Arc<dyn Source> = Arc::new(source);
        (0..self.num_workers()).try_for_each(|_| self.hand_over(Job::Source(source.clone()), poll))
    }

    fn hand_over(&mut self, mut job: Job, poll: Poll<'_>) -> Result<()> {
        loop {
            poll()?;
            self.check()?;
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

    /// Whether all goes well.
    ///
    /// # Errors
    /// What a worker raised.
    pub(super) fn check(&mut self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(self.failure());
        }
        Ok(())
    }

    /// Closes the queue and waits for the threads; gives their results in order of threads.
    ///
    /// # Errors
    /// What a worker or `poll` raised.
    pub fn finish(mut self, poll: Poll<'_>) -> Result<Vec<T>> {
        self.sender = None;
        while self.ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            poll()?;
            self.check()?;
        }
        self.check()?;
        std::mem::take(&mut self.workers)
            .into_iter()
            .map(joined)
            .collect()
    }

    /// The error of the first thread that failed.
    pub(super) fn failure(&mut self) -> Error {
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

fn work_on<W: Work>(work: &mut W, job: Job, stop: &AtomicBool) -> Result<()> {
    let mut batch = |index, batch| {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        work.batch(index, batch, stop)
    };
    match job {
        Job::Batch(index, data) => batch(index, data),
        Job::Source(source) => {
            while let Some((index, data)) = source.fetch(stop)? {
                batch(index, data)?;
            }
            Ok(())
        }
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
