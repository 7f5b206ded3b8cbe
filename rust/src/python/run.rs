//! Long work on a thread of its own, while the caller's thread looks for signals.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::prelude::*;

use super::feed::Caller;
use crate::error::Result;

/// Runs `work` without the interpreter lock; `stop` tells it that it is no longer wanted. What a signal handler
/// raises is raised here.
pub(super) fn interruptible<R: Send>(
    py: Python<'_>,
    work: impl FnOnce(&AtomicBool) -> Result<R> + Send,
) -> PyResult<R> {
    interruptible_with(py, &mut Caller::new(None, Box::new(Vec::new)), work)
}

/// The same with a caller whose progress callback is told meanwhile; what it raises is raised here too.
pub(super) fn interruptible_with<R: Send>(
    py: Python<'_>,
    caller: &mut Caller,
    work: impl FnOnce(&AtomicBool) -> Result<R> + Send,
) -> PyResult<R> {
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
            let mut polled = Ok(());
            // A worker that panics sets nothing: then it is only found finished.
            while polled.is_ok() && !done.load(Ordering::Acquire) && !worker.is_finished() {
                std::thread::park_timeout(Duration::from_millis(20));
                polled = caller.poll();
            }
            if polled.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            let result = worker
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            polled.and(result)
        });
        caller.result(result)
    })
}
