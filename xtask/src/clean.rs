//! `cargo xtask clean`: removes what a killed run left behind, and nothing else.
//!
//! Tests and bench put everything they make (images of loop devices, mount points, trees) below
//! one directory named `strata-test-*` or `strata-bench-*` in the directory for temporary files
//! or in `/dev/shm`. It holds a file `owner` with the process id and the start time of the process
//! that made it (fields 1 and 22 of `/proc/PID/stat`). The directory is a leftover once no such
//! process exists; then its mounts are unmounted, its loop devices detached, and it is removed.

use anyhow::Context;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

const MARKS: [&str; 2] = ["strata-test-", "strata-bench-"];

#[derive(Debug)]
pub(crate) struct Clean {
    /// The directories that marked ones are looked for in.
    places: Vec<PathBuf>,
}

impl Clean {
    /// Looks everywhere that tests and bench use.
    pub(crate) fn everywhere() -> Self {
        let mut places = vec![
            std::env::temp_dir(),
            "/tmp".into(),
            "/dev/shm".into(),
            "/var/tmp".into(),
        ];
        places.sort();
        places.dedup();
        Self { places }
    }

    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        let mut left = 0_usize;
        for directory in self.places.iter().flat_map(|place| marked(place)) {
            match owner(&directory) {
                Owner::Alive => {}
                Owner::Unknown => eprintln!(
                    "left alone: `{}` does not say whose it is (no file `owner`)",
                    directory.display()
                ),
                Owner::Dead => match remove(sh, &directory) {
                    Ok(()) => eprintln!("removed {}", directory.display()),
                    Err(error) => {
                        left += 1;
                        eprintln!("left behind: {}: {error:#}", directory.display());
                    }
                },
            }
        }
        anyhow::ensure!(left == 0, "{left} leftovers could not be removed");
        Ok(())
    }
}

fn marked(place: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(place) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let is_marked = MARKS
                .iter()
                .any(|mark| name.to_string_lossy().starts_with(mark));
            // Not what a symlink points to: anybody may make one in /tmp.
            is_marked && entry.file_type().is_ok_and(|kind| kind.is_dir())
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// What the file `owner` and the process table say of a directory.
#[derive(Debug, PartialEq, Eq)]
enum Owner {
    Alive,
    Dead,
    Unknown,
}

fn owner(directory: &Path) -> Owner {
    let Ok(text) = fs_err::read_to_string(directory.join("owner")) else {
        return Owner::Unknown;
    };
    let mut words = text.split_whitespace().map(str::parse::<u64>);
    let (Some(Ok(process)), Some(Ok(start))) = (words.next(), words.next()) else {
        return Owner::Unknown;
    };
    if start_time(process) == Some(start) {
        Owner::Alive
    } else {
        Owner::Dead
    }
}

/// When the process started, in clock ticks since boot; `None` if there is no such process.
pub(crate) fn start_time(process: u64) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The command's name may hold anything, parentheses too; field 3 follows the last one.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

fn remove(sh: &Shell, directory: &Path) -> anyhow::Result<()> {
    let mounts = fs_err::read_to_string("/proc/self/mountinfo")?;
    // Later mounts may stand on earlier ones.
    for target in mount_points(&mounts)
        .filter(|target| target.starts_with(directory))
        .rev()
    {
        cmd!(sh, "umount -- {target}").quiet().run()?;
    }
    let listed = cmd!(
        sh,
        "losetup --list --noheadings --output NAME,BACK-INO,BACK-MAJ:MIN,BACK-FILE"
    )
    .quiet()
    .read()?;
    for device in listed.lines().filter_map(LoopDevice::parse) {
        if device.file.starts_with(directory) && device.is_backed_by_its_file() {
            let name = device.name;
            cmd!(sh, "losetup --detach {name}").quiet().run()?;
        }
    }
    // A mount that another namespace still has here must not lose its content.
    cmd!(sh, "rm -rf --one-file-system -- {directory}")
        .quiet()
        .run()?;
    Ok(())
}

/// The mount points in the text of `/proc/self/mountinfo`, see proc(5).
fn mount_points(text: &str) -> std::vec::IntoIter<PathBuf> {
    let targets = text.lines().filter_map(|line| line.split(' ').nth(4));
    targets
        .map(|target| PathBuf::from(unescape(target)))
        .collect::<Vec<_>>()
        .into_iter()
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[derive(Debug, PartialEq, Eq)]
struct LoopDevice {
    name: String,
    inode: u64,
    /// Major and minor number of the file system that the file is on.
    device: (u64, u64),
    file: PathBuf,
}

impl LoopDevice {
    /// `/dev/loop0 1234 0:26 /dev/shm/strata-test-1/image`
    fn parse(line: &str) -> Option<Self> {
        let (name, rest) = line.trim().split_once(' ')?;
        let (inode, rest) = rest.trim_start().split_once(' ')?;
        let (device, file) = rest.trim_start().split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        Some(Self {
            name: name.to_owned(),
            inode: inode.parse().ok()?,
            device: (major.parse().ok()?, minor.parse().ok()?),
            file: file.trim_start().into(),
        })
    }

    /// The kernel names the file as its own mount namespace has it. The same name may be another
    /// file here.
    fn is_backed_by_its_file(&self) -> bool {
        let Ok(entry) = fs_err::symlink_metadata(&self.file) else {
            return false;
        };
        entry.ino() == self.inode && device_numbers(entry.dev()) == self.device
    }
}

/// Major and minor of a `dev_t`, as the C library packs it, see makedev(3).
fn device_numbers(device: u64) -> (u64, u64) {
    let major = ((device >> 32) & 0xffff_f000) | ((device >> 8) & 0xfff);
    let minor = ((device >> 12) & 0xffff_ff00) | (device & 0xff);
    (major, minor)
}

/// Writes the file that tells later runs whose directory this is.
pub(crate) fn write_owner(directory: &Path) -> anyhow::Result<()> {
    let process = std::process::id();
    let start = start_time(process.into()).context("cannot read this process's start time")?;
    fs_err::write(directory.join("owner"), format!("{process} {start}\n"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Clean, LoopDevice, Owner, mount_points, owner, write_owner};
    use std::path::{Path, PathBuf};
    use xshell::Shell;

    #[test]
    fn owner_tells_living_from_dead() {
        let sh = Shell::new().unwrap();
        let directory = sh.create_temp_dir().unwrap();
        assert_eq!(owner(directory.path()), Owner::Unknown);
        write_owner(directory.path()).unwrap();
        assert_eq!(owner(directory.path()), Owner::Alive);
        let process = std::process::id();
        sh.write_file(directory.path().join("owner"), format!("{process} 1\n"))
            .unwrap();
        assert_eq!(owner(directory.path()), Owner::Dead);
    }

    #[test]
    fn clean_removes_the_dead_and_keeps_the_living() {
        let sh = Shell::new().unwrap();
        let place = sh.create_temp_dir().unwrap();
        let [dead, alive, unknown, unmarked] = [
            "strata-test-1",
            "strata-bench-2",
            "strata-test-3",
            "other-1",
        ]
        .map(|name| place.path().join(name));
        for directory in [&dead, &alive, &unknown, &unmarked] {
            sh.create_dir(directory.join("inside")).unwrap();
        }
        write_owner(&alive).unwrap();
        for directory in [&dead, &unmarked] {
            sh.write_file(directory.join("owner"), "1 0\n").unwrap();
        }
        Clean {
            places: vec![place.path().to_path_buf()],
        }
        .run(&sh)
        .unwrap();
        let kept = [dead, alive, unknown, unmarked].map(|directory| directory.exists());
        assert_eq!(kept, [false, true, true, true]);
    }

    #[test]
    fn mount_points_are_unescaped() {
        let text = "36 35 98:0 /mnt1 /tmp/a\\040b rw shared:1 - ext4 /dev/root rw\n";
        assert_eq!(
            mount_points(text).collect::<Vec<_>>(),
            [PathBuf::from("/tmp/a b")]
        );
    }

    #[test]
    fn loop_device_keeps_spaces_in_names() {
        let device =
            LoopDevice::parse("/dev/loop0    17   0:26 /dev/shm/strata-test-1/a b").unwrap();
        assert_eq!(device.device, (0, 26));
        assert_eq!(device.file, Path::new("/dev/shm/strata-test-1/a b"));
    }
}
