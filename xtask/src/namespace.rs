//! Running a program in a mount and a process namespace of its own: what it mounts and starts ends
//! with it, and it ends with us.

use crate::clean::{Clean, write_owner};
use crate::exit::Stop;
use anyhow::ensure;
use nix::sys::signal::{SigSet, Signal};
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};
use xshell::{Cmd, Shell, cmd};

/// For `sh -euc`: makes the mounts of a new namespace private, then becomes its arguments.
///
/// In a chroot `/` may be no mount point, and then its propagation cannot be changed (EINVAL), nor
/// could unshare(1) do it. Entering the namespace that we are in puts `nsenter` at the real root.
pub(crate) const MAKE_PRIVATE: &str = r#"
mount --make-rprivate / 2>/dev/null || nsenter --mount=/proc/self/ns/mnt -- mount --make-rprivate /
exec "$@"
"#;

/// For that moment; writing back what is in memory may take some of it.
const PATIENCE: Duration = Duration::from_mins(1);

/// The exit code of what was interrupted, as shells give it.
const INTERRUPTED: u8 = 130;

/// Starts what is appended as further arguments. If we are killed, so is all of it.
pub(crate) fn private(sh: &Shell) -> Cmd<'_> {
    cmd!(
        sh,
        "setpriv --pdeathsig KILL unshare --mount --propagation unchanged --pid --fork"
    )
    .args(["--kill-child", "--", "sh", "-euc", MAKE_PRIVATE, "private"])
    .quiet()
}

/// Runs our own command line once more in namespaces of its own, with `--inside DIRECTORY` behind
/// it: a directory in `place`, named after `name`, that is gone when this returns, also after Ctrl-C.
pub(crate) fn run_inside(sh: &Shell, place: &Path, name: &str) -> anyhow::Result<()> {
    Clean::everywhere().run(sh)?;
    let directory = place.join(format!("strata-bench-{name}-{}", std::process::id()));
    fs_err::create_dir(&directory)?;
    write_owner(&directory)?;
    // From where it was given.
    let _here = sh.push_dir(std::env::current_dir()?);
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let command = private(sh)
        .arg(std::env::current_exe()?)
        .args(arguments)
        .args([OsString::from("--inside"), directory.clone().into()]);
    let ended = run_or_kill(command.into());
    let freed = wait_for_devices(&directory);
    fs_err::remove_dir_all(&directory)?;
    freed?;
    match ended? {
        None => Err(Stop::Code(INTERRUPTED).into()),
        Some(status) if status.success() => Ok(()),
        Some(_) => Err(Stop::Reported.into()),
    }
}

/// The kernel takes down the mounts of a namespace after its last process, in a moment of its own.
fn wait_for_devices(directory: &Path) -> anyhow::Result<()> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy();
    let start = Instant::now();
    loop {
        // A device without a file has no such entry.
        let devices = fs_err::read_dir("/sys/block")?.filter_map(Result::ok);
        let used = devices
            .filter_map(|device| {
                fs_err::read_to_string(device.path().join("loop/backing_file")).ok()
            })
            .find(|file| file.contains(&*name));
        let Some(file) = used else { return Ok(()) };
        ensure!(
            start.elapsed() < PATIENCE,
            "a loop device still has `{}`",
            file.trim()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs what [`private`] starts to its end; at Ctrl-C or its like kills all of it, and gives none.
fn run_or_kill(mut command: Command) -> anyhow::Result<Option<ExitStatus>> {
    let signals: SigSet = [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGCHLD,
    ]
    .into_iter()
    .collect();
    // A child starts with none blocked.
    signals.thread_block()?;
    // Held by all that is started inside: its end is the end of the last of them.
    let (mut inside, held) = std::io::pipe()?;
    let mut child = command.stdin(held).spawn()?;
    drop(command);
    let status = loop {
        if signals.wait()? != Signal::SIGCHLD {
            child.kill()?;
            child.wait()?;
            break None;
        }
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
    };
    inside.read_to_end(&mut Vec::new())?;
    signals.thread_unblock()?;
    Ok(status)
}
