//! What makes overlay overlay: upper, work and lower directories, and the plans that join them.

mod indexed;
mod marks;

use crate::config::{Config, Feature};
use crate::error::OverlayError;
use crate::layout::Layout;
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use strata_driver::catalog::{Catalog, CommitRow, Draft, Leftovers, NewSnapshot, Row, SnapshotId};
use strata_driver::mount::{Detached, Mounter};
use strata_driver::{
    Bytes, CommitOptions, Counters, Durability, Error, ErrorKind, MountFlags, MountOption,
    MountPlan, MountStep, PrepareOptions, Result, SnapshotKind, SnapshotName, guard, quota,
    recovery, upper,
};

/// Most lower directories of one mount (`OVL_MAX_STACK` in the kernel).
pub(crate) const MAX_LAYERS: usize = 500;

/// Which of the two namespaces overlay keeps its own attributes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Namespace {
    /// `trusted.overlay.*`: the initial user namespace.
    Trusted,
    /// `user.overlay.*`, mounts with `userxattr`: a user namespace.
    User,
}

impl Namespace {
    /// The attribute that makes a directory opaque.
    pub(crate) fn opaque(self) -> &'static std::ffi::CStr {
        match self {
            Self::Trusted => c"trusted.overlay.opaque",
            Self::User => c"user.overlay.opaque",
        }
    }
}

/// One root of the overlay driver, used from blocking threads.
#[derive(Debug)]
pub(crate) struct Mechanism {
    pub(crate) catalog: Catalog,
    pub(crate) layout: Layout,
    pub(crate) config: Config,
    pub(crate) namespace: Namespace,
    pub(crate) durability: Durability,
    /// Snapshots may have size limits here.
    pub(crate) limits: bool,
    pub(crate) mounter: Mounter,
    pub(crate) counters: Arc<Counters>,
}

impl Mechanism {
    /// Makes the fixed directories and deletes what a crash left.
    pub(crate) fn recover(&self) -> Result<()> {
        for directory in self.layout.empty().iter().chain([&self.layout.snapshots()]) {
            let made = fs_err::create_dir_all(directory);
            made.map_err(|error| Error::io("open", error))?;
        }
        self.sweep(Leftovers::Abandoned)?;
        for row in self.catalog.list()? {
            self.restore(&row)?;
        }
        Ok(())
    }

    /// Makes the directories of a snapshot again that a power loss took.
    fn restore(&self, row: &Row) -> Result<()> {
        let home = self.layout.snapshot(row.id);
        let (upper, work) = (self.layout.upper(row.id), self.layout.work(row.id));
        let whole = || match row.kind {
            SnapshotKind::Active => upper.exists() && work.exists(),
            SnapshotKind::View => home.exists(),
            SnapshotKind::Committed => true,
        };
        recovery::restore(&self.catalog, row, &home, whole, || {
            if row.kind == SnapshotKind::View {
                return Ok(());
            }
            if !upper.exists() {
                // Under its name only when it is complete: a crash may come here as well.
                let new = home.join("new");
                remove_tree(&new)?;
                self.make_upper(&new, self.catalog.parents(row)?.first())?;
                fs_err::rename(&new, &upper).map_err(|error| Error::io("open", error))?;
            }
            remove_tree(&work)?;
            make_directory(&work, 0o700)
        })
    }

    pub(crate) fn sweep(&self, which: Leftovers) -> Result<u64> {
        let directory = self.layout.snapshots();
        recovery::sweep(&self.catalog, &directory, which, Layout::parse, |id| {
            recovery::remove_all(&directory, id)
        })
    }

    /// Makes an active snapshot or a view.
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
            check_depth(draft.chain.len())?;
            self.make_directories(draft, kind, options.size_limit)
        };
        let unmake = |id| recovery::remove_all(&self.layout.snapshots(), id);
        self.catalog.create(&new, make, unmake).map(drop)
    }

    fn make_directories(
        &self,
        draft: &Draft,
        kind: SnapshotKind,
        limit: Option<Bytes>,
    ) -> Result<()> {
        let home = self.layout.snapshot(draft.id);
        recovery::make_home(draft, &home)?;
        if kind == SnapshotKind::View {
            return Ok(());
        }
        // The work directory as well: a copy-up is made there and moved.
        limit.map_or(Ok(()), |_| quota::begin(&home, draft.id))?;
        self.make_upper(&self.layout.upper(draft.id), draft.chain.first())?;
        make_directory(&self.layout.work(draft.id), 0o700)?;
        limit.map_or(Ok(()), |limit| quota::limit(&home, limit))
    }

    fn make_upper(&self, upper: &Path, parent: Option<&SnapshotId>) -> Result<()> {
        make_directory(upper, 0o755)?;
        // The merged root shows the upper directory's attributes.
        let parent = parent.map(|id| self.layout.upper(*id));
        let set = upper::set_root(upper, parent.as_deref());
        set.map_err(|source| {
            OverlayError::CopyAttributes {
                path: upper.to_owned(),
                source,
            }
            .into()
        })
    }

    /// The plan that shows `key`.
    pub(crate) fn mounts(&self, key: &SnapshotName) -> Result<MountPlan> {
        let row = self.catalog.get(key)?;
        let lowers = self.catalog.parents(&row)?;
        let upper = match row.kind {
            SnapshotKind::Active => Some(row.id),
            SnapshotKind::View => None,
            SnapshotKind::Committed => {
                return Err(Error::new(ErrorKind::InvalidState, "mounts")
                    .because("a committed snapshot is not mounted")
                    .hint("prepare a child of it, or a view"));
            }
        };
        if upper.is_some() {
            guard::refuse_half_applied(&self.layout.snapshot(row.id), "mounts")?;
            self.clear_volatile_mark(row.id)?;
        }
        let mut plan = self.plan(key, &lowers, upper)?;
        plan.hold = Some(self.layout.snapshot(row.id));
        Ok(plan)
    }

    /// A plan of `lowers`, top first, under `upper`, or read-only without one.
    fn plan(
        &self,
        snapshot: &SnapshotName,
        lowers: &[SnapshotId],
        upper: Option<SnapshotId>,
    ) -> Result<MountPlan> {
        let text = |path: &Path| -> Result<String> {
            path.to_str().map(str::to_owned).ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "mounts").because("the root is not UTF-8")
            })
        };
        let mut options = Vec::with_capacity(lowers.len() + 10);
        for id in lowers {
            options.push(MountOption::pair(
                "lowerdir+",
                text(&self.layout.upper(*id))?,
            ));
        }
        let wanted = if upper.is_some() { 1 } else { 2 };
        for empty in self
            .layout
            .empty()
            .iter()
            .take(usize::saturating_sub(wanted, lowers.len()))
        {
            options.push(MountOption::pair("lowerdir+", text(empty)?));
        }
        if let Some(id) = upper {
            options.push(MountOption::pair("upperdir", text(&self.layout.upper(id))?));
            options.push(MountOption::pair("workdir", text(&self.layout.work(id))?));
        }
        match self.namespace {
            // userxattr excludes redirect_dir and metacopy (overlayfs.rst, "User xattr").
            Namespace::User => {
                options.push(MountOption::flag("userxattr"));
                let kept = self
                    .config
                    .pairs()
                    .into_iter()
                    .filter(|(key, _)| upper.is_some() && (*key == "index" || *key == "xino"));
                options.extend(kept.map(|(key, value)| MountOption::pair(key, value)));
            }
            Namespace::Trusted => {
                // Without an upper directory there is nothing to index.
                let kept = self
                    .config
                    .pairs()
                    .into_iter()
                    .filter(|(key, _)| upper.is_some() || *key != "index");
                options.extend(kept.map(|(key, value)| MountOption::pair(key, value)));
            }
        }
        if upper.is_some() && self.durability == Durability::Volatile {
            options.push(MountOption::flag("volatile"));
        }
        let step = MountStep {
            fs_type: "overlay".into(),
            source: "overlay".into(),
            options,
            flags: MountFlags {
                read_only: upper.is_none(),
            },
        };
        Ok(MountPlan {
            snapshot: snapshot.clone(),
            steps: vec![step],
            hold: None,
        })
    }

    /// What the layers of `chain` (top first) show together, attached nowhere.
    pub(crate) fn merged(&self, name: &SnapshotName, chain: &[SnapshotId]) -> Result<Detached> {
        self.mounter.detached(&self.plan(name, chain, None)?)
    }

    fn clear_volatile_mark(&self, id: SnapshotId) -> Result<()> {
        let mark = self.layout.volatile_mark(id);
        if rustix::fs::access(&mark, rustix::fs::Access::EXISTS).is_err() {
            return Ok(());
        }
        fs_err::remove_dir_all(&mark)
            .map_err(|source| OverlayError::Clear { path: mark, source }.into())
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
        self.refuse_groups(row.id, "commit")?;
        if let Some(parent) = &options.late_parent {
            self.adopt_parent(&row, parent)?;
        }
        if self.durability == Durability::Durable {
            flush(&self.layout.upper(row.id))?;
        }
        self.catalog.commit(&CommitRow {
            key,
            name,
            labels: &options.labels,
            late_parent: options.late_parent.as_ref(),
        })?;
        // The work directory served the mounts of the active snapshot; no mount will use it again.
        remove_tree(&self.layout.work(row.id))
    }

    /// Refuses what only the index of a mounted snapshot keeps together.
    pub(crate) fn refuse_groups(&self, id: SnapshotId, operation: &'static str) -> Result<()> {
        match self.config.index {
            Feature::Off => Ok(()),
            Feature::On => indexed::refuse_groups(&self.layout.work(id), operation),
        }
    }

    /// Directories that an apply made without an entry get the late parent's attributes, as they
    /// would have, had the parent been there.
    fn adopt_parent(&self, row: &Row, parent: &SnapshotName) -> Result<()> {
        if row.parent.is_some() {
            return Err(Error::new(ErrorKind::InvalidState, "commit")
                .because("the snapshot has a parent already"));
        }
        let parent_row = self.catalog.get(parent)?;
        if parent_row.kind != SnapshotKind::Committed {
            return Err(Error::new(ErrorKind::InvalidState, "commit")
                .because("the parent is not committed")
                .with("parent", parent));
        }
        let chain = self.catalog.chain(parent)?;
        check_depth(chain.len())?;
        let below = self.merged(parent, &chain)?;
        let upper = open_directory(&self.layout.upper(row.id))?;
        upper::adopt(
            upper.as_fd(),
            below.root(),
            &self.namespace,
            &self.layout.snapshot(row.id),
        )
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

fn check_depth(layers: usize) -> Result<()> {
    if layers <= MAX_LAYERS {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidInput, "prepare")
        .because(format!("overlay takes at most {MAX_LAYERS} lower layers"))
        .with("layers", layers)
        .hint("squash some layers into one"))
}

/// The data's own sync: one syncfs(2) of the file system that holds the layer.
fn flush(path: &Path) -> Result<()> {
    let directory = open_directory(path)?;
    rustix::fs::syncfs(&directory).map_err(|errno| {
        OverlayError::Flush {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}

pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| {
        OverlayError::Open {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(mode)).map_err(|errno| {
        OverlayError::MakeDirectory {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(OverlayError::Clear {
            path: path.to_owned(),
            source: error,
        }
        .into()),
        _ => Ok(()),
    }
}
