//! How many threads serve at a time: as few as do the work.
//!
//! A thread that waits for requests beside another one costs more than it gives while one caller
//! at a time asks: the kernel wakes them in turn, each time one that has slept longest, on another
//! processor (measured: two to three times the processor time of a request). So one thread serves,
//! and another one joins when requests are found waiting, or when all who serve are held up.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A thread looks for waiting requests after so many answers.
const EVERY: u32 = 8;
/// So many looks are judged together.
const LOOKS: u32 = 8;
/// Of them, so many that found one call for another thread.
const CROWDED: u32 = 3;
/// How often those who serve are looked at while there is work.
const TICK: Duration = Duration::from_millis(5);

/// The threads of one session.
#[derive(Debug)]
pub(crate) struct Crew {
    most: usize,
    /// How many shall serve.
    wanted: AtomicUsize,
    /// How many do.
    serving: AtomicUsize,
    /// How many of them answer a request now.
    inside: AtomicUsize,
    answered: AtomicU64,
    ended: AtomicBool,
    /// Nobody watches, since there was no work.
    unwatched: AtomicBool,
    gate: Mutex<()>,
    changed: Condvar,
    work: Condvar,
}

/// What one thread has seen of the queue.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    answers: u32,
    judged: u32,
    found: u32,
}

impl Crew {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            wanted: AtomicUsize::new(1),
            serving: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            unwatched: AtomicBool::new(false),
            gate: Mutex::new(()),
            changed: Condvar::new(),
            work: Condvar::new(),
        }
    }

    /// Waits until this thread is needed; false when the session has ended.
    pub(crate) fn join(&self) -> bool {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.ended.load(Ordering::Acquire) {
                return false;
            }
            if self.serving.load(Ordering::Relaxed) < self.wanted.load(Ordering::Relaxed) {
                self.serving.fetch_add(1, Ordering::Relaxed);
                return true;
            }
            gate = self
                .changed
                .wait(gate)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether this thread, which serves, is one too many; then it serves no longer.
    pub(crate) fn is_surplus(&self) -> bool {
        if self.serving.load(Ordering::Relaxed) <= self.wanted.load(Ordering::Relaxed) {
            return false;
        }
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.serving.load(Ordering::Relaxed) <= self.wanted.load(Ordering::Relaxed) {
            return false;
        }
        self.serving.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// All threads stop waiting to be needed.
    pub(crate) fn end(&self) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.store(true, Ordering::Release);
        self.changed.notify_all();
        self.work.notify_all();
    }

    /// A request was taken.
    pub(crate) fn begin(&self) {
        // In one order with the watcher's: either it sees this request, or this thread sees it go.
        self.inside.fetch_add(1, Ordering::SeqCst);
        if self.unwatched.load(Ordering::SeqCst) {
            let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
            self.unwatched.store(false, Ordering::Relaxed);
            self.work.notify_all();
        }
    }

    /// It was answered. Now and then looks whether others wait: whoever asked has not had the
    /// time to ask again.
    pub(crate) fn answered(&self, looks: Option<&mut Looks>, device: impl AsFd) {
        self.inside.fetch_sub(1, Ordering::Relaxed);
        self.answered.fetch_add(1, Ordering::Relaxed);
        let Some(looks) = looks else {
            return;
        };
        looks.answers += 1;
        if looks.answers < EVERY {
            return;
        }
        looks.answers = 0;
        looks.judged += 1;
        let mut polled = [PollFd::new(&device, PollFlags::IN)];
        let now = Timespec::default();
        looks.found += u32::from(poll(&mut polled, Some(&now)).is_ok_and(|found| found > 0));
        if looks.judged < LOOKS {
            return;
        }
        if looks.found >= CROWDED {
            self.want_more();
        } else if looks.found == 0 {
            self.want_fewer();
        }
        *looks = Looks::default();
    }

    fn want_more(&self) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.want_one_more();
    }

    /// Holding the gate.
    fn want_one_more(&self) {
        let wanted = self.wanted.load(Ordering::Relaxed);
        // One at a time: those who were asked for come first.
        if wanted < self.most && self.serving.load(Ordering::Relaxed) >= wanted {
            self.wanted.store(wanted + 1, Ordering::Relaxed);
            self.changed.notify_one();
        }
    }

    fn want_fewer(&self) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = self.wanted.load(Ordering::Relaxed);
        if wanted > 1 {
            self.wanted.store(wanted - 1, Ordering::Relaxed);
        }
    }

    /// Watches until the session ends: when all who serve are held up by what they answer,
    /// another one joins.
    pub(crate) fn watch(&self) {
        let mut before = self.answered.load(Ordering::Relaxed);
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.ended.load(Ordering::Acquire) {
            gate = if self.unwatched.load(Ordering::Relaxed) {
                self.work.wait(gate).unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.work.wait_timeout(gate, TICK);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
            let answered = self.answered.load(Ordering::Relaxed);
            let inside = self.inside.load(Ordering::Relaxed);
            if answered == before && inside > 0 {
                if inside >= self.serving.load(Ordering::Relaxed) {
                    self.want_one_more();
                }
            } else if answered == before {
                self.unwatched.store(true, Ordering::SeqCst);
                if self.inside.load(Ordering::SeqCst) > 0 {
                    self.unwatched.store(false, Ordering::SeqCst);
                }
            }
            before = answered;
        }
    }
}
