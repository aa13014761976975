//! A pile of jobs worked off by several threads, each of which may add more.

use crate::error::{Error, Result};
use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The jobs that are left. The last one added is done first, so that a walk goes down before it
/// goes on and holds few directories open.
#[derive(Debug)]
pub(crate) struct Queue<J> {
    state: Mutex<State<J>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<J> {
    jobs: Vec<J>,
    /// Jobs that are being done and may add more.
    running: usize,
    failure: Option<Error>,
}

impl<J> Queue<J> {
    fn lock(&self) -> MutexGuard<'_, State<J>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds jobs; the last one is done first.
    pub(crate) fn extend(&self, jobs: impl Iterator<Item = J>) {
        self.lock().jobs.extend(jobs);
        self.changed.notify_all();
    }

    /// Ends it: nothing more is begun. The first failure is kept.
    pub(crate) fn fail(&self, failure: Error) {
        let dropped = {
            let mut state = self.lock();
            state.failure.get_or_insert(failure);
            std::mem::take(&mut state.jobs)
        };
        drop(dropped); // outside the lock: it may close many files
        self.changed.notify_all();
    }

    fn next(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.running += 1;
                return Some(job);
            }
            if state.running == 0 {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self) {
        let mut state = self.lock();
        state.running -= 1;
        if state.running == 0 {
            self.changed.notify_all();
        }
    }
}

/// A thread's own state and what it does with a job.
pub(crate) trait Worker<J>: Send {
    /// Does one job.
    fn work(&mut self, job: J, queue: &Queue<J>) -> Result<()>;
}

/// Works off `first` and all that comes of it, on threads of its own. `hire` runs on each of them.
/// Gives the workers back, or the first failure.
pub(crate) fn work_off<J: Send, W: Worker<J>>(
    threads: NonZeroUsize,
    first: J,
    hire: impl Fn() -> Result<W> + Sync,
) -> Result<Vec<W>> {
    let queue = Queue {
        state: Mutex::new(State {
            jobs: vec![first],
            running: 0,
            failure: None,
        }),
        changed: Condvar::new(),
    };
    let workers = std::thread::scope(|scope| {
        let serve = || match hire() {
            Ok(mut worker) => {
                serve(&mut worker, &queue);
                Some(worker)
            }
            Err(error) => {
                queue.fail(error);
                None
            }
        };
        let running: Vec<_> = (0..threads.get()).map(|_| scope.spawn(serve)).collect();
        let mut workers = Vec::with_capacity(running.len());
        for thread in running {
            match thread.join() {
                Ok(worker) => workers.extend(worker),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        workers
    });
    let state = queue.state.into_inner();
    match state.unwrap_or_else(PoisonError::into_inner).failure {
        Some(failure) => Err(failure),
        None => Ok(workers),
    }
}

fn serve<J, W: Worker<J>>(worker: &mut W, queue: &Queue<J>) {
    /// Lets the others go on even if this thread panics.
    struct Running<'a, J>(&'a Queue<J>);
    impl<J> Drop for Running<'_, J> {
        fn drop(&mut self) {
            self.0.done();
        }
    }
    while let Some(job) = queue.next() {
        let running = Running(queue);
        if let Err(error) = worker.work(job, queue) {
            queue.fail(error);
        }
        drop(running);
    }
}
