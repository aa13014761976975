//! Reading a tree: one thread lists and asks for attributes, another reads what the files hold.

use super::{Kind, Node, Tree, TreePath};
use anyhow::{Context as _, Result, bail};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

/// Files that are open and wait to be read.
const WAITING: usize = 64;

/// Bytes read at once; more than the longest attribute and the longest list of names.
const BLOCK: usize = 128 * 1024;

/// What becomes of the contents of files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    Digested,
    Kept,
}

/// What a file holds: its digest, and itself if it is kept.
type Held = ([u8; 32], Option<Vec<u8>>);

/// Reads the tree in `directory`.
pub(super) fn read(directory: &Path, contents: Contents) -> Result<Tree> {
    let (found, waiting) = sync_channel(WAITING);
    let (listed, held) = std::thread::scope(|scope| {
        let reading = scope.spawn(move || read_contents(&waiting, contents));
        let listed = Lister::new(found).read(directory);
        let held = reading.join();
        (
            listed,
            held.unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    // Where reading failed, listing ended for want of a reader.
    let held = held?;
    let mut tree = listed?;
    for (path, (digest, content)) in held {
        let node = tree.nodes.get_mut(&path).expect("what is read was listed");
        (node.content_digest, node.content) = (Some(digest), content);
    }
    Ok(tree)
}

fn read_contents(
    waiting: &Receiver<(TreePath, File)>,
    contents: Contents,
) -> Result<Vec<(TreePath, Held)>> {
    let mut block = vec![0; BLOCK];
    let mut held = Vec::new();
    for (path, file) in waiting {
        let keep = contents == Contents::Kept;
        let content = read_content(file, &path, keep, &mut block)?;
        held.push((path, content));
    }
    Ok(held)
}

fn read_content(mut file: File, path: &TreePath, keep: bool, block: &mut [u8]) -> Result<Held> {
    let mut hash = Sha256::new();
    let mut kept = keep.then(Vec::new);
    loop {
        let length = file.read(block).with_context(|| format!("read `{path}`"))?;
        if length == 0 {
            break;
        }
        hash.update(&block[..length]);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&block[..length]);
        }
    }
    Ok((hash.finalize().into(), kept))
}

/// Reads what `name` in `directory` is, without following it and without saying which link group
/// it belongs to. Content of up to `most_kept` bytes is kept.
pub(crate) fn read_node(
    directory: &OwnedFd,
    name: &[u8],
    path: &TreePath,
    most_kept: u64,
) -> Result<Node> {
    let mut buffer = vec![0; BLOCK];
    let Seen { mut node, file, .. } = see(directory, name, path, &mut buffer)?;
    if let Some(file) = file {
        let keep = node.size <= most_kept;
        let (digest, content) = read_content(file, path, keep, &mut buffer)?;
        (node.content_digest, node.content) = (Some(digest), content);
    }
    Ok(node)
}

struct Lister {
    tree: Tree,
    leaders: HashMap<(u64, u64), TreePath>,
    found: SyncSender<(TreePath, File)>,
    /// For the names and values of attributes, made once.
    buffer: Vec<u8>,
}

impl Lister {
    fn new(found: SyncSender<(TreePath, File)>) -> Self {
        Self {
            tree: Tree::default(),
            leaders: HashMap::new(),
            found,
            buffer: vec![0; BLOCK],
        }
    }

    fn read(mut self, directory: &Path) -> Result<Tree> {
        let handle = rustix::fs::open(directory, DIRECTORY, Mode::empty())
            .with_context(|| format!("open `{}`", directory.display()))?;
        self.visit(&handle, b".", &TreePath::root())?;
        self.descend(&handle, &TreePath::root())?;
        Ok(self.tree)
    }

    fn descend(&mut self, directory: &OwnedFd, path: &TreePath) -> Result<()> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(directory)? {
            let name = entry
                .with_context(|| format!("list `{path}`"))?
                .file_name()
                .to_bytes()
                .to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        // Names in order make the first one met of a link group its least.
        names.sort_unstable();
        for name in names {
            let below = path.join(&name);
            let kind = self.visit(directory, &name, &below)?;
            if kind == Kind::Directory {
                let handle = rustix::fs::openat(directory, &name[..], DIRECTORY, Mode::empty())
                    .with_context(|| format!("open `{below}`"))?;
                self.descend(&handle, &below)?;
            }
        }
        Ok(())
    }

    fn visit(&mut self, directory: &OwnedFd, name: &[u8], path: &TreePath) -> Result<Kind> {
        let Seen {
            mut node,
            file,
            device,
        } = see(directory, name, path, &mut self.buffer)?;
        if let Some(file) = file {
            let sent = self.found.send((path.clone(), file));
            sent.context("nobody reads any more")?;
        }
        let kind = node.kind;
        if kind != Kind::Directory {
            let inode = (device, node.inode);
            let leader = self.leaders.entry(inode).or_insert_with(|| path.clone());
            node.link_leader = Some(leader.clone());
        }
        self.tree.nodes.insert(path.clone(), node);
        Ok(kind)
    }
}

/// One path as it was seen, its content not read yet.
struct Seen {
    node: Node,
    /// A file, open.
    file: Option<File>,
    /// The file system it is on.
    device: u64,
}

fn see(directory: &OwnedFd, name: &[u8], path: &TreePath, buffer: &mut [u8]) -> Result<Seen> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .with_context(|| format!("stat `{path}`"))?;
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::CharacterDevice => Kind::CharacterDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::Unknown => bail!("`{path}` is of unknown type"),
    };
    let mut node = Node {
        kind,
        mode: if kind == Kind::Symlink {
            0o777
        } else {
            stat.st_mode & 0o7777
        },
        uid: stat.st_uid,
        gid: stat.st_gid,
        size: 0,
        content_digest: None,
        content: None,
        target: Vec::new(),
        device: (0, 0),
        xattrs: read_xattrs(directory, name, buffer)
            .with_context(|| format!("xattrs of `{path}`"))?,
        mtime: i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec),
        link_count: stat.st_nlink,
        link_leader: None,
        inode: stat.st_ino,
    };
    let mut file = None;
    match kind {
        Kind::File => {
            node.size = stat.st_size as u64;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let opened = rustix::fs::openat(directory, name, flags, Mode::empty())
                .with_context(|| format!("open `{path}`"))?;
            file = Some(opened.into());
        }
        Kind::Symlink => {
            node.target = rustix::fs::readlinkat(directory, name, Vec::new())?.into_bytes();
        }
        Kind::CharacterDevice | Kind::BlockDevice => {
            node.device = (
                rustix::fs::major(stat.st_rdev),
                rustix::fs::minor(stat.st_rdev),
            );
        }
        Kind::Directory | Kind::Fifo | Kind::Socket => {}
    }
    Ok(Seen {
        node,
        file,
        device: stat.st_dev,
    })
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Attributes that belong to the host, the backing file system or a driver, not to the tree.
fn is_foreign(name: &[u8]) -> bool {
    const PREFIXES: &[&[u8]] = &[
        // xfs shows its ACLs a second time, in its own form (fs/xfs/xfs_acl.h).
        b"trusted.SGI_ACL_",
        b"trusted.overlay.",
        b"user.overlay.",
        b"security.selinux",
        b"security.ima",
        b"security.evm",
        b"btrfs.",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn read_xattrs(
    directory: &OwnedFd,
    name: &[u8],
    buffer: &mut [u8],
) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    // The l*xattr calls take no directory descriptor before Linux 6.13; a path through /proc is
    // as short for the deepest directory as for the first.
    let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    let mut xattrs = BTreeMap::new();
    let names = match rustix::fs::llistxattr(&path[..], &mut buffer[..]) {
        Ok(length) => buffer[..length].to_vec(),
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(xattrs),
        Err(errno) => return Err(errno.into()),
    };
    for key in names
        .split(|byte| *byte == 0)
        .filter(|key| !key.is_empty() && !is_foreign(key))
    {
        let length = rustix::fs::lgetxattr(&path[..], key, &mut buffer[..])?;
        xattrs.insert(key.to_vec(), buffer[..length].to_vec());
    }
    Ok(xattrs)
}
