//! From a path in a changeset to the open directory that holds its last component.
//!
//! A path is never looked up twice: what comes out is a descriptor, and all work goes through it.
//! The fast way is one openat2(2) that refuses every symbolic link. Where it does not answer, a
//! walk opens one component after the other, itself follows the links that this layer made, as if
//! the root were `/`, and never lets the kernel follow any.

use super::Applier;
use super::attributes::{Subject, grant_default_acl, has_default_acl};
use super::error::{Step as _, kernel, refused};
use super::placement::{Below, DirectoryAttributes, Purpose};
use super::record::{DirectoryState, Name, join, split};
use crate::changeset::Xattr;
use crate::error::Result;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;

/// How to open a directory that is to be read and worked in.
pub(super) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Open directories that are kept: layers are sorted, so few are enough.
const KEPT: usize = 64;
/// As many links as Linux follows in one path, see `path_resolution(7)`.
const LINKS: usize = 40;
const S_ISGID: u32 = 0o2000;

/// An open directory in which names are made and removed.
#[derive(Debug)]
pub(super) struct Parent {
    /// Its real path.
    pub(super) path: Box<[u8]>,
    pub(super) directory: OwnedFd,
    /// Its group.
    pub(super) gid: u32,
    /// Whether new names inherit from it.
    pub(super) bequeaths: bool,
}

/// Open directories by the path under which they were asked for.
#[derive(Debug, Default)]
pub(super) struct ParentCache {
    kept: Vec<(Box<[u8]>, Rc<Parent>)>,
    /// Where the last one was found.
    last: usize,
    /// Where the next one goes when there is no more room.
    next: usize,
}

impl ParentCache {
    fn get(&mut self, path: &[u8]) -> Option<Rc<Parent>> {
        let is_it = |(key, _): &(Box<[u8]>, Rc<Parent>)| **key == *path;
        if !self.kept.get(self.last).is_some_and(is_it) {
            self.last = self.kept.iter().position(is_it)?;
        }
        Some(Rc::clone(&self.kept[self.last].1))
    }

    fn keep(&mut self, path: &[u8], parent: Rc<Parent>) {
        let slot = (path.into(), parent);
        if self.kept.len() < KEPT {
            self.last = self.kept.len();
            self.kept.push(slot);
        } else {
            self.next = (self.next + 1) % KEPT;
            self.last = self.next;
            self.kept[self.next] = slot;
        }
    }

    /// Forgets all: names on the way to them may mean something else now.
    pub(super) fn clear(&mut self) {
        self.kept.clear();
        self.last = 0;
    }

    /// Forgets one directory, whose attributes have changed.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.kept.retain(|(_, parent)| *parent.path != *path);
        self.last = 0;
    }
}

/// What to do about directories that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make them; what is in their way and not of this layer goes.
    Create,
    /// Change nothing.
    Look,
}

/// What stands at the path of a directory.
pub(super) enum Found {
    Directory(Rc<Parent>),
    /// Nothing; this is its real path.
    Missing(Vec<u8>),
    /// Something on the way is no directory.
    NotDirectory,
}

/// Where a walk stands.
struct Place {
    path: Vec<u8>,
    directory: OwnedFd,
}

impl Applier<'_> {
    /// The directory at `path`, made where it is missing.
    pub(super) fn parent(&mut self, path: &[u8]) -> Result<Rc<Parent>> {
        match self.find(path, Missing::Create)? {
            Found::Directory(parent) => Ok(parent),
            Found::Missing(_) | Found::NotDirectory => {
                Err(refused("a part of the path is no directory in this layer"))
            }
        }
    }

    /// The directory at `path`, a path as a changeset has it.
    pub(super) fn find(&mut self, path: &[u8], missing: Missing) -> Result<Found> {
        if let Some(parent) = self.parents.get(path) {
            return Ok(Found::Directory(parent));
        }
        let place = match self.open_real(path) {
            Ok(directory) => Place {
                path: path.to_vec(),
                directory,
            },
            Err(
                Errno::NOENT
                | Errno::LOOP
                | Errno::NOTDIR
                | Errno::NAMETOOLONG
                | Errno::NOSYS
                | Errno::PERM
                | Errno::XDEV
                | Errno::AGAIN,
            ) => match self.walk(path, missing)? {
                Ok(place) => place,
                Err(found) => return Ok(found),
            },
            Err(errno) => return Err(kernel("cannot open the directory", errno)),
        };
        let state = self.note_directory(&place.path, place.directory.as_fd())?;
        let parent = Rc::new(Parent {
            path: place.path.into_boxed_slice(),
            directory: place.directory,
            gid: state.gid,
            bequeaths: state.bequeaths,
        });
        self.parents.keep(path, Rc::clone(&parent));
        Ok(Found::Directory(parent))
    }

    /// Opens a directory by its real path.
    fn open_real(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), resolve)
    }

    /// The state of a directory, read before the first change inside it.
    pub(super) fn note_directory(
        &mut self,
        path: &[u8],
        directory: BorrowedFd<'_>,
    ) -> Result<DirectoryState> {
        if let Some(state) = self.record.directory(path) {
            return Ok(state);
        }
        let stat = rustix::fs::fstat(directory).step("cannot read the directory's attributes")?;
        let state = DirectoryState {
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            final_mode: None,
            gid: stat.st_gid,
            bequeaths: stat.st_mode & S_ISGID != 0 || has_default_acl(directory)?,
        };
        self.record.set_directory(path, state);
        Ok(state)
    }

    /// Goes to `path` component by component.
    fn walk(&mut self, path: &[u8], missing: Missing) -> Result<Result<Place, Found>> {
        let components = |path: &[u8]| {
            let parts = path.split(|&byte| byte == b'/').rev();
            parts.map(<[u8]>::to_vec).collect::<Vec<_>>()
        };
        let mut ahead = components(path);
        let mut place = self.root_place()?;
        let mut links = 0;
        while let Some(name) = ahead.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    place = self.step_up(place)?;
                    continue;
                }
                _ => {}
            }
            let path = join(&place.path, &name);
            let opened =
                rustix::fs::openat(&place.directory, name.as_slice(), DIRECTORY, Mode::empty());
            let directory = match (opened, missing) {
                (Ok(directory), _) => directory,
                (Err(Errno::NOENT), Missing::Create) => self.make_missing(&place, &name, &path)?,
                (Err(Errno::NOENT), Missing::Look) => {
                    return Ok(Err(Found::Missing(with_ahead(path, &ahead))));
                }
                (Err(Errno::NOTDIR | Errno::LOOP), _) => match (self.record.name(&path), missing) {
                    (Some(Name::Symlink), _) => {
                        links += 1;
                        if links > LINKS {
                            return Err(refused("too many symbolic links in the path"));
                        }
                        let target =
                            rustix::fs::readlinkat(&place.directory, name.as_slice(), Vec::new())
                                .step("cannot read the symbolic link")?;
                        if target.to_bytes().first() == Some(&b'/') {
                            place = self.root_place()?;
                        }
                        ahead.extend(components(target.to_bytes()));
                        continue;
                    }
                    (None, Missing::Create) => self.replace_by_directory(&place, &name, &path)?,
                    _ => return Ok(Err(Found::NotDirectory)),
                },
                (Err(errno), _) => return Err(kernel("cannot open the directory", errno)),
            };
            place = Place { path, directory };
        }
        Ok(Ok(place))
    }

    fn root_place(&self) -> Result<Place> {
        Ok(Place {
            path: Vec::new(),
            directory: self.duplicate_root()?,
        })
    }

    /// The root, for use beside changes of the applier's own state.
    pub(super) fn duplicate_root(&self) -> Result<OwnedFd> {
        rustix::io::fcntl_dupfd_cloexec(&self.root, 0).step("cannot duplicate a descriptor")
    }

    /// The directory above; the root is its own, as `/` is. It is opened from the root anew:
    /// `..` means what stands above now, which somebody may have moved elsewhere.
    fn step_up(&self, place: Place) -> Result<Place> {
        if place.path.is_empty() {
            return Ok(place);
        }
        let path = split(&place.path).0.to_vec();
        let mut above = self.root_place()?;
        for name in path
            .split(|&byte| byte == b'/')
            .filter(|name| !name.is_empty())
        {
            above.directory = rustix::fs::openat(&above.directory, name, DIRECTORY, Mode::empty())
                .step("cannot open the directory")?;
        }
        Ok(Place { path, ..above })
    }

    /// Makes a directory for which the changeset has no entry (yet): like the one that shows
    /// from below, or else 0755, 0:0, mtime 0.
    fn make_missing(&mut self, place: &Place, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
        self.note_directory(&place.path, place.directory.as_fd())?;
        if self.placement.uncover(place.directory.as_fd(), path)? {
            let directory = self.make_directory(place, name, path, &undescribed())?;
            self.cover(directory.as_fd(), path)?;
            return Ok(directory);
        }
        let below = if self.record.is_sealed(&place.path) {
            Below::Nothing
        } else {
            self.placement.below(path, Purpose::Inherit)?
        };
        match below {
            Below::Directory(attributes) => self.make_directory(place, name, path, &attributes),
            Below::Nothing => self.make_directory(place, name, path, &undescribed()),
            Below::Other => {
                let directory = self.make_directory(place, name, path, &undescribed())?;
                if self.placement.looks_past(path)? {
                    self.cover(directory.as_fd(), path)?;
                }
                Ok(directory)
            }
        }
    }

    /// Puts an undescribed directory in the place of what is neither a directory nor of this
    /// layer.
    fn replace_by_directory(&mut self, place: &Place, name: &[u8], path: &[u8]) -> Result<OwnedFd> {
        self.note_directory(&place.path, place.directory.as_fd())?;
        self.clear_name(place.directory.as_fd(), path)?;
        let directory = self.make_directory(place, name, path, &undescribed())?;
        self.cover(directory.as_fd(), path)?;
        Ok(directory)
    }

    fn make_directory(
        &mut self,
        place: &Place,
        name: &[u8],
        path: &[u8],
        attributes: &DirectoryAttributes,
    ) -> Result<OwnedFd> {
        self.note_directory(&place.path, place.directory.as_fd())?;
        rustix::fs::mkdirat(&place.directory, name, Mode::from_raw_mode(0o700))
            .step("cannot make a directory on the path")?;
        let directory = rustix::fs::openat(&place.directory, name, DIRECTORY, Mode::empty())
            .step("cannot open the directory")?;
        self.set_directory_attributes(directory.as_fd(), path, attributes)?;
        Ok(directory)
    }

    /// Gives a directory exactly these attributes, and its time at the end.
    pub(super) fn set_directory_attributes(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &[u8],
        attributes: &DirectoryAttributes,
    ) -> Result<()> {
        let subject = Subject::Open(directory);
        let stat = rustix::fs::fstat(directory).step("cannot read the directory's attributes")?;
        if (stat.st_uid, stat.st_gid) != (attributes.uid, attributes.gid) {
            subject.set_owner(attributes.uid, attributes.gid)?;
        }
        subject.remove_other_xattrs(&attributes.xattrs)?;
        subject.set_early_xattrs(&attributes.xattrs)?;
        let wide = attributes.mode | 0o700;
        if stat.st_mode & 0o7777 != wide || !attributes.xattrs.is_empty() {
            subject.set_mode(wide)?;
        }
        subject.set_late_xattrs(&attributes.xattrs)?;
        self.record.set_directory(
            path,
            directory_state(
                attributes.mode,
                attributes.gid,
                attributes.mtime,
                &attributes.xattrs,
            ),
        );
        self.parents.forget(path);
        Ok(())
    }
}

/// The state of a directory made with these attributes.
pub(super) fn directory_state(
    mode: u32,
    gid: u32,
    mtime: (i64, u32),
    xattrs: &[Xattr],
) -> DirectoryState {
    let narrow = mode & 0o700 != 0o700;
    DirectoryState {
        mtime,
        // Whoever is not root can make names only in a directory that lets its owner.
        final_mode: narrow.then_some(mode),
        gid,
        bequeaths: mode & S_ISGID != 0 || grant_default_acl(xattrs),
    }
}

/// The attributes of a directory that no entry describes.
pub(super) fn undescribed() -> DirectoryAttributes {
    DirectoryAttributes {
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: (0, 0),
        xattrs: Vec::new(),
    }
}

/// A missing path with the components that a walk had still ahead of it. A `..` among them (from
/// a link) takes one off, as it would if the path were there.
fn with_ahead(mut path: Vec<u8>, ahead: &[Vec<u8>]) -> Vec<u8> {
    for name in ahead.iter().rev() {
        match name.as_slice() {
            b"" | b"." => {}
            b".." => path = split(&path).0.to_vec(),
            name => path = join(&path, name),
        }
    }
    path
}
