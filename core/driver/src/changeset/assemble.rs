//! From a header and what the extended headers said, to an item of the vocabulary.

use super::BLOCK;
use super::entry::{Entry, EntryKind, EntryPath, Item, Metadata, TarName, Timestamp};
use super::error::{CodecErrorKind, Malformed, Rule};
use super::event::SkipReason;
use super::header::Header;
use super::limits::{Limits, MAJOR_LIMIT, MINOR_LIMIT};
use super::pax::Pax;
use super::sparse::{SparseKind, SparseMap};

/// What a header turned out to be, and how much content follows it in the archive.
#[derive(Debug)]
pub(super) enum Assembled {
    /// Something whose content, if it has any, does not count.
    Item { item: Item, ignored: u64 },
    /// A regular file.
    File {
        entry: Entry,
        stored: u64,
        map: FileMap,
    },
    /// Something that means nothing in a layer.
    Skipped { reason: SkipReason, ignored: u64 },
}

/// How the stored bytes of a file are laid out in it.
#[derive(Debug)]
pub(super) enum FileMap {
    /// They are the file.
    Whole,
    /// By this map.
    Listed(SparseMap),
    /// By this map and the blocks after the header that continue it.
    Continued(SparseMap),
    /// By the map at their beginning.
    InContent,
}

/// A header and the names that hold for it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) header: Header<'a>,
    pub(super) name: &'a [u8],
    pub(super) link: &'a [u8],
    pub(super) limits: &'a Limits,
}

impl Source<'_> {
    pub(super) fn assemble(&self, pax: &mut Pax) -> Result<Assembled, CodecErrorKind> {
        let size = match pax.size {
            Some(size) => size,
            None => self.header.size()?,
        };
        if size > i64::MAX as u64 - BLOCK as u64 {
            return Err(Malformed::Number("size").into());
        }
        let flag = Flag::of(self.header.flag(), self.name)?;
        // Only these types have content. A size in any other header means nothing: GNU tar, Go and
        // Python agree on that, and so on where the next header stands.
        let stored = if matches!(flag, Flag::File | Flag::OldGnuSparse) {
            size
        } else {
            0
        };
        let sparse = pax.sparse.finish()?;
        if flag != Flag::File && !matches!(sparse, SparseKind::None) {
            return Err(Malformed::SparseHeader.into());
        }
        if flag == Flag::VolumeLabel {
            return Ok(Assembled::Skipped {
                reason: SkipReason::VolumeLabel,
                ignored: 0,
            });
        }
        let name = TarName::parse(self.name)?;
        if flag == Flag::OldGnuSparse && !matches!(name, TarName::Plain(_)) {
            // Its map may go on in blocks that no size accounts for.
            return Err(Malformed::SparseHeader.into());
        }
        let path = match name {
            TarName::Plain(path) => path,
            TarName::AufsMetadata(_) => {
                return Ok(Assembled::Skipped {
                    reason: SkipReason::AufsMetadata,
                    ignored: stored,
                });
            }
            TarName::Whiteout { directory, name } => {
                self.check_path(&directory, name.len() + 1)?;
                let item = Item::Whiteout { directory, name };
                return Ok(Assembled::Item {
                    item,
                    ignored: stored,
                });
            }
            TarName::Opaque { directory } => {
                self.check_path(&directory, 0)?;
                return Ok(Assembled::Item {
                    item: Item::Opaque { directory },
                    ignored: stored,
                });
            }
        };
        self.check_path(&path, 0)?;
        if path.is_root() && flag != Flag::Directory {
            return Err(Rule::RootType.into());
        }
        let (kind, map) = match flag {
            Flag::File => match sparse {
                SparseKind::None => (EntryKind::File { size }, FileMap::Whole),
                SparseKind::Listed { real_size, map } => {
                    (EntryKind::File { size: real_size }, FileMap::Listed(map))
                }
                SparseKind::InContent { real_size } => {
                    (EntryKind::File { size: real_size }, FileMap::InContent)
                }
            },
            Flag::OldGnuSparse => self.old_gnu_sparse()?,
            _ => (self.other_kind(flag, pax)?, FileMap::Whole),
        };
        let metadata = self.metadata(pax, &kind)?;
        let entry = Entry {
            path,
            kind,
            metadata,
            xattrs: pax.take_xattrs(),
        };
        Ok(match entry.kind {
            EntryKind::File { .. } => Assembled::File { entry, stored, map },
            _ => Assembled::Item {
                item: Item::Entry(entry),
                ignored: 0,
            },
        })
    }

    fn check_path(&self, path: &EntryPath, more: usize) -> Result<(), CodecErrorKind> {
        if path.as_bytes().len() + more > self.limits.path {
            let limit = self.limits.path as u64;
            return Err(CodecErrorKind::OverLimit {
                what: "bytes of a path",
                limit,
            });
        }
        Ok(())
    }

    fn old_gnu_sparse(&self) -> Result<(EntryKind, FileMap), CodecErrorKind> {
        let fields = self.header.sparse()?;
        let mut map = SparseMap::default();
        map.read_old_gnu(fields.segments, self.limits)?;
        let map = if fields.continued {
            FileMap::Continued(map)
        } else {
            FileMap::Listed(map)
        };
        Ok((
            EntryKind::File {
                size: fields.real_size,
            },
            map,
        ))
    }

    fn other_kind(&self, flag: Flag, pax: &Pax) -> Result<EntryKind, CodecErrorKind> {
        let device = || -> Result<(u32, u32), CodecErrorKind> {
            let (major, minor) = self.header.device()?;
            let device = (
                pax.device_major.unwrap_or(major),
                pax.device_minor.unwrap_or(minor),
            );
            // Linux cuts larger ones off without a word: major 4096 would make device 0.
            if device.0 >= MAJOR_LIMIT || device.1 >= MINOR_LIMIT {
                return Err(Rule::DeviceNumber.into());
            }
            Ok(device)
        };
        Ok(match flag {
            Flag::HardLink => EntryKind::HardLink {
                target: self.hard_link_target()?,
            },
            Flag::Symlink => EntryKind::Symlink {
                target: self.symlink_target()?,
            },
            Flag::CharDevice => match device()? {
                (0, 0) => return Err(Rule::WhiteoutDevice.into()),
                (major, minor) => EntryKind::CharDevice { major, minor },
            },
            Flag::BlockDevice => {
                let (major, minor) = device()?;
                EntryKind::BlockDevice { major, minor }
            }
            Flag::Directory => EntryKind::Directory,
            Flag::Fifo => EntryKind::Fifo,
            Flag::File | Flag::OldGnuSparse | Flag::VolumeLabel => {
                return Err(Rule::EntryType(self.header.flag()).into());
            }
        })
    }

    fn hard_link_target(&self) -> Result<EntryPath, CodecErrorKind> {
        if self.link.is_empty() {
            return Err(Rule::EmptyTarget.into());
        }
        let TarName::Plain(target) = TarName::parse(self.link)? else {
            return Err(Rule::WhiteoutName.into());
        };
        if target.is_root() {
            return Err(Rule::LinkToRoot.into());
        }
        self.check_path(&target, 0)?;
        Ok(target)
    }

    fn symlink_target(&self) -> Result<Vec<u8>, CodecErrorKind> {
        if self.link.is_empty() {
            return Err(Rule::EmptyTarget.into());
        }
        if self.link.len() > self.limits.link {
            let limit = self.limits.link as u64;
            return Err(CodecErrorKind::OverLimit {
                what: "bytes of a link target",
                limit,
            });
        }
        Ok(self.link.to_vec())
    }

    fn metadata(&self, pax: &Pax, kind: &EntryKind) -> Result<Metadata, CodecErrorKind> {
        let mode = match kind {
            EntryKind::Symlink { .. } => 0o777,
            _ => self.header.mode()?,
        };
        let uid = pax.uid.map_or_else(|| self.header.uid(), Ok)?;
        let gid = pax.gid.map_or_else(|| self.header.gid(), Ok)?;
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Rule::NoOwner.into());
        }
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => Timestamp {
                seconds: self.header.mtime()?,
                nanoseconds: 0,
            },
        };
        Ok(Metadata {
            mode,
            uid,
            gid,
            mtime,
        })
    }
}

/// What a type flag stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flag {
    File,
    OldGnuSparse,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    VolumeLabel,
}

impl Flag {
    fn of(flag: u8, name: &[u8]) -> Result<Self, Rule> {
        Ok(match flag {
            // Before POSIX, a slash was all that told a directory.
            0 if name.ends_with(b"/") => Self::Directory,
            // `7` is a contiguous file, which Linux does not know.
            0 | b'0' | b'7' => Self::File,
            b'S' => Self::OldGnuSparse,
            b'1' => Self::HardLink,
            b'2' => Self::Symlink,
            b'3' => Self::CharDevice,
            b'4' => Self::BlockDevice,
            b'5' => Self::Directory,
            b'6' => Self::Fifo,
            b'V' => Self::VolumeLabel,
            // Among them GNU's incremental dumps (`D`) and pieces of files (`M`).
            other => return Err(Rule::EntryType(other)),
        })
    }
}
