//! Who is compared, and how each is mounted.

use super::bed::Bed;
use super::view::View;
use crate::peers::tree::direct;
use crate::tools::FUSE_OVERLAYFS;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;
use xshell::Shell;

/// What a contestant is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The kernel's overlay: the measure.
    Overlay,
    /// Ours, with these words behind those that all have.
    Ours {
        program: PathBuf,
        words: &'static str,
    },
    /// Debian's fuse-overlayfs, out of the tree of tools.
    Debian { tools: PathBuf },
    /// The crate of that name.
    Crate { program: PathBuf },
    /// No union: the directories themselves.
    Plain,
}

/// One that is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contestant {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

/// The measure.
pub(super) const OVERLAY: &str = "kernel overlay";

/// All that there are, in the order of the tables.
pub(super) const NAMES: &[&str] = &[OVERLAY, STRICT, FAST, READ_ONLY, DEBIAN, CRATE, PLAIN];

const STRICT: &str = "strata-union strict";
const FAST: &str = "strata-union fast";
const READ_ONLY: &str = "strata-union read-only";
const DEBIAN: &str = "fuse-overlayfs 1";
const CRATE: &str = "fuse-overlayfs 2";
const PLAIN: &str = "plain directory";

/// All whose name holds one of `only`, or all; the measure is always among them.
pub(super) fn wanted(sh: &Shell, tools: &Path, ours: &Path, only: &[String]) -> Vec<Contestant> {
    let of_ours = |words| Kind::Ours {
        program: ours.to_owned(),
        words,
    };
    let debian = Kind::Debian {
        tools: tools.to_owned(),
    };
    let is_wanted =
        |name: &str| only.is_empty() || only.iter().any(|part| name.contains(part.as_str()));
    let mut all = vec![
        (OVERLAY, Kind::Overlay),
        (STRICT, of_ours("")),
        (FAST, of_ours(",coherence=fast")),
        (READ_ONLY, of_ours(",ro")),
        (DEBIAN, debian),
    ];
    if is_wanted(CRATE) {
        match FUSE_OVERLAYFS.obtain(sh) {
            Ok(program) => all.push((CRATE, Kind::Crate { program })),
            Err(error) => eprintln!("without {CRATE}, which cannot be had here: {error:#}"),
        }
    }
    all.push((PLAIN, Kind::Plain));
    let all = all
        .into_iter()
        .map(|(name, kind)| Contestant { name, kind });
    all.filter(|one| one.name == OVERLAY || is_wanted(one.name))
        .collect()
}

impl Contestant {
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Ours { .. })
    }

    /// Lower files of a writable union go through the page cache of its own.
    pub(super) fn is_strict(&self) -> bool {
        self.name == STRICT
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.name == READ_ONLY
    }

    /// Mounts it over `bed`, whose upper directory is as it was made.
    pub(super) fn mount(&self, bed: &Bed) -> anyhow::Result<View> {
        let (upper, lower) = (bed.upper(), bed.lower());
        let [up, low, work] = [&upper, &lower, &bed.work()].map(|path| path.display().to_string());
        let layers = format!("lowerdir={low},upperdir={up},workdir={work}");
        let daemon = match &self.kind {
            Kind::Plain => return Ok(View::plain(upper, lower)),
            Kind::Overlay => return View::of_kernel(&bed.target(), &layers),
            Kind::Ours { program, words } => {
                let mut command = Command::new(program);
                let branches = format!("br={up}=rw:{low}=ro+wh,udba=none,acl{words}");
                command.args(["-f", "none"]).arg(bed.target());
                command.arg("-o").arg(branches);
                command
            }
            Kind::Debian { tools } => {
                let mut command = direct(tools, "fuse-overlayfs")?;
                command.args(["-f", "-o", &layers]).arg(bed.target());
                command
            }
            Kind::Crate { program } => {
                let mut command = Command::new(program);
                command.args(["-f", "-o", &layers]).arg(bed.target());
                command
            }
        };
        View::of_daemon(daemon, &bed.target())
    }

    /// What it says of its version.
    pub(super) fn version(&self) -> anyhow::Result<String> {
        let mut command = match &self.kind {
            Kind::Overlay | Kind::Plain => return Ok("of this kernel".to_owned()),
            Kind::Ours { program, .. } | Kind::Crate { program } => Command::new(program),
            Kind::Debian { tools } => direct(tools, "fuse-overlayfs")?,
        };
        let said = command.arg("--version").output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let line = said
            .lines()
            .find(|line| line.contains("overlayfs") || line.contains("union"));
        Ok(line.context("it says no version")?.to_owned())
    }
}
