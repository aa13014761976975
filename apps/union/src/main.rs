//! `strata-union`: mounts a union file system and serves it.
//!
//! Also mount(8)'s helper, when it is called `mount.fuse.strata-union`, and the daemon that a
//! driver's mounts are handed over by (`--handover`).
#![forbid(unsafe_code)]

mod arguments;
mod daemon;
mod log;

use arguments::{Action, Arguments};
use log::Log;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;
use strata_aufs::union::{OptionError, UnionOptions, control, serve};
use strata_driver::mount::daemon as mounting;
use strata_driver::{Error, ErrorKind, Result};

/// What the mount table shows as type.
const FS_TYPE: &str = "fuse.strata-union";

/// Exit codes of mount(8).
const USAGE: u8 = 1;
const MOUNT_FAILED: u8 = 32;

fn main() -> ExitCode {
    let arguments = match arguments::parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(reason) => {
            say(&format!("strata-union: {reason}\n{}", arguments::USAGE));
            return ExitCode::from(USAGE);
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("strata-union: {}\n", error.chain()));
            if let Some(hint) = error.hint_text() {
                say(&format!("hint: {hint}\n"));
            }
            ExitCode::from(MOUNT_FAILED)
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    match arguments.action {
        Action::Tell(text) => show(&text),
        Action::Serve { handover } => daemon::serve_handed_over(handover),
        Action::Control { target, request } => {
            show(&format!("{}\n", control::ask(&target, &request)?))
        }
        Action::Mount { source, target } => {
            let text = arguments.options.as_bytes();
            let options = parse(text, &source)?;
            if arguments.fake {
                return Ok(());
            }
            let target =
                fs_err::canonicalize(&target).map_err(|error| Error::io("mount", error))?;
            mounting::clear_dead(&target, FS_TYPE)?;
            if arguments.foreground {
                serve_here(options, &target, arguments.debug)
            } else {
                start(&source, text, &target)
            }
        }
    }
}

fn parse(text: &[u8], source: &OsStr) -> Result<UnionOptions> {
    UnionOptions::parse(text, &source.to_string_lossy()).map_err(|error| refused(&error))
}

fn refused(error: &OptionError) -> Error {
    let told = Error::new(ErrorKind::InvalidInput, "mount").because(error.to_string());
    match error.hint_text() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}

/// Mounts, and serves until it is unmounted.
fn serve_here(options: UnionOptions, target: &Path, debug: bool) -> Result<()> {
    log::begin(&Log::Terminal {
        debug,
        file: options.log.clone(),
    })?;
    daemon::raise_file_limit();
    let attributes = daemon::attributes(&options);
    serve(options, |mount| {
        mount
            .set_attributes(attributes)
            .map_err(std::io::Error::other)?;
        mount.attach(target).map_err(std::io::Error::other)
    })
    .map_err(Error::from)
}

/// Starts a daemon that outlives this process, and mounts what it makes.
fn start(source: &OsStr, options: &[u8], target: &Path) -> Result<()> {
    let program = std::env::current_exe().map_err(|error| Error::io("mount", error))?;
    let (mount, daemon) = mounting::start(&program, &source.to_string_lossy(), options)?;
    let attached = mount.attach(target).map_err(Error::from);
    attached.map_err(|error| {
        let error = error.during("mount").with("target", target.display());
        // The mount is gone, and with it the daemon.
        match daemon.wait() {
            Ok(()) => error,
            Err(rollback) => error.with_rollback(rollback),
        }
    })
}

/// To standard error, which may be closed.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes()); // nobody is left to be told
}

fn show(text: &str) -> Result<()> {
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Error::io("write", error))
}
