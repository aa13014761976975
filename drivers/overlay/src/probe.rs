//! Host facts: whether overlay mounts here, and what its files may be given.

use crate::config::Config;
use crate::layout::Layout;
use crate::mechanism::{MAX_LAYERS, Namespace};
use rustix::fs::{AtFlags, CWD, FileType};
use std::path::Path;
use strata_driver::mount::Mounter;
use strata_driver::{
    Capabilities, Capability, Host, MountFlags, MountOption, MountPlan, MountStep, Quirk,
    SnapshotName, Unavailable, probe, quota,
};

/// Where overlay's attributes go on this host.
pub(crate) fn namespace(host: &Host) -> Namespace {
    if host.user_namespace {
        Namespace::User
    } else {
        Namespace::Trusted
    }
}

/// Mounts an overlay beside `root` and looks at what it does.
pub(crate) fn capabilities(
    host: &Host,
    root: &Path,
    config: Config,
) -> Result<Capabilities, Unavailable> {
    if !host.has_file_system("overlay") {
        return Err(Unavailable::new(
            "the kernel has no overlay file system",
            "`modprobe overlay`, or choose another driver",
        ));
    }
    if !host.root {
        return Err(Unavailable::new(
            "mounting overlay takes root",
            "run as root, or in a user namespace (`strata verify --rootless` shows one)",
        ));
    }
    probe::root_path(root)?;
    let scratch = probe::Scratch::beside(root)?;
    let mut capabilities = Capabilities::default();
    probe::directory(&scratch, &mut capabilities);
    try_mount(scratch.path(), namespace(host)).map_err(|reason| {
        let backing = Host::file_system_of(root).unwrap_or_else(|_| "?".into());
        Unavailable::new(
            format!("overlay does not mount on {backing}: {reason}"),
            "choose a root on ext4, xfs or btrfs, or another driver",
        )
    })?;

    let native = config
        .hides_changes()
        .map_or(Ok(()), |reason| Err(reason.to_owned()));
    capabilities.note(Capability::NativeDiff, native);
    capabilities.note(Capability::LateParent, Ok(()));
    capabilities.note(Capability::Quota, quota::probe(&scratch));
    capabilities.note(
        Capability::IdmappedMount,
        Err("its plans map no owners".into()),
    );
    capabilities.limits.max_depth = Some(MAX_LAYERS as u32);

    capabilities.quirks.extend([
        Quirk::HiddenNamesCounted,
        Quirk::HeldMapKeepsOldData,
        Quirk::LateWriterPossible,
        Quirk::DeviceZeroRefused,
    ]);
    if namespace(host) == Namespace::Trusted {
        // In a user namespace the handle of what a file was copied from is not followed, so that
        // both numbers are the copy's.
        capabilities.quirks.insert(Quirk::EntryInodeDiffers);
    }
    if !capabilities.has(Capability::ReflinkCopy) {
        // fs/overlayfs/copy_up.c looks for holes in steps of OVL_COPY_UP_CHUNK_SIZE.
        capabilities.quirks.insert(Quirk::SmallHolesFilled);
    }
    if Host::file_system_of(root).is_ok_and(|backing| backing == "ext4") {
        // fs/ext4/namei.c: a rename that leaves a whiteout puts the old entry back when it fails,
        // also where it had not been replaced yet.
        capabilities.quirks.insert(Quirk::RefusedRenameTouches);
    }
    if config.redirect_dir == crate::config::Feature::Off {
        capabilities.quirks.insert(Quirk::DirectoryRenameExdev);
    }
    if config.index == crate::config::Feature::Off {
        capabilities.quirks.insert(Quirk::HardLinkSplits);
    }
    Ok(capabilities)
}

/// Mounts, deletes a lower file and looks for its whiteout.
fn try_mount(scratch: &Path, namespace: Namespace) -> Result<(), String> {
    let layout = Layout::new(scratch);
    let [lower, _] = layout.empty();
    let (upper, work) = (scratch.join("upper"), scratch.join("work"));
    for directory in [&lower, &upper, &work] {
        fs_err::create_dir_all(directory).map_err(|error| error.to_string())?;
    }
    fs_err::write(lower.join("file"), b"x").map_err(|error| error.to_string())?;
    let pair = |key: &str, path: &Path| MountOption::pair(key, path.to_string_lossy());
    let mut options = vec![
        pair("lowerdir+", &lower),
        pair("upperdir", &upper),
        pair("workdir", &work),
    ];
    if namespace == Namespace::User {
        options.push(MountOption::flag("userxattr"));
    }
    let name = SnapshotName::new("probe").map_err(|error| error.to_string())?;
    let plan = MountPlan {
        snapshot: name,
        steps: vec![MountStep {
            fs_type: "overlay".into(),
            source: "overlay".into(),
            options,
            flags: MountFlags::default(),
        }],
        hold: None,
    };
    let mounted = Mounter::new(std::sync::Arc::default())
        .detached(&plan)
        .map_err(|error| error.chain())?;
    rustix::fs::unlinkat(mounted.root(), "file", AtFlags::empty())
        .map_err(|errno| format!("deleting a lower file: {errno}"))?;
    drop(mounted);
    let stat = rustix::fs::statat(CWD, upper.join("file"), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| format!("no whiteout appears: {errno}"))?;
    let device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    if device && stat.st_rdev == 0 {
        Ok(())
    } else {
        Err("its whiteouts are unknown".into())
    }
}
