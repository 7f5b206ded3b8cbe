//! A few jobs at the same time, each on a thread.

use crate::error::Result;

/// The result of each job, in order; the first runs on the caller's thread.
///
/// # Errors
/// The first that a job gave.
pub(super) fn on_threads<J: Send, R: Send>(
    jobs: Vec<J>,
    work: impl Fn(J) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let work = &work;
    let mut jobs = jobs.into_iter();
    let Some(first) = jobs.next() else {
        return Ok(Vec::new());
    };
    if jobs.len() == 0 {
        return Ok(vec![work(first)?]);
    }
    std::thread::scope(|scope| {
        let others: Vec<_> = jobs.map(|job| scope.spawn(move || work(job))).collect();
        let mut results = vec![work(first)];
        results.extend(others.into_iter().map(|other| {
            other
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }));
        results.into_iter().collect()
    })
}
