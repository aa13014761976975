//! Host facts: whether subvolumes can be made here, and what their files may be given.

use crate::config::{Config, LEAST_SIZE, Quota};
use crate::diff::changed_names;
use crate::layout::Layout;
use crate::mechanism::{Moment, open_directory, subvolume};
use std::os::fd::AsFd as _;
use std::path::Path;
use strata_driver::backing::{BackingSpec, LoopFileSystem};
use strata_driver::process::Tool;
use strata_driver::{Bytes, Capabilities, Capability, Error, Host, Result, Unavailable, probe};

/// Where the subvolumes of a root lie.
pub(crate) fn layout(root: &Path) -> Result<Layout> {
    let backing = Host::file_system_of(root).map_err(|error| Error::io("open", error))?;
    Ok(if backing == "btrfs" {
        Layout::direct(root)
    } else {
        Layout::in_file(root)
    })
}

/// What can be said without making anything.
pub(crate) fn requirements(host: &Host, root: &Path) -> Result<(), Unavailable> {
    if !host.root {
        return Err(Unavailable::new(
            "a bind mount takes root",
            "run as root, or in a user namespace (`strata verify --rootless` shows one)",
        ));
    }
    probe::root_path(root)?;
    if is_on_btrfs(root) {
        return Ok(());
    }
    if host.user_namespace {
        return Err(Unavailable::new(
            "the root is not on btrfs, and a file system in a file takes root of the host",
            "choose a root on btrfs, mounted with `user_subvol_rm_allowed` for quick removals",
        ));
    }
    let hint = "install the package `btrfs-progs`, or choose a root on btrfs";
    match Tool::find("mkfs.btrfs", hint) {
        Ok(_) => Ok(()),
        Err(error) => Err(Unavailable::new(error.chain(), hint)),
    }
}

/// Makes a subvolume and a snapshot where those of `root` would lie, and looks at what they are.
pub(crate) fn availability(host: &Host, root: &Path) -> Result<Capabilities, Unavailable> {
    requirements(host, root)?;
    if is_on_btrfs(root) {
        return capabilities(root, &Config::default());
    }
    let scratch = probe::Scratch::beside(root)?;
    let mount_point = scratch.path().join("pool");
    let spec = BackingSpec::new(scratch.path().join("image"), "btrfs", &mount_point)
        .with_size(LEAST_SIZE)
        .with_mkfs_arguments(["-K"]);
    let unavailable = |error: Error| {
        Unavailable::new(
            format!("no btrfs in a file: {}", error.chain()),
            error
                .hint_text()
                .unwrap_or("choose a root on btrfs, or another driver"),
        )
    };
    let backing = LoopFileSystem::take(&spec).map_err(unavailable)?;
    let capabilities = capabilities(backing.mount_point(), &Config::default());
    backing.release().map_err(unavailable)?;
    capabilities
}

fn is_on_btrfs(root: &Path) -> bool {
    Host::file_system_of(root).is_ok_and(|kind| kind == "btrfs")
}

/// What subvolumes in `pool`, which is on btrfs, can do.
pub(crate) fn capabilities(pool: &Path, config: &Config) -> Result<Capabilities, Unavailable> {
    let scratch = probe::Scratch::beside(pool)?;
    let mut capabilities = Capabilities::default();
    probe::directory(&scratch, &mut capabilities);
    let sends = try_snapshots(scratch.path()).map_err(|error| {
        Unavailable::new(
            format!("no snapshots of subvolumes: {}", error.chain()),
            "choose a root on a btrfs that this user may write, or another driver",
        )
    })?;
    let native = if sends {
        Ok(())
    } else {
        Err("only root of the host may ask the kernel where two snapshots differ".into())
    };
    capabilities.note(Capability::NativeDiff, native);
    let shared = "a snapshot shares its parent's tree from the start";
    capabilities.note(Capability::LateParent, Err(shared.into()));
    let quota = match config.quota {
        Quota::Off => Err("quotas are off; `quota=simple` or `quota=full` turns them on".into()),
        Quota::Simple | Quota::Full => Ok(()),
    };
    capabilities.note(Capability::Quota, quota);
    capabilities.note(
        Capability::IdmappedMount,
        Err("its plans map no owners".into()),
    );
    Ok(capabilities)
}

/// Makes two snapshots of a subvolume; whether the kernel tells how they differ.
fn try_snapshots(scratch: &Path) -> Result<bool> {
    let layout = Layout::direct(scratch);
    let tree = scratch.join("tree");
    fs_err::create_dir(layout.moments()).map_err(|error| Error::io("probe", error))?;
    subvolume::create_empty(&tree)?;
    let told = (|| {
        let (one, two) = (Moment::of(&layout, &tree)?, Moment::of(&layout, &tree)?);
        let (lower, upper) = (open_directory(&one.path())?, open_directory(&two.path())?);
        changed_names(lower.as_fd(), upper.as_fd())
    })();
    subvolume::remove(&tree)?;
    Ok(told?.is_some())
}

/// Room that a root takes of a file system of type `backing`.
pub(crate) fn room_of_root(backing: &str) -> Bytes {
    if backing == "btrfs" {
        Bytes(0)
    } else {
        Bytes(LEAST_SIZE.0 + (32 << 20))
    }
}
