//! Long work on a thread of its own, while the caller's thread looks for signals.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use super::feed::Caller;
use crate::error::Result;

/// Between two looks for signals.
const LOOK: Duration = Duration::from_millis(20);

/// Runs `work` without the interpreter lock; `stop` tells it that it is no longer wanted. What a signal handler
/// raises is raised here, once the work has ended.
pub(super) fn interruptible<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> Result<R> + Send,
) -> PyResult<R> {
    fed(py, |_| Ok(false), work)
}

/// The same while the caller's thread runs `feed`, which gives the work what it needs, for so long at a time, until
/// there is no more or it has an error; then it is dropped.
pub(super) fn fed<R: Send>(
    py: Python<'_>,
    feed: impl FnMut(Duration) -> Result<bool> + Send,
    work: impl FnOnce(&AtomicBool) -> Result<R> + Send,
) -> PyResult<R> {
    let caller = &mut Caller::silent();
    let (stop, done) = (&AtomicBool::new(false), &AtomicBool::new(false));
    py.detach(|| {
        let waiting = std::thread::current();
        let result = std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                let result = work(stop);
                done.store(true, Ordering::Release);
                waiting.unpark();
                result
            });
            let mut feed = Some(feed);
            let mut state = Ok(());
            // A worker that panics sets nothing: then it is only found finished.
            while state.is_ok() && !done.load(Ordering::Acquire) && !worker.is_finished() {
                let fed = feed.as_mut().map_or(Ok(false), |feed| feed(LOOK));
                if !matches!(fed, Ok(true)) && feed.take().is_none() {
                    std::thread::park_timeout(LOOK);
                }
                state = fed.and_then(|_| caller.poll());
            }
            drop(feed);
            if state.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            let result = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            state.and(result)
        });
        caller.result(result)
    })
}

/// The same for work that owns what it needs: it is left to end by itself, so that what a signal handler or the
/// caller's progress callback raises is raised at once, however long the work takes to look at `stop`.
pub(super) fn abandonable<R: Send + 'static>(
    py: Python<'_>,
    caller: &mut Caller,
    work: impl FnOnce(&AtomicBool) -> Result<R> + Send + 'static,
) -> PyResult<R> {
    py.detach(|| {
        let waiting = std::thread::current();
        let flags = Arc::new([const { AtomicBool::new(false) }; 2]);
        let [stop, done] = &*flags;
        let shared = flags.clone();
        let worker = std::thread::spawn(move || {
            let [stop, done] = &*shared;
            let result = work(stop);
            done.store(true, Ordering::Release);
            waiting.unpark();
            result
        });
        while !done.load(Ordering::Acquire) && !worker.is_finished() {
            std::thread::park_timeout(LOOK);
            if let Err(error) = caller.poll() {
                stop.store(true, Ordering::Relaxed);
                return caller.result(Err(error));
            }
        }
        let result = worker
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        caller.result(result)
    })
}
