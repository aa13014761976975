//! One object of the model's file system.

use super::content::Content;
use super::operation::{Acl, AclKind, Special};
use std::collections::{BTreeMap, BTreeSet};

/// Number of an inode; 0 is the root.
pub type InodeId = u32;

/// Names in a directory.
pub type Names = BTreeMap<Vec<u8>, InodeId>;

/// A modification time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mtime {
    /// Nanoseconds since 1970, as somebody chose.
    At(i128),
    /// Nanoseconds since 1970, as it was found after it was set to now.
    Learned(i128),
    /// When the last operation ran; to be learned.
    Now,
    /// Either; to be learned: file systems differ.
    NowOr(i128),
}

impl Mtime {
    /// The time after what some file systems take for a change and others do not.
    #[must_use]
    pub fn or_now(self) -> Self {
        match self {
            Self::At(time) | Self::Learned(time) => Self::NowOr(time),
            Self::Now | Self::NowOr(_) => self,
        }
    }

    /// Whether it may still be `time`, without having been set to now.
    pub fn is_or(self, time: i128) -> bool {
        self == Self::NowOr(time)
    }
}

/// What an inode is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Body {
    File(Content),
    Directory(Names),
    Symlink(Vec<u8>),
    Special(Special),
}

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// What it is.
    pub body: Body,
    /// The twelve permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Extended attributes; access control lists stand apart.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Its access control list, where it is more than its mode.
    pub access: Option<Acl>,
    /// What new names in it inherit.
    pub default: Option<Acl>,
    /// Modification time.
    pub mtime: Mtime,
    /// Whether it comes from the layers below: a directory for good, all else until it is touched.
    pub below: bool,
    /// Names that it has in the layer that it comes from.
    pub names_below: u32,
    /// Names that it holds there, as a directory.
    pub holds_below: BTreeSet<Vec<u8>>,
    /// Inodes that are shown as one while they come from below have the same number here.
    pub shown_as: Option<InodeId>,
}

impl Inode {
    /// A new one, of root.
    pub fn new(body: Body, mode: u32) -> Self {
        Self {
            body,
            mode,
            uid: 0,
            gid: 0,
            xattrs: BTreeMap::new(),
            access: None,
            default: None,
            mtime: Mtime::Now,
            below: false,
            names_below: 0,
            holds_below: BTreeSet::new(),
            shown_as: None,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.body, Body::Directory(_))
    }

    /// Whether it is a symbolic link.
    pub fn is_symlink(&self) -> bool {
        matches!(self.body, Body::Symlink(_))
    }

    /// The names in it; none if it is no directory.
    pub fn names(&self) -> Option<&Names> {
        match &self.body {
            Body::Directory(names) => Some(names),
            _ => None,
        }
    }

    /// Bytes that a file system has to store for it.
    pub fn stored(&self) -> u64 {
        match &self.body {
            Body::File(content) => content.stored(),
            _ => 0,
        }
    }

    /// Marks it as written: what comes from below is then no longer shown as one with others.
    pub fn touch(&mut self) {
        if !self.is_directory() {
            self.below = false;
            self.shown_as = None;
        }
    }

    /// Writing drops file capabilities (`security.capability`), root's too; capabilities(7).
    pub fn drop_capability(&mut self) {
        self.xattrs.remove(CAPABILITY);
    }

    /// The access control list of that kind.
    pub fn acl(&mut self, kind: AclKind) -> &mut Option<Acl> {
        match kind {
            AclKind::Access => &mut self.access,
            AclKind::Default => &mut self.default,
        }
    }

    /// Sets the permission bits, and what the access list says of them; `posix_acl_chmod`.
    pub fn set_mode(&mut self, mode: u32) {
        self.mode = mode & 0o7777;
        if let Some(acl) = &mut self.access {
            acl.owner = (mode >> 6 & 7) as u8;
            acl.mask = (mode >> 3 & 7) as u8;
            acl.other = (mode & 7) as u8;
        }
    }

    /// Gives a new inode what the directory's default list says; umask(2) counts where there is
    /// none. `posix_acl_create`.
    pub fn inherit(&mut self, default: Option<Acl>) {
        let Some(mut acl) = default else {
            self.mode &= !UMASK;
            return;
        };
        if self.is_symlink() {
            return;
        }
        if self.is_directory() {
            self.default = Some(acl);
        }
        acl.owner &= (self.mode >> 6 & 7) as u8;
        acl.mask &= (self.mode >> 3 & 7) as u8;
        acl.other &= (self.mode & 7) as u8;
        self.mode = self.mode & 0o7000 | acl.mode();
        self.access = Some(acl);
    }
}

impl Acl {
    /// The permission bits that it stands for.
    pub fn mode(self) -> u32 {
        u32::from(self.owner) << 6 | u32::from(self.mask) << 3 | u32::from(self.other)
    }

    /// Its value as an extended attribute; `linux/posix_acl_xattr.h`.
    pub fn encode(self) -> Vec<u8> {
        const VERSION: u32 = 2;
        const NOBODY: u32 = u32::MAX;
        let entries = [
            (0x01_u16, self.owner, NOBODY),
            (0x02, self.named.1, self.named.0),
            (0x04, self.group, NOBODY),
            (0x10, self.mask, NOBODY),
            (0x20, self.other, NOBODY),
        ];
        let mut bytes = VERSION.to_le_bytes().to_vec();
        for (tag, bits, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(u16::from(bits).to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }
}

impl AclKind {
    /// The attribute that holds it.
    pub fn attribute(self) -> &'static str {
        match self {
            Self::Access => "system.posix_acl_access",
            Self::Default => "system.posix_acl_default",
        }
    }
}

/// The attribute of file capabilities.
pub const CAPABILITY: &[u8] = b"security.capability";

/// The file mode creation mask that scripts run under.
pub const UMASK: u32 = 0o022;
