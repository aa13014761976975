//! The one way from async code into the kernel's blocking calls.

use crate::error::{Error, Result};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Runs driver work without holding up other tasks.
///
/// On a multi-thread runtime the work runs on the calling thread, which hands its queue to
/// another (`block_in_place`): a metadata operation takes tens of microseconds, and waking a
/// second thread for it may cost as much again. Elsewhere it goes to the blocking pool. In
/// both cases a dropped future does not stop the work, so operations are complete or rolled
/// back by themselves.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let span = tracing::Span::current();
    if Handle::current().runtime_flavor() == RuntimeFlavor::MultiThread {
        return tokio::task::block_in_place(|| span.in_scope(work));
    }
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result,
        Err(join) => Err(Error::from_join(join)),
    }
}

/// Starts long work that feeds or drains a stream, and returns at once.
pub(crate) fn background(work: impl FnOnce() + Send + 'static) {
    let span = tracing::Span::current();
    drop(tokio::task::spawn_blocking(move || span.in_scope(work)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocking_works_on_both_kinds_of_runtime() {
        let single = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        assert_eq!(single.block_on(blocking(|| Ok(1))).unwrap(), 1);
        let multi = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        assert_eq!(multi.block_on(blocking(|| Ok(2))).unwrap(), 2);
    }
}
