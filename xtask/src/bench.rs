//! `cargo xtask bench`: builds the command, gets it real input, and becomes it.

use crate::against;
use crate::btrfs;
use crate::fresh::Fresh;
use crate::rootfs::{self, Layers};
use crate::setup::{self, Purpose};
use crate::test::Place;
use anyhow::Context;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use xshell::{Shell, cmd};

#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) place: Place,
    /// Another version to take turns with.
    pub(crate) against: Option<Against>,
    /// For `strata bench`, as they are.
    pub(crate) arguments: Vec<OsString>,
}

/// A version that this checkout is held against.
#[derive(Debug)]
pub(crate) struct Against {
    pub(crate) revision: String,
    /// What to fail on.
    pub(crate) gate: String,
}

impl Bench {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        let arguments = &self.arguments;
        if self.place != Place::Here {
            let mut command = vec!["bench".into()];
            if let Some(Against { revision, gate }) = &self.against {
                command.extend(["--against", revision, "--gate", gate].map(OsString::from));
            }
            command.extend(arguments.iter().cloned());
            return Fresh {
                place: self.place,
                command,
            }
            .run(sh);
        }
        let mut input: Vec<OsString> = Vec::new();
        if !self.only_asks() {
            let brings_own = self.has_flag("--rootfs");
            let mut purposes = vec![Purpose::Fixtures, Purpose::BtrfsDriver];
            if !brings_own && rootfs::cached().is_none() && setup::is_root() {
                purposes.push(Purpose::RootFileSystem);
            }
            setup::ensure(sh, &purposes)?;
            if !brings_own && let Some(layers) = debian(sh) {
                input.extend(["--rootfs".into(), layers.base.into()]);
                input.extend(["--rootfs-layer".into(), layers.package.into()]);
            }
        }
        let features = btrfs::feature_alone(sh);
        cmd!(
            sh,
            "cargo build --locked --release --package strata {features...}"
        )
        .quiet()
        .run()?;
        // The daemon of a driver's mounts, found beside the command.
        cmd!(sh, "cargo build --locked --release --package strata-union")
            .quiet()
            .run()?;
        if let Some(Against { revision, gate }) = &self.against
            && !self.only_asks()
        {
            return against::run(sh, revision, gate, (&input, arguments));
        }
        // Replaces this process, so that signals and the exit code are the command's own.
        let mut command: std::process::Command = cmd!(
            sh,
            "cargo run --quiet --locked --release --package strata {features...} -- bench {input...} {arguments...}"
        )
        .into();
        Err(command.exec()).context("cannot run `strata bench`")
    }

    fn only_asks(&self) -> bool {
        self.has_flag("--help") || self.has_flag("-h")
    }

    fn has_flag(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| {
            argument.to_str().is_some_and(|argument| {
                argument
                    .strip_prefix(flag)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
            })
        })
    }
}

/// The Debian root file system, or a word on why the bench has to do without.
fn debian(sh: &Shell) -> Option<Layers> {
    match rootfs::ensure(sh) {
        Ok(layers) => Some(layers),
        Err(error) => {
            eprintln!("no Debian root file system: {error:#}");
            eprintln!("the bench runs on a generated corpus of the same shape instead");
            None
        }
    }
}
