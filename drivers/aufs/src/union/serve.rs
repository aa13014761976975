//! From options to a mount, and on until it is unmounted.

use super::options::UnionOptions;
use super::state::{Kernel, Union};
use rustix::fs::Mode;
use rustix::io::Errno;
use std::path::PathBuf;
use std::sync::Arc;
use strata_fuse::{Session, SessionOptions};
use strata_sys::SysError;
use strata_sys::mount::{DetachedMount, MountAttributes};

/// Why a union was not mounted, or ended.
#[derive(Debug, thiserror::Error)]
pub enum UnionError {
    /// A union of nothing.
    #[error(
        "no branch is given; `br=UPPER=rw:LOWER=ro`, or `lowerdir=LOWER,upperdir=UPPER,workdir=WORK`"
    )]
    NoBranch,
    /// A branch cannot be used.
    #[error("branch `{}`: {errno}", path.display())]
    Branch {
        /// Its path.
        path: PathBuf,
        /// What the kernel says.
        errno: Errno,
    },
    /// The kernel's side.
    #[error("{0}")]
    Kernel(#[from] SysError),
    /// Whoever wanted the mount did not take it.
    #[error("the mount was not taken")]
    Taken(#[source] std::io::Error),
}

/// Threads that serve, where nobody says how many: enough that two long copies do not keep all
/// others waiting.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(4, |count| (2 * count.get()).clamp(4, 16))
}

/// Makes a union, gives its mount to `ready`, and serves it until it is unmounted.
///
/// # Errors
/// If a branch cannot be opened or the kernel refuses; also if it ends other than by unmounting.
pub fn serve(
    options: UnionOptions,
    ready: impl FnOnce(DetachedMount) -> std::io::Result<()>,
) -> Result<(), UnionError> {
    if options.branches.is_empty() {
        return Err(UnionError::NoBranch);
    }
    // Modes come with the caller's mask; ours would be one more.
    rustix::process::umask(Mode::empty());
    let session_options = SessionOptions {
        threads: options.threads.unwrap_or_else(threads),
        max_stack_depth: 1,
        allow_other: true,
        read_only: options.read_only,
        source: options.source.clone(),
        subtype: "strata-union".to_owned(),
        posix_acl: options.acl,
        attributes: MountAttributes::empty(),
    };
    let union = Union::open(options).map_err(|(path, errno)| UnionError::Branch { path, errno })?;
    let union = Arc::new(union);
    let (session, mount) = Session::new(&session_options)?;
    union.connect(Kernel {
        notifier: session.notifier(),
        passthrough: session.features().passthrough(),
    });
    super::control::listen(&mount, union.clone());
    ready(mount).map_err(UnionError::Taken)?;
    session.run(&*union)?;
    Ok(())
}
