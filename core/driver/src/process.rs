//! External tools, run one way: found once, in the C locale, with a time limit, and with what
//! they complained about in the error.

use crate::error::{Error, ErrorKind, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Where administrators' tools are; a user's `PATH` often lacks these.
const SYSTEM_DIRECTORIES: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// How long a tool may take unless told otherwise.
const TIME_LIMIT: Duration = Duration::from_mins(1);

/// How long output is awaited from a pipe that a tool's own child keeps open.
const OUTPUT_GRACE: Duration = Duration::from_secs(1);

/// Bytes of complaint that an error keeps.
const COMPLAINT: usize = 2000;

/// An external program, found.
#[derive(Clone, Debug)]
pub struct Tool {
    path: PathBuf,
    name: String,
    time_limit: Duration,
    variables: Vec<(OsString, OsString)>,
}

/// What a tool that succeeded wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolOutput {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error: warnings.
    pub stderr: Vec<u8>,
}

impl ToolOutput {
    /// Standard output as text; it is [`ErrorKind::Other`] if it is not UTF-8.
    pub fn text(&self) -> Result<&str> {
        std::str::from_utf8(&self.stdout).map_err(|error| {
            Error::new(ErrorKind::Other, "read tool output")
                .because("the output is not UTF-8")
                .caused_by(error)
        })
    }
}

impl Tool {
    /// Looks for `name` in `PATH` and the system directories. A missing one is
    /// [`ErrorKind::Unavailable`] with `hint`, which names the package.
    pub fn find(name: &str, hint: &str) -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .filter(|directory| directory.is_absolute())
            .chain(SYSTEM_DIRECTORIES.map(PathBuf::from))
            .map(|directory| directory.join(name))
            .find(|candidate| is_executable(candidate));
        match found {
            Some(path) => Ok(Self::at(path)),
            None => Err(Error::new(ErrorKind::Unavailable, "find tool")
                .because("the program is not installed")
                .with("tool", name)
                .hint(hint)),
        }
    }

    /// The program at `path`.
    pub fn at(path: PathBuf) -> Self {
        let name = path.file_name().unwrap_or(path.as_os_str());
        Self {
            name: name.display().to_string(),
            path,
            time_limit: TIME_LIMIT,
            variables: Vec::new(),
        }
    }

    /// Sets a variable of every run's environment.
    #[must_use]
    pub fn with_variable(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().into()));
        self
    }

    /// Sets how long a run may take; then it is killed.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Where it was found.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it and waits. A failure bears the arguments and what it wrote to standard error.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<ToolOutput> {
        let arguments = owned(arguments);
        let (status, output) = self.finish(&arguments)?;
        if status.success() {
            return Ok(output);
        }
        Err(self
            .failed(&arguments, ErrorKind::Other)
            .because(complaint(&output.stderr, status))
            .with("status", status))
    }

    /// Runs it and waits, for a program whose exit code is an answer.
    pub fn run_to_end<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<(ExitStatus, ToolOutput)> {
        self.finish(&owned(arguments))
    }

    fn finish(&self, arguments: &[OsString]) -> Result<(ExitStatus, ToolOutput)> {
        tracing::debug!(tool = %self.path.display(), ?arguments, "started");
        let io = |error: std::io::Error| self.failed(arguments, ErrorKind::Other).caused_by(error);
        let mut child = Command::new(&self.path)
            .args(arguments)
            .env("LC_ALL", "C")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(io)?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        let status = match wait(&mut child, self.time_limit) {
            Ok(status) => status,
            Err(error) => {
                drop(child.kill()); // it fails only for a process that is gone
                child.wait().map_err(io)?;
                return Err(io(error));
            }
        };
        let output = ToolOutput {
            stdout: stdout.recv_timeout(OUTPUT_GRACE).unwrap_or_default(),
            stderr: stderr.recv_timeout(OUTPUT_GRACE).unwrap_or_default(),
        };
        let overdue = || {
            self.failed(arguments, ErrorKind::Other).because(format!(
                "it did not end within {} s and was killed",
                self.time_limit.as_secs_f32()
            ))
        };
        Ok((status.ok_or_else(overdue)?, output))
    }

    fn failed(&self, arguments: &[OsString], kind: ErrorKind) -> Error {
        let shown: Vec<_> = arguments
            .iter()
            .map(|argument| argument.display().to_string())
            .collect();
        Error::new(kind, "run tool")
            .with("tool", &self.name)
            .with("arguments", shown.join(" "))
    }
}

fn owned<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Vec<OsString> {
    arguments
        .into_iter()
        .map(|argument| argument.as_ref().to_owned())
        .collect()
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok()
}

/// Reads a pipe to its end on a thread of its own, so that a full one never blocks the tool.
fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe
            && let Err(error) = pipe.read_to_end(&mut bytes)
        {
            tracing::debug!(%error, "tool output cut short");
        }
        drop(sender.send(bytes)); // nobody waits for the output of a tool that was killed
    });
    receiver
}

/// Waits for the end; `None` when it was killed for taking too long.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let descriptor = pidfd_open(pid, PidfdFlags::empty())?;
    let mut polled = [PollFd::new(&descriptor, PollFlags::IN)];
    let limit = Timespec::try_from(limit).unwrap_or(Timespec {
        tv_sec: i64::MAX,
        tv_nsec: 0,
    });
    let ended = loop {
        match poll(&mut polled, Some(&limit)) {
            Ok(count) => break count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    if ended {
        return child.wait().map(Some);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn complaint(stderr: &[u8], status: ExitStatus) -> String {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim();
    if text.is_empty() {
        return format!("it ended with {status} and said nothing");
    }
    // The end tells most.
    let start = text.len().saturating_sub(COMPLAINT);
    let start = (start..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(0);
    text[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Tool {
        Tool::find("sh", "install a shell").unwrap()
    }

    #[test]
    fn output_and_locale_are_as_promised() {
        let output = shell()
            .run(["-c", "echo $LC_ALL; echo warned >&2"])
            .unwrap();
        assert_eq!(output.text().unwrap(), "C\n");
        assert_eq!(output.stderr, b"warned\n");
    }

    #[test]
    fn failure_bears_the_complaint_and_the_arguments() {
        let error = shell()
            .run(["-c", "echo no such pool >&2; exit 3"])
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("no such pool") && text.contains("exit 3"),
            "{text}"
        );
    }

    #[test]
    fn exit_code_and_variables_are_passed_on() {
        let tool = Tool::at(shell().path().to_owned()).with_variable("ANSWER", "4");
        let (status, output) = tool.run_to_end(["-c", "echo $ANSWER; exit 4"]).unwrap();
        assert_eq!(status.code(), Some(4));
        assert_eq!(output.stdout, b"4\n");
    }

    #[test]
    fn overdue_tool_is_killed() {
        let error = shell()
            .with_time_limit(Duration::from_millis(20))
            .run(["-c", "exec sleep 1000"])
            .unwrap_err();
        assert!(error.to_string().contains("killed"), "{error}");
    }

    #[test]
    fn much_output_does_not_block() {
        let output = shell().run(["-c", "head -c 1000000 /dev/zero"]).unwrap();
        assert_eq!(output.stdout.len(), 1_000_000);
    }

    #[test]
    fn missing_tool_is_unavailable_with_its_package() {
        let error = Tool::find("strata-no-such-tool", "install `nothing`").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.hint_text(), Some("install `nothing`"));
    }
}
