//! Ctrl-C and its like: a flag, so that everything made is undone by values that drop.

use anyhow::{Context as _, Result, bail};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Once};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static LISTENING: Once = Once::new();

/// From now on SIGINT, SIGTERM and SIGHUP set the flag instead of ending the process.
pub fn listen(runtime: &Runtime) {
    LISTENING.call_once(|| {
        for kind in [
            SignalKind::interrupt(),
            SignalKind::terminate(),
            SignalKind::hangup(),
        ] {
            runtime.spawn(async move {
                let Ok(mut signals) = signal(kind) else {
                    return;
                };
                while signals.recv().await.is_some() {
                    INTERRUPTED.store(true, Ordering::SeqCst);
                }
            });
        }
    });
}

/// A runtime for drivers in a process that [listens](listen).
pub fn runtime() -> Result<Arc<Runtime>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("start the async runtime")?;
    listen(&runtime);
    Ok(Arc::new(runtime))
}

/// Whether one of the signals came.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// An error once one of the signals came; for loops that take long.
pub fn check() -> Result<()> {
    if interrupted() {
        bail!("interrupted")
    }
    Ok(())
}
