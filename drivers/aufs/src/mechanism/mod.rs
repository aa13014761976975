//! What makes aufs aufs: branches, and the plans that join them.

mod marks;
mod plan;

pub(crate) use marks::{AufsMarks, LONGEST_NAME, OPAQUE, RESERVED, WHITEOUT};
pub(crate) use plan::{Branches, Joined, MAX_LAYERS};

use crate::config::Config;
use crate::error::AufsError;
use crate::layout::Layout;
use crate::union::{self, UnionOptions};
use rustix::fs::{CWD, Mode, OFlags};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use strata_driver::catalog::{Catalog, CommitRow, Draft, Leftovers, NewSnapshot, Row, SnapshotId};
use strata_driver::mount::{Detached, Mounter};
use strata_driver::{
    Bytes, CommitOptions, Counters, Durability, Error, ErrorKind, MountPlan, PrepareOptions,
    Result, SnapshotKind, SnapshotName, guard, quota, recovery, upper,
};

/// One root of the aufs driver, used from blocking threads.
#[derive(Debug)]
pub(crate) struct Mechanism {
    pub(crate) catalog: Catalog,
    pub(crate) layout: Layout,
    pub(crate) config: Config,
    pub(crate) engine: Joined,
    pub(crate) durability: Durability,
    /// Snapshots may have size limits here.
    pub(crate) limits: bool,
    pub(crate) mounter: Mounter,
    pub(crate) counters: Arc<Counters>,
}

impl Mechanism {
    /// Makes the fixed directories and deletes what a crash left.
    pub(crate) fn recover(&self) -> Result<()> {
        for directory in [self.layout.empty(), self.layout.snapshots()] {
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
        let (upper, numbers) = (self.layout.upper(row.id), self.layout.numbers(row.id));
        let whole = || match row.kind {
            SnapshotKind::Active => upper.exists() && numbers.exists(),
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
            remove_tree(&numbers)?;
            make_directory(&numbers, 0o700)
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
        limit.map_or(Ok(()), |_| quota::begin(&home, draft.id))?;
        self.make_upper(&self.layout.upper(draft.id), draft.chain.first())?;
        make_directory(&self.layout.numbers(draft.id), 0o700)?;
        limit.map_or(Ok(()), |limit| quota::limit(&home, limit))
    }

    fn make_upper(&self, upper: &Path, parent: Option<&SnapshotId>) -> Result<()> {
        make_directory(upper, 0o755)?;
        reserve(upper)?;
        // The merged root shows the upper directory's attributes.
        let parent = parent.map(|id| self.layout.upper(*id));
        let set = upper::set_root(upper, parent.as_deref());
        set.map_err(|source| {
            AufsError::CopyAttributes {
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
        let branches = self.branches(lowers, upper);
        Ok(MountPlan {
            snapshot: snapshot.clone(),
            steps: self.engine.steps(&branches, self.config)?,
            hold: None,
        })
    }

    fn branches(&self, lowers: &[SnapshotId], upper: Option<SnapshotId>) -> Branches {
        let top = lowers.first().filter(|_| upper.is_none());
        let looked_at = top.map(|id| self.layout.xino(*id));
        let mut lowers: Vec<_> = lowers.iter().map(|id| self.layout.upper(*id)).collect();
        if lowers.is_empty() && upper.is_none() {
            lowers.push(self.layout.empty());
        }
        Branches {
            lowers,
            upper: upper.map(|id| (self.layout.upper(id), self.layout.xino(id))),
            looked_at: looked_at.filter(|xino| xino.exists()),
        }
    }

    /// What the layers of `chain` (top first) show together, attached nowhere.
    pub(crate) fn merged(&self, name: &SnapshotName, chain: &[SnapshotId]) -> Result<Detached> {
        self.mounter.detached(&self.plan(name, chain, None)?)
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
        self.settle(&row)?;
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
        // They served the mounts of the active snapshot; no mount will use them again.
        remove_tree(&self.layout.numbers(row.id))
    }

    /// Makes the branch of an active snapshot stand for itself: a hard link of a lower layer that
    /// was written is there under all its names.
    pub(crate) fn settle(&self, row: &Row) -> Result<()> {
        if !self.has_pseudo_links(row.id)? {
            return Ok(());
        }
        if self.engine == Joined::ByKernel {
            return Err(Error::new(ErrorKind::InvalidState, "commit")
                .because("the kernel's pseudo-links were not flushed when it was unmounted")
                .hint(
                    "mount it, run `auplink DIR flush`, and unmount it; or open with `engine=fuse`",
                ));
        }
        let lowers = self.catalog.parents(row)?;
        let branches = self.branches(&lowers, Some(row.id));
        let step = self.engine.steps(&branches, self.config)?.swap_remove(0);
        let options = UnionOptions::parse(step.to_classic().option_text(), "strata");
        let options = options.map_err(|error| {
            Error::new(ErrorKind::Other, "settle hard links").because(error.to_string())
        })?;
        Ok(union::settle(options)?)
    }

    /// Whether the branch lacks names of hard links that its union shows: then it does not say all
    /// by itself.
    pub(crate) fn lacks_names(&self, id: SnapshotId) -> Result<bool> {
        match self.engine {
            Joined::ByFuse if self.layout.numbers(id).exists() => {
                Ok(union::lacks_names(&self.layout.xino(id))?)
            }
            Joined::ByFuse => Ok(false),
            Joined::ByKernel => self.has_pseudo_links(id),
        }
    }

    fn has_pseudo_links(&self, id: SnapshotId) -> Result<bool> {
        let links = self.layout.upper(id).join(marks::PSEUDO_LINKS);
        match fs_err::read_dir(links) {
            Ok(mut entries) => Ok(entries.next().is_some()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Error::io("read pseudo-links", error)),
        }
    }

    /// Makes the union's own names in a branch.
    pub(crate) fn reserve(&self, id: SnapshotId) -> Result<()> {
        let upper = self.layout.upper(id);
        reserve(&upper)
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
        let upper = || open_directory(&self.layout.upper(row.id));
        upper::adopt(
            upper()?.as_fd(),
            below.root(),
            &AufsMarks::of(upper()?),
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
        .because(format!("a union takes at most {MAX_LAYERS} lower layers"))
        .with("layers", layers)
        .hint("squash some layers into one"))
}

/// The data's own sync: one syncfs(2) of the file system that holds the layer.
fn flush(path: &Path) -> Result<()> {
    let directory = open_directory(path)?;
    rustix::fs::syncfs(&directory).map_err(|errno| {
        AufsError::Flush {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}

pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|errno| {
        AufsError::Open {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}

fn make_directory(path: &Path, mode: u32) -> Result<()> {
    rustix::fs::mkdir(path, Mode::from_raw_mode(mode)).map_err(|errno| {
        AufsError::MakeDirectory {
            path: path.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs_err::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(AufsError::Clear {
            path: path.to_owned(),
            source: error,
        }
        .into()),
        _ => Ok(()),
    }
}

fn reserve(upper: &Path) -> Result<()> {
    let made = AufsMarks::of(open_directory(upper)?).reserve();
    made.map_err(|errno| {
        AufsError::MakeDirectory {
            path: upper.to_owned(),
            source: errno.into(),
        }
        .into()
    })
}
