//! What a union is mounted with: aufs's words, and overlay's for the same.

mod branches;
mod parse;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;
use strata_sys::mount::MountAttributes;

/// How a branch may be used; aufs(5), "Branch Syntax".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and written; whiteouts in it always count.
    ReadWrite,
    /// Read only, by the union's choice.
    ReadOnly,
    /// Read only by nature.
    RealReadOnly,
}

/// Whether files of a branch are copied up when they are only opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyUpOnOpen {
    /// Not before they are changed.
    #[default]
    No,
    /// Regular files (`coo_reg`).
    Files,
    /// Directories too (`coo_all`).
    All,
}

/// One directory of the union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BranchOption {
    /// Its path.
    pub path: PathBuf,
    /// How it may be used.
    pub access: Access,
    /// Whiteouts and opaque marks in it count (`+wh`; always so where it is written).
    pub whiteouts: bool,
    /// Whiteouts are files of their own, not links to one (`nolwh`).
    pub unlinked_whiteouts: bool,
    /// See there.
    pub copy_up_on_open: CopyUpOnOpen,
}

/// What a reader that began before a copy-up sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coherence {
    /// What is written after; lower files of a writable union go through the page cache.
    #[default]
    Strict,
    /// What it opened: every file goes by passthrough.
    Fast,
}

/// How changes that others make in a branch are noticed; aufs(5), `udba`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Udba {
    /// Nobody else changes a branch.
    None,
    /// What stands in a writable branch is looked up again at each use.
    #[default]
    Reval,
}

/// Where new names go when several branches are writable; aufs(5), "Policies".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreatePolicy {
    /// The highest writable branch that has the parent directory (`tdp`).
    #[default]
    TopDownParent,
    /// One after another (`rr`).
    RoundRobin,
    /// The one with most free space, looked at again after so long (`mfs`, `mfs:SECONDS`).
    MostFree(Duration),
}

/// Which branch takes a copy; aufs(5), `cpup`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CopyUpPolicy {
    /// The nearest writable branch above that has the parent directory, else the nearest (`tdp`).
    #[default]
    TopDownParent,
    /// The nearest above that has the parent directory (`bup`).
    BottomUpParent,
    /// The nearest above (`bu`).
    BottomUp,
}

/// Where inode numbers are kept beyond a mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Xino {
    /// Beside the first writable branch, in `.NAME.xino`.
    #[default]
    Beside,
    /// Not at all (`noxino`).
    None,
    /// In this file.
    At(PathBuf),
}

/// What a union is mounted with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own in the words of a mount"
)]
pub struct UnionOptions {
    /// Top first.
    pub branches: Vec<BranchOption>,
    /// See there.
    pub coherence: Coherence,
    /// See there.
    pub udba: Udba,
    /// See there.
    pub create: CreatePolicy,
    /// See there.
    pub copy_up: CopyUpPolicy,
    /// Hard links stay together across copy-up (`plink`, the default; `noplink`).
    pub plink: bool,
    /// Each new directory is opaque (`diropq=a`).
    pub always_opaque: bool,
    /// ACLs are read and set (`acl`).
    pub acl: bool,
    /// See there.
    pub xino: Xino,
    /// No write at all (`ro`).
    pub read_only: bool,
    /// Statfs adds the branches (`sum`).
    pub sum: bool,
    /// Threads that serve; chosen by the number of processors if none.
    pub threads: Option<usize>,
    /// What the mount table shows as its source.
    pub source: String,
    /// Attributes of the mount, which are no business of the union (`nosuid`, `noatime`, ...).
    pub attributes: MountAttributes,
    /// The daemon writes its log there.
    pub log: Option<PathBuf>,
}

impl UnionOptions {
    /// Whether a branch of it is written.
    pub(crate) fn writes(&self, branch: &BranchOption) -> bool {
        branch.access == Access::ReadWrite && !self.read_only
    }
}

/// Why a text of options is refused: one line, and a way out where there is one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct OptionError {
    reason: String,
    hint: Option<String>,
}

impl OptionError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The way out.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
