//! Facts of the host that factories probe against.

use std::path::Path;

/// What this process finds on this host; read once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Host {
    /// Kernel release (`6.18.44`).
    pub kernel: String,
    /// File system types that the kernel has, from `/proc/filesystems`.
    pub file_systems: Vec<String>,
    /// Whether the effective user is root, of the initial or of a user namespace.
    pub root: bool,
    /// Whether this process is in a user namespace other than the initial one.
    pub user_namespace: bool,
    /// The kernel's boot id; a mount recorded under another one is gone.
    pub boot_id: String,
}

impl Host {
    /// Reads the facts. What cannot be read stays empty.
    pub fn probe() -> Self {
        let text = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let file_systems = text("/proc/filesystems")
            .lines()
            .filter_map(|line| line.split_whitespace().last().map(str::to_owned))
            .collect();
        // The initial namespace maps all 32-bit ids onto themselves (user_namespaces(7)).
        let map = text("/proc/self/uid_map");
        let initial = map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"];
        Self {
            kernel: text("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_systems,
            root: rustix::process::geteuid().is_root(),
            user_namespace: !initial && !map.is_empty(),
            boot_id: text("/proc/sys/kernel/random/boot_id").trim().to_owned(),
        }
    }

    /// Whether the kernel has file systems of `kind`.
    pub fn has_file_system(&self, kind: &str) -> bool {
        self.file_systems.iter().any(|known| known == kind)
    }

    /// The type of the file system that holds `path` or its nearest existing ancestor, as the
    /// kernel names it (`ext4`); from the mount table, so that it is exact.
    pub fn file_system_of(path: &Path) -> std::io::Result<String> {
        let mut existing = path;
        let device = loop {
            match rustix::fs::stat(existing) {
                Ok(stat) => break stat.st_dev,
                Err(rustix::io::Errno::NOENT) => match existing.parent() {
                    Some(parent) if parent != Path::new("") => existing = parent,
                    _ => existing = Path::new("."),
                },
                Err(errno) => return Err(errno.into()),
            }
        };
        // btrfs gives every subvolume a device number of its own that the mount table lacks.
        let magic = rustix::fs::statfs(existing)?.f_type;
        if let Some(name) = name_of_magic(magic) {
            return Ok(name.to_owned());
        }
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let wanted = format!("{major}:{minor}");
        let table = fs_err::read_to_string("/proc/self/mountinfo")?;
        let found = table.lines().find_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            (left.split(' ').nth(2)? == wanted)
                .then(|| right.split(' ').next().map(str::to_owned))?
        });
        Ok(found.unwrap_or_else(|| format!("unknown (magic {magic:#x})")))
    }
}

/// Names for the magic numbers of statfs(2) that are unambiguous.
fn name_of_magic(magic: i64) -> Option<&'static str> {
    Some(match magic {
        0x9123_683E => "btrfs",
        0x5846_5342 => "xfs",
        0x0102_1994 => "tmpfs",
        0x794c_7630 => "overlay",
        0x2fc1_2fc1 => "zfs",
        0x6969 => "nfs",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probe_reads_this_host() {
        let host = Host::probe();
        assert!(!host.kernel.is_empty());
        assert!(host.has_file_system("proc"));
    }

    #[test]
    fn file_system_of_a_missing_path_is_that_of_its_ancestor() {
        assert_eq!(
            Host::file_system_of(Path::new("/proc/no/such/path")).unwrap(),
            Host::file_system_of(Path::new("/proc")).unwrap()
        );
    }
}
