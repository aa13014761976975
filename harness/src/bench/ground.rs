//! Where the loop files of a run stand: a directory with room, or a device of its own.

use crate::bench::bed::require_journal;
use crate::bench::command::Tool;
use crate::bench::plan::BenchPlan;
use crate::bench::unfit::Unfit;
use crate::fixture::Fixture;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use strata_sys::mount::{FsContext, MountAttributes};

/// Bytes that a run may need: some copies of a real root file system per cell.
const ROOM: u64 = 8 << 30;

/// A marked directory that goes away, with everything on it, when it is dropped.
#[derive(Debug)]
pub(super) struct Ground {
    path: PathBuf,
    mounted: bool,
    // After the mount in it.
    _fixture: Fixture,
}

impl Ground {
    /// Takes the ground that `plan` names.
    pub(super) fn take(plan: &BenchPlan) -> Result<Self> {
        let place = match &plan.scratch {
            Some(chosen) => chosen.clone(),
            None => best_place()?,
        };
        let fixture = Fixture::directory_in(&place)
            .with_context(|| format!("no scratch directory can be made in {}", place.display()))?;
        let mut ground = Self {
            path: fixture.path().to_owned(),
            mounted: false,
            _fixture: fixture,
        };
        match &plan.device {
            Some(device) => ground.mount(device)?,
            None => require_journal_below(&ground.path)?,
        }
        Ok(ground)
    }

    fn mount(&mut self, device: &Path) -> Result<()> {
        Tool::new("mkfs.ext4")
            .args(["-q", "-F", "-O", "has_journal"])
            .arg(device)
            .run()?;
        let context = FsContext::open("ext4")?;
        context.set_string("source", device)?;
        context.create()?;
        let point = self.path.join("device");
        fs_err::create_dir(&point)?;
        context.mount(MountAttributes::empty())?.attach(&point)?;
        self.path = point;
        self.mounted = true;
        Ok(())
    }

    /// Where files are made.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.mounted {
            let flags = rustix::mount::UnmountFlags::DETACH;
            if let Err(error) = strata_sys::mount::unmount(&self.path, flags) {
                tracing::warn!("the device stays mounted: {error}");
            }
        }
    }
}

/// Refuses loop files that stand on an ext4 without a journal: what is synced in them is no safer
/// than in memory, and the report would say otherwise.
fn require_journal_below(place: &Path) -> Result<()> {
    let device = rustix::fs::stat(place)?.st_dev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let Ok(facts) = fs_err::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")) else {
        return Ok(()); // memory has no device
    };
    let name = facts.lines().find_map(|line| line.strip_prefix("DEVNAME="));
    name.map_or(Ok(()), |name| {
        require_journal(&Path::new("/dev").join(name))
    })
}

/// `$STRATA_SCRATCH`, else the first place with room: memory before a disk. What is compared is
/// the work of drivers and file systems; a slow or shared disk below would drown it, and the report
/// says where the files lay. A real disk is named with `--scratch` or `--device`.
fn best_place() -> Result<PathBuf> {
    if let Some(chosen) = std::env::var_os("STRATA_SCRATCH") {
        return Ok(chosen.into());
    }
    let places = [
        PathBuf::from("/dev/shm"),
        PathBuf::from("/var/tmp"),
        std::env::temp_dir(),
    ];
    let roomy = |place: &PathBuf| {
        rustix::fs::statvfs(place).is_ok_and(|room| room.f_bavail * room.f_frsize >= ROOM)
    };
    places.into_iter().find(roomy).ok_or_else(|| {
        Unfit::new(format!(
            "neither /var/tmp nor /dev/shm has {} GiB free; name a directory that has with --scratch or STRATA_SCRATCH",
            ROOM >> 30
        ))
        .into()
    })
}
