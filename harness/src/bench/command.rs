//! External tools of the bench: mkfs, tar, fstrim.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::process::{Command, Stdio};

/// A tool and its arguments.
#[derive(Debug)]
pub(crate) struct Tool(Command);

impl Tool {
    /// The tool called `name`, found by `PATH` or in the directories of system tools.
    pub(crate) fn new(name: &str) -> Self {
        let sbin =
            ["/usr/sbin", "/sbin"].map(|directory| std::path::Path::new(directory).join(name));
        let found = sbin.iter().find(|path| path.is_file());
        let mut command = match found {
            Some(path) => Command::new(path),
            None => Command::new(name),
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env("LC_ALL", "C");
        Self(command)
    }

    /// Adds an argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.0.arg(argument);
        self
    }

    /// Adds arguments.
    pub(crate) fn args<T: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.0.args(arguments);
        self
    }

    /// The command to set up further.
    pub(crate) fn command(&mut self) -> &mut Command {
        &mut self.0
    }

    /// The command line, for reports.
    pub(crate) fn line(&self) -> String {
        let mut words = vec![self.0.get_program().to_string_lossy().into_owned()];
        words.extend(
            self.0
                .get_args()
                .map(|word| word.to_string_lossy().into_owned()),
        );
        words.join(" ")
    }

    /// Runs it to its end; a failure tells what it said. Returns its standard output.
    pub(crate) fn run(mut self) -> Result<String> {
        let line = self.line();
        let output = self
            .0
            .output()
            .with_context(|| format!("`{line}` cannot be started: is it installed?"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{line}` failed ({}): {}", output.status, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
