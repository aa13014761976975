//! Where the log goes.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use strata_driver::{Error, Result};
use tracing_subscriber::EnvFilter;

/// Who reads it.
#[derive(Debug)]
pub(crate) enum Log {
    /// Whoever started this in the foreground, unless a file is named.
    Terminal { debug: bool, file: Option<PathBuf> },
    /// Nobody, unless a file is named.
    Daemon { file: Option<PathBuf> },
}

/// Begins to log, as much as `STRATA_LOG` says.
pub(crate) fn begin(log: &Log) -> Result<()> {
    let (level, file) = match log {
        Log::Terminal { debug: true, file } => ("debug", file),
        Log::Terminal { file, .. } | Log::Daemon { file } => ("warn", file),
    };
    let filter = EnvFilter::try_from_env("STRATA_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let lines = tracing_subscriber::fmt().with_env_filter(filter);
    match (log, file) {
        (_, Some(path)) => lines
            .with_ansi(false)
            .with_writer(Mutex::new(open(path)?))
            .init(),
        (Log::Terminal { .. }, None) => lines
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr)
            .init(),
        (Log::Daemon { .. }, None) => {}
    }
    Ok(())
}

fn open(path: &Path) -> Result<fs_err::File> {
    let opened = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path);
    opened.map_err(|error| Error::io("open log", error))
}
