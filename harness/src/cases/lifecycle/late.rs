//! Who still writes when a snapshot is committed: by a descriptor, a mapping, a mount that nobody
//! sees. The layer is what was committed, unless the driver declares that it may not be.

use crate::prelude::*;
use std::io::Write as _;
use strata_sys::map::SharedMap;
use strata_sys::namespace::run_in_private_namespace;

const EARLY: &str = "early";

/// A snapshot with a file, a mount of it that goes out of sight, and what holds it open.
fn hold<T>(
    context: &mut Context,
    open: impl FnOnce(&Dir) -> Result<T>,
) -> Result<(SnapshotName, T)> {
    let base = context.layer(None, |dir| {
        dir.dir("d")?
            .file("below", EARLY)?
            .file("d/f", EARLY)
            .map(drop)
    })?;
    let key = context.active(Some(&base))?;
    let live = context.mount(&key)?;
    live.file("f", EARLY)?;
    let held = open(&live)?;
    rustix::mount::unmount(live.path(), rustix::mount::UnmountFlags::DETACH)?;
    Ok((key, held))
}

/// Commits, lets `write` try, and demands that the layer has changed exactly if the driver
/// declares it. A commit that is refused lets nobody write into a layer.
fn judge(
    context: &mut Context,
    key: &SnapshotName,
    detail: &str,
    write: impl FnOnce() -> std::io::Result<()>,
) -> Result<()> {
    let frozen = name("frozen");
    match context.commit(key, &frozen) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::InUse => {
            return context.judge_quirk(Quirk::LateWriterPossible, false, detail);
        }
        Err(error) => return Err(error.into()),
    }
    let before = context.tree(&frozen)?;
    // A write that is refused is as good as one that goes nowhere.
    let written = write();
    context.reopen()?;
    let after = context.tree(&frozen)?;
    let changed = after.digest() != before.digest();
    let detail = format!("{detail}, writing gave {written:?}");
    context.judge_quirk(Quirk::LateWriterPossible, changed, &detail)
}

pub(crate) const COMMIT_WITH_HELD_FD: Case = Case {
    name: "commit_with_held_fd",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let (key, (mut file, directory)) = hold(context, |live| {
            let file = fs_err::OpenOptions::new().append(true).open(live.at("f"))?;
            Ok((file, fs_err::File::open(live.at("d"))?))
        })?;
        judge(context, &key, "held descriptors wrote", || {
            use rustix::fs::{Mode, OFlags};
            let written = file.write_all(b"late").and_then(|()| file.sync_all());
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            let made = rustix::fs::openat(&directory, "new", flags, Mode::RUSR).map(drop);
            drop((file, directory));
            written.and(made.map_err(Into::into))
        })
    },
};

pub(crate) const COMMIT_WITH_HELD_MAP: Case = Case {
    name: "commit_with_held_map",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let (key, mut map) = hold(context, |live| {
            let mut options = fs_err::OpenOptions::new();
            let file = options.read(true).write(true).open(live.at("f"))?;
            let map = SharedMap::writable(&file, EARLY.len())?;
            // Dirty before the commit, so that the page is the kernel's own business.
            drop(file);
            Ok(map)
        })?;
        map.write(0, b"E");
        judge(context, &key, "a held mapping was written", || {
            map.write(0, b"LATE!");
            let synced = map.sync().map_err(|error| error.source);
            drop(map);
            synced
        })
    },
};

pub(crate) const COMMIT_MOUNTED_ELSEWHERE: Case = Case {
    name: "commit_mounted_elsewhere",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let key = context.active(None)?;
        context.edit(&key, |dir| dir.file("f", EARLY).map(drop))?;
        let plan = context.wait(context.driver().mounts(&key))?;
        let target = context.path("elsewhere");
        fs_err::create_dir(&target)?;
        // Nobody holds the snapshot any more, and no table that the driver can read has it. The
        // namespace lives as long as it is held.
        let elsewhere = run_in_private_namespace(|| {
            let mount = strata_driver::mount::mount(&plan, &target)?.leak();
            let held = fs_err::OpenOptions::new()
                .append(true)
                .open(mount.join("f"))?;
            let namespace = fs_err::File::open("/proc/thread-self/ns/mnt")?;
            anyhow::Ok((held, fs_err::File::open(mount)?, namespace))
        })?;
        let (mut held, mount, namespace) = elsewhere?;
        judge(context, &key, "a mount in another namespace wrote", || {
            use rustix::fs::{Mode, OFlags};
            let written = held.write_all(b"late").and_then(|()| held.sync_all());
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
            let made = rustix::fs::openat(&mount, "new", flags, Mode::RUSR).map(drop);
            drop((held, mount, namespace));
            written.and(made.map_err(Into::into))
        })
    },
};
