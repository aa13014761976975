//! What must be the same before and after a case: mounts, loop devices, processes, descriptors
//! and files that are ours.

use crate::fixture::mounts_below;
use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

/// Everything of ours that outlives a case if somebody forgets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Belongings {
    place: PathBuf,
    items: BTreeSet<String>,
}

impl Belongings {
    /// Takes stock of what is at or below `place`, and of this process's children.
    pub fn take(place: &Path) -> Result<Self> {
        let mut items = BTreeSet::new();
        for target in mounts_below(place)? {
            items.insert(format!("mount {}", target.display()));
        }
        for (device, file) in strata_sys::loopdev::attached()? {
            if file.starts_with(place) {
                items.insert(format!(
                    "loop device {} of {}",
                    device.display(),
                    file.display()
                ));
            }
        }
        for child in children()? {
            items.insert(format!("process {child}"));
        }
        for target in descriptors()? {
            if target.starts_with(place) {
                items.insert(format!("open descriptor of {}", target.display()));
            }
        }
        for entry in fs_err::read_dir(place)? {
            items.insert(format!("file {}", entry?.path().display()));
        }
        for path in marked_temporary_files()? {
            items.insert(format!("file {}", path.display()));
        }
        Ok(Self {
            place: place.to_owned(),
            items,
        })
    }

    /// An error that names what is there now and was not.
    pub fn expect_unchanged(&self) -> Result<()> {
        let now = Self::take(&self.place)?;
        let leaked: Vec<_> = now
            .items
            .difference(&self.items)
            .map(String::as_str)
            .collect();
        if leaked.is_empty() {
            return Ok(());
        }
        bail!("left behind: {}", leaked.join(", "))
    }
}

/// Children of this process, with their names; those that only wait to be reaped count too.
fn children() -> Result<Vec<String>> {
    let own = std::process::id().to_string();
    let mut children = Vec::new();
    for entry in fs_err::read_dir("/proc")? {
        let entry = entry?;
        // A process that ends meanwhile is no child that stays.
        let Ok(stat) = fs_err::read_to_string(entry.path().join("stat")) else {
            continue;
        };
        let Some((name, fields)) = stat.rsplit_once(')') else {
            continue;
        };
        if fields.split_whitespace().nth(1) == Some(&own) {
            children.push(format!("{name})"));
        }
    }
    Ok(children)
}

fn descriptors() -> Result<Vec<PathBuf>> {
    let listing = std::fs::File::open("/proc/self/fd")?;
    let own = listing.as_raw_fd().to_string();
    let mut targets = Vec::new();
    for entry in fs_err::read_dir("/proc/self/fd")? {
        let entry = entry?;
        if entry.file_name().to_string_lossy() == own {
            continue;
        }
        // Closed between listing and reading is closed.
        if let Ok(target) = fs_err::read_link(entry.path()) {
            targets.push(target);
        }
    }
    Ok(targets)
}

/// Files in the temporary directory that carry our name and this process's id.
fn marked_temporary_files() -> Result<Vec<PathBuf>> {
    let pid = format!("-{}", std::process::id());
    let mut found = Vec::new();
    for entry in fs_err::read_dir(std::env::temp_dir())? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("strata") && name.contains(&pid) {
            found.push(entry.path());
        }
    }
    Ok(found)
}
