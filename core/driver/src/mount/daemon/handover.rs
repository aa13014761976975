//! How a detached mount comes from the daemon that serves it to the one who asked for it.
//!
//! The daemon is started as `PROGRAM --handover=0` with a unix socket for its standard input. It
//! reads `SOURCE NUL OPTIONS` to the end, of whatever length, and answers `ok PID` with the mount's
//! descriptor (PID is the process that serves, the one that was started or a child of it), or `error` with kind, reason and hint, NUL between them.

use super::{Daemon, Ending};
use crate::error::{Error, ErrorKind, Result};
use rustix::process::Pid;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use strata_sys::mount::DetachedMount;
use strata_sys::socket;

/// Bytes of options that are read: a thousand branches with the longest paths.
const LONGEST_REQUEST: usize = 8 << 20;
const LONGEST_ANSWER: usize = 64 << 10;
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// Starts `program` to serve `source` with the `options` of mount(8), and takes its mount.
///
/// The daemon makes itself independent of its parent, and outlives it.
pub fn start(
    program: &Path,
    source: &str,
    options: impl AsRef<[u8]>,
) -> Result<(DetachedMount, Daemon)> {
    let io = |error: std::io::Error| {
        Error::io("mount", error)
            .because("the file system's program does not start")
            .with("program", program.display())
    };
    let (ours, theirs) = UnixStream::pair().map_err(io)?;
    ours.set_read_timeout(Some(TIME_LIMIT)).map_err(io)?;
    let mut child = Command::new(program)
        .arg("--handover=0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(io)?;
    // Whatever fails from here on, the process ends with its socket, and is waited for.
    let started = Pid::from_child(&child);
    let mut ending = Ending(Some(Daemon::of(started)?));
    let request = [source.as_bytes(), options.as_ref()].join(&0);
    let asked = socket::send(&ours, &request, None)
        .map_err(Error::from)
        .and_then(|()| ours.shutdown(Shutdown::Write).map_err(io));
    let answer = socket::receive(&ours, LONGEST_ANSWER);
    drop(ours);
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            ending.0.iter().for_each(Daemon::kill);
            return Err(Error::from(error)
                .during("mount")
                .with("program", program.display()));
        }
    };
    let silent = || {
        Error::new(ErrorKind::Other, "mount")
            .because("the file system's program ended, or went silent, without an answer")
            .with("program", program.display())
    };
    let (text, mount) = answer;
    let serving = || {
        Pid::from_raw(
            std::str::from_utf8(text.strip_prefix(b"ok ")?)
                .ok()?
                .parse()
                .ok()?,
        )
    };
    if let (Some(mount), Some(pid)) = (mount, serving()) {
        let origin = program.file_name().unwrap_or_default().to_string_lossy();
        let mount = DetachedMount::received(mount, &origin);
        let daemon = Daemon::of(pid)?;
        if pid == started {
            ending.leave();
        } else {
            child.wait().map_err(io)?;
        }
        return Ok((mount, daemon));
    }
    Err(told(&text).or(asked.err()).unwrap_or_else(silent))
}

/// The error that a daemon tells.
fn told(answer: &[u8]) -> Option<Error> {
    let text = String::from_utf8_lossy(answer);
    let mut parts = text.split('\0');
    if parts.next() != Some("error") {
        return None;
    }
    let kind = parts.next().and_then(ErrorKind::of_phrase);
    let error = Error::new(kind.unwrap_or(ErrorKind::Other), "mount");
    let error = match parts.next() {
        Some(reason) => error.because(reason),
        None => error,
    };
    Some(match parts.next().filter(|hint| !hint.is_empty()) {
        Some(hint) => error.hint(hint),
        None => error,
    })
}

/// The daemon's side.
#[derive(Debug)]
pub struct Handover {
    socket: UnixStream,
    /// What the mount table is to show as source.
    pub source: String,
    /// The text of mount(8)'s `-o`.
    pub options: Vec<u8>,
}

impl Handover {
    /// Reads what is asked for from the socket that was inherited as descriptor `number`.
    pub fn begin(number: i32) -> Result<Self> {
        let socket = UnixStream::from(socket::inherited(number)?);
        let (request, _) = socket::receive(&socket, LONGEST_REQUEST)?;
        let end = request.iter().position(|byte| *byte == 0).ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "mount").because("the request has no source")
        })?;
        Ok(Self {
            socket,
            source: String::from_utf8_lossy(&request[..end]).into_owned(),
            options: request[end + 1..].to_vec(),
        })
    }

    /// Gives the mount away; whoever asked may be gone, and then so is the mount.
    pub fn give(self, mount: DetachedMount) -> Result<()> {
        let text = format!("ok {}", std::process::id());
        socket::send(&self.socket, text.as_bytes(), Some(mount.as_fd()))?;
        // The receiver's copy is to be the last.
        drop(mount);
        self.end()
    }

    /// Tells why there is no mount.
    pub fn refuse(self, error: &Error) -> Result<()> {
        let chain = error.chain();
        // The other side says operation and kind itself.
        let head = format!("{}: {}: ", error.operation(), error.kind().phrase());
        let reason = chain.strip_prefix(&head).unwrap_or(&chain);
        let parts = [
            error.kind().phrase(),
            reason,
            error.hint_text().unwrap_or_default(),
        ];
        let text = format!("error\0{}", parts.join("\0"));
        socket::send(&self.socket, text.as_bytes(), None)?;
        self.end()
    }

    /// The standard input is the same socket, and stays open.
    fn end(self) -> Result<()> {
        let ended = self.socket.shutdown(Shutdown::Both);
        ended.map_err(|error| Error::io("mount", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_comes_over_with_kind_reason_and_hint() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let handover = Handover {
            socket: theirs,
            source: String::new(),
            options: Vec::new(),
        };
        let error = Error::new(ErrorKind::NoSpace, "mount")
            .because("full")
            .hint("make room");
        handover.refuse(&error).unwrap();
        let (text, file) = socket::receive(&ours, LONGEST_ANSWER).unwrap();
        assert!(file.is_none());
        let told = told(&text).unwrap();
        assert_eq!(told.to_string(), error.to_string());
        assert_eq!(told.hint_text(), Some("make room"));
    }

    #[test]
    fn a_program_that_says_nothing_is_no_mount() {
        let error = start(Path::new("/bin/true"), "none", "").unwrap_err();
        assert!(error.to_string().contains("without an answer"), "{error}");
        let error = start(Path::new("/no/such"), "none", "").unwrap_err();
        assert!(error.to_string().contains("does not start"), "{error}");
    }
}
