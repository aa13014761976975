//! Editing a directory in the words of a case: one line per change.

use anyhow::{Context as _, Result};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use std::ffi::OsStr;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Owner and group of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A directory that a case edits; names are relative to it.
#[derive(Clone, Debug)]
pub struct Dir {
    path: PathBuf,
}

impl Dir {
    /// Edits below `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The full path of `name`; of the directory itself for `.`.
    pub fn at(&self, name: impl AsRef<[u8]>) -> PathBuf {
        match name.as_ref() {
            b"." => self.path.clone(),
            name => self.path.join(OsStr::from_bytes(name)),
        }
    }

    /// Makes or replaces the content of a file; a new one has mode 0644.
    pub fn file(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Result<&Self> {
        let path = self.at(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&path, flags, Mode::from_raw_mode(0o644))
            .with_context(|| format!("create `{}`", path.display()))?;
        let mut file = std::fs::File::from(handle);
        file.write_all(content.as_ref())
            .with_context(|| format!("write `{}`", path.display()))?;
        Ok(self)
    }

    /// Appends to a file that exists.
    pub fn append(&self, name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Result<&Self> {
        let path = self.at(name);
        let mut file = fs_err::OpenOptions::new().append(true).open(path)?;
        file.write_all(content.as_ref())?;
        Ok(self)
    }

    /// Writes `content` at `offset` of a file that exists.
    pub fn overwrite(&self, name: impl AsRef<[u8]>, offset: u64, content: &[u8]) -> Result<&Self> {
        let mut file = fs_err::OpenOptions::new().write(true).open(self.at(name))?;
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(content)?;
        Ok(self)
    }

    /// Sets the length of a file that exists.
    pub fn truncate(&self, name: impl AsRef<[u8]>, length: u64) -> Result<&Self> {
        let file = fs_err::OpenOptions::new().write(true).open(self.at(name))?;
        file.set_len(length)?;
        Ok(self)
    }

    /// The content of a file.
    pub fn read(&self, name: impl AsRef<[u8]>) -> Result<Vec<u8>> {
        let mut content = Vec::new();
        fs_err::File::open(self.at(name))?.read_to_end(&mut content)?;
        Ok(content)
    }

    /// Makes a directory of mode 0755.
    pub fn dir(&self, name: impl AsRef<[u8]>) -> Result<&Self> {
        let path = self.at(name);
        rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755))
            .with_context(|| format!("mkdir `{}`", path.display()))?;
        Ok(self)
    }

    /// Makes a directory and those above it.
    pub fn dirs(&self, name: impl AsRef<[u8]>) -> Result<&Self> {
        fs_err::create_dir_all(self.at(name))?;
        Ok(self)
    }

    /// Makes a symbolic link.
    pub fn symlink(&self, name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Result<&Self> {
        let path = self.at(name);
        rustix::fs::symlink(OsStr::from_bytes(target.as_ref()), &path)
            .with_context(|| format!("symlink `{}`", path.display()))?;
        Ok(self)
    }

    /// Makes another name for an object.
    pub fn hard_link(&self, existing: impl AsRef<[u8]>, name: impl AsRef<[u8]>) -> Result<&Self> {
        let (from, to) = (self.at(existing), self.at(name));
        rustix::fs::linkat(CWD, &from, CWD, &to, AtFlags::empty())
            .with_context(|| format!("link `{}` to `{}`", to.display(), from.display()))?;
        Ok(self)
    }

    /// Makes a fifo of mode 0644.
    pub fn fifo(&self, name: impl AsRef<[u8]>) -> Result<&Self> {
        self.node(name, rustix::fs::FileType::Fifo, (0, 0))
    }

    /// Makes a character device of mode 0644.
    pub fn character_device(&self, name: impl AsRef<[u8]>, device: (u32, u32)) -> Result<&Self> {
        self.node(name, rustix::fs::FileType::CharacterDevice, device)
    }

    /// Makes a block device of mode 0644.
    pub fn block_device(&self, name: impl AsRef<[u8]>, device: (u32, u32)) -> Result<&Self> {
        self.node(name, rustix::fs::FileType::BlockDevice, device)
    }

    /// Makes a socket.
    pub fn socket(&self, name: impl AsRef<[u8]>) -> Result<&Self> {
        self.node(name, rustix::fs::FileType::Socket, (0, 0))
    }

    fn node(
        &self,
        name: impl AsRef<[u8]>,
        kind: rustix::fs::FileType,
        device: (u32, u32),
    ) -> Result<&Self> {
        let path = self.at(name);
        let device = rustix::fs::makedev(device.0, device.1);
        rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o644), device)
            .with_context(|| format!("mknod `{}`", path.display()))?;
        Ok(self)
    }

    /// Sets the twelve permission bits.
    pub fn mode(&self, name: impl AsRef<[u8]>, mode: u32) -> Result<&Self> {
        let path = self.at(name);
        rustix::fs::chmod(&path, Mode::from_raw_mode(mode))
            .with_context(|| format!("chmod `{}`", path.display()))?;
        Ok(self)
    }

    /// Sets owner and group, of a link itself if it is one.
    pub fn owner(&self, name: impl AsRef<[u8]>, owner: Owner) -> Result<&Self> {
        let path = self.at(name);
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(CWD, &path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("chown `{}`", path.display()))?;
        Ok(self)
    }

    /// Sets the modification and access time, of a link itself if it is one.
    pub fn time(&self, name: impl AsRef<[u8]>, seconds: i64, nanoseconds: u32) -> Result<&Self> {
        let path = self.at(name);
        let time = Timespec {
            tv_sec: seconds,
            tv_nsec: i64::from(nanoseconds),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW)
            .with_context(|| format!("set times of `{}`", path.display()))?;
        Ok(self)
    }

    /// Sets an extended attribute, of a link itself if it is one.
    pub fn xattr(
        &self,
        name: impl AsRef<[u8]>,
        key: &str,
        value: impl AsRef<[u8]>,
    ) -> Result<&Self> {
        let path = self.at(name);
        rustix::fs::lsetxattr(&path, key, value.as_ref(), XattrFlags::empty())
            .with_context(|| format!("set `{key}` of `{}`", path.display()))?;
        Ok(self)
    }

    /// Removes an extended attribute.
    pub fn remove_xattr(&self, name: impl AsRef<[u8]>, key: &str) -> Result<&Self> {
        let path = self.at(name);
        rustix::fs::lremovexattr(&path, key)
            .with_context(|| format!("remove `{key}` of `{}`", path.display()))?;
        Ok(self)
    }

    /// Removes a name that is no directory.
    pub fn unlink(&self, name: impl AsRef<[u8]>) -> Result<&Self> {
        fs_err::remove_file(self.at(name))?;
        Ok(self)
    }

    /// Removes a directory and everything below it.
    pub fn remove_tree(&self, name: impl AsRef<[u8]>) -> Result<&Self> {
        fs_err::remove_dir_all(self.at(name))?;
        Ok(self)
    }

    /// Renames, replacing what the new name was.
    pub fn rename(&self, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Result<&Self> {
        fs_err::rename(self.at(from), self.at(to))?;
        Ok(self)
    }

    /// Swaps two names in one step.
    pub fn exchange(&self, one: impl AsRef<[u8]>, two: impl AsRef<[u8]>) -> Result<&Self> {
        let (one, two) = (self.at(one), self.at(two));
        rustix::fs::renameat_with(CWD, &one, CWD, &two, RenameFlags::EXCHANGE)
            .with_context(|| format!("exchange `{}` and `{}`", one.display(), two.display()))?;
        Ok(self)
    }

    /// Whether the name exists, whatever it is.
    pub fn has(&self, name: impl AsRef<[u8]>) -> bool {
        fs_err::symlink_metadata(self.at(name)).is_ok()
    }

    /// The names in a directory, sorted.
    pub fn names(&self, name: impl AsRef<[u8]>) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs_err::read_dir(self.at(name))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Inode number of a name.
    pub fn inode(&self, name: impl AsRef<[u8]>) -> Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        Ok(fs_err::symlink_metadata(self.at(name))?.ino())
    }
}
