//! The daemon: a process of its own, in a mount namespace of its own.

use crate::log::{self, Log};
use rustix::process::{Resource, Rlimit};
use std::ffi::OsStr;
use strata_aufs::union::{UnionOptions, serve};
use strata_driver::mount::daemon::Handover;
use strata_driver::{Error, Result, quota};
use strata_sys::mount::MountAttributes;
use strata_sys::{namespace, socket};

/// Makes what is asked for on descriptor `number`, gives its mount away there, and serves it until
/// it is unmounted.
pub(crate) fn serve_handed_over(number: i32) -> Result<()> {
    socket::close_inherited(number)?;
    let handover = Handover::begin(number)?;
    let options = match prepare(&handover) {
        Ok(options) => options,
        Err(error) => return handover.refuse(&error),
    };
    let attributes = attributes(&options);
    let mut waiting = Some(handover);
    let served = serve(options, |mount| {
        mount
            .set_attributes(attributes)
            .map_err(std::io::Error::other)?;
        // Branches are open, and the log: nothing of the caller's is kept busy from here on.
        namespace::leave_mounts().map_err(std::io::Error::other)?;
        rustix::process::chdir("/")?;
        let handover = waiting.take().expect("the mount is given away once");
        handover.give(mount).map_err(std::io::Error::other)
    });
    let Err(error) = served.map_err(Error::from) else {
        return Ok(());
    };
    tracing::error!(error = %error.chain(), "ended");
    match waiting {
        Some(handover) => handover.refuse(&error),
        None => Err(error),
    }
}

/// All that is done while the process has one thread.
fn prepare(handover: &Handover) -> Result<UnionOptions> {
    let options = crate::parse(&handover.options, OsStr::new(&handover.source))?;
    log::begin(&Log::Daemon {
        file: options.log.clone(),
    })?;
    namespace::leave_parent()?;
    // In the caller's namespace the daemon would keep it alive, and with it its own mount, and
    // so itself.
    namespace::unshare_mounts()?;
    raise_file_limit();
    // What callers write is held to size limits, as theirs would be; never given back.
    std::mem::forget(quota::Bound::new()?);
    Ok(options)
}

/// The attributes that the mount is to have.
pub(crate) fn attributes(options: &UnionOptions) -> MountAttributes {
    let mut attributes = options.attributes;
    attributes.set(MountAttributes::READ_ONLY, options.read_only);
    attributes
}

/// Every open file of a user's is one here too.
pub(crate) fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(errno) = rustix::process::setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%errno, "the limit of open files stays");
    }
}
