//! What is held: descriptors and mappings.

use super::{Performer, read_all, with_errno, write_at};
use crate::model::operation::{Data, HoldHow, Slot};
use crate::tree::TreePath;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use strata_sys::map::SharedMap;

#[derive(Debug)]
pub(super) enum Held {
    /// A descriptor; the kernel knows what it is open for.
    Open(OwnedFd),
    Mapped {
        map: SharedMap,
        length: u64,
        /// The file itself, not open (`O_PATH`): what lies beyond its end must not be read.
        file: OwnedFd,
    },
}

impl Performer {
    pub(super) fn held(&self, slot: Slot) -> Result<&Held, Errno> {
        self.held.get(&slot).ok_or(Errno::BADF)
    }

    pub(super) fn hold(&self, path: &TreePath, how: HoldHow) -> Result<Held, Errno> {
        match how {
            HoldHow::Read => Ok(Held::Open(self.open_file(path, OFlags::RDONLY)?)),
            HoldHow::Write => Ok(Held::Open(self.open_file(path, OFlags::RDWR)?)),
            HoldHow::Map => {
                let file = self.file(path)?;
                let open = self.open(path, OFlags::RDONLY, Mode::empty())?;
                let length = rustix::fs::fstat(&open)?.st_size as u64;
                // mmap(2) of nothing is EINVAL.
                let map = with_errno(SharedMap::read_only(&open, length as usize))?;
                Ok(Held::Mapped { map, length, file })
            }
        }
    }
}

impl Held {
    pub(super) fn read(&self) -> Result<Vec<u8>, Errno> {
        match self {
            Self::Open(file) => read_all(file),
            Self::Mapped { map, length, file } => {
                let now = rustix::fs::fstat(file)?.st_size as u64;
                Ok(map.read(0, now.min(*length) as usize))
            }
        }
    }

    pub(super) fn write(&self, at: u64, data: Data) -> Result<(), Errno> {
        write_at(self.open()?, at, data)
    }

    pub(super) fn truncate(&self, size: u64) -> Result<(), Errno> {
        rustix::fs::ftruncate(self.open()?, size)
    }

    fn open(&self) -> Result<&OwnedFd, Errno> {
        match self {
            Self::Open(file) => Ok(file),
            Self::Mapped { .. } => Err(Errno::BADF),
        }
    }
}
