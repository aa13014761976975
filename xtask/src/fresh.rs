//! `--fresh`: the same command in a new Debian chroot that holds only gcc, git and Rust, from a
//! clean clone of HEAD.

use crate::clean::{Clean, write_owner};
use crate::exit::Stop;
use crate::setup::{self, Purpose};
use crate::test::Place;
use crate::{cache, namespace, rootfs, workspace};
use anyhow::Context;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use xshell::{Shell, cmd};

#[derive(Debug)]
pub(crate) struct Fresh {
    pub(crate) place: Place,
    /// The arguments of `cargo xtask` inside.
    pub(crate) command: Vec<OsString>,
}

/// Outlives an interrupt to remove the directory, and passes the exit code on. The mounts are in
/// the namespace of what it starts, so there is nothing of the host's below the directory here.
/// If this is killed, so is all that it started.
const AROUND: &str = r#"
trap : INT TERM HUP
status=0
setpriv --pdeathsig KILL \
    unshare --mount --propagation unchanged --pid --fork --kill-child -- \
    sh -euc "$MAKE_PRIVATE" private sh -euc "$SCRIPT" fresh "$@" || status=$?
rm -rf --one-file-system -- "$DIRECTORY"
exit "$status"
"#;

impl Fresh {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        if !setup::is_root() {
            let message = "`--fresh` needs root: it makes a chroot and mounts in it";
            return Err(Stop::Impossible(message.to_owned()).into());
        }
        let mut purposes = vec![Purpose::Chroot];
        if rootfs::cached().is_none() {
            purposes.push(Purpose::RootFileSystem);
        }
        setup::ensure(sh, &purposes)?;
        Clean::everywhere().run(sh)?;
        let base = rootfs::ensure(sh)?.base;
        if !cmd!(sh, "git status --porcelain")
            .quiet()
            .read()?
            .is_empty()
        {
            eprintln!("note: changes that are not committed are not in the clone");
        }
        let commit = cmd!(sh, "git rev-parse HEAD").quiet().read()?;
        let sysroot = cmd!(sh, "rustc --print sysroot").quiet().read()?;

        let directory =
            std::env::temp_dir().join(format!("strata-test-fresh-{}", std::process::id()));
        fs_err::create_dir(&directory)?;
        write_owner(&directory)?;
        let arguments = &self.command;
        // Replaces this process and keeps its id, so the directory's owner stays the right one.
        let mut around: std::process::Command = cmd!(sh, "sh -uc {AROUND} fresh {arguments...}")
            .env("SCRIPT", include_str!("fresh.sh"))
            .env("MAKE_PRIVATE", namespace::MAKE_PRIVATE)
            .env("DIRECTORY", directory)
            .env("BASE", base)
            .env("SYSROOT", sysroot)
            .env("CARGO_HOME", cargo_home()?)
            .env("CHECKOUT", workspace())
            .env("COMMIT", commit)
            .env("CACHE", self.cache()?)
            .into();
        Err(around.exec()).context("cannot start `sh`")
    }

    fn cache(&self) -> anyhow::Result<PathBuf> {
        match self.place {
            Place::FreshAndCold => Ok(PathBuf::new()),
            Place::Here | Place::Fresh => cache::home(),
        }
    }
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}
