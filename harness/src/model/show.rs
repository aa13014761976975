//! The model's tree in the shape in which trees are compared.

use super::files::Files;
use super::inode::{Body, Inode, InodeId, Mtime};
use super::operation::{AclKind, Special};
use crate::tree::{Kind, Node, Tree, TreePath};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

impl Files {
    /// All of it; times that are not known yet are 0.
    pub fn tree(&self) -> Tree {
        let mut leaders: BTreeMap<(bool, InodeId), TreePath> = BTreeMap::new();
        let mut counts: BTreeMap<InodeId, u64> = BTreeMap::new();
        let mut nodes = BTreeMap::new();
        let paths = self.paths();
        for (_, id) in &paths {
            *counts.entry(*id).or_default() += 1;
        }
        for (path, id) in paths {
            let mut node = self.node(id);
            node.link_count = counts[&id];
            if node.kind != Kind::Directory {
                let shown_as = self.inode(id).shown_as;
                let group = (shown_as.is_some(), shown_as.unwrap_or(id));
                let leader = leaders.entry(group).or_insert_with(|| path.clone());
                node.link_leader = Some(leader.clone());
            }
            nodes.insert(path, node);
        }
        Tree::from_nodes(nodes)
    }

    /// One object, without what its names tell.
    pub fn node(&self, id: InodeId) -> Node {
        let inode = self.inode(id);
        let mut node = Node {
            kind: kind(inode),
            mode: inode.mode,
            uid: inode.uid,
            gid: inode.gid,
            size: 0,
            content_digest: None,
            content: None,
            target: Vec::new(),
            device: (0, 0),
            xattrs: inode.xattrs.clone(),
            mtime: match inode.mtime {
                Mtime::At(time) | Mtime::Learned(time) => time,
                Mtime::Now | Mtime::NowOr(_) => 0,
            },
            link_count: 1,
            link_leader: None,
            inode: u64::from(id),
        };
        for kind in [AclKind::Access, AclKind::Default] {
            let acl = match kind {
                AclKind::Access => inode.access,
                AclKind::Default => inode.default,
            };
            if let Some(acl) = acl {
                node.xattrs.insert(kind.attribute().into(), acl.encode());
            }
        }
        match &inode.body {
            Body::File(content) => {
                let bytes = content.bytes();
                node.size = content.size();
                node.content_digest = Some(Sha256::digest(&bytes).into());
                node.content = Some(bytes);
            }
            Body::Symlink(target) => node.target.clone_from(target),
            Body::Special(Special::Character(major, minor) | Special::Block(major, minor)) => {
                node.device = (*major, *minor);
            }
            Body::Special(Special::Fifo | Special::Socket) | Body::Directory(_) => {}
        }
        node
    }
}

fn kind(inode: &Inode) -> Kind {
    match inode.body {
        Body::File(_) => Kind::File,
        Body::Directory(_) => Kind::Directory,
        Body::Symlink(_) => Kind::Symlink,
        Body::Special(Special::Character(..)) => Kind::CharacterDevice,
        Body::Special(Special::Block(..)) => Kind::BlockDevice,
        Body::Special(Special::Fifo) => Kind::Fifo,
        Body::Special(Special::Socket) => Kind::Socket,
    }
}
