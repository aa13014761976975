//! Mounts that may outlive their process, and whether they still exist.

use super::Catalog;
use super::row::{MountRow, ProcessId, SnapshotId};
use crate::database::Sync;
use crate::error::{Error, Result};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use strata_sys::statmount::{self, MountNamespaceId, UniqueMountId};

impl ProcessId {
    /// This process.
    pub fn own() -> Result<Self> {
        let pid = rustix::process::getpid().as_raw_pid();
        let started = start_time(pid).ok_or_else(|| {
            Error::io(
                "read /proc/self/stat",
                std::io::Error::from(std::io::ErrorKind::NotFound),
            )
        })?;
        Ok(Self { pid, started })
    }

    /// Whether that very process still runs.
    pub fn is_alive(self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// Field 22 of `proc_pid_stat(5)`; the name in field 2 may hold spaces and parentheses.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, behind_name) = stat.rsplit_once(") ")?;
    behind_name.split(' ').nth(19)?.parse().ok()
}

/// What is known of a recorded mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Mounted,
    /// It is gone, and its row with it.
    Gone,
    /// It is gone, but its process lives and may be about to make it.
    NotNow,
}

impl Catalog {
    /// Records a mount that may outlive this process. Record it before it is attached, while the
    /// plan's hold path is locked: then no moment is left in which it exists unseen.
    ///
    /// Never synced: no mount survives a power loss.
    pub fn record_mount(&self, mount: &MountRow) -> Result<()> {
        self.database
            .write("record mount", Sync::Later, |connection| {
                connection
                    .prepare_cached(
                        "INSERT INTO mount (snapshot, target, mount_id, namespace, boot_id, \
                         holder_pid, holder_started) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    )?
                    .execute((
                        mount.snapshot.0,
                        mount.target.as_os_str().as_bytes(),
                        mount.mount_id.map(|id| id.0.cast_signed()),
                        mount.namespace.to_string(),
                        &mount.boot_id,
                        mount.holder.pid,
                        mount.holder.started.cast_signed(),
                    ))?;
                Ok(())
            })
    }

    /// Forgets the mounts recorded on `target`.
    pub fn forget_mount(&self, target: &Path) -> Result<()> {
        self.database
            .write("forget mount", Sync::Later, |connection| {
                connection
                    .prepare_cached("DELETE FROM mount WHERE target = ?1")?
                    .execute([target.as_os_str().as_bytes()])?;
                Ok(())
            })
    }

    /// The recorded mounts of a snapshot in the order of recording, confirmed or not.
    pub fn mounts_of(&self, id: SnapshotId) -> Result<Vec<MountRow>> {
        self.database.query("list mounts", |connection| {
            Ok(rows(
                connection,
                "WHERE snapshot = ?1 ORDER BY number",
                &id.0,
            )?)
        })
    }

    /// The mounts recorded on `target`, the latest last, confirmed or not.
    pub fn mounts_on(&self, target: &Path) -> Result<Vec<MountRow>> {
        let target = target.as_os_str().as_bytes();
        self.database.query("list mounts", |connection| {
            Ok(rows(
                connection,
                "WHERE target = ?1 ORDER BY number",
                &target,
            )?)
        })
    }

    /// All recorded mounts, confirmed or not.
    pub fn mounts(&self) -> Result<Vec<MountRow>> {
        self.database.query("list mounts", |connection| {
            Ok(rows(connection, "WHERE ?1 ORDER BY number", &1)?)
        })
    }

    /// A recorded mount of the snapshot that still exists: one of this boot that the kernel
    /// confirms or, where the kernel cannot tell (before Linux 6.11, or another user's
    /// namespace), whose process lives. Rows that are refuted are deleted.
    ///
    /// Mounts of live [`Mounted`](crate::mount::Mounted) values are not recorded; those show by
    /// the [hold](crate::mount::hold), which must be taken before this is asked.
    pub fn is_mounted(&self, id: SnapshotId) -> Result<Option<MountRow>> {
        let recorded = self.mounts_of(id)?;
        if recorded.is_empty() {
            return Ok(None);
        }
        let boot_id = strata_sys::namespace::boot_id()?;
        for mount in recorded {
            match verdict(&mount, &boot_id)? {
                Verdict::Mounted => return Ok(Some(mount)),
                Verdict::Gone => self.forget_row(&mount)?,
                Verdict::NotNow => {}
            }
        }
        Ok(None)
    }

    /// Drops the rows of other boots and of snapshots that are gone.
    pub(super) fn sweep_mounts(&self) -> Result<()> {
        let any: bool = self.database.query("sweep mounts", |connection| {
            let found = connection
                .query_row("SELECT 1 FROM mount LIMIT 1", [], |_| Ok(()))
                .optional()?;
            Ok(found.is_some())
        })?;
        if !any {
            return Ok(());
        }
        let boot_id = strata_sys::namespace::boot_id()?;
        self.database
            .write("sweep mounts", Sync::Later, |connection| {
                connection.execute(
                    "DELETE FROM mount WHERE boot_id <> ?1 \
                     OR snapshot NOT IN (SELECT id FROM snapshot)",
                    [&boot_id],
                )?;
                Ok(())
            })
    }

    fn forget_row(&self, mount: &MountRow) -> Result<()> {
        self.database
            .write("forget mount", Sync::Later, |connection| {
                connection
                    .prepare_cached(
                        "DELETE FROM mount WHERE snapshot = ?1 AND target = ?2 \
                         AND mount_id IS ?3 AND boot_id = ?4",
                    )?
                    .execute((
                        mount.snapshot.0,
                        mount.target.as_os_str().as_bytes(),
                        mount.mount_id.map(|id| id.0.cast_signed()),
                        &mount.boot_id,
                    ))?;
                Ok(())
            })
    }
}

fn verdict(mount: &MountRow, boot_id: &str) -> Result<Verdict> {
    if mount.boot_id != boot_id {
        return Ok(Verdict::Gone);
    }
    let alive = mount.holder.is_alive();
    let gone = if alive {
        Verdict::NotNow
    } else {
        Verdict::Gone
    };
    let exists = match mount.mount_id {
        Some(id) => match statmount::statmount(id, Some(mount.namespace)) {
            Ok(status) => Some(status.is_some()),
            Err(error) if error.is_unsupported() && is_own(mount.namespace)? => {
                seen_at(&mount.target)?
            }
            Err(_) => None,
        },
        None if is_own(mount.namespace)? => seen_at(&mount.target)?,
        None => None,
    };
    Ok(match exists {
        Some(true) => Verdict::Mounted,
        Some(false) => gone,
        // Nobody can tell: a live process is believed, and a namespace that cannot be asked too,
        // since a wrong yes costs an unmount and a wrong no the snapshot.
        None if alive || mount.mount_id.is_some() => Verdict::Mounted,
        None => Verdict::Gone,
    })
}

fn is_own(namespace: MountNamespaceId) -> Result<bool> {
    Ok(statmount::mount_namespace_id()? == namespace)
}

/// Whether anything is mounted on `target` in this namespace, from the mount table.
fn seen_at(target: &Path) -> Result<Option<bool>> {
    let table = crate::mount::table()?;
    let wanted = crate::mount::escaped_for_table(target);
    Ok(Some(table.lines().any(|line| {
        line.split(' ').nth(4) == Some(wanted.as_str())
    })))
}

fn rows(
    connection: &Connection,
    condition: &str,
    value: &dyn rusqlite::ToSql,
) -> rusqlite::Result<Vec<MountRow>> {
    connection
        .prepare_cached(&format!(
            "SELECT snapshot, target, mount_id, namespace, boot_id, holder_pid, holder_started \
             FROM mount {condition}"
        ))?
        .query_map([value], |row| {
            let namespace = row.get_ref(3)?.as_str()?.parse().map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(3, Type::Text, Box::new(error))
            })?;
            Ok(MountRow {
                snapshot: SnapshotId(row.get(0)?),
                target: PathBuf::from(OsStr::from_bytes(row.get_ref(1)?.as_blob()?)),
                mount_id: row
                    .get::<_, Option<i64>>(2)?
                    .map(|id| UniqueMountId(id.cast_unsigned())),
                namespace,
                boot_id: row.get(4)?,
                holder: ProcessId {
                    pid: row.get(5)?,
                    started: row.get::<_, i64>(6)?.cast_unsigned(),
                },
            })
        })?
        .collect()
}
