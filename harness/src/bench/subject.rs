//! What a workload works on: a driver, or the plain directory that all are compared with.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use strata_driver::mount::{Mounted, mount};
use strata_driver::{
    ApplyOptions, ChangesetSource, CommitOptions, DiffOptions, DriverFactory, Host, OpenOptions,
    PrepareOptions, SnapshotName, StorageDriver,
};
use tokio::io::AsyncReadExt as _;

/// The operations that workloads are made of, on a driver or on plain directories.
///
/// A key or name is free text; a name once removed can be used again.
pub(crate) trait Subject: std::fmt::Debug + Sync {
    /// Starts a writable tree on `parent` or on nothing.
    fn prepare(&self, key: &str, parent: Option<&str>) -> Result<()>;
    /// Starts a read-only look at the frozen tree `name`, which stays. Not timed.
    fn view(&self, key: &str, name: &str) -> Result<()>;
    /// Makes the tree visible, one at a time.
    fn mount(&self, key: &str) -> Result<Live>;
    /// Makes the tree visible at the place `number`, beside those at other places.
    fn mount_at(&self, key: &str, number: u32) -> Result<Live>;
    /// The same kind of subject with a store of its own called `name` on the same file system,
    /// opened anew. Not timed.
    fn neighbour(&self, name: &str) -> Result<Box<dyn Subject>>;
    /// Freezes it.
    fn commit(&self, key: &str, name: &str) -> Result<()>;
    /// Deletes it.
    fn remove(&self, name: &str) -> Result<()>;
    /// Gives back what removal left.
    fn reclaim(&self) -> Result<()>;
    /// Applies a tar to a writable tree that is not mounted.
    fn apply(&self, key: &str, tar: &Path) -> Result<()>;
    /// Reads the changes from `lower` to `upper` to their end; their digest, if there is one.
    fn diff(&self, lower: &str, upper: &str) -> Result<Option<String>>;
    /// A tree like `name` that a sample may change in place: the name itself where a child
    /// protects it, else a copy called `copy`. Not timed.
    fn stage(&self, name: &str, copy: &str) -> Result<String>;
    /// From here on, forks of `name` leave it in place. Not timed.
    fn share(&self, name: &str) -> Result<()>;
    /// How many trees there are whose names begin so. Not timed.
    fn count(&self, prefix: &str) -> Result<u64>;
    /// Directory entries looked at so far.
    fn entries_walked(&self) -> u64;
    /// Ends it.
    fn close(&self) -> Result<()>;
}

/// Adds a frozen layer called `name` by edits of its mounted tree. Not timed.
pub(crate) fn add_layer(
    subject: &dyn Subject,
    parent: Option<&str>,
    name: &str,
    edit: &mut dyn FnMut(&Path) -> Result<()>,
) -> Result<()> {
    let key = format!("{name}-work");
    subject.prepare(&key, parent)?;
    let live = subject.mount(&key)?;
    edit(live.path())?;
    live.unmount()?;
    subject.commit(&key, name)
}

/// A visible tree; hidden again when dropped.
#[derive(Debug)]
#[must_use = "dropping it unmounts it"]
pub(crate) enum Live {
    /// A driver's mount.
    Mounted(Mounted),
    /// A bind mount of a plain directory.
    Bind(BindMount),
}

impl Live {
    /// Where to look.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Mounted(mounted) => mounted.target(),
            Self::Bind(bind) => &bind.0,
        }
    }

    /// Unmounts.
    pub(crate) fn unmount(self) -> Result<()> {
        match self {
            Self::Mounted(mounted) => Ok(mounted.unmount()?),
            Self::Bind(bind) => bind.unmount(),
        }
    }
}

/// A bind mount; unmounts when dropped.
#[derive(Debug)]
pub(crate) struct BindMount(PathBuf);

impl BindMount {
    /// Shows `source` at `target`.
    pub(crate) fn new(source: &Path, target: &Path) -> Result<Self> {
        rustix::mount::mount_bind(source, target)
            .with_context(|| format!("{} cannot be bound", source.display()))?;
        Ok(Self(target.to_owned()))
    }

    fn unmount(mut self) -> Result<()> {
        let target = std::mem::take(&mut self.0);
        Ok(strata_sys::mount::unmount(
            &target,
            rustix::mount::UnmountFlags::empty(),
        )?)
    }
}

impl Drop for BindMount {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            let flags = rustix::mount::UnmountFlags::DETACH;
            if let Err(error) = strata_sys::mount::unmount(&self.0, flags) {
                tracing::warn!("a bind mount is left behind: {error}");
            }
        }
    }
}

/// The directory of place `number` beside `target`, made if it is missing.
fn place(target: &Path, number: u32) -> Result<PathBuf> {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    let place = target.with_file_name(name);
    fs_err::create_dir_all(&place)?;
    Ok(place)
}

/// How a driver is opened.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    /// What opens it.
    pub factory: Arc<dyn DriverFactory>,
    /// What it is opened with.
    pub options: OpenOptions,
    /// The host.
    pub host: Host,
}

/// A driver as a subject. Calls block on `runtime`, from outside it.
#[derive(Debug)]
pub(crate) struct DriverSubject {
    driver: Arc<dyn StorageDriver>,
    opening: Opening,
    runtime: tokio::runtime::Handle,
    target: PathBuf,
}

impl DriverSubject {
    /// Opens a driver that mounts on the existing directory `target`.
    pub(crate) fn open(
        opening: Opening,
        runtime: tokio::runtime::Handle,
        target: PathBuf,
    ) -> Result<Self> {
        let driver = opening
            .factory
            .open(&opening.options, &opening.host)
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(Self {
            driver,
            opening,
            runtime,
            target,
        })
    }

    fn mount_on(&self, key: &str, target: &Path) -> Result<Live> {
        let plan = self.wait(self.driver.mounts(&name(key)?))?;
        let mounted = mount(&plan, target).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(Live::Mounted(mounted))
    }

    /// The driver itself.
    pub(crate) fn driver(&self) -> &Arc<dyn StorageDriver> {
        &self.driver
    }

    /// Waits for one call of the driver.
    pub(crate) fn wait<T>(
        &self,
        call: impl Future<Output = strata_driver::Result<T>>,
    ) -> Result<T> {
        self.runtime
            .block_on(call)
            .map_err(|error| anyhow::anyhow!("{error:?}"))
    }
}

impl DriverSubject {
    /// Waits for work that reads a stream of the driver.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(work)
    }
}

fn name(text: &str) -> Result<SnapshotName> {
    SnapshotName::new(text).map_err(|error| anyhow::anyhow!("{error:?}"))
}

fn optional(text: Option<&str>) -> Result<Option<SnapshotName>> {
    text.map(name).transpose()
}

impl Subject for DriverSubject {
    fn prepare(&self, key: &str, parent: Option<&str>) -> Result<()> {
        let (key, parent) = (name(key)?, optional(parent)?);
        self.wait(
            self.driver
                .prepare(&key, parent.as_ref(), &PrepareOptions::default()),
        )
    }

    fn view(&self, key: &str, of: &str) -> Result<()> {
        let (key, of) = (name(key)?, name(of)?);
        self.wait(
            self.driver
                .view(&key, Some(&of), &PrepareOptions::default()),
        )
    }

    fn mount(&self, key: &str) -> Result<Live> {
        self.mount_on(key, &self.target)
    }

    fn mount_at(&self, key: &str, number: u32) -> Result<Live> {
        self.mount_on(key, &place(&self.target, number)?)
    }

    fn neighbour(&self, name: &str) -> Result<Box<dyn Subject>> {
        let mut opening = self.opening.clone();
        opening.options.root = opening.options.root.with_file_name(name);
        let subject = Self::open(opening, self.runtime.clone(), self.target.clone())?;
        Ok(Box::new(subject))
    }

    fn commit(&self, key: &str, as_name: &str) -> Result<()> {
        let (key, committed) = (name(key)?, name(as_name)?);
        self.wait(
            self.driver
                .commit(&key, &committed, &CommitOptions::default()),
        )
    }

    fn remove(&self, gone: &str) -> Result<()> {
        self.wait(self.driver.remove(&name(gone)?))
    }

    fn reclaim(&self) -> Result<()> {
        self.wait(self.driver.reclaim()).map(drop)
    }

    fn apply(&self, key: &str, tar: &Path) -> Result<()> {
        let source = ChangesetSource::from_read(fs_err::File::open(tar)?.into_parts().0);
        let key = name(key)?;
        self.wait(self.driver.apply(&key, source, &ApplyOptions::default()))
            .map(drop)
    }

    fn diff(&self, lower: &str, upper: &str) -> Result<Option<String>> {
        let (lower, upper) = (name(lower)?, name(upper)?);
        self.runtime.block_on(async {
            let options = DiffOptions::default();
            let stream = self.driver.diff(Some(&lower), &upper, &options).await;
            let mut stream = stream.map_err(|error| anyhow::anyhow!("{error:?}"))?;
            let mut hash = <sha2::Sha256 as sha2::Digest>::new();
            let mut block = vec![0; 256 * 1024];
            loop {
                match stream.read(&mut block).await? {
                    0 => break,
                    length => sha2::Digest::update(&mut hash, &block[..length]),
                }
            }
            Ok(Some(hex::encode(sha2::Digest::finalize(hash))))
        })
    }

    fn stage(&self, name: &str, _copy: &str) -> Result<String> {
        Ok(name.to_owned())
    }

    fn share(&self, _name: &str) -> Result<()> {
        Ok(())
    }

    fn count(&self, prefix: &str) -> Result<u64> {
        let all = self.wait(self.driver.list())?;
        let those = all
            .iter()
            .filter(|known| known.name.as_str().starts_with(prefix));
        Ok(those.count() as u64)
    }

    fn entries_walked(&self) -> u64 {
        self.driver.counters().entries_walked()
    }

    fn close(&self) -> Result<()> {
        self.wait(self.driver.close())
    }
}

/// Plain directories, the control: the same logical operations by bare system calls.
///
/// A plain directory keeps no history: a fork takes its parent's place by a rename, or, of a
/// shared tree, is a symbolic link to it.
#[derive(Debug)]
pub(crate) struct PlainSubject {
    trees: PathBuf,
    target: PathBuf,
    walked: AtomicU64,
}

impl PlainSubject {
    /// Trees below the existing directory `trees`, shown at `target`.
    pub(crate) fn new(trees: PathBuf, target: PathBuf) -> Self {
        Self {
            trees,
            target,
            walked: AtomicU64::new(0),
        }
    }

    /// A directory, or a link to a shared one.
    fn tree(&self, name: &str) -> PathBuf {
        self.trees.join(name)
    }

    fn mark(&self, name: &str) -> PathBuf {
        self.trees.join(format!(".shared-{name}"))
    }
}

impl Subject for PlainSubject {
    fn prepare(&self, key: &str, parent: Option<&str>) -> Result<()> {
        let Some(parent) = parent else {
            return Ok(fs_err::create_dir(self.tree(key))?);
        };
        let source = self.tree(parent);
        if source.is_symlink() || self.mark(parent).exists() {
            rustix::fs::symlink(source, self.tree(key))?;
        } else {
            fs_err::rename(source, self.tree(key))?;
        }
        Ok(())
    }

    fn view(&self, key: &str, name: &str) -> Result<()> {
        Ok(rustix::fs::symlink(self.tree(name), self.tree(key))?)
    }

    fn mount(&self, key: &str) -> Result<Live> {
        Ok(Live::Bind(BindMount::new(&self.tree(key), &self.target)?))
    }

    fn mount_at(&self, key: &str, number: u32) -> Result<Live> {
        let place = place(&self.target, number)?;
        Ok(Live::Bind(BindMount::new(&self.tree(key), &place)?))
    }

    fn neighbour(&self, name: &str) -> Result<Box<dyn Subject>> {
        let trees = self.trees.with_file_name(name);
        fs_err::create_dir_all(&trees)?;
        Ok(Box::new(Self::new(trees, self.target.clone())))
    }

    fn commit(&self, key: &str, name: &str) -> Result<()> {
        Ok(fs_err::rename(self.tree(key), self.tree(name))?)
    }

    fn remove(&self, name: &str) -> Result<()> {
        let tree = self.tree(name);
        if tree.is_symlink() {
            fs_err::remove_file(tree)?;
        } else if tree.is_dir() {
            fs_err::remove_dir_all(tree)?;
        } // else a later layer took its place
        Ok(())
    }

    fn reclaim(&self) -> Result<()> {
        Ok(())
    }

    fn apply(&self, key: &str, tar: &Path) -> Result<()> {
        super::corpus::extract(tar, &self.tree(key))
    }

    fn diff(&self, _lower: &str, upper: &str) -> Result<Option<String>> {
        let mut entries = 0;
        bare_walk(&self.tree(upper), &mut entries)?;
        self.walked.fetch_add(entries, Ordering::Relaxed);
        Ok(None)
    }

    fn stage(&self, name: &str, copy: &str) -> Result<String> {
        let paths = [self.tree(name), self.tree(copy)];
        super::command::Tool::new("cp")
            .arg("-a")
            .args(paths)
            .run()?;
        Ok(copy.to_owned())
    }

    fn share(&self, name: &str) -> Result<()> {
        fs_err::File::create(self.mark(name))?;
        Ok(())
    }

    fn count(&self, prefix: &str) -> Result<u64> {
        let mut found = 0;
        for entry in fs_err::read_dir(&self.trees)? {
            found += u64::from(entry?.file_name().to_string_lossy().starts_with(prefix));
        }
        Ok(found)
    }

    fn entries_walked(&self) -> u64 {
        self.walked.load(Ordering::Relaxed)
    }

    fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Reads every directory below `root` and every entry's attributes, and nothing more.
pub(crate) fn bare_walk(root: &Path, entries: &mut u64) -> Result<()> {
    use rustix::fs::{AtFlags, Mode, OFlags, openat, statat};
    use std::os::fd::AsFd;
    fn walk(directory: std::os::fd::BorrowedFd<'_>, entries: &mut u64) -> Result<()> {
        let mut below = Vec::new();
        for entry in rustix::fs::Dir::read_from(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            *entries += 1;
            if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
                below.push(name.to_owned());
            }
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for name in below {
            let child = openat(directory, name.as_c_str(), flags, Mode::empty())?;
            walk(child.as_fd(), entries)?;
        }
        Ok(())
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(root, flags, Mode::empty())?;
    walk(root.as_fd(), entries)
}
