//! The walk where only given names are looked at.

use super::marks::look_up;
use super::walk::{Pair, View, Walker};
use crate::error::Result;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::AsFd as _;
use std::sync::Arc;

impl Walker<'_> {
    /// Looks at the names that `node` has, in both directories, and at no others.
    pub(super) fn named(&mut self, pair: &Arc<Pair>, node: u32) -> Result<()> {
        let Some(names) = self.shared.names else {
            return Ok(());
        };
        for (name, node) in names.below(node) {
            self.walked += 1;
            let upper = look_up(pair.upper.as_fd(), name)
                .map_err(|(step, errno)| pair.trail.error(step, name, errno))?;
            // Sockets do not exist for a diff.
            let upper = upper.filter(|stat| !is_socket(stat));
            let lower = self.look_below(pair, name)?;
            let view = if names.is_whole(node) {
                View::Whole
            } else {
                View::Named(node)
            };
            match (upper, lower) {
                (None, None) => {}
                (Some(upper), None) => self.added(pair, name, &upper)?,
                (None, Some(lower)) => {
                    self.saw(&lower);
                    self.gone(pair, name, FileType::from_raw_mode(lower.st_mode))?;
                }
                (Some(upper), Some(lower)) => self.compare(pair, name, (&upper, &lower), view)?,
            }
        }
        Ok(())
    }

    /// The lower directory `name` does not show: counts those names of linked files that were in
    /// it, as nobody goes there.
    pub(super) fn saw_links_below(&mut self, pair: &Pair, name: &CStr) -> Result<()> {
        let (Some(names), Some(lower)) = (self.shared.names, &pair.lower) else {
            return Ok(());
        };
        if !names.has_links() {
            return Ok(());
        }
        for path in names.links_below(pair.trail.path_of(name.to_bytes())) {
            self.walked += 1;
            let path = [name.to_bytes(), b"/", path].concat();
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
            let found = rustix::fs::openat2(lower, &*path, flags, Mode::empty(), inside)
                .and_then(rustix::fs::fstat);
            match found {
                Ok(stat) => self.saw(&stat),
                // Not a name of the lower tree. One that cannot be told stays uncounted, and
                // the group is then not known whole.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {}
                Err(errno) => return Err(pair.trail.error("read the attributes", name, errno)),
            }
        }
        Ok(())
    }

    /// Notes a name of an upper inode that has several.
    pub(super) fn saw_upper(&mut self, upper: &Stat) {
        if self.shared.names.is_some() && upper.st_nlink > 1 {
            let inode = (upper.st_dev, upper.st_ino);
            self.seen_upper.push((inode, upper.st_nlink as u32));
        }
    }
}

fn is_socket(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Socket
}
