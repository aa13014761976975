//! Operations on what an object says of itself.

use super::files::{Files, Outcome};
use super::inode::{CAPABILITY, Mtime};
use super::operation::{Acl, AclKind, Answer};
use super::quirks::Bent;
use crate::tree::TreePath;
use rustix::io::Errno;

impl Files {
    pub(super) fn chmod(&mut self, path: &TreePath, mode: u32, bent: &mut Bent) -> Outcome {
        let id = self.place_followed(path)?.existing()?;
        self.touch(id, bent);
        self.inode_mut(id).set_mode(mode);
        Ok(Answer::Done)
    }

    /// chown(2): what is no directory loses its set-user-ID bit and capabilities whoever asks, and
    /// its set-group-ID bit where a group may execute it.
    pub(super) fn chown(
        &mut self,
        path: &TreePath,
        (uid, gid): (u32, u32),
        bent: &mut Bent,
    ) -> Outcome {
        const SET_USER: u32 = 0o4000;
        const SET_GROUP: u32 = 0o2000;
        const GROUP_EXECUTE: u32 = 0o0010;
        let id = self.at(path)?;
        self.touch(id, bent);
        let inode = self.inode_mut(id);
        (inode.uid, inode.gid) = (uid, gid);
        if !inode.is_directory() {
            if !inode.is_symlink() {
                inode.mode &= !SET_USER;
                if inode.mode & GROUP_EXECUTE != 0 {
                    inode.mode &= !SET_GROUP;
                }
            }
            inode.drop_capability();
        }
        Ok(Answer::Done)
    }

    pub(super) fn utimens(&mut self, path: &TreePath, mtime: i64, bent: &mut Bent) -> Outcome {
        let id = self.at(path)?;
        self.touch(id, bent);
        self.inode_mut(id).mtime = Mtime::At(i128::from(mtime));
        Ok(Answer::Done)
    }

    pub(super) fn set_xattr(
        &mut self,
        path: &TreePath,
        (key, value): (&str, &[u8]),
        bent: &mut Bent,
    ) -> Outcome {
        let id = self.at(path)?;
        self.may_have(id, key)?;
        self.touch(id, bent);
        let xattrs = &mut self.inode_mut(id).xattrs;
        xattrs.insert(key.as_bytes().to_vec(), value.to_vec());
        Ok(Answer::Done)
    }

    pub(super) fn remove_xattr(&mut self, path: &TreePath, key: &str, bent: &mut Bent) -> Outcome {
        let id = self.at(path)?;
        self.may_have(id, key)?;
        if !self.inode(id).xattrs.contains_key(key.as_bytes()) {
            return Err(Errno::NODATA);
        }
        self.touch(id, bent);
        self.inode_mut(id).xattrs.remove(key.as_bytes());
        Ok(Answer::Done)
    }

    /// Attributes of users belong to files and directories only; xattr(7).
    fn may_have(&self, id: u32, key: &str) -> Result<(), Errno> {
        let inode = self.inode(id);
        let plain = inode.is_directory() || matches!(inode.body, super::inode::Body::File(_));
        if key.starts_with("user.") && !plain {
            return Err(Errno::PERM);
        }
        let known =
            key.starts_with("user.") || key.starts_with("trusted.") || key.as_bytes() == CAPABILITY;
        if known { Ok(()) } else { Err(Errno::OPNOTSUPP) }
    }

    pub(super) fn set_acl(
        &mut self,
        path: &TreePath,
        (kind, acl): (AclKind, Option<Acl>),
        bent: &mut Bent,
    ) -> Outcome {
        let id = self.at(path)?;
        let inode = self.inode(id);
        if inode.is_symlink() {
            return Err(Errno::OPNOTSUPP);
        }
        if kind == AclKind::Default && !inode.is_directory() {
            // vfs_set_acl: a default list is for directories; taking away none is no error.
            return match acl {
                Some(_) => Err(Errno::ACCESS),
                None => Ok(Answer::Done),
            };
        }
        let had = match kind {
            AclKind::Access => inode.access,
            AclKind::Default => inode.default,
        };
        if acl.is_none() && had.is_none() {
            return Ok(Answer::Done);
        }
        self.touch(id, bent);
        let inode = self.inode_mut(id);
        if let (AclKind::Access, Some(acl)) = (kind, acl) {
            inode.mode = inode.mode & 0o7000 | acl.mode();
        }
        *inode.acl(kind) = acl;
        Ok(Answer::Done)
    }
}
