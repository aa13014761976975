//! `cargo xtask`: everything around the build that is more than one cargo command.
//!
//! This crate knows no crate of the workspace and links no C library, so it runs on a machine
//! that has nothing but Rust and a linker; what else is needed is found and installed by `setup`.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command talks to its user")]

mod against;
mod bench;
mod btrfs;
mod cache;
mod clean;
mod docs;
mod exit;
mod flags;
mod fresh;
mod ground;
mod images;
mod mirror;
mod namespace;
mod peers;
mod quiet;
mod rootfs;
mod setup;
mod smoke;
mod soak;
mod spread;
mod tally;
mod test;
mod tidy;
mod tools;
mod unions;

use exit::Stop;
use flags::Command;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use xshell::Shell;

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    let Some(stop) = error.downcast_ref::<Stop>() else {
        eprintln!("error: {error:#}");
        return ExitCode::FAILURE;
    };
    if let Some(message) = stop.message() {
        eprintln!("{message}");
    }
    stop.code()
}

fn run() -> anyhow::Result<()> {
    let command = flags::parse(std::env::args_os().skip(1).collect())?;
    let sh = Shell::new()?;
    sh.change_dir(workspace());
    // mkfs and losetup live where the search path of an ordinary user does not look.
    let path = std::env::var("PATH").unwrap_or_default();
    sh.set_var("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"));
    match command {
        Command::Help => print!("{}", flags::USAGE),
        Command::Bench(command) => command.run(&sh)?,
        Command::Test(command) => command.run(&sh)?,
        Command::Tidy(command) => command.run(&sh)?,
        Command::Docs => docs::write(&sh)?,
        Command::Clean(command) => command.run(&sh)?,
        Command::Smoke(command) => command.run(&sh)?,
        Command::Soak(command) => command.run(&sh)?,
        Command::Rootfs(command) => command.run(&sh)?,
        Command::Images(command) => command.run(&sh)?,
        Command::Peers(command) => command.run(&sh)?,
        Command::Unions(command) => command.run(&sh)?,
    }
    Ok(())
}

/// The root of the checkout that cargo runs us from.
fn workspace() -> PathBuf {
    // A shared target directory may hold a binary built from another checkout, hence the
    // variable that `cargo run` sets comes before the compiled-in one.
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest
        .parent()
        .map_or_else(|| manifest.clone(), Path::to_path_buf)
}
