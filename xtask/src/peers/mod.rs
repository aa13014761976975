//! `cargo xtask peers`: other people's container tools, beside which Strata is put.

pub(crate) mod tree;

use crate::exit::Stop;
use crate::rootfs;
use crate::setup::{self, Purpose};
use std::path::PathBuf;
use xshell::Shell;

/// `cargo xtask peers`.
#[derive(Debug)]
pub(crate) struct Peers {
    /// Install the tools into this tree. Given only to the process that [`tree::ensure`] starts in
    /// a mount namespace of its own.
    pub(crate) build: Option<PathBuf>,
}

impl Peers {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        if let Some(tree) = &self.build {
            return tree::build(sh, tree);
        }
        println!("{}", obtain(sh)?.display());
        Ok(())
    }
}

/// The tree of tools, with what it takes to make it installed first.
fn obtain(sh: &Shell) -> anyhow::Result<PathBuf> {
    if tree::cached().is_none() {
        if !setup::is_root() {
            let message = "making the tree of container tools needs root: it makes owners";
            return Err(Stop::Impossible(message.to_owned()).into());
        }
        if rootfs::cached().is_none() {
            setup::ensure(sh, &[Purpose::RootFileSystem])?;
        }
    }
    tree::ensure(sh)
}
