//! Operations on what is held: files, maps, programs, inodes that were noted.

use super::super::listing::{Lister, Listing, changed, facts};
use super::super::verb::{LockHow, MapHow, Verb};
use super::paths::{Paths, lstat, open};
use super::{Answer, Failure};
use anyhow::Result;
use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use strata_sys::map::SharedMap;

/// What is held, by its symbolic name.
pub(super) struct Held {
    files: BTreeMap<String, OwnedFd>,
    maps: BTreeMap<String, SharedMap>,
    programs: BTreeMap<String, Child>,
    inodes: BTreeMap<String, u64>,
    lister: Lister,
    /// The branches below as they were at first.
    lowers: Vec<Listing>,
}

impl Held {
    pub(super) fn new(lister: Lister, paths: &Paths) -> Result<Self> {
        Ok(Self {
            files: BTreeMap::new(),
            maps: BTreeMap::new(),
            programs: BTreeMap::new(),
            inodes: BTreeMap::new(),
            lowers: list_lowers(&lister, paths)?,
            lister,
        })
    }

    pub(super) fn release(&mut self) -> Result<()> {
        self.maps.clear();
        self.files.clear();
        while let Some((_, program)) = self.programs.pop_first() {
            end(program)?;
        }
        Ok(())
    }

    fn file(&self, name: &str) -> Result<&OwnedFd, Failure> {
        self.files.get(name).ok_or(Failure::Skip)
    }

    fn inode(&self, name: &str) -> Result<u64, Failure> {
        self.inodes.get(name).copied().ok_or(Failure::Skip)
    }

    pub(super) fn perform(&mut self, verb: &Verb, paths: &Paths) -> Answer {
        match verb {
            Verb::InoSame { inode, path } => {
                Ok((lstat(&paths.at(path)?)?.st_ino == self.inode(inode)?).into())
            }
            Verb::FinoSame { inode, file } => {
                Ok((rustix::fs::fstat(self.file(file)?)?.st_ino == self.inode(inode)?).into())
            }
            Verb::Fstat { file } => Ok(facts(
                &rustix::fs::fstat(self.file(file)?)?,
                &["nlink", "size", "mode"],
            )),
            Verb::Times { path } => {
                let stat = lstat(&paths.at(path)?)?;
                let time = |seconds| self.lister.time(seconds);
                Ok(json!({ "atime": time(stat.st_atime), "mtime": time(stat.st_mtime) }))
            }
            Verb::Pread { file, at, length } => {
                let mut bytes = vec![0; *length];
                let read = rustix::io::pread(self.file(file)?, &mut bytes, *at)?;
                Ok(String::from_utf8_lossy(&bytes[..read]).into())
            }
            Verb::Pwrite { file, at, data } => {
                Ok(rustix::io::pwrite(self.file(file)?, data.as_bytes(), *at)?.into())
            }
            Verb::Write { file, data } => {
                Ok(rustix::io::write(self.file(file)?, data.as_bytes())?.into())
            }
            Verb::Mread { map, at, length } => {
                let bytes = self.maps.get(map).ok_or(Failure::Skip)?.read(*at, *length);
                Ok(String::from_utf8_lossy(&bytes).into())
            }
            Verb::LowerSame {} => self.lower_same(paths),
            other => self.change(other, paths).map(|()| Value::Null),
        }
    }

    fn change(&mut self, verb: &Verb, paths: &Paths) -> Result<(), Failure> {
        match verb {
            Verb::Open { file, path, flags } => {
                let opened = open(&paths.at(path)?, *flags)?;
                self.files.insert(file.clone(), opened);
            }
            Verb::Tmpfile { file, path } => {
                let opened = open(&paths.at(path)?, OFlags::TMPFILE | OFlags::RDWR)?;
                self.files.insert(file.clone(), opened);
            }
            Verb::Close { file } => drop(self.files.remove(file).ok_or(Failure::Skip)?),
            Verb::Fallocate { file, at, length } => {
                rustix::fs::fallocate(self.file(file)?, FallocateFlags::empty(), *at, *length)?;
            }
            Verb::Fchmod { file, mode } => {
                rustix::fs::fchmod(self.file(file)?, Mode::from_raw_mode(*mode))?;
            }
            Verb::Fchown { file, uid, gid } => {
                let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
                rustix::fs::fchown(self.file(file)?, Some(uid), Some(gid))?;
            }
            Verb::Flinkat { file, path } => {
                let unnamed = strata_sys::mount::descriptor_path(self.file(file)?.as_fd());
                rustix::fs::linkat(CWD, unnamed, CWD, paths.at(path)?, AtFlags::SYMLINK_FOLLOW)?;
            }
            Verb::Flock { file, how } => {
                let how = match how {
                    LockHow::Ex => FlockOperation::NonBlockingLockExclusive,
                    LockHow::Un => FlockOperation::Unlock,
                };
                rustix::fs::flock(self.file(file)?, how)?;
            }
            Verb::Fsync { file } => rustix::fs::fsync(self.file(file)?)?,
            Verb::Ftruncate { file, size } => rustix::fs::ftruncate(self.file(file)?, *size)?,
            Verb::Mmap {
                map,
                file,
                how,
                length,
            } => {
                let file = self.file(file)?;
                let mapped = match how {
                    MapHow::R => SharedMap::read_only(file, *length)?,
                    MapHow::Rw => SharedMap::writable(file, *length)?,
                };
                self.maps.insert(map.clone(), mapped);
            }
            Verb::Mwrite { map, at, data } => {
                let map = self.maps.get_mut(map).ok_or(Failure::Skip)?;
                map.write(*at, data.as_bytes());
                map.sync()?;
            }
            Verb::InoSave { inode, path } => {
                let number = lstat(&paths.at(path)?)?.st_ino;
                self.inodes.insert(inode.clone(), number);
            }
            Verb::Spawn { program, path } => {
                let child = spawn(&paths.at(path)?)?;
                self.programs.insert(program.clone(), child);
            }
            Verb::Kill { program } => {
                let program = self.programs.remove(program).ok_or(Failure::Skip)?;
                end(program)?;
            }
            _ => return Err(Failure::Elsewhere),
        }
        Ok(())
    }

    /// What is new or different in each branch below.
    pub(super) fn lowers_changed(&self, paths: &Paths) -> Result<Vec<Listing>> {
        let now = list_lowers(&self.lister, paths)?;
        let pairs = self.lowers.iter().zip(&now);
        Ok(pairs
            .map(|(before, after)| changed(before, after))
            .collect())
    }

    fn lower_same(&self, paths: &Paths) -> Answer {
        let now = list_lowers(&self.lister, paths).map_err(Failure::Broken)?;
        Ok((self.lowers == now).into())
    }
}

fn list_lowers(lister: &Lister, paths: &Paths) -> Result<Vec<Listing>> {
    let lowers = paths.branches.lowers().iter();
    lowers.map(|lower| lister.list(lower)).collect()
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Err(error) = self.release() {
            tracing::warn!("a program of a scenario could not be ended: {error:#}");
        }
    }
}

/// Starts a program that waits.
fn spawn(at: &Path) -> Result<Child, Failure> {
    let mut command = Command::new(at);
    // A program of many names looks at the one that it was called by.
    command.arg0("sleep").arg("1000").stdin(Stdio::null());
    match command.spawn() {
        Ok(child) => Ok(child),
        Err(error) => match Errno::from_io_error(&error) {
            // The recordings say ENOEXEC of every execve(2) that failed.
            Some(Errno::TXTBSY) => Err(Failure::Errno(Errno::NOEXEC)),
            _ => Err(error.into()),
        },
    }
}

fn end(mut program: Child) -> std::io::Result<()> {
    program.kill()?;
    program.wait().map(drop)
}
