//! rename-dir: a directory of a lower layer is renamed, as package managers do; where the kernel
//! refuses with EXDEV, it is copied and removed, as `mv` does.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::outcome::Outcome;
use crate::bench::plan::Profile;
use crate::bench::sample::Unit;
use crate::bench::subject::{Subject, add_layer};
use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const BASE: &str = "rename-base";
/// Files of each directory below the one that is renamed.
const FILES_EACH: u32 = 50;
const SIZE: usize = 1024;

#[derive(Debug)]
pub(super) struct RenameDir {
    directories: u32,
}

impl RenameDir {
    pub(super) fn new(profile: Profile) -> Self {
        // 300 files are enough to tell one call from a copy of all; 1,000 are unionmount's.
        Self {
            directories: profile.pick(6, 20),
        }
    }
}

impl Workload for RenameDir {
    fn name(&self) -> &'static str {
        "rename-dir"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        let files = self.directories * FILES_EACH;
        BTreeMap::from([("files", files.into()), ("bytes", SIZE as u64)])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        add_layer(subject, None, BASE, &mut |root| {
            for directory in 0..self.directories {
                let directory = root.join(format!("package/d{directory:02}"));
                fs_err::create_dir_all(&directory)?;
                for file in 0..FILES_EACH {
                    fs_err::write(directory.join(format!("f{file:02}")), [5; SIZE])?;
                }
            }
            Ok(())
        })?;
        subject.share(BASE)
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let key = run.key("rename");
        let live = run.fork(BASE, &key)?;
        let [from, to] = ["package", "moved"].map(|name| live.path().join(name));
        let refused = run.time("rename", |_| match rustix::fs::rename(&from, &to) {
            Ok(()) => Ok(false),
            Err(Errno::XDEV) => Ok(true),
            Err(error) => {
                Err(error).with_context(|| format!("{} cannot be renamed", from.display()))
            }
        })?;
        if refused {
            run.time("copy-and-remove", |_| copy_and_remove(&from, &to))?;
        }
        let figure = if refused { 1.0 } else { 0.0 };
        run.recorder.figure("exdev", figure, Unit::Count);
        run.end(live, &key)
    }
}

/// Moves a directory by copying it with modes, owners and times, then removing it.
fn copy_and_remove(from: &Path, to: &Path) -> Result<()> {
    copy(from, to)?;
    Ok(fs_err::remove_dir_all(from)?)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let found = fs_err::symlink_metadata(from)?;
    if found.is_dir() {
        fs_err::create_dir(to)?;
        for entry in fs_err::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        fs_err::set_permissions(to, found.permissions())?;
    } else {
        fs_err::copy(from, to)?;
    }
    fs_err::os::unix::fs::lchown(to, Some(found.uid()), Some(found.gid()))?;
    let times = Timestamps {
        last_access: Timespec {
            tv_sec: found.atime(),
            tv_nsec: found.atime_nsec(),
        },
        last_modification: Timespec {
            tv_sec: found.mtime(),
            tv_nsec: found.mtime_nsec(),
        },
    };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("the time of {} cannot be set", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Tree;

    #[test]
    fn copy_and_remove_moves_all_with_modes_owners_and_times() {
        let scratch = tempfile::tempdir_in(crate::fixture::scratch_place()).unwrap();
        let [from, to] = ["a", "b"].map(|name| scratch.path().join(name));
        fs_err::create_dir_all(from.join("d/e")).unwrap();
        fs_err::write(from.join("d/file"), "content").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs_err::set_permissions(from.join("d/file"), mode).unwrap();
        let file = fs_err::File::options()
            .write(true)
            .open(from.join("d/file"));
        let epoch = std::time::SystemTime::UNIX_EPOCH;
        file.unwrap().file().set_modified(epoch).unwrap();
        let before = Tree::read(&from).unwrap();
        copy_and_remove(&from, &to).unwrap();
        assert!(!from.exists());
        assert_eq!(
            before.compare(&Tree::read(&to).unwrap()),
            Vec::<String>::new()
        );
    }
}
