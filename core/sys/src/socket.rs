//! What a process gets from another through unix sockets: who it is, and open files.
#![expect(
    unsafe_code,
    reason = "SO_PEERCRED with a process out of sight, and inherited descriptors"
)]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::Pid;

use crate::error::{Context, Result};
use crate::syscall::{check_int, check_long};

/// Who listened at the other end, or connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its process; none where that is in no process namespace that this one sees.
    pub pid: Option<Pid>,
    /// Its effective user at that time, as this process's user namespace has it.
    pub uid: u32,
}

/// The process at the other end, `SO_PEERCRED` of unix(7).
pub fn peer(socket: &UnixStream) -> Result<Peer> {
    let mut answer = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: getsockopt(2): the buffer is a `struct ucred` of the length that is said; both
    // pointers outlive the call.
    let returned = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut answer).cast(),
            &raw mut length,
        )
    };
    check_int(returned).on("getsockopt(SO_PEERCRED)", || "a unix socket")?;
    Ok(Peer {
        pid: Pid::from_raw(answer.pid),
        uid: answer.uid,
    })
}

/// A copy of the descriptor `number` that this process was started with; close-on-exec.
pub fn inherited(number: RawFd) -> Result<OwnedFd> {
    /// Above the standard streams.
    const LOWEST: libc::c_int = 3;
    // SAFETY: fcntl(2) with F_DUPFD_CLOEXEC takes numbers only, and refuses one that is not open.
    let copy = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, LOWEST) };
    check_int(copy).on("fcntl(F_DUPFD_CLOEXEC)", || format!("descriptor {number}"))?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Closes all descriptors above the standard streams that this process was started with, but
/// `kept`: a daemon must keep nobody's pipe open.
///
/// For the beginning of a program, which has opened nothing itself.
pub fn close_inherited(kept: RawFd) -> Result<()> {
    let kept = kept.max(2).unsigned_abs();
    for (first, last) in [(3, kept - 1), (kept + 1, u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: close_range(2) takes numbers; nothing in this process owns what they name, as
        // the caller says.
        let returned = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        check_long(returned).on("close_range", || format!("{first} to {last}"))?;
    }
    Ok(())
}

/// Sends all of `bytes`, and an open file with the first of them.
pub fn send(socket: &UnixStream, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> Result<()> {
    let mut rest = bytes;
    let mut files: Vec<BorrowedFd<'_>> = file.into_iter().collect();
    while !rest.is_empty() {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(&files));
        }
        let part = [IoSlice::new(rest)];
        let sent = rustix::io::retry_on_intr(|| {
            rustix::net::sendmsg(socket, &part, &mut control, SendFlags::NOSIGNAL)
        })
        .on("sendmsg", || "a unix socket")?;
        rest = &rest[sent..];
        files.clear();
    }
    Ok(())
}

/// Takes what the other end sends until it shuts down or goes, at most `limit` bytes, and the open file
/// that came with it. What is longer is cut off.
pub fn receive(socket: &UnixStream, limit: usize) -> Result<(Vec<u8>, Option<OwnedFd>)> {
    const PART: usize = 64 << 10;
    let mut bytes = Vec::new();
    let mut file = None;
    let mut buffer = vec![0_u8; PART.min(limit)];
    while bytes.len() < limit {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let taken = match rustix::io::retry_on_intr(|| {
            let mut part = [IoSliceMut::new(&mut buffer)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            rustix::net::recvmsg(socket.as_fd(), &mut part, &mut control, flags)
        }) {
            // It went without reading all that was sent to it.
            Err(Errno::CONNRESET) => break,
            taken => taken.on("recvmsg", || "a unix socket")?,
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                file = files.into_iter().next().or(file);
            }
        }
        if taken.bytes == 0 {
            break;
        }
        bytes.extend_from_slice(&buffer[..taken.bytes]);
    }
    bytes.truncate(limit);
    Ok((bytes, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;

    #[test]
    fn long_texts_and_a_file_arrive() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let text: Vec<u8> = (0..1_000_000_u32).map(|number| number as u8).collect();
        let sent = text.clone();
        let sender = std::thread::spawn(move || {
            let file = std::fs::File::open("/proc/self/status").unwrap();
            send(&ours, &sent, Some(file.as_fd())).unwrap();
            ours.shutdown(Shutdown::Write).unwrap();
        });
        let (bytes, file) = receive(&theirs, 2_000_000).unwrap();
        sender.join().unwrap();
        assert!(bytes == text);
        let path = crate::mount::descriptor_path(file.unwrap().as_fd());
        assert_eq!(path.parent().unwrap().to_str(), Some("/proc/self/fd"));
    }

    #[test]
    fn peer_of_a_pair_is_this_process() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = peer(&ours).unwrap();
        assert_eq!(peer.pid, Some(rustix::process::getpid()));
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn inherited_copies_what_is_open_and_refuses_the_rest() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let copy = inherited(ours.as_raw_fd()).unwrap();
        assert_ne!(copy.as_raw_fd(), ours.as_raw_fd());
        assert!(inherited(1_000_000).unwrap_err().is(Errno::BADF));
    }
}
