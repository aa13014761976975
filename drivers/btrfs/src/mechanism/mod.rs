//! What makes btrfs btrfs: a subvolume per snapshot, and a new one at commit.
//!
//! A commit never makes a subvolume read-only that was written to: whoever has a file of it open
//! for writing would write on. It makes a read-only snapshot, and the subvolume goes.

mod moment;
mod pool;
mod quota;
pub(crate) mod subvolume;

pub(crate) use moment::Moment;
pub(crate) use pool::Pool;
pub(crate) use quota::Quotas;

use crate::error::BtrfsError;
use crate::layout::Layout;
use btrfsutil::subvolume::SnapshotFlags;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::apply::{ApplyTarget, PlainPlacement, apply};
use strata_driver::catalog::{Catalog, CommitRow, Draft, Leftovers, NewSnapshot, Row, SnapshotId};
use strata_driver::{
    Applied, ApplyOptions, Bytes, ChangesetSource, CommitOptions, Counters, Error, ErrorKind,
    Inodes, MountFlags, MountPlan, MountStep, PrepareOptions, Result, SnapshotKind, SnapshotName,
    Usage, guard, recovery, tree,
};
use strata_sys::{btrfs, btrfs_space};

/// One root of the btrfs driver, used from blocking threads.
#[derive(Debug)]
pub(crate) struct Mechanism {
    pub(crate) catalog: Catalog,
    pub(crate) layout: Layout,
    pub(crate) pool: Pool,
    pub(crate) quotas: Quotas,
    pub(crate) counters: Arc<Counters>,
}

impl Mechanism {
    /// Makes the fixed directories and deletes what a crash left.
    pub(crate) fn recover(&self) -> Result<()> {
        let fixed = [
            self.layout.snapshots(),
            self.layout.moments(),
            self.layout.empty(),
        ];
        for directory in fixed {
            fs_err::create_dir_all(directory).map_err(|error| Error::io("open", error))?;
        }
        self.sweep(Leftovers::Abandoned).map(drop)
    }

    /// Deletes what removals, crashed processes and half commits left; how many snapshots that
    /// were.
    pub(crate) fn sweep(&self, which: Leftovers) -> Result<u64> {
        Moment::sweep(&self.layout)?;
        let directory = self.layout.snapshots();
        let gone = recovery::sweep(&self.catalog, &directory, which, Layout::parse, |id| {
            self.discard(id)
        })?;
        for row in self.catalog.list()? {
            self.restore(&row)?;
        }
        Ok(gone)
    }

    /// Finishes or undoes what a crash left half done of a snapshot. A commit stops before its
    /// row, and the new layer is nobody's, or behind it, and the old tree is. What an active
    /// snapshot without a parent lost by a power loss was empty; one with a parent is on disk
    /// before its row is.
    fn restore(&self, row: &Row) -> Result<()> {
        let home = self.layout.snapshot(row.id);
        let (active, layer) = (self.layout.active(row.id), self.layout.layer(row.id));
        let is_lost = || row.parent.is_none() && !subvolume::exists(&active);
        let whole = || match row.kind {
            SnapshotKind::Active => !subvolume::exists(&layer) && !is_lost(),
            SnapshotKind::View => home.exists(),
            SnapshotKind::Committed => !subvolume::exists(&active),
        };
        recovery::restore(&self.catalog, row, &home, whole, || match row.kind {
            SnapshotKind::View => Ok(()),
            SnapshotKind::Committed => subvolume::remove(&active),
            SnapshotKind::Active => {
                subvolume::remove(&layer)?;
                if !is_lost() {
                    return Ok(());
                }
                // Under its name only when it is complete: a crash may come here as well.
                let new = self.layout.made_again(row.id);
                subvolume::remove(&new)?;
                subvolume::create_empty(&new)?;
                fs_err::rename(&new, &active).map_err(|error| Error::io("open", error))
            }
        })
    }

    /// Makes an active snapshot, or a view, which needs no subvolume.
    pub(crate) fn create(
        &self,
        key: &SnapshotName,
        kind: SnapshotKind,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()> {
        let new = NewSnapshot {
            key,
            kind,
            parent,
            labels: &options.labels,
        };
        if kind == SnapshotKind::Active {
            self.pool.make_room("prepare")?;
        }
        let make = |draft: &Draft| self.make(draft, kind, options);
        self.catalog
            .create(&new, make, |id| self.discard(id))
            .map(drop)
    }

    fn make(&self, draft: &Draft, kind: SnapshotKind, options: &PrepareOptions) -> Result<()> {
        let home = self.layout.snapshot(draft.id);
        recovery::make_home(draft, &home)?;
        if kind == SnapshotKind::View {
            return Ok(());
        }
        let path = self.layout.active(draft.id);
        match draft.chain.first() {
            None => subvolume::create_empty(&path)?,
            Some(parent) => {
                subvolume::snapshot(&self.layout.layer(*parent), &path, None)?;
                self.quotas.drop_inherited(&path)?;
            }
        }
        match options.size_limit {
            Some(limit) => self.quotas.limit(&open_directory(&path)?, limit),
            None => Ok(()),
        }
    }

    /// The tree that a snapshot of any kind shows.
    pub(crate) fn tree_of(&self, row: &Row) -> PathBuf {
        match (row.kind, row.parent) {
            (SnapshotKind::View, Some(parent)) => self.layout.layer(parent),
            (SnapshotKind::View, None) => self.layout.empty(),
            (SnapshotKind::Active, _) => self.layout.active(row.id),
            (SnapshotKind::Committed, _) => self.layout.layer(row.id),
        }
    }

    /// The plan that shows `key`.
    pub(crate) fn mounts(&self, key: &SnapshotName) -> Result<MountPlan> {
        let row = self.catalog.get(key)?;
        if row.kind == SnapshotKind::Committed {
            return Err(Error::new(ErrorKind::InvalidState, "mounts")
                .because("a committed snapshot is not mounted")
                .hint("prepare a child of it, or a view"));
        }
        guard::refuse_half_applied(&self.layout.snapshot(row.id), "mounts")?;
        let flags = MountFlags {
            read_only: row.kind == SnapshotKind::View,
        };
        Ok(MountPlan {
            snapshot: key.clone(),
            steps: vec![MountStep::bind(self.tree_of(&row), flags)],
            hold: Some(self.layout.snapshot(row.id)),
        })
    }

    /// Freezes `key` under `name`.
    pub(crate) fn commit(
        &self,
        key: &SnapshotName,
        name: &SnapshotName,
        options: &CommitOptions,
    ) -> Result<()> {
        let row = guard::active(&self.catalog, key, "commit")?;
        let home = self.layout.snapshot(row.id);
        let _lock = guard::exclusive(&self.catalog, &row, &home, "commit")?;
        guard::refuse_half_applied(&home, "commit")?;
        let (active, layer) = (self.layout.active(row.id), self.layout.layer(row.id));
        refuse_nested(&active, "commit")?;
        self.pool.make_room("commit")?;
        // What a process left that died in the middle of this.
        subvolume::remove(&layer)?;
        subvolume::snapshot(&active, &layer, Some(SnapshotFlags::READ_ONLY))?;
        let committed = self.quotas.drop_inherited(&layer).and_then(|()| {
            self.catalog.commit(&CommitRow {
                key,
                name,
                labels: &options.labels,
                late_parent: None,
            })
        });
        if let Err(error) = committed {
            return Err(match subvolume::remove(&layer) {
                Ok(()) => error,
                Err(rollback) => error.with_rollback(rollback),
            });
        }
        if let Err(error) = subvolume::remove(&active) {
            // The commit is true; the next opening or reclaim finds this again.
            tracing::warn!(id = %row.id, error = %error.chain(), "a written tree stays for now");
        }
        Ok(())
    }

    /// Frees the name and destroys the subvolumes; their blocks come free later.
    pub(crate) fn remove(&self, name: &SnapshotName) -> Result<()> {
        let row = self.catalog.get(name)?;
        let lock = guard::begin_remove(&self.catalog, &row, &self.layout.snapshot(row.id))?;
        self.discard(row.id)?;
        self.catalog.finish_remove(row.id)?;
        drop(lock);
        Ok(())
    }

    /// Deletes all of a snapshot on disk; absent is deleted.
    fn discard(&self, id: SnapshotId) -> Result<()> {
        let home = self.layout.snapshot(id);
        subvolume::remove_of(&home, &Layout::SUBVOLUMES)?;
        match rustix::fs::rmdir(&home) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // There are files, which a half apply left.
            Err(_) => recovery::remove_all(&self.layout.snapshots(), id),
        }
    }

    /// What a snapshot holds beside its parents: its tree's extents and inodes that are newer than
    /// the parent's layer, whose own are all older than the transaction that made it.
    pub(crate) fn usage(&self, name: &SnapshotName) -> Result<Usage> {
        let row = self.catalog.get(name)?;
        if row.kind == SnapshotKind::View {
            return Ok(Usage::default());
        }
        let root = open_directory(&self.tree_of(&row))?;
        let since = match row.parent {
            None => 0,
            Some(parent) => {
                btrfs::subvolume_info(open_directory(&self.layout.layer(parent))?)?.created
            }
        };
        if row.kind == SnapshotKind::Active {
            rustix::fs::syncfs(&root).map_err(|errno| Error::io("usage", errno.into()))?;
        }
        match btrfs_space::space(&root, since) {
            Ok(space) => Ok(Usage {
                bytes: Bytes(space.new_bytes),
                inodes: Inodes(space.new_inodes),
                shared: Some(Bytes(space.old_bytes)),
            }),
            // Reading the tree takes root of the host; everybody can read the files.
            Err(error) if error.is(Errno::PERM) => tree::usage(root.as_fd(), &self.counters),
            Err(error) => Err(error.into()),
        }
    }

    /// Applies a changeset to the active snapshot `key`.
    pub(crate) fn apply(
        &self,
        key: &SnapshotName,
        changeset: ChangesetSource,
        options: &ApplyOptions,
    ) -> Result<Applied> {
        let row = guard::active(&self.catalog, key, "apply")?;
        let home = self.layout.snapshot(row.id);
        let _lock = guard::exclusive(&self.catalog, &row, &home, "apply")?;
        self.pool.make_room("apply")?;
        let (applying, changeset) = guard::Applying::begin(&home, changeset)?;
        let path = self.layout.active(row.id);
        let root = open_directory(&path)?;
        let mut placement = PlainPlacement;
        let target = ApplyTarget {
            root: root.as_fd(),
            placement: &mut placement,
        };
        let outcome = apply(target, changeset, options);
        drop(root);
        let applied = outcome.map_err(|error| self.after_failed_apply(error, &path))?;
        applying.finish()?;
        Ok(applied)
    }

    /// On a full disk, gives the space of half a layer back at once: without it the catalogue, if
    /// it is on the same disk, would have no room to record the removal.
    fn after_failed_apply(&self, error: Error, path: &Path) -> Error {
        if error.kind() != ErrorKind::NoSpace {
            return error;
        }
        let emptied = subvolume::remove(path)
            .and_then(|()| self.pool.settle("apply"))
            .and_then(|()| subvolume::create_empty(path));
        match emptied {
            Ok(()) => error,
            Err(rollback) => error.with_rollback(rollback),
        }
    }
}

/// A snapshot shows an empty directory in place of a subvolume, and a layer would lose its files.
pub(crate) fn refuse_nested(path: &Path, operation: &'static str) -> Result<()> {
    let root = open_directory(path)?;
    match subvolume::find_nested(root.as_fd(), path)? {
        None => Ok(()),
        Some(nested) => Err(Error::new(ErrorKind::InvalidState, operation)
            .because("there is a subvolume in the snapshot, which a layer cannot carry")
            .with("path", nested.display())
            .hint("move its files into a directory and delete it: `btrfs subvolume delete PATH`")),
    }
}

pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| {
        BtrfsError::Open {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}
