//! Host facts: which engine joins branches here, and what files may be given.

use crate::config::{Coherence, Config, Engine, Switch};
use crate::mechanism::{Branches, Joined, LONGEST_NAME, MAX_LAYERS};
use rustix::fs::AtFlags;
use std::path::Path;
use strata_driver::mount::Mounter;
use strata_driver::{
    Capabilities, Capability, ErrorKind, Host, MountPlan, Quirk, SnapshotName, Unavailable, probe,
    quota,
};

/// Mounts a union beside `root` and looks at what it does. Also gives who joined it.
pub(crate) fn probe(
    host: &Host,
    root: &Path,
    config: Config,
) -> Result<(Capabilities, Joined), Unavailable> {
    let engine = engine(host, config)?;
    if !host.root {
        return Err(Unavailable::new(
            "mounting a union takes root",
            "run as root, or in a user namespace (`strata verify --rootless` shows one)",
        ));
    }
    probe::root_path(root)?;
    let scratch = probe::Scratch::beside(root)?;
    let mut capabilities = Capabilities::default();
    probe::directory(&scratch, &mut capabilities);
    try_mount(scratch.path(), engine, config)?;

    capabilities.note(Capability::NativeDiff, Ok(()));
    capabilities.note(Capability::LateParent, Ok(()));
    capabilities.note(Capability::Quota, quota::probe(&scratch));
    capabilities.note(
        Capability::IdmappedMount,
        Err("its plans map no owners".into()),
    );
    capabilities.limits.max_depth = Some(MAX_LAYERS as u32);
    capabilities.limits.max_name = Some(LONGEST_NAME as u32);
    capabilities.quirks.extend([
        Quirk::MergedDirectoryRenameExdev,
        Quirk::HiddenNamesCounted,
        Quirk::LateWriterPossible,
        Quirk::ReservedNames,
    ]);
    if engine == Joined::ByKernel || config.coherence == Coherence::Fast {
        capabilities.quirks.insert(Quirk::HeldMapKeepsOldData);
    }
    if config.plink == Switch::Off {
        capabilities.quirks.insert(Quirk::HardLinkSplits);
    }
    Ok((capabilities, engine))
}

fn engine(host: &Host, config: Config) -> Result<Joined, Unavailable> {
    let in_kernel = host.has_file_system("aufs");
    match config.engine {
        Engine::Auto | Engine::Kernel if in_kernel => Ok(Joined::ByKernel),
        Engine::Kernel => Err(Unavailable::new(
            "the kernel has no aufs",
            "no mainline kernel has: open it with `engine=fuse`",
        )),
        Engine::Auto | Engine::Fuse if host.has_file_system("fuse") => Ok(Joined::ByFuse),
        Engine::Auto | Engine::Fuse => Err(Unavailable::new(
            "the kernel has no FUSE",
            "`modprobe fuse`, or choose another driver",
        )),
    }
}

/// Mounts, deletes a lower file and looks for its whiteout.
fn try_mount(scratch: &Path, engine: Joined, config: Config) -> Result<(), Unavailable> {
    let unfit = |reason: String| {
        let backing = Host::file_system_of(scratch).unwrap_or_else(|_| "?".into());
        Unavailable::new(
            format!("no union mounts on {backing}: {reason}"),
            "choose a root on ext4, xfs or btrfs, or another driver",
        )
    };
    let (lower, upper) = (scratch.join("lower"), scratch.join("upper"));
    for directory in [&lower, &upper] {
        fs_err::create_dir_all(directory).map_err(|error| unfit(error.to_string()))?;
    }
    fs_err::write(lower.join("file"), b"x").map_err(|error| unfit(error.to_string()))?;
    let xino = scratch.join("xino");
    let branches = Branches {
        lowers: vec![lower],
        upper: Some((upper.clone(), xino)),
        looked_at: None,
    };
    let steps = engine.steps(&branches, config);
    let plan = MountPlan {
        snapshot: SnapshotName::new("probe").map_err(|error| unfit(error.to_string()))?,
        steps: steps.map_err(|error| unfit(error.chain()))?,
        hold: None,
    };
    let mounted = Mounter::new(std::sync::Arc::default())
        .detached(&plan)
        .map_err(|error| match error.hint_text() {
            Some(hint) if error.kind() == ErrorKind::Unavailable => {
                Unavailable::new(error.chain(), hint)
            }
            _ => unfit(error.chain()),
        })?;
    rustix::fs::unlinkat(mounted.root(), "file", AtFlags::empty())
        .map_err(|errno| unfit(format!("deleting a lower file: {errno}")))?;
    drop(mounted);
    let facts = fs_err::symlink_metadata(upper.join(".wh.file"))
        .map_err(|error| unfit(format!("no whiteout appears: {error}")))?;
    if facts.is_file() && facts.len() == 0 {
        Ok(())
    } else {
        Err(unfit("its whiteouts are unknown".into()))
    }
}
