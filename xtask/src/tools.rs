//! Test suites of others that are programs of the crate registry: installed once, each version
//! into a directory of its own in the cache, and named to the tests that run them.

use crate::cache::{self, Making};
use crate::quiet::run_silently;
use crate::setup;
use anyhow::ensure;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// Tells tests where the programs are: directories, divided as in `PATH`.
const VARIABLE: &str = "STRATA_TOOLS";

#[derive(Debug)]
pub(crate) struct Program {
    name: &'static str,
    version: &'static str,
    reason: &'static str,
}

/// Run by `drivers/all/tests/suites.rs`. The expectations there are for these versions.
const PROGRAMS: &[Program] = &[
    Program {
        name: "pjdfstest",
        version: "0.2.2",
        reason: "asks every driver's mount whether system calls do what POSIX says",
    },
    Program {
        name: "fsx",
        version: "0.3.2",
        reason: "asks files on every driver's mount whether they hold what was written",
    },
];

/// A union file system in user space, a rival of ours; `cargo xtask unions` runs it.
pub(crate) const FUSE_OVERLAYFS: Program = Program {
    name: "fuse-overlayfs",
    version: "2.0.0",
    reason: "is what our union file system is held against",
};

/// Finds the programs, installs those that are missing, and tells the tests that `sh` starts.
///
/// What cannot be had is named on stderr and is no error: the tests skip what needs it.
pub(crate) fn ensure(sh: &Shell) -> anyhow::Result<()> {
    if !setup::is_root() {
        // Without mounts there is nothing to run them on.
        return Ok(());
    }
    let mut directories: Vec<PathBuf> = Vec::new();
    for program in PROGRAMS {
        match program.ensure(sh) {
            Ok(directory) => directories.extend(directory),
            Err(error) => eprintln!(
                "could not install `{}`, what needs it is skipped: {error:#}",
                program.name
            ),
        }
    }
    let known = sh.var_os(VARIABLE).unwrap_or_default();
    let all = directories.into_iter().chain(std::env::split_paths(&known));
    sh.set_var(VARIABLE, std::env::join_paths(all)?);
    Ok(())
}

impl Program {
    /// Where it is, installed now if it is nowhere.
    pub(crate) fn obtain(&self, sh: &Shell) -> anyhow::Result<PathBuf> {
        let directory = self.ensure(sh)?;
        Ok(directory.map_or_else(|| self.name.into(), |directory| directory.join(self.name)))
    }

    /// The directory that holds it; none if the search path does.
    fn ensure(&self, sh: &Shell) -> anyhow::Result<Option<PathBuf>> {
        if self.is(sh, Path::new(self.name)) {
            return Ok(None);
        }
        let cache = cache::home()?.join("tools");
        let entry = format!("{}-{}", self.name, self.version);
        let directory = cache.join(&entry).join("bin");
        if self.is(sh, &directory.join(self.name)) {
            return Ok(Some(directory));
        }
        let making = Making::begin(&cache, &entry)?;
        if !self.is(sh, &directory.join(self.name)) {
            self.install(sh, making)?;
        }
        Ok(Some(directory))
    }

    fn install(&self, sh: &Shell, making: Making) -> anyhow::Result<()> {
        let Self {
            name,
            version,
            reason,
        } = self;
        eprintln!(
            "installing {name} {version} from the crate registry (once, about a minute): it {reason}"
        );
        let [root, target] = ["root", "target"].map(|part| making.scratch().join(part));
        run_silently(cmd!(
            sh,
            "cargo install --quiet --locked --no-track --version ={version} --root {root}
             --target-dir {target} {name}"
        ))?;
        let installed = root.join("bin").join(name);
        ensure!(self.is(sh, &installed), "what was installed does not start");
        fs_err::File::open(&installed)?.sync_all()?;
        making.finish(&root)?;
        Ok(())
    }

    /// Whether `program` starts and is of this version. One that was built on another host, with
    /// a C library that is newer than this one's, does not start.
    fn is(&self, sh: &Shell, program: &Path) -> bool {
        let said = cmd!(sh, "{program} --version").quiet().ignore_stderr();
        said.read().is_ok_and(|said| {
            // `NAME VERSION`, or `NAME: version VERSION`.
            let mut words = said.lines().next().unwrap_or_default().split_whitespace();
            words.next().map(|word| word.trim_end_matches(':')) == Some(self.name)
                && words.next_back() == Some(self.version)
        })
    }
}
