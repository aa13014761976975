//! What makes vfs vfs: a whole tree per layer, copied from its parent.

use crate::config::Config;
use crate::error::VfsError;
use crate::layout::Layout;
use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps};
use std::io::{BufReader, BufWriter, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use strata_driver::catalog::{Catalog, CommitRow, Draft, Leftovers, NewSnapshot, Row, SnapshotId};
use strata_driver::tree::{self, Budget, CopyRecord, Witness};
use strata_driver::{
    CommitOptions, Counters, Durability, Error, ErrorKind, MountFlags, MountPlan, MountStep,
    PrepareOptions, Result, SnapshotKind, SnapshotName, guard, quota, recovery,
};

/// One root of the vfs driver, used from blocking threads.
#[derive(Debug)]
pub(crate) struct Mechanism {
    pub(crate) catalog: Catalog,
    pub(crate) layout: Layout,
    pub(crate) config: Config,
    pub(crate) durability: Durability,
    /// Snapshots may have size limits here.
    pub(crate) limits: bool,
    pub(crate) counters: Arc<Counters>,
}

impl Mechanism {
    /// Makes the fixed directories and deletes what a crash left.
    pub(crate) fn recover(&self) -> Result<()> {
        for directory in [self.layout.snapshots(), self.layout.empty()] {
            fs_err::create_dir_all(directory).map_err(|error| Error::io("open", error))?;
        }
        self.sweep(Leftovers::Abandoned)?;
        for row in self.catalog.list()? {
            self.restore(&row)?;
        }
        Ok(())
    }

    /// Makes the directories of a snapshot again that a power loss took. A copy of a parent is
    /// synced before its row is, so that it cannot be lost so.
    fn restore(&self, row: &Row) -> Result<()> {
        let home = self.layout.snapshot(row.id);
        let tree = self.layout.tree(row.id);
        let active = self.layout.active(row.id);
        let whole = || match (row.kind, row.parent) {
            (SnapshotKind::Active, None) => tree.exists() && active.exists(),
            (SnapshotKind::View, _) => home.exists(),
            _ => true,
        };
        recovery::restore(&self.catalog, row, &home, whole, || {
            if row.kind == SnapshotKind::View {
                return Ok(());
            }
            if !active.is_symlink() {
                make_active(&active)?;
            }
            if tree.exists() {
                return Ok(());
            }
            // Under its name only when it is complete: a crash may come here as well.
            let new = home.join("new");
            let removed = tree::remove(open_directory(&home)?.as_fd(), b"new", Budget::Unlimited);
            removed.map(drop)?;
            make_directory(&new, 0o755)?;
            set_empty(&open_directory(&new)?, &new)?;
            fs_err::rename(&new, &tree).map_err(|error| Error::io("open", error))
        })
    }

    pub(crate) fn sweep(&self, which: Leftovers) -> Result<u64> {
        let directory = self.layout.snapshots();
        recovery::sweep(&self.catalog, &directory, which, Layout::parse, |id| {
            recovery::remove_all(&directory, id)
        })
    }

    /// Makes an active snapshot, by copying, or a view, which needs no copy.
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
        let make = |draft: &Draft| {
            let home = self.layout.snapshot(draft.id);
            recovery::make_home(draft, &home)?;
            if kind == SnapshotKind::View {
                return Ok(());
            }
            let Some(limit) = options.size_limit else {
                return self.make(draft);
            };
            quota::begin(&home, draft.id)?;
            self.make(draft)?;
            quota::limit(&home, limit)
        };
        let unmake = |id| recovery::remove_all(&self.layout.snapshots(), id);
        self.catalog.create(&new, make, unmake).map(drop)
    }

    fn make(&self, draft: &Draft) -> Result<()> {
        let path = self.layout.tree(draft.id);
        make_directory(&path, 0o755)?;
        make_active(&self.layout.active(draft.id))?;
        let target = open_directory(&path)?;
        let Some(parent) = draft.chain.first() else {
            return set_empty(&target, &path);
        };
        let source = open_directory(&self.layout.tree(*parent))?;
        let options = self.config.copy_options().with_witness(Witness::Record);
        let copied = tree::copy(source.as_fd(), target.as_fd(), &options)?;
        if let Some(record) = copied.record {
            self.save_record(draft.id, &record)?;
        }
        // The copy is the snapshot's data: a durable prepare may not lose it.
        self.flush(&target, &path)
    }

    fn save_record(&self, id: SnapshotId, record: &CopyRecord) -> Result<()> {
        let path = self.layout.record(id);
        let file = fs_err::File::create(&path).map_err(|error| Error::io("prepare", error))?;
        let mut writer = BufWriter::new(file);
        record.write_to(&mut writer)?;
        writer.flush().map_err(|error| Error::io("prepare", error))
    }

    /// How the copy left each inode; none if the record is missing or damaged, since it only
    /// saves work.
    pub(crate) fn load_record(&self, id: SnapshotId) -> Option<CopyRecord> {
        let file = fs_err::File::open(self.layout.record(id)).ok()?;
        match CopyRecord::read_from(BufReader::new(file)) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(%id, error = %error.chain(), "copy record unusable, comparing bytes");
                None
            }
        }
    }

    /// The tree that a snapshot of any kind shows.
    pub(crate) fn tree_of(&self, row: &Row) -> PathBuf {
        match (row.kind, row.parent) {
            (SnapshotKind::View, Some(parent)) => self.layout.tree(parent),
            (SnapshotKind::View, None) => self.layout.empty(),
            _ => self.layout.tree(row.id),
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
        let source = match row.kind {
            SnapshotKind::Active => self.layout.active(row.id),
            _ => self.tree_of(&row),
        };
        Ok(MountPlan {
            snapshot: key.clone(),
            steps: vec![MountStep::bind(source, flags)],
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
        let hold = self.layout.snapshot(row.id);
        let _lock = guard::exclusive(&self.catalog, &row, &hold, "commit")?;
        guard::refuse_half_applied(&hold, "commit")?;
        let path = self.layout.tree(row.id);
        self.flush(&open_directory(&path)?, &path)?;
        self.catalog.commit(&CommitRow {
            key,
            name,
            labels: &options.labels,
            late_parent: None,
        })?;
        let active = self.layout.active(row.id);
        match fs_err::remove_file(active) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io("commit", error))
            }
            _ => Ok(()),
        }
    }

    /// The data's own sync: one syncfs(2) of the file system that holds the tree.
    fn flush(&self, directory: &OwnedFd, path: &Path) -> Result<()> {
        if self.durability == Durability::Volatile {
            return Ok(());
        }
        rustix::fs::syncfs(directory).map_err(|errno| {
            VfsError::Flush {
                path: path.to_owned(),
                source: errno.into(),
            }
            .into()
        })
    }

    /// Frees the name and deletes what is small.
    pub(crate) fn remove(&self, name: &SnapshotName) -> Result<()> {
        let row = self.catalog.get(name)?;
        let lock = guard::begin_remove(&self.catalog, &row, &self.layout.snapshot(row.id))?;
        recovery::remove_now(&self.catalog, &self.layout.snapshots(), row.id);
        drop(lock);
        Ok(())
    }
}

/// An empty snapshot: 0755, 0:0, time 0.
fn set_empty(directory: &OwnedFd, path: &Path) -> Result<()> {
    let start = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: start,
        last_modification: start,
    };
    rustix::fs::fchmod(directory, Mode::from_raw_mode(0o755))
        .and_then(|()| rustix::fs::futimens(directory, &times))
        .map_err(|errno| {
            VfsError::MakeDirectory {
                path: path.to_owned(),
                source: errno.into(),
            }
            .into()
        })
}

fn make_active(path: &Path) -> Result<()> {
    fs_err::os::unix::fs::symlink("fs", path).map_err(|error| Error::io("prepare", error))
}

pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| {
        VfsError::Open {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(mode)).map_err(|errno| {
        VfsError::MakeDirectory {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}
