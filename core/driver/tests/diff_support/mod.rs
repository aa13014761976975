//! Random trees, random edits and the reference program, for the tests of diffs and copies.
#![expect(unreachable_pub, reason = "a module of several test programs")]

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use sha2::{Digest as _, Sha256};
use std::ffi::CString;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use strata_driver::diff::{CompareOptions, Comparison, Outcome, Upper, compare};
use strata_driver::{Counters, DiffOptions};

/// Whether to leave a test out, said on standard error.
pub fn lacks_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    !root
}

/// How often to repeat a random test: `STRATA_DIFF_PAIRS`, or `usual`, ten times that with
/// `STRATA_SOAK` set.
pub fn repetitions(usual: u64) -> u64 {
    let long = std::env::var_os("STRATA_SOAK").map_or(1, |_| 10);
    let asked = std::env::var("STRATA_DIFF_PAIRS").ok();
    asked
        .and_then(|text| text.parse().ok())
        .unwrap_or(usual * long)
}

/// Where a series begins: `STRATA_DIFF_SEED`, or 0.
pub fn first_seed() -> u64 {
    let asked = std::env::var("STRATA_DIFF_SEED").ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(0)
}

pub fn scratch() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() {
        tempfile::Builder::new()
            .prefix("strata-diff-")
            .tempdir_in(shm)
            .unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

pub fn directory(path: &Path) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

/// splitmix64: enough for edits, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}

const NAMES: [&str; 9] = [
    "a", "b", "c", "d", "-x", ".hidden", "a-b", "a.b", "\u{e9}\n",
];
const SIZES: [usize; 9] = [0, 1, 5, 100, 511, 512, 513, 4096, 9000];
const MODES: [u32; 8] = [0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1777, 0, 0o7777];
const IDS: [u32; 5] = [0, 1, 1000, 2_097_151, 2_097_152];
const SECONDS: [i64; 7] = [
    0,
    1,
    -1,
    -86_401,
    1_600_000_000,
    8_589_934_591,
    8_589_934_592,
];
const NANOSECONDS: [i64; 4] = [0, 1, 500_000_000, 999_999_999];

/// A tree under random edits.
pub struct Edits<'a> {
    pub root: PathBuf,
    pub random: &'a mut Random,
    /// A tree that times are taken from now and then.
    pub model: Option<PathBuf>,
    /// Left out: what the file system in question refuses or changes by itself.
    pub tame: bool,
}

fn bytes_of(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

impl Edits<'_> {
    /// All paths, the root first.
    pub fn paths(&self) -> Vec<PathBuf> {
        let mut paths = vec![self.root.clone()];
        let mut next = 0;
        while next < paths.len() {
            if paths[next].symlink_metadata().unwrap().is_dir() {
                let mut below: Vec<_> = fs_err::read_dir(&paths[next])
                    .unwrap()
                    .map(|entry| entry.unwrap().path())
                    .collect();
                below.sort();
                paths.extend(below);
            }
            next += 1;
        }
        paths
    }

    fn some(&mut self, wanted: impl Fn(&std::fs::Metadata) -> bool) -> Option<PathBuf> {
        let paths: Vec<_> = self
            .paths()
            .into_iter()
            .filter(|path| wanted(&path.symlink_metadata().unwrap()))
            .collect();
        (!paths.is_empty()).then(|| self.random.pick(&paths).clone())
    }

    fn new_path(&mut self) -> PathBuf {
        let directory = self.some(std::fs::Metadata::is_dir).unwrap();
        let mut name = (*self.random.pick(&NAMES)).as_bytes().to_vec();
        if self.random.below(12) == 0 {
            name = vec![b'n'; 90 + self.random.below(160)];
        }
        directory.join(std::ffi::OsString::from_vec(name))
    }

    fn content(&mut self) -> Vec<u8> {
        let size = *self.random.pick(&SIZES);
        let fill = self.random.below(3) as u8;
        vec![b'0' + fill; size]
    }

    /// One random edit; what is impossible is left out.
    pub fn edit(&mut self) {
        let kind = self.random.below(25);
        match kind {
            0..=2 => drop(fs_err::create_dir(self.new_path())), // may be there
            3..=6 => {
                let (path, content) = (self.new_path(), self.content());
                if path.symlink_metadata().is_err() {
                    fs_err::write(path, content).unwrap();
                }
            }
            7 => self.make_sparse(),
            8 => {
                let target = match self.random.below(3) {
                    0 => "t".repeat(120),
                    1 => "../a".into(),
                    _ => "b".into(),
                };
                attempt(rustix::fs::symlinkat(target, CWD, self.new_path())); // may be there
            }
            9 | 10 => {
                let new = self.new_path();
                if let Some(old) = self.some(|found| !found.is_dir()) {
                    let flags = AtFlags::empty();
                    attempt(rustix::fs::linkat(CWD, old, CWD, new, flags)); // may be there
                }
            }
            11 => self.make_node(),
            12 => {
                let mode = *self.random.pick(&MODES);
                if let Some(path) = self.some(|found| !found.is_symlink()) {
                    chmod(&path, mode);
                }
            }
            13 => {
                let (uid, gid) = (*self.random.pick(&IDS), *self.random.pick(&IDS));
                let path = self.some(|_| true).unwrap();
                chown(&path, uid, gid);
            }
            14 => {
                let times = (*self.random.pick(&SECONDS), *self.random.pick(&NANOSECONDS));
                let path = self.some(|_| true).unwrap();
                set_mtime(&path, times);
            }
            15 | 16 => self.set_attribute(),
            17 => self.remove_some(),
            18 => {
                let new = self.new_path();
                let root = self.root.clone();
                if let Some(old) = self.some(|_| true)
                    && old != root
                {
                    drop(fs_err::rename(old, new)); // impossible for a directory into itself
                }
            }
            19 => self.rewrite(),
            20 => self.replace(),
            21 => self.break_link(),
            22 => self.clear_attributes(),
            23 => self.join(),
            _ => self.take_times(),
        }
    }

    fn make_sparse(&mut self) {
        let path = self.new_path();
        if path.symlink_metadata().is_ok() {
            return;
        }
        let file = fs_err::File::create(path).unwrap();
        rustix::fs::ftruncate(&file, 300_000).unwrap();
        let at = 4096 * self.random.below(70) as u64;
        rustix::io::pwrite(file.as_fd(), b"data", at).unwrap();
    }

    fn make_node(&mut self) {
        let kinds = [
            (FileType::Fifo, 0),
            (FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
            (FileType::CharacterDevice, rustix::fs::makedev(300, 70_000)),
            (FileType::BlockDevice, rustix::fs::makedev(7, 1)),
            (FileType::Socket, 0),
        ];
        let (kind, device) = *self.random.pick(&kinds);
        let mode = Mode::from_raw_mode(0o640);
        attempt(rustix::fs::mknodat(
            CWD,
            self.new_path(),
            kind,
            mode,
            device,
        )); // may be there
    }

    fn set_attribute(&mut self) {
        let path = self.some(|_| true).unwrap();
        let found = path.symlink_metadata().unwrap();
        let value: Vec<u8> = match self.random.below(3) {
            0 => vec![],
            1 => vec![0, 255, b'\n', b'=', 10],
            _ => vec![b'v'; 150],
        };
        let acl = acl(self.random.below(3) as u32 + 1);
        let choices: &[(&str, Vec<u8>)] = &[
            ("trusted.one", value.clone()),
            ("user.one", value.clone()),
            ("user.two", value),
            ("system.posix_acl_access", acl.clone()),
            ("system.posix_acl_default", acl),
            ("security.capability", capability()),
            ("trusted.overlay.mine", vec![1]),
            ("security.other", vec![2]),
        ];
        let (name, value) = self.random.pick(choices);
        if self.tame && name.contains("overlay") {
            return;
        }
        if *name == "security.capability" && !found.is_file() {
            return;
        }
        // Links, devices and pipes take no user attributes, files no default ACL.
        attempt(rustix::fs::lsetxattr(
            &path,
            *name,
            value,
            XattrFlags::empty(),
        ));
    }

    fn clear_attributes(&mut self) {
        let path = self.some(|_| true).unwrap();
        for name in [
            "trusted.one",
            "user.one",
            "user.two",
            "system.posix_acl_access",
        ] {
            attempt(rustix::fs::lremovexattr(&path, name)); // may be absent
        }
    }

    fn remove_some(&mut self) {
        let root = self.root.clone();
        let path = self.some(|_| true).unwrap();
        if path != root {
            remove(&path);
        }
    }

    /// Other content of the same size, size and time put back.
    fn rewrite(&mut self) {
        if let Some(path) = self.some(|found| found.is_file() && found.len() > 0) {
            let found = rustix::fs::lstat(&path).unwrap();
            let changed = self.random.below(2) == 0;
            let mut content = fs_err::read(&path).unwrap();
            if changed {
                let at = self.random.below(content.len());
                content[at] ^= 1;
            }
            fs_err::write(&path, content).unwrap();
            chmod(&path, found.st_mode & 0o7777);
            set_mtime(&path, (found.st_mtime, found.st_mtime_nsec as i64));
        }
    }

    /// Something else of the same name.
    fn replace(&mut self) {
        let root = self.root.clone();
        let path = self.some(|_| true).unwrap();
        if path == root {
            return;
        }
        remove(&path);
        match self.random.below(3) {
            0 => fs_err::create_dir(&path).unwrap(),
            1 => fs_err::write(&path, self.content()).unwrap(),
            _ => rustix::fs::symlinkat("a", CWD, &path).unwrap(),
        }
    }

    /// A file with the same attributes and content, but another inode.
    fn break_link(&mut self) {
        if let Some(path) = self.some(std::fs::Metadata::is_file) {
            let found = rustix::fs::lstat(&path).unwrap();
            let content = fs_err::read(&path).unwrap();
            let attributes = attributes(&path);
            remove(&path);
            fs_err::write(&path, content).unwrap();
            chown(&path, found.st_uid, found.st_gid);
            for (name, value) in attributes {
                let flags = XattrFlags::empty();
                attempt(rustix::fs::lsetxattr(&path, &*name, &value, flags)); // overlay refuses some
            }
            chmod(&path, found.st_mode & 0o7777);
            set_mtime(&path, (found.st_mtime, found.st_mtime_nsec as i64));
        }
    }

    /// One inode of two files that are alike, or a link where there was another file.
    fn join(&mut self) {
        let alike = self.random.below(3) > 0;
        let Some(one) = self.some(std::fs::Metadata::is_file) else {
            return;
        };
        let found = rustix::fs::lstat(&one).unwrap();
        let other = self.some(|other| {
            other.is_file()
                && (!alike
                    || (other.len() == found.st_size.unsigned_abs() && other.uid() == found.st_uid))
        });
        if let Some(other) = other
            && other != one
        {
            remove(&other);
            attempt(rustix::fs::linkat(CWD, one, CWD, other, AtFlags::empty()));
        }
    }

    /// Times of the model, so that not every directory differs.
    fn take_times(&mut self) {
        let Some(model) = self.model.clone() else {
            return;
        };
        for path in self.paths() {
            let other = model.join(path.strip_prefix(&self.root).unwrap());
            if let Ok(found) = rustix::fs::lstat(&other) {
                set_mtime(&path, (found.st_mtime, found.st_mtime_nsec as i64));
            }
        }
    }

    /// Many edits, then perhaps the model's times.
    pub fn edit_often(&mut self, most: usize) {
        for _ in 0..=self.random.below(most) {
            self.edit();
        }
        if self.random.below(3) > 0 {
            self.take_times();
        }
    }
}

/// An edit that may be impossible.
fn attempt(_: rustix::io::Result<()>) {}

pub fn attributes(path: &Path) -> Vec<(CString, Vec<u8>)> {
    let mut list = Vec::with_capacity(65_536);
    rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut list)).unwrap();
    let mut attributes: Vec<_> = list
        .split_inclusive(|byte| *byte == 0)
        .map(|name| {
            let name = CString::from_vec_with_nul(name.to_vec()).unwrap();
            let mut value = Vec::with_capacity(65_536);
            let room = rustix::buffer::spare_capacity(&mut value);
            rustix::fs::lgetxattr(path, &*name, room).unwrap();
            (name, value)
        })
        .collect();
    attributes.sort();
    attributes
}

pub fn remove(path: &Path) {
    if path.symlink_metadata().unwrap().is_dir() {
        fs_err::remove_dir_all(path).unwrap();
    } else {
        fs_err::remove_file(path).unwrap();
    }
}

pub fn chmod(path: &Path, mode: u32) {
    rustix::fs::chmod(path, Mode::from_raw_mode(mode)).unwrap();
}

pub fn chown(path: &Path, uid: u32, gid: u32) {
    let uid = Some(rustix::fs::Uid::from_raw(uid));
    let gid = Some(rustix::fs::Gid::from_raw(gid));
    rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

pub fn set_mtime(path: &Path, (seconds, nanoseconds): (i64, i64)) {
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

/// An ACL that gives one more user `permissions` (acl(5), `linux/posix_acl_xattr.h`).
pub fn acl(permissions: u32) -> Vec<u8> {
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (1_u16, 6, u32::MAX),
        (2, permissions, 77),
        (4, 4, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ] {
        value.extend_from_slice(&tag.to_le_bytes());
        value.extend_from_slice(&(permissions as u16).to_le_bytes());
        value.extend_from_slice(&id.to_le_bytes());
    }
    value
}

/// A file capability (`struct vfs_cap_data`, revision 2): `CAP_NET_RAW`, effective.
pub fn capability() -> Vec<u8> {
    [0x0200_0001_u32, 1 << 13, 0, 0, 0]
        .into_iter()
        .flat_map(u32::to_le_bytes)
        .collect()
}

/// The reference program, asked over a pipe.
pub struct Reference {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Reference {
    /// None, said on standard error, where there is no Python or no such program.
    pub fn start() -> Option<Self> {
        const LOOP: &str = "
import sys, hashlib
sys.path.insert(0, sys.argv[1])
sys.dont_write_bytecode = True
import canonical_diff as reference
for line in sys.stdin.buffer:
    lower, upper = line.rstrip(b'\\n').decode().split('\\t')
    digest = hashlib.sha256()
    try:
        reference.diff(None if lower == '-' else lower, upper, digest.update)
        print('sha256:' + digest.hexdigest(), flush=True)
    except reference.Refused:
        print('refused', flush=True)
";
        let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference");
        if !tools.join("canonical_diff.py").exists() {
            eprintln!("skipped: needs tests/reference/canonical_diff.py");
            return None;
        }
        let spawned = Command::new("python3")
            .args(["-c", LOOP])
            .arg(tools)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = spawned else {
            eprintln!("skipped: needs python3");
            return None;
        };
        Some(Self {
            ask: child.stdin.take().unwrap(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        })
    }

    pub fn diff_id(&mut self, lower: Option<&Path>, upper: &Path) -> String {
        let lower = lower.map_or("-".into(), |path| path.display().to_string());
        writeln!(self.ask, "{lower}\t{}", upper.display()).unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        assert!(!answer.is_empty(), "the reference program died");
        answer.trim_end().into()
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        drop(self.child.kill()); // it may have ended by itself
        drop(self.child.wait());
    }
}

pub fn threads(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

/// The comparison of whole trees.
pub fn whole(
    lower: Option<&Path>,
    upper: &Path,
    options: &CompareOptions<'_>,
) -> strata_driver::Result<Comparison> {
    let lower = lower.map(directory);
    let upper = directory(upper);
    let lower = lower.as_ref().map(|fd| fd.as_fd());
    match compare(
        lower,
        Upper::Whole(upper.as_fd()),
        options,
        &Counters::default(),
    )? {
        Outcome::Compared(comparison) => Ok(comparison),
        Outcome::NeedsWholeTrees => panic!("these were whole trees"),
    }
}

/// The changeset.
pub fn written(comparison: &Comparison) -> Vec<u8> {
    let mut bytes = Vec::new();
    let written = comparison
        .write(&mut bytes, &DiffOptions::default())
        .unwrap();
    assert_eq!(written.size.0, bytes.len() as u64);
    assert_eq!(written.entries, comparison.changes().len() as u64);
    bytes
}

pub fn diff_id(changeset: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(changeset)))
}

/// A tree as text, for messages.
pub fn listing(root: &Path) -> String {
    let mut random = Random(0);
    let edits = Edits {
        root: root.into(),
        random: &mut random,
        model: None,
        tame: false,
    };
    let mut text = String::new();
    for path in edits.paths() {
        let found = rustix::fs::lstat(&path).unwrap();
        let name = bytes_of(path.strip_prefix(root).unwrap())
            .escape_ascii()
            .to_string();
        writeln!(
            text,
            "{:6o} {}:{} links {} ino {} size {} mtime {}.{:09} {name} {:?}",
            found.st_mode,
            found.st_uid,
            found.st_gid,
            found.st_nlink,
            found.st_ino,
            found.st_size,
            found.st_mtime,
            found.st_mtime_nsec,
            attributes(&path),
        )
        .unwrap();
    }
    text
}
