//! What file systems say in the kernel's log only: overlay, for one, puts the reason of a failed
//! lookup there and leaves the message log of the mount context empty.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;

/// Longest record of /dev/kmsg, `PRINTK_MESSAGE_MAX` in `kernel/printk/internal.h` with room.
const RECORD_BYTES: usize = 8192;

/// A place in the kernel's log, from which to read on.
#[derive(Debug)]
pub(crate) struct KernelLog {
    records: OwnedFd,
}

impl KernelLog {
    /// The log's end. `None` for those who may not read it (`kernel.dmesg_restrict`).
    pub(crate) fn end() -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let records = rustix::fs::open("/dev/kmsg", flags, Mode::empty()).ok()?;
        rustix::fs::seek(&records, SeekFrom::End(0)).ok()?;
        Some(Self { records })
    }

    /// What file systems of this type have said since, oldest first. Lines that another mount
    /// of the type gave rise to meanwhile cannot be told apart.
    pub(crate) fn said_by(&self, fstype: &str) -> Vec<String> {
        let mut record = vec![0_u8; RECORD_BYTES];
        let mut lines = Vec::new();
        loop {
            match rustix::io::read(&self.records, &mut record[..]) {
                Ok(0) => break,
                Ok(length) => {
                    let line = text(&record[..length]).filter(|line| is_by(line, fstype));
                    lines.extend(line.map(str::to_owned));
                }
                // kmsg: records were overwritten before they were read; the next read goes on.
                Err(Errno::PIPE | Errno::INTR) => {}
                Err(_) => break,
            }
        }
        lines
    }
}

/// The message of a record `priority,sequence,microseconds,flags;message\n key=value ...`.
fn text(record: &[u8]) -> Option<&str> {
    let (_, message) = std::str::from_utf8(record).ok()?.split_once(';')?;
    message.lines().next()
}

/// File systems put their names in front: `overlayfs: `, `EXT4-fs (loop0): `, `XFS (loop0): `.
fn is_by(line: &str, fstype: &str) -> bool {
    !fstype.is_empty()
        && line
            .get(..fstype.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(fstype))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_told_apart() {
        let record = b"3,339,5140900,-;EXT4-fs (loop0): no journal\n SUBSYSTEM=block\n";
        let line = text(record).unwrap();
        assert_eq!(line, "EXT4-fs (loop0): no journal");
        assert!(is_by(line, "ext4"));
        assert!(!is_by(line, "overlay"));
        assert!(is_by("overlayfs: missing 'lowerdir'", "overlay"));
        assert!(!is_by(line, ""));
        assert_eq!(text(b"no record"), None);
    }
}
