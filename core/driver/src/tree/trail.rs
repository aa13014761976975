//! Where a walk stands, for error messages.

use crate::error::Error;
use rustix::io::Errno;
use std::ffi::CStr;
use std::sync::Arc;

/// A directory on the way of a walk. Its path is put together when an error needs it.
#[derive(Debug)]
pub(crate) struct Trail {
    operation: &'static str,
    above: Option<(Arc<Trail>, Box<[u8]>)>,
}

impl Trail {
    /// The root of a tree that `operation` walks.
    pub(crate) fn root(operation: &'static str) -> Arc<Self> {
        Arc::new(Self {
            operation,
            above: None,
        })
    }

    /// The directory `name` in this one.
    pub(crate) fn below(self: &Arc<Self>, name: &CStr) -> Arc<Self> {
        Arc::new(Self {
            operation: self.operation,
            above: Some((Arc::clone(self), name.to_bytes().into())),
        })
    }

    /// The path from the root, without a slash at either end; empty for the root.
    pub(crate) fn path(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut here = self;
        while let Some((above, name)) = &here.above {
            names.push(&**name);
            here = above;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The path of `name` in this directory; this directory's own for an empty name.
    pub(crate) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path();
        if !path.is_empty() && !name.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// The error of `step` (`open`, `read`) on `name` in this directory, which may be empty.
    pub(crate) fn error(&self, step: &str, name: &CStr, errno: Errno) -> Error {
        Error::io(self.operation, errno.into())
            .because(format!("cannot {step}"))
            .with("path", shown(&self.path_of(name.to_bytes())))
    }

    /// An error of another kind about `name` in this directory.
    pub(crate) fn refusal(&self, error: Error, name: &CStr) -> Error {
        error
            .during(self.operation)
            .with("path", shown(&self.path_of(name.to_bytes())))
    }
}

/// A path for people: escaped, `.` for the root.
pub(crate) fn shown(path: &[u8]) -> String {
    if path.is_empty() {
        return ".".into();
    }
    path.escape_ascii().to_string()
}
