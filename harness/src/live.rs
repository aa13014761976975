//! A mounted snapshot as a case sees it.

use crate::edit::Dir;
use crate::tree::Tree;
use anyhow::Result;
use std::ops::Deref;
use std::path::PathBuf;
use strata_driver::MountPlan;
use strata_driver::mount::Mounted;

/// A live mount of a snapshot, on a directory that goes with it.
#[derive(Debug)]
pub struct Live {
    // Dropped in this order: the mount, then its mount point.
    mounted: Option<Mounted>,
    dir: Dir,
}

impl Live {
    pub(crate) fn new(plan: &MountPlan, target: PathBuf) -> Result<Self> {
        fs_err::create_dir(&target)?;
        let mut live = Self {
            mounted: None,
            dir: Dir::new(target),
        };
        live.mounted = Some(strata_driver::mount::mount(plan, live.dir.path())?);
        Ok(live)
    }

    /// Unmounts, and says whether that worked.
    pub fn unmount(mut self) -> Result<()> {
        match self.mounted.take() {
            Some(mounted) => Ok(mounted.unmount()?),
            None => Ok(()),
        }
    }

    /// The tree that it shows.
    pub fn tree(&self) -> Result<Tree> {
        Tree::read(self.dir.path())
    }
}

impl Deref for Live {
    type Target = Dir;
    fn deref(&self) -> &Dir {
        &self.dir
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.mounted = None;
        if let Err(error) = fs_err::remove_dir(self.dir.path()) {
            tracing::warn!(%error, "mount point left behind");
        }
    }
}
