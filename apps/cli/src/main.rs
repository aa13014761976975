//! The `strata` command: parses, dispatches, and prints errors with the way out.
#![forbid(unsafe_code)]

mod bench;
mod compare;
mod config;
mod docker;
mod file;
mod flags;
mod image;
mod manual;
mod opening;
mod probe;
mod show;
mod snapshot;
mod verify;

use clap::Parser as _;
use flags::{Arguments, Command};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use strata_image::printable;

fn main() -> ExitCode {
    // A child of the suite that is to be killed, or the inside of a user namespace.
    if let Some(code) = verify::child() {
        return code;
    }
    let arguments = Arguments::parse();
    log_to_stderr(arguments.log_level());
    match run(&arguments) {
        Ok(code) => code,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(_) if strata_harness::interrupt::interrupted() => {
            show_error(&anyhow::anyhow!("interrupted"));
            ExitCode::from(130)
        }
        Err(error) => {
            show_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Completions { shell } => return manual::completions(*shell),
        Command::Man { directory } => return manual::pages(directory),
        _ => {}
    }
    let registry = strata_drivers::registry();
    let settings = config::Settings::load(
        arguments.global.given(arguments.command.driver_options())?,
        &registry,
    )?;
    match &arguments.command {
        Command::Probe(flags) => probe::run(flags, &settings, &registry),
        Command::Verify(flags) => verify::run(flags, &settings, &registry),
        Command::Bench(flags) => bench::run(flags, &settings, &registry),
        Command::Compare(flags) => compare::run(flags),
        Command::Snapshot(flags) => snapshot::run(flags, &settings, &registry),
        Command::Config(flags) => show::run(flags, &settings, &registry),
        Command::Completions { .. } | Command::Man { .. } => {
            unreachable!("answered without settings")
        }
        Command::Image(command) => {
            image::run(command, &settings, &registry, arguments.global.verbose)
        }
    }
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        2 => "debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("STRATA_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .init();
}

/// One line for the error and everything below it, one for the way out.
fn show_error(error: &anyhow::Error) {
    let mut line = String::new();
    let mut hint = None;
    for cause in error.chain() {
        let text = cause.to_string();
        hint = hint.or_else(|| way_out(cause));
        if !line.ends_with(&text) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&text);
        }
    }
    let mut stderr = std::io::stderr().lock();
    // With standard error gone there is nobody left to tell.
    drop(writeln!(stderr, "error: {}", printable(&line)));
    if let Some(hint) = hint {
        drop(writeln!(stderr, "hint: {}", printable(&hint)));
    }
}

/// What the error itself says that its user can do.
fn way_out(cause: &(dyn std::error::Error + 'static)) -> Option<String> {
    if let Some(error) = cause.downcast_ref::<strata_image::ImageError>() {
        return error.hint();
    }
    let error = cause.downcast_ref::<strata_driver::Error>()?;
    error.hint_text().map(str::to_owned)
}

/// A reader that has seen enough (`strata ... | head`) is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
