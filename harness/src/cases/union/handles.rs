//! Descriptors, working directories and sockets that are held while layers are written.

use crate::cases::samples;
use crate::prelude::*;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, Stdio};

/// A file of a lower layer that is unlinked while open keeps its data to the end.
pub(crate) const UNLINKED_FILE_STAYS_READABLE: Case = Case {
    name: "unlinked_file_stays_readable",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        let mut lower = fs_err::File::open(live.at("etc/hosts"))?;
        live.file("mine", "own")?;
        let mut own = fs_err::OpenOptions::new()
            .read(true)
            .write(true)
            .open(live.at("mine"))?;
        live.unlink("etc/hosts")?.unlink("mine")?;
        let mut content = String::new();
        lower.read_to_string(&mut content)?;
        ensure!(
            content == "127.0.0.1 localhost\n",
            "the lower file reads {content:?}"
        );
        own.write_all(b"OWN, unlinked")?;
        own.seek(SeekFrom::Start(0))?;
        content.clear();
        own.read_to_string(&mut content)?;
        ensure!(content == "OWN, unlinked", "the new file reads {content:?}");
        drop((lower, own));
        ensure!(
            !live.has("etc/hosts") && !live.has("mine"),
            "a name came back"
        );
        live.unmount()?;
        let layer = context.commit_fresh(&key)?;
        let paths: Vec<_> = context.changes(Some(&base), &layer)?;
        ensure!(
            paths.len() == 2,
            "a whiteout and its directory, not {paths:?}"
        );
        Ok(())
    },
};

/// A descriptor opened for reading before the first write reads what was written since.
pub(crate) const HELD_DESCRIPTOR_SEES_WRITES: Case = Case {
    name: "held_descriptor_sees_writes",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.file("f", "old content").map(drop))?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        let mut held = fs_err::File::open(live.at("f"))?;
        live.overwrite("f", 0, b"NEW")?.append("f", "!")?;
        let mut content = String::new();
        held.read_to_string(&mut content)?;
        drop(held);
        ensure!(
            content == "NEW content!",
            "the held descriptor reads {content:?}"
        );
        live.unmount()
    },
};

/// Upstream: `GetCWD`, unwritten in containerd.
pub(crate) const WORKING_DIRECTORY_IS_FOUND: Case = Case {
    name: "working_directory_is_found",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.dirs("a/b").map(drop))?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        let inside = live.at("a/b");
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "read line && /bin/pwd -P && echo made > made"])
            .current_dir(&inside)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // The directory goes up while the shell stands in it.
        live.file("a/b/up", "1")?
            .mode("a/b", 0o750)?
            .time("a/b", 5, 0)?;
        shell.stdin.take().context("no pipe")?.write_all(b"go\n")?;
        let output = shell.wait_with_output()?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        ensure!(
            output.status.success(),
            "the shell failed: {}",
            output.status
        );
        ensure!(
            std::path::Path::new(&said) == inside,
            "it stood in `{said}`"
        );
        ensure!(live.has("a/b/made"), "what it made is not seen");
        live.unmount()
    },
};

/// Upstream: `UnixDomainSockets`, unwritten in containerd.
pub(crate) const SOCKETS_WORK_AND_DO_NOT_TRAVEL: Case = Case {
    name: "sockets_work_and_do_not_travel",
    group: Group::Union,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.file("was-file", "1")?.dir("run").map(drop))?;
        let key = context.active(Some(&base))?;
        let live = context.mount(&key)?;
        // Names of sockets are short; a path through a descriptor always is.
        let run = fs_err::File::open(live.at("run"))?;
        let address = format!("/proc/self/fd/{}/s", run.as_raw_fd());
        let listener = UnixListener::bind(&address)?;
        let mut client = UnixStream::connect(&address)?;
        client.write_all(b"ping")?;
        drop(client);
        let mut heard = String::new();
        listener.accept()?.0.read_to_string(&mut heard)?;
        ensure!(heard == "ping", "heard {heard:?}");
        drop((listener, run));
        live.unlink("was-file")?.socket("was-file")?;
        live.unmount()?;
        let layer = context.commit_fresh(&key)?;
        let diff = context.checked_diff(Some(&base), &layer)?;
        let copy = context.applied_layer(Some(&base), &diff)?;
        let paths = context.tree(&copy)?.paths();
        ensure!(paths == ["run"], "a socket travelled: {paths:?}");
        Ok(())
    },
};
