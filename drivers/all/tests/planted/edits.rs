//! What a driver could have done wrong to a directory: edits of trees behind its back.

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, SeekFrom, Timespec, Timestamps, Uid, XattrFlags,
};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::Metadata;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use strata_driver::MountPlan;

pub(crate) const ACCESS: &str = "system.posix_acl_access";
pub(crate) const DEFAULT: &str = "system.posix_acl_default";
const CAPABILITY: &str = "security.capability";
pub(crate) const OPAQUE: &str = "trusted.overlay.opaque";
pub(crate) const ORIGIN: &str = "trusted.overlay.origin";

/// Directories of a snapshot: the one that is written, and those below, the topmost first.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) top: PathBuf,
    pub(crate) lowers: Vec<PathBuf>,
}

/// The directories that a plan names.
pub(crate) fn place(plan: &MountPlan) -> Place {
    let step = &plan.steps[0];
    let of = |key: &str| -> Vec<PathBuf> {
        let options = step.options.iter().filter(|option| option.key == key);
        options
            .filter_map(|option| Some(option.value.as_ref()?.into()))
            .collect()
    };
    match of("upperdir").pop() {
        Some(top) => Place {
            top,
            lowers: of("lowerdir+"),
        },
        None => Place {
            // It may be a link.
            top: fs_err::canonicalize(&step.source).unwrap(),
            lowers: Vec::new(),
        },
    }
}

/// Something in the top directory.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) facts: Metadata,
}

impl Found {
    pub(crate) fn is_whiteout(&self) -> bool {
        self.facts.file_type().is_char_device() && self.facts.rdev() == 0
    }

    fn name(&self) -> &[u8] {
        self.path.file_name().unwrap_or_default().as_bytes()
    }

    /// A kernel's copy-up says where it came from.
    pub(crate) fn was_copied_up(&self) -> bool {
        !self.facts.is_dir() && value(&self.path, ORIGIN).is_some()
    }

    fn is_set_id(&self) -> bool {
        self.facts.is_file() && self.facts.mode() & 0o6000 != 0
    }

    /// Edits the file, whose mode and capability stay, which the kernel would take from it.
    pub(crate) fn keeping_privileges(&self, edit: impl FnOnce(&Path)) {
        let capability = value(&self.path, CAPABILITY);
        edit(&self.path);
        if self.facts.is_symlink() {
            return;
        }
        if fs_err::symlink_metadata(&self.path).unwrap().mode() != self.facts.mode() {
            set_mode(&self.path, self.facts.mode());
        }
        if let Some(capability) = capability {
            set_value(&self.path, CAPABILITY, &capability);
        }
    }

    pub(crate) fn give_to(&self, uid: u32, gid: u32) {
        self.keeping_privileges(|path| chown(path, uid, gid));
    }

    fn cut(&self, size: u64) {
        if self.facts.is_file() && self.facts.size() > size {
            self.keeping_privileges(|path| open(path).set_len(size).unwrap());
        }
    }

    /// Makes it again under the same name, with the same attributes.
    fn remake(&self, make: impl FnOnce(&Path)) {
        let values: Vec<_> = keys(&self.path)
            .into_iter()
            .filter_map(|key| Some((value(&self.path, &key)?, key)))
            .collect();
        let new = self.path.with_file_name("made again");
        make(&new);
        fs_err::rename(&new, &self.path).unwrap();
        chown(&self.path, self.facts.uid(), self.facts.gid());
        if !fs_err::symlink_metadata(&self.path).unwrap().is_symlink() {
            set_mode(&self.path, self.facts.mode());
        }
        for (value, key) in values {
            set_value(&self.path, key, &value);
        }
    }

    pub(crate) fn remake_file(&self) {
        let content = fs_err::read(&self.path).unwrap();
        self.remake(|path| fs_err::write(path, content).unwrap());
    }
}

/// Everything at and below a directory, the directory first.
fn all(top: &Path) -> Vec<Found> {
    let mut found = vec![Found {
        path: top.to_owned(),
        facts: fs_err::symlink_metadata(top).unwrap(),
    }];
    let mut next = 0;
    while let Some(Found { path, facts }) = found.get(next) {
        next += 1;
        if !facts.is_dir() {
            continue;
        }
        for entry in fs_err::read_dir(path.clone()).unwrap() {
            let path = entry.unwrap().path();
            let facts = fs_err::symlink_metadata(&path).unwrap();
            found.push(Found { path, facts });
        }
    }
    found
}

pub(crate) fn open(path: &Path) -> std::fs::File {
    let mut options = fs_err::OpenOptions::new();
    let file = options.read(true).write(true).open(path).unwrap();
    file.into_file()
}

pub(crate) fn chown(path: &Path, uid: u32, gid: u32) {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode & 0o7777)).unwrap();
}

pub(crate) fn keys(path: &Path) -> Vec<OsString> {
    let mut list = vec![0; 1 << 16];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap();
    let keys = list[..length]
        .split(|byte| *byte == 0)
        .filter(|key| !key.is_empty());
    keys.map(|key| OsStr::from_bytes(key).to_owned()).collect()
}

pub(crate) fn value(path: &Path, key: impl AsRef<OsStr>) -> Option<Vec<u8>> {
    let mut value = vec![0; 1 << 16];
    let length = rustix::fs::lgetxattr(path, key.as_ref(), &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

pub(crate) fn set_value(path: &Path, key: impl AsRef<OsStr>, value: &[u8]) {
    rustix::fs::lsetxattr(path, key.as_ref(), value, XattrFlags::empty()).unwrap();
}

pub(crate) fn remove_value(path: &Path, key: impl AsRef<OsStr>) {
    // Most have none to lose.
    rustix::fs::lremovexattr(path, key.as_ref()).unwrap_or_default();
}

fn set_mtime(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

fn set_now(path: &Path) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    set_mtime(path, now.unwrap().as_secs() as i64, 7);
}

pub(crate) fn remove(path: &Path) {
    match fs_err::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => fs_err::remove_dir_all(path).unwrap(),
        Ok(_) => fs_err::remove_file(path).unwrap(),
        Err(_) => {} // it went with its directory
    }
}

/// Edits everything in the top directory; times stay.
pub(crate) fn quietly(place: &Place, mut edit: impl FnMut(&Found)) {
    let found = all(&place.top);
    for one in &found {
        if fs_err::symlink_metadata(&one.path).is_ok() {
            edit(one);
        }
    }
    for one in found {
        let (seconds, nanoseconds) = (one.facts.mtime(), one.facts.mtime_nsec());
        let moved = fs_err::symlink_metadata(&one.path)
            .is_ok_and(|now| (now.mtime(), now.mtime_nsec()) != (seconds, nanoseconds));
        if moved {
            set_mtime(&one.path, seconds, nanoseconds);
        }
    }
}

/// The regular file that was changed last.
pub(crate) fn newest_file(place: &Place) -> Option<Found> {
    let files = all(&place.top).into_iter();
    let files = files.filter(|one| one.facts.is_file() && one.facts.size() > 0);
    files.max_by_key(|one| (one.facts.ctime(), one.facts.ctime_nsec()))
}

/// What the topmost of the lower directories that says anything of a path has there.
pub(crate) fn lower_facts(place: &Place, path: &Path) -> Option<Metadata> {
    let path = path.strip_prefix(&place.top).unwrap();
    let mut lowers = place.lowers.iter();
    lowers.find_map(|lower| lower.join(path).symlink_metadata().ok())
}

pub(crate) fn nothing(place: &Place) {
    quietly(place, |_| ());
}

pub(crate) fn owner_lost(place: &Place) {
    quietly(place, |one| {
        if !one.facts.is_dir() {
            one.give_to(0, 0);
        }
    });
}

pub(crate) fn owner_cut(place: &Place) {
    quietly(place, |one| {
        let (uid, gid) = (one.facts.uid() & 0xffff, one.facts.gid() & 0xffff);
        if (uid, gid) != (one.facts.uid(), one.facts.gid()) {
            one.give_to(uid, gid);
        }
    });
}

pub(crate) fn xattr_cut(place: &Place) {
    quietly(place, |one| {
        for key in keys(&one.path) {
            if let Some(value) = value(&one.path, &key).filter(|value| value.len() > 128) {
                set_value(&one.path, key, &value[..128]);
            }
        }
    });
}

pub(crate) fn empty_xattr_lost(place: &Place) {
    quietly(place, |one| {
        for key in keys(&one.path) {
            if value(&one.path, &key).is_some_and(|value| value.is_empty()) {
                remove_value(&one.path, key);
            }
        }
    });
}

pub(crate) fn link_xattr_lost(place: &Place) {
    quietly(place, |one| {
        if one.facts.is_symlink() {
            for key in keys(&one.path) {
                remove_value(&one.path, key);
            }
        }
    });
}

pub(crate) fn mtime_in_seconds(place: &Place) {
    for one in all(&place.top) {
        set_mtime(&one.path, one.facts.mtime(), 0);
    }
}

pub(crate) fn mtime_before_1970_lost(place: &Place) {
    for one in all(&place.top) {
        if one.facts.mtime() < 0 {
            set_mtime(&one.path, 0, 0);
        }
    }
}

pub(crate) fn directory_mtime_moved(place: &Place) {
    for one in all(&place.top) {
        let mut below = fs_err::read_dir(&one.path).into_iter().flatten();
        if one.facts.is_dir() && below.next().is_some() {
            set_now(&one.path);
        }
    }
}

pub(crate) fn hard_links_split(place: &Place) {
    quietly(place, |one| {
        if one.facts.is_file() && one.facts.nlink() > 1 {
            one.remake_file();
        }
    });
}

pub(crate) fn holes_filled(place: &Place) {
    quietly(place, |one| {
        if one.facts.is_file() && one.facts.blocks() * 512 < one.facts.size() {
            let content = fs_err::read(&one.path).unwrap();
            one.keeping_privileges(|path| open(path).write_all(&content).unwrap());
        }
    });
}

pub(crate) fn sparse_tail_lost(place: &Place) {
    quietly(place, |one| {
        if one.facts.is_file() {
            let (file, mut end) = (open(&one.path), 0);
            while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(end)) {
                end = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap();
            }
            one.cut(end);
        }
    });
}

pub(crate) fn beyond_4096_lost(place: &Place) {
    quietly(place, |one| one.cut(4096));
}

pub(crate) fn set_id_lost(place: &Place) {
    quietly(place, |one| {
        if one.is_set_id() {
            set_mode(&one.path, one.facts.mode() & 0o1777);
        }
    });
}

pub(crate) fn capability_lost(place: &Place) {
    quietly(place, |one| remove_value(&one.path, CAPABILITY));
}

pub(crate) fn sticky_lost(place: &Place) {
    quietly(place, |one| {
        if one.facts.is_dir() && one.facts.mode() & 0o1000 != 0 {
            set_mode(&one.path, one.facts.mode() & 0o6777);
        }
    });
}

pub(crate) fn acl_lost(place: &Place) {
    quietly(place, |one| {
        if value(&one.path, ACCESS).is_some() {
            remove_value(&one.path, ACCESS);
            set_mode(&one.path, one.facts.mode());
        }
    });
}

pub(crate) fn default_acl_lost(place: &Place) {
    quietly(place, |one| remove_value(&one.path, DEFAULT));
}

pub(crate) fn default_acl_leaks(place: &Place) {
    quietly(place, |one| {
        if let Some(list) = value(one.path.parent().unwrap(), DEFAULT)
            && one.facts.is_file()
            && value(&one.path, ACCESS).is_none()
        {
            set_value(&one.path, ACCESS, &list);
            set_mode(&one.path, one.facts.mode());
        }
    });
}

pub(crate) fn device_cut(place: &Place) {
    quietly(place, |one| {
        let (major, minor) = (
            rustix::fs::major(one.facts.rdev()),
            rustix::fs::minor(one.facts.rdev()),
        );
        let kind = FileType::from_raw_mode(one.facts.mode());
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        if is_device && minor > 0xff {
            let device = rustix::fs::makedev(major, minor & 0xff);
            one.remake(|path| {
                rustix::fs::mknodat(CWD, path, kind, Mode::RUSR, device).unwrap();
            });
        }
    });
}

pub(crate) fn fifo_becomes_file(place: &Place) {
    quietly(place, |one| {
        if one.facts.file_type().is_fifo() {
            one.remake(|path| fs_err::write(path, "").unwrap());
        }
    });
}

pub(crate) fn socket_lost(place: &Place) {
    quietly(place, |one| {
        if one.facts.file_type().is_socket() {
            remove(&one.path);
        }
    });
}

pub(crate) fn target_cut(place: &Place) {
    quietly(place, |one| {
        if one.facts.is_symlink() && one.facts.size() > 59 {
            let target = fs_err::read_link(&one.path).unwrap();
            let target = OsStr::from_bytes(&target.as_os_str().as_bytes()[..59]);
            one.remake(|path| fs_err::os::unix::fs::symlink(target, path).unwrap());
        }
    });
}

pub(crate) fn empty_directory_lost(place: &Place) {
    quietly(place, |one| {
        if one.facts.is_dir() && one.path != place.top {
            // What is not empty stays.
            rustix::fs::rmdir(&one.path).unwrap_or_default();
        }
    });
}

pub(crate) fn long_name_lost(place: &Place) {
    quietly(place, |one| {
        if one.name().len() == 255 {
            remove(&one.path);
        }
    });
}

pub(crate) fn odd_name_lost(place: &Place) {
    quietly(place, |one| {
        if str::from_utf8(one.name()).is_err() {
            remove(&one.path);
        }
    });
}

pub(crate) fn root_attributes_lost(place: &Place) {
    chown(&place.top, 0, 0);
    set_mode(&place.top, 0o755);
}

pub(crate) fn newest_lost(place: &Place) {
    let mut found = all(&place.top);
    found.remove(0);
    let newest = found.iter().max_by_key(|one| {
        let facts = &one.facts;
        (facts.ctime(), facts.ctime_nsec())
    });
    if let Some(newest) = newest.map(|one| one.path.clone()) {
        quietly(place, |one| {
            if one.path == newest {
                remove(&one.path);
            }
        });
    }
}

pub(crate) fn new_inode(place: &Place) {
    quietly(place, |one| {
        // Larger ones could have holes.
        if one.facts.is_file() && one.facts.nlink() == 1 && one.facts.size() < 100_000 {
            one.remake_file();
        }
    });
}

pub(crate) fn opaque_dropped(place: &Place) {
    quietly(place, |one| remove_value(&one.path, OPAQUE));
}

/// The inode number that the kernel noted at copy-up: the first word of ext4's file handle, after
/// the 21 bytes of `struct ovl_fb`.
pub(crate) fn origin(one: &Found) -> Option<u64> {
    if !one.was_copied_up() {
        return None;
    }
    let handle = value(&one.path, ORIGIN)?;
    let inode = handle.get(21..25)?.try_into().ok()?;
    Some(u64::from(u32::from_le_bytes(inode)))
}

fn origins(place: &Place) -> BTreeSet<u64> {
    all(&place.top).iter().filter_map(origin).collect()
}

pub(crate) fn whiteout_of_renamed_lost(place: &Place) {
    let origins = origins(place);
    quietly(place, |one| {
        if one.is_whiteout()
            && lower_facts(place, &one.path).is_some_and(|below| origins.contains(&below.ino()))
        {
            remove(&one.path);
        }
    });
}

pub(crate) fn whiteout_of_directory_lost(place: &Place) {
    quietly(place, |one| {
        if one.is_whiteout() && lower_facts(place, &one.path).is_some_and(|below| below.is_dir()) {
            remove(&one.path);
        }
    });
}

pub(crate) fn whiteout_of_deep_name_lost(place: &Place) {
    let direct = Place {
        lowers: place.lowers.iter().take(1).cloned().collect(),
        ..place.clone()
    };
    quietly(place, |one| {
        if one.is_whiteout() && lower_facts(&direct, &one.path).is_none() {
            remove(&one.path);
        }
    });
}

pub(crate) fn owner_of_copied_up_lost(place: &Place) {
    quietly(place, |one| {
        if one.was_copied_up() {
            one.give_to(0, 0);
        }
    });
}

pub(crate) fn xattr_of_copied_up_lost(place: &Place) {
    quietly(place, |one| {
        if one.was_copied_up() {
            for key in keys(&one.path) {
                if key.as_bytes().starts_with(b"user.") {
                    remove_value(&one.path, key);
                }
            }
        }
    });
}

pub(crate) fn time_above_copied_up_moved(place: &Place) {
    for one in all(&place.top) {
        if one.was_copied_up() {
            set_now(one.path.parent().unwrap());
        }
    }
}

pub(crate) fn last_write_lost(place: &Place) {
    if let Some(newest) = newest_file(place) {
        quietly(place, |one| {
            if one.path == newest.path {
                let last = newest.facts.size() - 1;
                one.keeping_privileges(|path| open(path).write_all_at(&[0], last).unwrap());
            }
        });
    }
}

pub(crate) fn newest_cut(place: &Place) {
    if let Some(newest) = newest_file(place) {
        quietly(place, |one| {
            if one.path == newest.path {
                one.cut(4096);
            }
        });
    }
}
