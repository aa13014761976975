//! Counting calls into the kernel in a repetition of its own, since counting slows what it counts.
//!
//! Two ways, found out by doing: the kernel's tracing file system in an instance of our own,
//! else `strace` attached to this process. Both follow all threads and child processes.

mod strace;
mod tracefs;

use crate::bench::sample::SyscallCounts;
use anyhow::Result;
use std::path::Path;

/// Calls that wait for the disk.
pub(crate) const SYNCS: &[&str] = &[
    "fsync",
    "fdatasync",
    "syncfs",
    "sync",
    "sync_file_range",
    "msync",
];

/// Classes of calls that are counted each as a whole: every name that the call has in the kernel
/// or in strace(1). Waiting (`futex`, `epoll_wait`) is in none of them, because its number is the
/// scheduler's choice.
pub(crate) const CLASSES: &[(&str, &[&str])] = &[
    // A mount is made by one of these; moving it into place and unmounting are not counted again.
    ("mounts", &["mount", "fsmount", "open_tree"]),
    (
        "names",
        &[
            "open",
            "openat",
            "openat2",
            "creat",
            "mkdir",
            "mkdirat",
            "rmdir",
            "unlink",
            "unlinkat",
            "rename",
            "renameat",
            "renameat2",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "mknod",
            "mknodat",
            "chmod",
            "fchmod",
            "fchmodat",
            "fchmodat2",
            "chown",
            "fchown",
            "lchown",
            "fchownat",
            "utimensat",
            "setxattr",
            "lsetxattr",
            "fsetxattr",
            "removexattr",
            "lremovexattr",
            "fremovexattr",
        ],
    ),
    (
        "lookups",
        &[
            "stat",
            "newstat",
            "fstat",
            "newfstat",
            "lstat",
            "newlstat",
            "newfstatat",
            "statx",
            "access",
            "faccessat",
            "faccessat2",
            "getdents64",
            "getxattr",
            "lgetxattr",
            "fgetxattr",
            "listxattr",
            "llistxattr",
            "flistxattr",
            "readlink",
            "readlinkat",
        ],
    ),
    (
        "data",
        &[
            "read",
            "write",
            "pread64",
            "pwrite64",
            "readv",
            "writev",
            "preadv",
            "pwritev",
            "copy_file_range",
            "sendfile",
            "sendfile64",
            "splice",
            "ftruncate",
            "fallocate",
        ],
    ),
];

/// Something that counts the calls between its two ends.
pub(crate) trait SyscallCounter: std::fmt::Debug {
    /// How it counts, for the report.
    fn method(&self) -> &str;
    /// Forgets what was counted. Costs up to a tenth of a second.
    fn reset(&mut self) -> Result<()>;
    /// Begins to count, or goes on.
    fn resume(&mut self) -> Result<()>;
    /// Stops counting for now.
    fn pause(&mut self) -> Result<()>;
    /// What was counted since `reset`.
    fn counts(&mut self) -> Result<SyscallCounts>;
}

/// The counter that works here, or why there is none. `scratch` receives strace's output.
pub(crate) fn counter(scratch: &Path) -> Result<Box<dyn SyscallCounter>, String> {
    let tracefs = match tracefs::Tracefs::open(scratch) {
        Ok(counter) => return Ok(Box::new(counter)),
        Err(error) => format!("{error:#}"),
    };
    match strace::Strace::attach(scratch) {
        Ok(counter) => Ok(Box::new(counter)),
        Err(error) => Err(format!("tracefs: {tracefs}; strace: {error:#}")),
    }
}

#[cfg(test)]
mod tests;
