//! Makes a scenario's branches as they were made for the recordings: by system calls, in
//! directories, in aufs's format. Whoever runs the scenarios says how such branches are joined.

use super::{ATIME, Laid, MTIME, NANOSECONDS, Ready};
use crate::context::name;
use crate::fixture::MountPoint;
use crate::live::Live;
use crate::recorded::branches::Branches;
use crate::recorded::data::{Entry, EntryKind, Scenario};
use crate::recorded::perform::set_times;
use crate::runner::remove_place;
use anyhow::{Context as _, Result};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid, XattrFlags};
use std::path::{Path, PathBuf};
use strata_driver::{MountPlan, MountStep};

/// Branches that were made by hand, and what the recording was mounted with beside the default
/// (`dirperm1`, and all else as aufs has it).
#[derive(Debug)]
pub struct HandMade<'a> {
    /// Paths and permissions in aufs's words, top first.
    pub branches: Vec<(PathBuf, &'a str)>,
    /// Further options in aufs's words.
    pub options: Option<&'a str>,
    /// The file for inode numbers; none where aufs chooses.
    pub xino: Option<PathBuf>,
    /// The mount is read-only.
    pub read_only: bool,
}

/// How such branches are mounted.
pub type ByHand = fn(&HandMade<'_>) -> MountStep;

/// Where branches are made.
pub(super) struct Rig {
    join: ByHand,
    place: PathBuf,
    next: usize,
}

impl Rig {
    pub(super) fn open(join: ByHand, place: &Path) -> Result<Self> {
        fs_err::create_dir(place)?;
        Ok(Self {
            join,
            place: place.to_owned(),
            next: 0,
        })
    }
}

impl Ready for Rig {
    fn lay<'a>(&'a mut self, scenario: &'a Scenario) -> Result<Box<dyn Laid + 'a>> {
        self.next += 1;
        let place = self.place.join(self.next.to_string());
        let made = Made::new(self.join, place, scenario).context("make the branches")?;
        Ok(Box::new(made))
    }

    fn close(self: Box<Self>) -> Result<()> {
        remove_place(&self.place)
    }
}

/// The branches of one scenario. They stay until the rig is closed.
struct Made<'a> {
    join: ByHand,
    place: PathBuf,
    scenario: &'a Scenario,
    lowers: Vec<PathBuf>,
    next: usize,
    _upper: Option<MountPoint>,
}

impl<'a> Made<'a> {
    fn new(join: ByHand, place: PathBuf, scenario: &'a Scenario) -> Result<Self> {
        fs_err::create_dir(&place)?;
        let mut lowers = Vec::new();
        for (number, entries) in scenario.layers.iter().enumerate() {
            let lower = place.join(format!("L{}", number + 1));
            fs_err::create_dir(&lower)?;
            fill(&lower, entries)?;
            lowers.push(lower);
        }
        let upper = place.join("U");
        fs_err::create_dir(&upper)?;
        let size = scenario.mount.upper_tmpfs_bytes;
        let memory = size.map(|size| MountPoint::of_memory(&upper, size));
        let memory = memory.transpose()?;
        rustix::fs::chmod(&upper, Mode::from_raw_mode(0o755))?;
        if !scenario.upper_init.is_empty() {
            fill(&upper, &scenario.upper_init)?;
        }
        Ok(Self {
            join,
            place,
            scenario,
            lowers,
            next: 0,
            _upper: memory,
        })
    }

    fn upper(&self) -> PathBuf {
        self.place.join("U")
    }
}

impl Laid for Made<'_> {
    fn branches(&self) -> Result<Branches> {
        Ok(Branches::made(self.upper(), self.lowers.clone()))
    }

    fn mount(&mut self) -> Result<Live> {
        let mount = &self.scenario.mount;
        let upper = mount.aufs_upper_perm.as_deref().unwrap_or("rw");
        let mut branches = vec![(self.upper(), upper)];
        for (number, lower) in self.lowers.iter().enumerate() {
            let given = mount.aufs_lower_perm.as_ref();
            let given = given.and_then(|given| given.get(number));
            branches.push((lower.clone(), given.map_or("ro+wh", String::as_str)));
        }
        let own_xino = mount.aufs_xino.is_none();
        let step = (self.join)(&HandMade {
            branches,
            options: mount.aufs_opts.as_deref(),
            xino: own_xino.then(|| self.place.join("xino")),
            read_only: mount.flags.is_some(),
        });
        let plan = MountPlan {
            snapshot: name("by-hand"),
            steps: vec![step],
            hold: None,
        };
        self.next += 1;
        Live::new(&plan, self.place.join(format!("live-{}", self.next)))
    }
}

/// Makes the entries. Attributes come after all of them, so that a default ACL is nobody's
/// heritage; then times, deepest first.
fn fill(branch: &Path, entries: &[Entry]) -> Result<()> {
    let at = |entry: &Entry| place_of(branch, entry);
    for entry in entries {
        make(branch, entry).with_context(|| format!("make `{}`", entry.path))?;
    }
    for entry in entries {
        for (key, value) in entry.attributes()? {
            rustix::fs::lsetxattr(at(entry), key, &value, XattrFlags::empty())
                .with_context(|| format!("set `{key}` of `{}`", entry.path))?;
        }
    }
    let mut paths: Vec<_> = entries.iter().map(at).collect();
    paths.push(branch.to_owned());
    paths.sort_unstable_by(|one, two| two.cmp(one));
    for path in paths {
        set_times(&path, ATIME * NANOSECONDS, MTIME * NANOSECONDS)?;
    }
    Ok(())
}

/// Where an entry stands; marks have names of their own.
fn place_of(branch: &Path, entry: &Entry) -> PathBuf {
    let path = branch.join(&entry.path);
    match entry.kind {
        EntryKind::Whiteout => {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.with_file_name(format!(".wh.{name}"))
        }
        EntryKind::Opaque => path.join(".wh..wh..opq"),
        _ => path,
    }
}

fn make(branch: &Path, entry: &Entry) -> Result<()> {
    let at = place_of(branch, entry);
    let mode = Mode::from_raw_mode(match entry.kind {
        EntryKind::Whiteout | EntryKind::Opaque => 0o444,
        _ => entry.mode,
    });
    match entry.kind {
        EntryKind::Dir => fs_err::create_dir(&at)?,
        EntryKind::File | EntryKind::Whiteout | EntryKind::Opaque => {
            fs_err::write(&at, entry.content()?)?;
            entry.write_sparse(&at)?;
        }
        EntryKind::Symlink => fs_err::os::unix::fs::symlink(&entry.target, &at)?,
        EntryKind::Link => return Ok(fs_err::hard_link(branch.join(&entry.to), &at)?),
        EntryKind::Fifo => rustix::fs::mknodat(CWD, &at, FileType::Fifo, mode, 0)?,
        EntryKind::Chr => {
            let (major, minor) = entry.device()?;
            let device = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(CWD, &at, FileType::CharacterDevice, mode, device)?;
        }
    }
    if entry.uid.is_some() || entry.gid.is_some() {
        let (uid, gid) = (entry.uid.map(Uid::from_raw), entry.gid.map(Gid::from_raw));
        rustix::fs::chownat(CWD, &at, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if entry.kind != EntryKind::Symlink {
        // After the owner, a change of whom takes set-id bits away.
        rustix::fs::chmod(&at, mode)?;
    }
    Ok(())
}
