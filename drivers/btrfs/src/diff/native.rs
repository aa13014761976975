//! Where two snapshots differ, as the kernel tells it: one send, and the names of linked files.

use super::names::Replay;
use super::stream::{Malformed, Parser};
use rustix::io::Errno;
use std::io::{PipeReader, PipeWriter};
use std::os::fd::BorrowedFd;
use strata_driver::diff::{ChangedNames, Tree};
use strata_driver::{Error, Result};
use strata_sys::SysError;
use strata_sys::btrfs_send::{paths_of_inode, send, subvolume_id};

/// Bytes read from the pipe at once; as much as it holds by default.
const PIECE: usize = 64 * 1024;

/// The names at which `upper` may differ from `lower`. Both are the roots of read-only
/// subvolumes, and `upper` began as a snapshot of `lower`.
///
/// None where the kernel does not tell: without `CAP_SYS_ADMIN` in the initial user namespace, and
/// when the send fails or is not understood. Whole trees are then to be compared.
///
/// # Errors
/// What the kernel refuses of pipes, threads and the reading of directories.
pub fn changed_names(lower: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> Result<Option<ChangedNames>> {
    let parent = match subvolume_id(lower) {
        Ok(parent) => parent,
        Err(error) => return Ok(refused(&error)),
    };
    let (sent, replayed) = replay(upper, parent)?;
    if let Err(error) = sent {
        return Ok(refused(&error));
    }
    let mut names = match replayed {
        Ok(replay) => replay.into_names()?,
        Err(Replaying::Malformed(reason)) => {
            tracing::warn!(%reason, "the send stream is not understood; whole trees are compared");
            return Ok(None);
        }
        Err(Replaying::Pipe(errno)) => {
            return Err(Error::io("diff", errno.into()).because("cannot read the send stream"));
        }
    };
    let mut refusal = None;
    names.add_links(lower, upper, &mut |tree, inode| {
        let root = match tree {
            Tree::Lower => lower,
            Tree::Upper => upper,
        };
        // What is not told is not looked at, and the comparison then asks for whole trees.
        Ok(paths_of_inode(root, inode).unwrap_or_else(|error| {
            refusal.get_or_insert(error);
            Vec::new()
        }))
    })?;
    if let Some(error) = refusal {
        return Ok(refused(&error));
    }
    Ok(Some(names))
}

/// No send here, and why.
fn refused(error: &SysError) -> Option<ChangedNames> {
    let reason = &error.source;
    if error.is_unsupported() || error.is(Errno::PERM) {
        tracing::debug!(%error, %reason, "whole trees are compared");
    } else {
        tracing::warn!(%error, %reason, "whole trees are compared");
    }
    None
}

enum Replaying {
    Malformed(Malformed),
    Pipe(Errno),
}

/// Sends on a thread of its own and replays here. The pipe is read to its end whatever comes, so
/// that the sender always ends too, and with its own error.
fn replay(
    upper: BorrowedFd<'_>,
    parent: u64,
) -> Result<(Result<(), SysError>, Result<Replay, Replaying>)> {
    let cannot = |step: &'static str| {
        move |error: std::io::Error| {
            Error::io("diff", error).because(format!("cannot {step} for the send stream"))
        }
    };
    let (reader, writer) = std::io::pipe().map_err(cannot("make a pipe"))?;
    std::thread::scope(|scope| {
        let work = move || {
            let writer: PipeWriter = writer; // closed when this returns
            send(upper, parent, &writer)
        };
        let thread = std::thread::Builder::new().name("btrfs-send".into());
        let sender = thread
            .spawn_scoped(scope, work)
            .map_err(cannot("start a thread"))?;
        let replayed = drain(&reader);
        drop(reader); // where reading failed, the sender must still end
        match sender.join() {
            Ok(sent) => Ok((sent, replayed)),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn drain(reader: &PipeReader) -> Result<Replay, Replaying> {
    let mut buffer = vec![0; PIECE];
    let mut parser = Parser::default();
    let mut replay = Replay::default();
    let mut outcome = Ok(());
    loop {
        match rustix::io::read(reader, &mut *buffer) {
            Ok(0) => break,
            Ok(count) if outcome.is_ok() => {
                outcome = parser.feed(&buffer[..count], |command| replay.apply(command));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Replaying::Pipe(errno)),
        }
    }
    match outcome.and_then(|()| parser.finish()) {
        Ok(()) => Ok(replay),
        Err(malformed) => Err(Replaying::Malformed(malformed)),
    }
}
