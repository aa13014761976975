//! The socket of a daemon, `\0strata-fuse/MAJOR:MINOR` (unix(7), abstract), by which it is found
//! from a mount of its file system.
//!
//! One request per connection: text until the sender shuts down, perhaps with an open file; one
//! answer, `ok TEXT` or `error TEXT`. `pid` is answered for every file system. Abstract names belong to a network
//! namespace: from another one, a daemon is not found.

use crate::error::{Error, ErrorKind, Result};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::process::Pid;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;
use strata_sys::socket::{self, Peer};

const LONGEST: usize = 1 << 20;
/// A client that sends nothing must not keep the others from being heard.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// How often a name that a daemon had is tried, five seconds in all.
const TRIES: u32 = 5000;
const PAUSE: Duration = Duration::from_millis(1);

/// Major and minor number of a file system's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device(u32, u32);

impl Device {
    /// That of the file system of `path` below `directory`; asks no daemon.
    fn of(directory: impl AsFd, path: &Path) -> rustix::io::Result<Self> {
        let flags = AtFlags::EMPTY_PATH
            | AtFlags::NO_AUTOMOUNT
            | AtFlags::SYMLINK_NOFOLLOW
            | AtFlags::STATX_DONT_SYNC;
        let found = rustix::fs::statx(directory, path, flags, StatxFlags::empty())?;
        Ok(Self(found.stx_dev_major, found.stx_dev_minor))
    }

    /// That of an open file, also of a mount that is attached nowhere.
    pub fn of_file(file: impl AsFd) -> Result<Self> {
        Self::of(file, Path::new("")).map_err(|errno| Error::io("mount", errno.into()))
    }

    fn address(self) -> std::io::Result<SocketAddr> {
        SocketAddr::from_abstract_name(format!("strata-fuse/{}:{}", self.0, self.1))
    }
}

/// Whether `peer` may be trusted: root, or the same user.
fn is_trusted(peer: Peer) -> bool {
    peer.uid == 0 || peer.uid == rustix::process::geteuid().as_raw()
}

/// Connects to the daemon behind `target`; none where there is none.
fn connect(target: &Path) -> Option<(UnixStream, Peer)> {
    let device = Device::of(CWD, target).ok()?;
    // Devices of file systems without a disk.
    if device.0 != 0 {
        return None;
    }
    let socket = UnixStream::connect_addr(&device.address().ok()?).ok()?;
    let peer = socket::peer(&socket).ok()?;
    is_trusted(peer).then_some((socket, peer))
}

/// The process of the daemon behind `target`.
pub(super) fn peer_of(target: &Path) -> Option<Pid> {
    connect(target)?.1.pid
}

/// Sends one request to the daemon behind `target`, perhaps with an open file, and gives what it
/// answers.
pub fn request(target: &Path, text: &str, file: Option<BorrowedFd<'_>>) -> Result<String> {
    const OPERATION: &str = "control";
    let (socket, _) = connect(target).ok_or_else(|| {
        Error::new(ErrorKind::NotFound, OPERATION)
            .because("no daemon answers for this directory")
            .with("target", target.display())
            .hint("name the directory that it is mounted on")
    })?;
    let io = |error| Error::io(OPERATION, error);
    socket.set_read_timeout(Some(TIME_LIMIT)).map_err(io)?;
    socket::send(&socket, text.as_bytes(), file)
        .map_err(|error| Error::from(error).during(OPERATION))?;
    socket.shutdown(Shutdown::Write).map_err(io)?;
    let (answer, _) = socket::receive(&socket, LONGEST)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    match answer.split_once(' ') {
        Some(("ok", text)) => Ok(text.to_owned()),
        None if answer == "ok" => Ok(String::new()),
        Some(("error", reason)) => Err(Error::new(ErrorKind::Other, OPERATION).because(reason)),
        _ => Err(Error::new(ErrorKind::Other, OPERATION).because("it ended without an answer")),
    }
}

/// The daemon's side: a socket that listens.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
}

impl Control {
    /// Listens for requests about the file system `device`.
    ///
    /// The kernel gives a number again as soon as a file system has gone, and the daemon of that
    /// one may be about to end: it is waited for.
    ///
    /// # Errors
    /// If somebody else has the name and keeps it.
    pub fn listen(device: Device) -> Result<Self> {
        let io = |error| {
            let numbers = format!("{}:{}", device.0, device.1);
            Error::io("listen", error).with("device", numbers)
        };
        let address = device.address().map_err(io)?;
        let mut tries = 0..TRIES;
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => return Ok(Self { listener }),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    let holder = UnixStream::connect_addr(&address);
                    let stranger =
                        holder.is_ok_and(|holder| !socket::peer(&holder).is_ok_and(is_trusted));
                    if stranger || tries.next().is_none() {
                        return Err(io(error));
                    }
                }
                Err(error) => return Err(io(error)),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Answers requests, one after another, until the process ends. `answer` is not asked for
    /// `pid`; its error is told to the client.
    pub fn serve(self, mut answer: impl FnMut(&str, Option<OwnedFd>) -> Result<String, String>) {
        for socket in self.listener.incoming() {
            let outcome = socket
                .map_err(|error| Error::io("listen", error))
                .and_then(|socket| hear(&socket, &mut answer));
            if let Err(error) = outcome {
                tracing::debug!(error = %error.chain(), "request not answered");
            }
        }
    }
}

fn hear(
    socket: &UnixStream,
    answer: &mut impl FnMut(&str, Option<OwnedFd>) -> Result<String, String>,
) -> Result<()> {
    let outcome = if is_trusted(socket::peer(socket)?) {
        socket
            .set_read_timeout(Some(TIME_LIMIT))
            .map_err(|error| Error::io("listen", error))?;
        let (request, file) = socket::receive(socket, LONGEST)?;
        match std::str::from_utf8(&request).map(str::trim_end) {
            Ok("pid") => Ok(std::process::id().to_string()),
            Ok(request) => answer(request, file),
            Err(_) => Err("the request is not UTF-8".to_owned()),
        }
    } else {
        Err("only root and the daemon's own user may ask".to_owned())
    };
    let text = match outcome {
        Ok(text) => format!("ok {text}"),
        Err(reason) => format!("error {reason}"),
    };
    socket::send(socket, text.as_bytes(), None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_over_from_a_daemon_that_ends() {
        // No device has these numbers.
        let device = Device(u32::MAX, std::process::id());
        let ending = Control::listen(device).unwrap();
        std::thread::scope(|scope| {
            let next = scope.spawn(|| Control::listen(device));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!next.is_finished());
            drop(ending);
            next.join().unwrap().unwrap();
        });
    }
}
