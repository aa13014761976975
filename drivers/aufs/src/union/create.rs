//! Making names.

use super::branch::Branch;
use super::copyup::{Content, Upper};
use super::lookup::Top;
use super::marks::Marks;
use super::names;
use super::node::{Body, Directory, Identity, Node, Other, Part, Table, home};
use super::open::handle_of;
use super::options::Udba;
use super::place::{Place, file_type, statx_at};
use super::state::{Union, part_in};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use strata_fuse::{Caller, Created, Entry, Made};

const ACL_UNKNOWN: u8 = 0;
const ACL_NONE: u8 = 1;
const ACL_SOME: u8 = 2;

/// A name that is about to be made: where, and whether a whiteout is to go.
struct Spot {
    upper: Upper,
    whited_out: bool,
}

impl Union {
    fn spot(&self, parent: &Arc<Node>, name: &CStr) -> Result<Spot, Errno> {
        names::check(name)?;
        let upper = self.upper_for_name(parent, name)?;
        Self::spot_in(parent, name, upper)
    }

    fn spot_in(parent: &Arc<Node>, name: &CStr, upper: Upper) -> Result<Spot, Errno> {
        let directory = parent.directory()?;
        let part = part_in(&directory, &upper.branch).ok_or(Errno::NOENT)?;
        let whited_out = part.marks.hides(&part.directory, name)?;
        Ok(Spot { upper, whited_out })
    }

    fn uncover(parent: &Arc<Node>, name: &CStr, spot: &Spot) -> Result<(), Errno> {
        if !spot.whited_out {
            return Ok(());
        }
        let directory = parent.directory()?;
        let part = part_in(&directory, &spot.upper.branch).ok_or(Errno::NOENT)?;
        part.marks.show(&part.directory, name)
    }

    /// The permission bits that something is made with: a default ACL replaces the umask; acl(5).
    fn bits(&self, parent: &Arc<Node>, upper: &Upper, made: Made) -> Result<Mode, Errno> {
        let directory = parent.directory()?;
        let mut known = directory.default_acl.load(Ordering::Relaxed);
        if known == ACL_UNKNOWN {
            let place = Place::named(upper.directory.clone(), c"");
            let acl = place.xattr(c"system.posix_acl_default");
            known = if matches!(acl, Ok(Some(_))) {
                ACL_SOME
            } else {
                ACL_NONE
            };
            if self.keeps_marks(&upper.branch) {
                directory.default_acl.store(known, Ordering::Relaxed);
            }
        }
        let masked = if known == ACL_SOME { 0 } else { made.umask };
        Ok(Mode::from_raw_mode(made.mode & !masked & 0o7777))
    }

    /// Gives what was made to the caller, as a file system does: the group is the directory's if
    /// that has the set-group-id bit; mkdir(2).
    fn give(place: &Place, upper: &Upper, caller: Caller, made: Made) -> Result<(), Errno> {
        if (caller.uid, caller.gid) == (0, 0) {
            return Ok(());
        }
        let above = statx_at(upper.directory.as_fd(), c"")?;
        let inherits = u32::from(above.stx_mode) & 0o2000 != 0;
        place.chown(Some(caller.uid), (!inherits).then_some(caller.gid))?;
        // chown(2) takes these away.
        if made.mode & 0o6000 != 0 && file_type(&place.stat()?) == FileType::RegularFile {
            place.chmod(made.mode & !made.umask & 0o7777)?;
        }
        Ok(())
    }

    /// The node of a name that was just made in `upper`, with one more reference.
    fn made_node(
        &self,
        parent: &Arc<Node>,
        name: &CStr,
        upper: &Upper,
    ) -> Result<(Arc<Node>, Top), Errno> {
        let directory = parent.directory()?;
        let branch = &upper.branch;
        let mut parts = directory.parts.iter();
        let part = parts.position(|part| Arc::ptr_eq(&part.branch, branch));
        let part = part.ok_or(Errno::NOENT)?;
        let stat = statx_at(upper.directory.as_fd(), name)?;
        let top = Top { part, stat };
        let node = self.node_of(parent, &directory, name, &top)?;
        Ok((node, top))
    }

    fn made_entry(&self, parent: &Arc<Node>, name: &CStr, upper: &Upper) -> Result<Entry, Errno> {
        let (node, top) = self.made_node(parent, name, upper)?;
        let ttl = self.name_ttl(&*parent.directory()?);
        self.entry(&node, Some(&top.stat), ttl)
            .inspect_err(|_| self.table.forget(node.id, 1))
    }

    /// Makes a file and opens it.
    pub(crate) fn create_file(
        &self,
        caller: Caller,
        parent: &Arc<Node>,
        name: &CStr,
        made: Made,
    ) -> Result<Created, Errno> {
        let spot = self.spot(parent, name)?;
        let bits = self.bits(parent, &spot.upper, made)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*spot.upper.directory, name, flags, bits)?;
        let place = Place::named(spot.upper.directory.clone(), name);
        Self::give(&place, &spot.upper, caller, made)
            .and_then(|()| Self::uncover(parent, name, &spot))
            .inspect_err(|_| undo(&spot.upper, name, FileType::RegularFile))?;
        let (node, top) = self.made_node(parent, name, &spot.upper)?;
        if self.options.udba == Udba::None {
            node.plain.store(true, Ordering::Relaxed);
        }
        let open = self.adopt(&node, file)?;
        let ttl = self.name_ttl(&*parent.directory()?);
        let entry = self.entry(&node, Some(&top.stat), ttl)?;
        Ok(Created { entry, open })
    }

    /// Opens a node whose file is open already, to read and write.
    fn adopt(&self, node: &Arc<Node>, file: OwnedFd) -> Result<strata_fuse::OpenReply, Errno> {
        let mut other = node.other_mut()?;
        let file = Arc::new(file);
        other.reader = Some(file.clone());
        other.writer = Some(file);
        self.enter(&mut other, handle_of(node, true))
    }

    /// A file without a name.
    pub(crate) fn create_nameless(
        &self,
        caller: Caller,
        parent: &Arc<Node>,
        made: Made,
    ) -> Result<Created, Errno> {
        // A name that nobody has, and nothing hides.
        let upper = self.upper_for_name(parent, names::ORPHANS)?;
        let bits = self.bits(parent, &upper, made)?;
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&*upper.directory, c".", flags, bits)?;
        let place = Place::held(file.try_clone().map_err(|_| Errno::MFILE)?);
        Self::give(&place, &upper, caller, made)?;
        let stat = place.stat()?;
        let branch = upper.branch.clone();
        let number = branch.raw_number(stat.stx_ino);
        let identity = Identity::from(Branch::identity(&stat));
        let node = self
            .table
            .find_or_make(&identity, FileType::RegularFile, number, || {
                Body::from(Other::new(branch, place))
            });
        let open = self.adopt(&node, file)?;
        let entry = self.entry(&node, Some(&stat), strata_fuse::Ttl::ZERO)?;
        Ok(Created { entry, open })
    }

    pub(crate) fn make_directory(
        &self,
        caller: Caller,
        parent: &Arc<Node>,
        name: &CStr,
        made: Made,
    ) -> Result<Entry, Errno> {
        let spot = self.spot(parent, name)?;
        let bits = self.bits(parent, &spot.upper, made)?;
        let upper = &spot.upper;
        rustix::fs::mkdirat(&*upper.directory, name, bits)?;
        let fill = || {
            let place = Place::named(upper.directory.clone(), name);
            Self::give(&place, upper, caller, made)?;
            let inside = super::lookup::open_path(&upper.directory, name)?;
            let marks = Marks::none(self.keeps_marks(&upper.branch));
            // While the whiteout stands it cuts as well, so at no time does anything show through.
            if spot.whited_out || self.options.always_opaque {
                marks.cut(&upper.branch, &inside)?;
            }
            Self::uncover(parent, name, &spot)?;
            Ok((inside, marks))
        };
        let (inside, marks) = fill().inspect_err(|_| undo(upper, name, FileType::Directory))?;
        let stat = statx_at(inside.as_fd(), c"")?;
        let identity = Identity::from(Branch::identity(&stat));
        let number = upper.branch.raw_number(stat.stx_ino);
        let node = self
            .table
            .find_or_make(&identity, FileType::Directory, number, || {
                let part = Part {
                    branch: upper.branch.clone(),
                    directory: Arc::new(inside),
                    marks,
                };
                Body::from(Directory::new(Some(home(parent, name)), vec![part]))
            });
        let ttl = self.name_ttl(&*parent.directory()?);
        self.entry(&node, Some(&stat), ttl)
    }

    /// Makes a device, FIFO, socket or plain file.
    pub(crate) fn make_node(
        &self,
        caller: Caller,
        parent: &Arc<Node>,
        name: &CStr,
        made: Made,
    ) -> Result<Entry, Errno> {
        let spot = self.spot(parent, name)?;
        let bits = self.bits(parent, &spot.upper, made)?;
        let kind = match FileType::from_raw_mode(made.mode) {
            FileType::Unknown => FileType::RegularFile,
            kind => kind,
        };
        let device = rustix::fs::makedev(made.rdev.0, made.rdev.1);
        rustix::fs::mknodat(&*spot.upper.directory, name, kind, bits, device)?;
        let place = Place::named(spot.upper.directory.clone(), name);
        Self::give(&place, &spot.upper, caller, made)
            .and_then(|()| Self::uncover(parent, name, &spot))
            .inspect_err(|_| undo(&spot.upper, name, kind))?;
        self.made_entry(parent, name, &spot.upper)
    }

    pub(crate) fn make_symlink(
        &self,
        caller: Caller,
        parent: &Arc<Node>,
        name: &CStr,
        target: &CStr,
    ) -> Result<Entry, Errno> {
        let spot = self.spot(parent, name)?;
        rustix::fs::symlinkat(target, &*spot.upper.directory, name)?;
        let made = Made {
            mode: 0o777,
            umask: 0,
            rdev: (0, 0),
        };
        let place = Place::named(spot.upper.directory.clone(), name);
        Self::give(&place, &spot.upper, caller, made)
            .and_then(|()| Self::uncover(parent, name, &spot))
            .inspect_err(|_| undo(&spot.upper, name, FileType::Symlink))?;
        self.made_entry(parent, name, &spot.upper)
    }

    /// One more name for a file.
    pub(crate) fn make_link(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &CStr,
    ) -> Result<Entry, Errno> {
        names::check(name)?;
        let was_lower = !node.other()?.branch.is_writable();
        self.copy_up(node, Content::All)?;
        let branch = {
            let mut other = node.other_mut()?;
            if was_lower && self.options.plink && !other.linked {
                Self::link_pseudo_later(node, &mut other)?;
            }
            other.branch.clone()
        };
        let branch = self.branch_to_show(parent, name, branch)?;
        self.copy_into(node, &branch)?;
        let upper = self.upper_in(parent, &branch)?;
        let spot = Self::spot_in(parent, name, upper)?;
        node.other()?
            .place
            .link_to(spot.upper.directory.as_fd(), name)?;
        Self::uncover(parent, name, &spot)?;
        let ttl = self.name_ttl(&*parent.directory()?);
        let entry = self.entry(node, None, ttl)?;
        Table::again(node);
        Ok(entry)
    }
}

/// What was made and could not be finished goes again.
fn undo(upper: &Upper, name: &CStr, kind: FileType) {
    use rustix::fs::AtFlags;
    let flags = if kind == FileType::Directory {
        AtFlags::REMOVEDIR
    } else {
        AtFlags::empty()
    };
    if kind == FileType::Directory {
        let inside = super::lookup::open_path(&upper.directory, name);
        let _nothing =
            inside.map(|inside| rustix::fs::unlinkat(&inside, names::OPAQUE, AtFlags::empty()));
    }
    if let Err(error) = rustix::fs::unlinkat(&*upper.directory, name, flags) {
        tracing::warn!(%error, "what could not be finished is left behind");
    }
}
