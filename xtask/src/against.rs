//! `cargo xtask bench --against REVISION`: two versions in one job, block by block.
//!
//! Both are processes that wait for their turn before their set-up and before each block (`strata
//! bench --in-turn`). Who goes first changes with every block, so that neither always finds the
//! machine as the other left it.

use crate::exit::Stop;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use xshell::{Shell, cmd};

/// One version while it runs. Killed if it is dropped before its end.
struct Version {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    has_ended: bool,
}

impl Version {
    /// Starts it and waits until it asks for its first turn.
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let input = child.stdin.take().context("standard input was piped")?;
        let output = BufReader::new(child.stdout.take().context("standard output was piped")?);
        let mut version = Self {
            child,
            input,
            output,
            has_ended: false,
        };
        version.until_next_turn()?;
        Ok(version)
    }

    fn until_next_turn(&mut self) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.output.read_line(&mut line)? == 0 {
                self.has_ended = true;
                return Ok(());
            }
            if line == "turn\n" {
                return Ok(());
            }
        }
    }

    fn turn(&mut self) -> Result<()> {
        if self.has_ended {
            return Ok(());
        }
        self.input.write_all(b"go\n")?;
        self.until_next_turn()
    }

    fn code(mut self) -> Result<u8> {
        let status = self.child.wait()?;
        Ok(status.code().map_or(1, |code| code as u8))
    }
}

impl Drop for Version {
    fn drop(&mut self) {
        // Its input closes with it: it ends by itself, in good order, at its next turn.
        drop(self.child.try_wait());
    }
}

/// Builds `revision`, runs it and this checkout by turns, and ends with the comparison's code.
pub(crate) fn run(
    sh: &Shell,
    revision: &str,
    gate: &str,
    (input, arguments): (&[OsString], &[OsString]),
) -> Result<()> {
    let target = PathBuf::from(std::env::var_os("CARGO_TARGET_DIR").unwrap_or("target".into()));
    let new = std::path::absolute(sh.current_dir().join(&target))?.join("release/strata");
    let place = std::path::absolute(sh.current_dir().join(&target))?.join("against");
    let old = build(sh, revision, &place)?;
    if cmd!(sh, "{old} compare --help")
        .quiet()
        .ignore_stdout()
        .ignore_stderr()
        .run()
        .is_err()
    {
        return Err(Stop::Impossible(format!(
            "{revision} cannot take turns: it is older than `strata compare`; times of it cannot be \
             judged, counts can: run it by itself and use `--baseline FILE --gate counts`"
        ))
        .into());
    }
    let job = format!("{}-{}", std::process::id(), started());
    let results = |name: &str| place.join(name);
    let start = |program: &Path, name: &str| {
        let mut command = Command::new(program);
        command
            .current_dir(sh.current_dir())
            .args(["bench", "--in-turn", &job, "--output"])
            .arg(results(name))
            .args(input)
            .args(arguments);
        Version::start(command)
    };
    let mut versions = [start(&old, "old")?, start(&new, "new")?];
    let mut round = 0;
    while versions.iter().any(|version| !version.has_ended) {
        let first = round % 2;
        versions[first].turn()?;
        versions[1 - first].turn()?;
        round += 1;
    }
    for version in versions {
        match version.code()? {
            // A noisy run is the comparison's to judge.
            0 | 3 => {}
            code => return Err(Stop::Code(code).into()),
        }
    }
    let [old, this] = ["old", "new"].map(|name| results(name).join("results.json"));
    let summary = place.join("summary.md");
    let mut command: Command = cmd!(
        sh,
        "{new} compare {old} {this} --gate {gate} --summary {summary}"
    )
    .into();
    let status = command.status().context("cannot run `strata compare`")?;
    eprintln!("summary: {}", summary.display());
    match status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(Stop::Code(code as u8).into()),
        None => bail!("`strata compare` was ended by a signal"),
    }
}

/// Seconds since 1970.
fn started() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Builds `revision` in a worktree of its own, with a target directory that stays for the next
/// time; returns the program.
fn build(sh: &Shell, revision: &str, place: &Path) -> Result<PathBuf> {
    let commit = format!("{revision}^{{commit}}");
    let Ok(id) = cmd!(sh, "git rev-parse --verify --quiet {commit}")
        .quiet()
        .read()
    else {
        return Err(Stop::Usage(format!("git knows no revision `{revision}`")).into());
    };
    let tree = place.join("tree");
    fs_err::create_dir_all(place)?;
    if tree.exists() {
        cmd!(sh, "git -C {tree} checkout --quiet --force --detach {id}")
            .quiet()
            .run()?;
    } else {
        cmd!(sh, "git worktree prune").quiet().run()?;
        cmd!(sh, "git worktree add --quiet --detach {tree} {id}")
            .quiet()
            .run()?;
    }
    eprintln!("building {revision} ({id})");
    let target = place.join("target");
    let _there = sh.push_dir(&tree);
    let _apart = sh.push_env("CARGO_TARGET_DIR", &target);
    // An older revision may not know the driver.
    let manifest = fs_err::read_to_string(tree.join("apps/cli/Cargo.toml"))?;
    let features = if manifest.contains("\nbtrfs = ") {
        crate::btrfs::feature_alone(sh)
    } else {
        &[]
    };
    cmd!(
        sh,
        "cargo build --locked --release --package strata {features...}"
    )
    .quiet()
    .run()?;
    if tree.join("apps/union").is_dir() {
        cmd!(sh, "cargo build --locked --release --package strata-union")
            .quiet()
            .run()?;
    }
    Ok(target.join("release/strata"))
}
