//! Operations on paths.

use super::super::branches::Branches;
use super::super::listing::{attribute, attribute_names, facts, read_directory, shown_name};
use super::super::verb::{NodeKind, RenameHow, Verb};
use super::{Answer, Failure};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Timespec, Timestamps, Uid,
    XattrFlags,
};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

const FACTS: &[&str] = &["type", "mode", "nlink", "uid", "gid", "size"];
const NANOSECONDS: i64 = 1_000_000_000;

/// Where a scenario's paths lead.
#[derive(Debug)]
pub(in super::super) struct Paths {
    /// The mount.
    pub merged: PathBuf,
    /// The directories behind it.
    pub branches: Branches,
}

impl Paths {
    /// Where a path leads that may name a branch.
    pub(super) fn at(&self, path: &str) -> Result<PathBuf, Failure> {
        match path.split_once(':') {
            Some((branch, rest)) => {
                let root = self.branches.named(branch).map_err(Failure::Broken)?;
                Ok(root.join(rest))
            }
            None => Ok(self.merged.join(path)),
        }
    }

    fn in_upper(&self, path: &str) -> Result<PathBuf, Failure> {
        self.at(&format!("U:{path}"))
    }

    fn named(&self, length: usize) -> PathBuf {
        self.merged.join("n".repeat(length))
    }

    /// Performs what is about paths only.
    pub(super) fn perform(&self, verb: &Verb) -> Answer {
        match verb {
            Verb::Blocks { path } => Ok(lstat(&self.at(path)?)?.st_blocks.into()),
            Verb::BlocksLt { path, most } => {
                Ok((lstat(&self.at(path)?)?.st_blocks < *most as i64).into())
            }
            Verb::DevEq { one, two } => {
                Ok((lstat(&self.at(one)?)?.st_dev == lstat(&self.at(two)?)?.st_dev).into())
            }
            Verb::InoEq { one, two } => {
                Ok((lstat(&self.at(one)?)?.st_ino == lstat(&self.at(two)?)?.st_ino).into())
            }
            Verb::Getxattr { path, key } => Ok(attribute(&self.at(path)?, key)?),
            Verb::Listxattr { path } => Ok(json!(attribute_names(&self.at(path)?)?)),
            Verb::Names { path } => names(&self.at(path)?),
            Verb::Uls { path } => names(&self.in_upper(path)?),
            Verb::Ustat { path } => Ok(facts(
                &lstat(&self.in_upper(path)?)?,
                &["type", "mode", "nlink", "size"],
            )),
            Verb::Read { path } => Ok(read(&open(&self.at(path)?, OFlags::RDONLY)?)?),
            Verb::Readdir { path } => readdir(&self.at(path)?),
            Verb::ReaddirDuring { path, made, gone } => readdir_during(&self.at(path)?, made, gone),
            Verb::Readlink { path } => {
                let target = rustix::fs::readlink(self.at(path)?, Vec::new())?;
                Ok(target.to_string_lossy().into())
            }
            Verb::Stat { path } => Ok(facts(&lstat(&self.at(path)?)?, FACTS)),
            Verb::TimesNs { path } => {
                let stat = lstat(&self.at(path)?)?;
                let whole = |seconds, rest: u64| seconds * NANOSECONDS + rest as i64;
                Ok(json!([
                    whole(stat.st_atime, stat.st_atime_nsec),
                    whole(stat.st_mtime, stat.st_mtime_nsec)
                ]))
            }
            other => self.change(other).map(|()| Value::Null),
        }
    }

    /// Performs what only changes something.
    fn change(&self, verb: &Verb) -> Result<(), Failure> {
        match verb {
            Verb::Append { path, data } => {
                let flags = OFlags::WRONLY | OFlags::APPEND;
                rustix::io::write(open(&self.at(path)?, flags)?, data.as_bytes())?;
            }
            Verb::Put { path, data } => {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
                rustix::io::write(open(&self.at(path)?, flags)?, data.as_bytes())?;
            }
            Verb::Create { path } => create(&self.at(path)?)?,
            Verb::Openq { path, flags } => drop(open(&self.at(path)?, *flags)?),
            Verb::Chmod { path, mode } => {
                rustix::fs::chmod(self.at(path)?, Mode::from_raw_mode(*mode))?;
            }
            Verb::Chown { path, uid, gid } => {
                chown(&self.at(path)?, (*uid, *gid), AtFlags::empty())?;
            }
            Verb::Lchown { path, uid, gid } => {
                chown(&self.at(path)?, (*uid, *gid), AtFlags::SYMLINK_NOFOLLOW)?;
            }
            Verb::Link { from, to } => link(&self.at(from)?, &self.at(to)?)?,
            Verb::Mkdir { path } => mkdir(&self.at(path)?)?,
            Verb::Mknod {
                path,
                kind,
                major,
                minor,
            } => mknod(&self.at(path)?, *kind, (*major, *minor))?,
            Verb::Removexattr { path, key } => {
                rustix::fs::lremovexattr(self.at(path)?, key.as_str())?;
            }
            Verb::Rename { from, to } => rustix::fs::rename(self.at(from)?, self.at(to)?)?,
            Verb::Rename2 { from, to, how } => {
                let flags = match how {
                    RenameHow::NoReplace => RenameFlags::NOREPLACE,
                    RenameHow::Exchange => RenameFlags::EXCHANGE,
                    RenameHow::Whiteout => RenameFlags::WHITEOUT,
                };
                rustix::fs::renameat_with(CWD, self.at(from)?, CWD, self.at(to)?, flags)?;
            }
            Verb::Rmdir { path } => rustix::fs::rmdir(self.at(path)?)?,
            Verb::Rmr { path } => remove_tree(&self.at(path)?)?,
            Verb::Setxattr { path, key, value } => {
                let (key, value) = (key.as_str(), value.as_bytes());
                rustix::fs::lsetxattr(self.at(path)?, key, value, XattrFlags::empty())?;
            }
            Verb::Symlink { target, path } => {
                rustix::fs::symlink(target.as_str(), self.at(path)?)?;
            }
            Verb::Truncate { path, size } => {
                // By path: one through a descriptor may answer and set times otherwise.
                nix::unistd::truncate(&self.at(path)?, *size as i64)
                    .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
            }
            Verb::Unlink { path } => rustix::fs::unlink(self.at(path)?)?,
            Verb::Utimens { path, atime, mtime } => {
                set_times(&self.at(path)?, atime * NANOSECONDS, mtime * NANOSECONDS)?;
            }
            Verb::UtimensNs { path, atime, mtime } => {
                set_times(&self.at(path)?, *atime, *mtime)?;
            }
            Verb::Creatlen { length } => create(&self.named(*length))?,
            Verb::Linklen { from, length } => link(&self.at(from)?, &self.named(*length))?,
            Verb::Mkdirlen { length } => mkdir(&self.named(*length))?,
            Verb::Renamelen { from, length } => {
                rustix::fs::rename(self.at(from)?, self.named(*length))?;
            }
            Verb::Statlen { length } => drop(lstat(&self.named(*length))?),
            Verb::Symlinklen { length } => rustix::fs::symlink("t", self.named(*length))?,
            Verb::Unlinklen { length } => rustix::fs::unlink(self.named(*length))?,
            _ => return Err(Failure::Elsewhere),
        }
        Ok(())
    }
}

pub(super) fn lstat(at: &Path) -> Result<Stat, Errno> {
    rustix::fs::lstat(at)
}

/// Opens with mode 0644 where that makes a file.
pub(super) fn open(at: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::open(at, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o644))
}

fn create(at: &Path) -> Result<(), Errno> {
    open(at, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY).map(drop)
}

fn mkdir(at: &Path) -> Result<(), Errno> {
    rustix::fs::mkdir(at, Mode::from_raw_mode(0o755))
}

fn link(from: &Path, to: &Path) -> Result<(), Errno> {
    rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())
}

fn chown(at: &Path, (uid, gid): (u32, u32), flags: AtFlags) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(CWD, at, Some(uid), Some(gid), flags)
}

fn mknod(at: &Path, kind: NodeKind, (major, minor): (u32, u32)) -> Result<(), Errno> {
    let kind = match kind {
        NodeKind::Fifo => FileType::Fifo,
        NodeKind::Sock => FileType::Socket,
        NodeKind::Chr => FileType::CharacterDevice,
        NodeKind::Blk => FileType::BlockDevice,
    };
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(CWD, at, kind, Mode::from_raw_mode(0o644), device)
}

/// Sets both times, in nanoseconds, of the path itself.
pub(in super::super) fn set_times(at: &Path, atime: i64, mtime: i64) -> Result<(), Errno> {
    let time = |nanoseconds: i64| Timespec {
        tv_sec: nanoseconds.div_euclid(NANOSECONDS),
        tv_nsec: nanoseconds.rem_euclid(NANOSECONDS),
    };
    let times = Timestamps {
        last_access: time(atime),
        last_modification: time(mtime),
    };
    rustix::fs::utimensat(CWD, at, &times, AtFlags::SYMLINK_NOFOLLOW)
}

/// All that can be read, as text.
fn read(file: &OwnedFd) -> Result<Value, Errno> {
    let mut content = Vec::new();
    let mut block = [0; 4096];
    loop {
        match rustix::io::read(file, &mut block)? {
            0 => return Ok(String::from_utf8_lossy(&content).into()),
            length => content.extend_from_slice(&block[..length]),
        }
    }
}

fn names(at: &Path) -> Answer {
    let entries = read_directory(at, OFlags::empty())?;
    let names: Vec<_> = entries.iter().map(|(name, _)| shown_name(name)).collect();
    Ok(json!(names))
}

fn count_twins(names: &[(String, u64)]) -> usize {
    names
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .count()
}

fn readdir(at: &Path) -> Answer {
    let entries = read_directory(at, OFlags::empty())?;
    let mut agree = true;
    for (name, inode) in &entries {
        agree &= lstat(&at.join(name))?.st_ino == *inode;
    }
    let names: Vec<_> = entries.iter().map(|(name, _)| name).collect();
    Ok(json!({ "names": names, "dups": count_twins(&entries), "d_ino_ok": agree }))
}

/// Changes the directory while it is read.
fn readdir_during(at: &Path, made: &str, gone: &str) -> Answer {
    let directory = Dir::new(open(at, OFlags::RDONLY | OFlags::DIRECTORY)?)?;
    let mut seen = Vec::new();
    let mut is_first = true;
    for entry in directory {
        let entry = entry?;
        seen.push((entry.file_name().to_string_lossy().into_owned(), 0));
        if std::mem::take(&mut is_first) {
            create(&at.join(made))?;
            rustix::fs::unlink(at.join(gone))?;
        }
    }
    seen.sort_unstable();
    Ok(json!({ "dups": count_twins(&seen), "fresh": names(at)? }))
}

fn remove_tree(at: &Path) -> Result<(), Errno> {
    if FileType::from_raw_mode(lstat(at)?.st_mode) != FileType::Directory {
        return rustix::fs::unlink(at);
    }
    for (name, _) in read_directory(at, OFlags::empty())? {
        remove_tree(&at.join(name))?;
    }
    rustix::fs::rmdir(at)
}
