//! Extended attributes, of open files and of names in a directory (links not followed).
//!
//! The calls of tree walks take the caller's buffer, and a file without attributes costs one
//! system call.
#![expect(unsafe_code, reason = "the *xattrat system calls have no wrapper")]

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use rustix::path::Arg;

use crate::error::{Context, Result};
use crate::file::{display, with_c_str};
use crate::mount::descriptor_path;
use crate::syscall::{GETXATTRAT, LISTXATTRAT, REMOVEXATTRAT, SETXATTRAT, check_long};

/// Enough for most files, so that one call does.
const FIRST_BYTES: usize = 1024;

/// How often a list or value may grow between the question for its size and the next try.
const TRIES: usize = 64;

/// Replaces `names` by the attributes' names, each with a final NUL; [`names`] takes them apart.
pub fn list_into(file: impl AsFd, names: &mut Vec<u8>) -> Result<()> {
    let file = file.as_fd();
    fill(names, |buffer| match buffer {
        Some(buffer) => rustix::fs::flistxattr(file, spare_capacity(buffer)),
        None => rustix::fs::flistxattr_query(file),
    })
    .on("flistxattr", || format!("fd {}", file.as_raw_fd()))
}

/// The names of all attributes.
pub fn list(file: impl AsFd) -> Result<Vec<Vec<u8>>> {
    let mut buffer = Vec::new();
    list_into(file, &mut buffer)?;
    Ok(owned(&buffer))
}

/// Takes a list of names apart.
pub fn names(list: &[u8]) -> impl Iterator<Item = &CStr> {
    list.split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
}

fn owned(list: &[u8]) -> Vec<Vec<u8>> {
    names(list).map(|name| name.to_bytes().to_vec()).collect()
}

/// Replaces `value` by an attribute's value; `false` (and empty) if there is no such attribute.
pub fn get_into(file: impl AsFd, name: impl Arg, value: &mut Vec<u8>) -> Result<bool> {
    let file = file.as_fd();
    with_c_str("fgetxattr", name, |name| {
        let filled = fill(value, |buffer| match buffer {
            Some(buffer) => rustix::fs::fgetxattr(file, name, spare_capacity(buffer)),
            None => rustix::fs::fgetxattr_query(file, name),
        });
        present(filled).on("fgetxattr", || of_file(file, name))
    })
}

/// An attribute's value.
pub fn get(file: impl AsFd, name: impl Arg) -> Result<Option<Vec<u8>>> {
    let mut value = Vec::new();
    Ok(get_into(file, name, &mut value)?.then_some(value))
}

/// Sets an attribute, whether or not it is there.
pub fn set(file: impl AsFd, name: impl Arg, value: &[u8]) -> Result<()> {
    let file = file.as_fd();
    with_c_str("fsetxattr", name, |name| {
        rustix::fs::fsetxattr(file, name, value, XattrFlags::empty())
            .on("fsetxattr", || of_file(file, name))
    })
}

/// Removes an attribute; `false` if there was none.
pub fn remove(file: impl AsFd, name: impl Arg) -> Result<bool> {
    let file = file.as_fd();
    with_c_str("fremovexattr", name, |name| {
        present(rustix::fs::fremovexattr(file, name)).on("fremovexattr", || of_file(file, name))
    })
}

/// [`list_into`] for `path` from `directory`; a symbolic link at its end is meant itself. An empty
/// path means `directory` itself, which may be any file opened with `O_PATH`.
pub fn list_at_into(directory: impl AsFd, path: impl Arg, names: &mut Vec<u8>) -> Result<()> {
    with_c_str("listxattrat", path, |path| {
        Place::new(directory.as_fd(), path).list_into(names, Route::newest(path))
    })
}

/// [`get_into`] for `path` from `directory`, as in [`list_at_into`].
pub fn get_at_into(
    directory: impl AsFd,
    path: impl Arg,
    name: impl Arg,
    value: &mut Vec<u8>,
) -> Result<bool> {
    with_c_str("getxattrat", path, |path| {
        with_c_str("getxattrat", name, |name| {
            Place::new(directory.as_fd(), path).get_into(name, value, Route::newest(path))
        })
    })
}

/// [`get`] for `path` from `directory`, as in [`list_at_into`].
pub fn get_at(directory: impl AsFd, path: impl Arg, name: impl Arg) -> Result<Option<Vec<u8>>> {
    let mut value = Vec::new();
    Ok(get_at_into(directory, path, name, &mut value)?.then_some(value))
}

/// [`set`] for `path` from `directory`, as in [`list_at_into`].
pub fn set_at(directory: impl AsFd, path: impl Arg, name: impl Arg, value: &[u8]) -> Result<()> {
    with_c_str("setxattrat", path, |path| {
        with_c_str("setxattrat", name, |name| {
            Place::new(directory.as_fd(), path).set(name, value, Route::newest(path))
        })
    })
}

/// [`remove`] for `path` from `directory`, as in [`list_at_into`].
pub fn remove_at(directory: impl AsFd, path: impl Arg, name: impl Arg) -> Result<bool> {
    with_c_str("removexattrat", path, |path| {
        with_c_str("removexattrat", name, |name| {
            Place::new(directory.as_fd(), path).remove(name, Route::newest(path))
        })
    })
}

fn of_file(file: BorrowedFd<'_>, name: &CStr) -> String {
    format!("{} of fd {}", name.to_string_lossy(), file.as_raw_fd())
}

/// Turns "no such attribute" into an answer.
fn present(result: rustix::io::Result<()>) -> rustix::io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(Errno::NODATA) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Fills `buffer` by `call`, which is given the empty buffer to append to, or `None` to be asked
/// for the size.
fn fill(
    buffer: &mut Vec<u8>,
    mut call: impl FnMut(Option<&mut Vec<u8>>) -> rustix::io::Result<usize>,
) -> rustix::io::Result<()> {
    buffer.clear();
    buffer.reserve(FIRST_BYTES);
    for _ in 0..TRIES {
        match call(Some(&mut *buffer)) {
            Err(Errno::RANGE) => {
                let needed = call(None)?;
                buffer.clear();
                // Half as much again, since others may be adding at this moment.
                buffer.reserve(needed + needed / 2);
            }
            other => return other.map(drop),
        }
    }
    Err(Errno::RANGE)
}

/// Which system calls to use for a name in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
    /// The `*xattrat` calls of Linux 6.13.
    Direct,
    /// An `O_PATH` descriptor and its name in /proc.
    Descriptor,
}

static DIRECT_CALLS_MISSING: AtomicBool = AtomicBool::new(false);

impl Route {
    fn newest(path: &CStr) -> Self {
        // With an empty path the direct calls take no O_PATH descriptor.
        if path.is_empty() || DIRECT_CALLS_MISSING.load(Ordering::Relaxed) {
            Self::Descriptor
        } else {
            Self::Direct
        }
    }
}

/// `struct xattr_args` of `linux/xattr.h`.
#[repr(C)]
struct XattrArguments {
    value: u64,
    size: u32,
    flags: u32,
}

const _: () = assert!(size_of::<XattrArguments>() == 16);

/// A name in a directory.
struct Place<'a> {
    directory: BorrowedFd<'a>,
    path: &'a CStr,
}

impl<'a> Place<'a> {
    fn new(directory: BorrowedFd<'a>, path: &'a CStr) -> Self {
        Self { directory, path }
    }

    /// A path in /proc to the inode itself, and what keeps it alive.
    ///
    /// Calls that follow links are right for it: the link in /proc ends at the very inode, even
    /// where that is a symbolic link (proc(5)).
    fn by_descriptor(&self) -> Result<(PathBuf, Option<OwnedFd>)> {
        if self.path.is_empty() {
            return Ok((descriptor_path(self.directory), None));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.directory, self.path, flags, Mode::empty())
            .on("openat(O_PATH)", || display(self.directory, self.path))?;
        Ok((descriptor_path(opened.as_fd()), Some(opened)))
    }

    fn of_attribute(&self, name: &CStr) -> String {
        format!(
            "{} of {}",
            name.to_string_lossy(),
            display(self.directory, self.path)
        )
    }

    fn list_into(&self, names: &mut Vec<u8>, route: Route) -> Result<()> {
        let subject = || display(self.directory, self.path);
        if route == Route::Direct
            && let Some(done) = known(fill(names, |buffer| self.list_call(buffer)))
        {
            return done.on("listxattrat", subject);
        }
        let (path, _opened) = self.by_descriptor()?;
        fill(names, |buffer| match buffer {
            Some(buffer) => rustix::fs::listxattr(&path, spare_capacity(buffer)),
            None => rustix::fs::listxattr_query(&path),
        })
        .on("listxattr", subject)
    }

    fn get_into(&self, name: &CStr, value: &mut Vec<u8>, route: Route) -> Result<bool> {
        let subject = || self.of_attribute(name);
        if route == Route::Direct
            && let Some(done) = known(fill(value, |buffer| self.get_call(name, buffer)))
        {
            return present(done).on("getxattrat", subject);
        }
        let (path, _opened) = self.by_descriptor()?;
        let filled = fill(value, |buffer| match buffer {
            Some(buffer) => rustix::fs::getxattr(&path, name, spare_capacity(buffer)),
            None => rustix::fs::getxattr_query(&path, name),
        });
        present(filled).on("getxattr", subject)
    }

    fn set(&self, name: &CStr, value: &[u8], route: Route) -> Result<()> {
        let subject = || self.of_attribute(name);
        if route == Route::Direct
            && let Some(done) = known(self.set_call(name, value))
        {
            return done.on("setxattrat", subject);
        }
        let (path, _opened) = self.by_descriptor()?;
        rustix::fs::setxattr(&path, name, value, XattrFlags::empty()).on("setxattr", subject)
    }

    fn remove(&self, name: &CStr, route: Route) -> Result<bool> {
        let subject = || self.of_attribute(name);
        if route == Route::Direct
            && let Some(done) = known(self.remove_call(name))
        {
            return present(done).on("removexattrat", subject);
        }
        let (path, _opened) = self.by_descriptor()?;
        present(rustix::fs::removexattr(&path, name)).on("removexattr", subject)
    }

    fn list_call(&self, buffer: Option<&mut Vec<u8>>) -> rustix::io::Result<usize> {
        let (start, room) = destination(buffer.as_deref());
        // SAFETY: listxattrat, linux/xattr.h: the path is NUL-terminated, and the kernel writes
        // at most `room` bytes, which the vector has allocated.
        let returned = unsafe {
            libc::syscall(
                LISTXATTRAT,
                self.directory.as_raw_fd(),
                self.path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                start,
                room,
            )
        };
        Ok(take_up(check_long(returned)?, buffer))
    }

    fn get_call(&self, name: &CStr, buffer: Option<&mut Vec<u8>>) -> rustix::io::Result<usize> {
        let (start, room) = destination(buffer.as_deref());
        let arguments = XattrArguments {
            value: start.expose_provenance() as u64,
            size: room as u32,
            flags: 0,
        };
        // SAFETY: getxattrat, linux/xattr.h: path and name are NUL-terminated, the arguments are
        // the kernel's `struct xattr_args` with its size, and the kernel writes at most `room`
        // bytes, which the vector has allocated.
        let returned = unsafe {
            libc::syscall(
                GETXATTRAT,
                self.directory.as_raw_fd(),
                self.path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                name.as_ptr(),
                &raw const arguments,
                size_of::<XattrArguments>(),
            )
        };
        Ok(take_up(check_long(returned)?, buffer))
    }

    fn set_call(&self, name: &CStr, value: &[u8]) -> rustix::io::Result<()> {
        let arguments = XattrArguments {
            value: value.as_ptr().expose_provenance() as u64,
            size: u32::try_from(value.len()).map_err(|_| Errno::TOOBIG)?,
            flags: 0,
        };
        // SAFETY: setxattrat, linux/xattr.h: path and name are NUL-terminated, the arguments are
        // the kernel's `struct xattr_args` with its size, and the value is read only.
        let returned = unsafe {
            libc::syscall(
                SETXATTRAT,
                self.directory.as_raw_fd(),
                self.path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                name.as_ptr(),
                &raw const arguments,
                size_of::<XattrArguments>(),
            )
        };
        check_long(returned).map(drop)
    }

    fn remove_call(&self, name: &CStr) -> rustix::io::Result<()> {
        // SAFETY: removexattrat, linux/xattr.h: path and name are NUL-terminated.
        let returned = unsafe {
            libc::syscall(
                REMOVEXATTRAT,
                self.directory.as_raw_fd(),
                self.path.as_ptr(),
                libc::AT_SYMLINK_NOFOLLOW,
                name.as_ptr(),
            )
        };
        check_long(returned).map(drop)
    }
}

/// Where the kernel is to write: the whole allocation of an empty vector, or nowhere.
fn destination(buffer: Option<&Vec<u8>>) -> (*const u8, usize) {
    buffer.map_or((std::ptr::null(), 0), |buffer| {
        (buffer.as_ptr(), buffer.capacity())
    })
}

/// Makes what the kernel wrote to the start of the vector its content.
fn take_up(length: usize, buffer: Option<&mut Vec<u8>>) -> usize {
    if let Some(buffer) = buffer {
        assert!(length <= buffer.capacity());
        // SAFETY: listxattrat and getxattrat return the number of bytes that they wrote.
        unsafe { buffer.set_len(length) };
    }
    length
}

/// The outcome of a direct call; `None` if the kernel lacks it, which is kept in mind.
fn known<T>(result: rustix::io::Result<T>) -> Option<rustix::io::Result<T>> {
    if matches!(result, Err(Errno::NOSYS)) {
        DIRECT_CALLS_MISSING.store(true, Ordering::Relaxed);
        return None;
    }
    Some(result)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let found: Vec<&CStr> = names(b"user.a\0user.b\0").collect();
        assert_eq!(found, [c"user.a", c"user.b"]);
        assert_eq!(names(b"").count(), 0);
    }

    #[test]
    fn fill_survives_growth_between_question_and_answer() {
        let mut size = FIRST_BYTES + 1;
        let mut buffer = Vec::new();
        fill(&mut buffer, |buffer| match buffer {
            None => Ok(size),
            Some(buffer) if buffer.capacity() < size => Err(Errno::RANGE),
            Some(buffer) => {
                if size < 5000 {
                    size = 5000;
                    return Err(Errno::RANGE);
                }
                buffer.resize(size, 1);
                Ok(size)
            }
        })
        .unwrap();
        assert_eq!(buffer.len(), 5000);
    }

    #[test]
    fn both_routes_agree() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("file"), b"").unwrap();
        symlink("file", directory.path().join("link")).unwrap();
        let fd = rustix::fs::open(directory.path(), OFlags::PATH, Mode::empty()).unwrap();
        let names = if rustix::process::geteuid().is_root() {
            vec![(c"file", c"user.a"), (c"link", c"trusted.a")]
        } else {
            eprintln!("skipped: attributes of symbolic links, needs root");
            vec![(c"file", c"user.a")]
        };
        let long = vec![7_u8; FIRST_BYTES * 3];
        for (path, name) in names {
            let place = Place::new(fd.as_fd(), path);
            for (writing, reading) in [
                (Route::Direct, Route::Descriptor),
                (Route::Descriptor, Route::Direct),
            ] {
                let mut buffer = Vec::new();
                place.set(name, &long, writing).unwrap();
                assert!(place.get_into(name, &mut buffer, reading).unwrap());
                assert_eq!(buffer, long);
                place.list_into(&mut buffer, reading).unwrap();
                assert!(
                    super::names(&buffer).any(|listed| listed == name),
                    "{path:?}"
                );
                assert!(place.remove(name, writing).unwrap());
                assert!(!place.remove(name, reading).unwrap());
                assert!(!place.get_into(name, &mut buffer, writing).unwrap());
                assert!(buffer.is_empty());
            }
        }
    }
}
