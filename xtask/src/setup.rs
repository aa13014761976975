//! What the host must have, and how it gets it.
//!
//! Each need is probed by running the program (a library by linking with it), never by asking the
//! package database: a program may come from elsewhere, and an installed package may be broken.

use crate::btrfs;
use crate::quiet::run_silently;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use xshell::{Shell, cmd};

/// What is about to be done, as far as it needs something of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Fresh file systems on loop devices, for tests and bench.
    Fixtures,
    /// The suite in a user namespace with subordinate ids.
    Rootless,
    /// Making the Debian root file system that is not in the cache yet.
    RootFileSystem,
    /// A chroot in namespaces of its own.
    Chroot,
    /// Building the btrfs driver.
    BtrfsDriver,
}

/// How it is found out whether something is there.
#[derive(Debug)]
enum Probe {
    /// The program starts; these arguments make it say something about itself and touch nothing.
    Starts(&'static [&'static str]),
    /// This says yes; the need is no program.
    Holds(fn(&Shell) -> bool),
}

#[derive(Debug)]
struct Need {
    program: &'static str,
    probe: Probe,
    /// The Debian package that has the program.
    package: &'static str,
    reason: &'static str,
    purposes: &'static [Purpose],
}

const NEEDS: &[Need] = &[
    Need {
        program: "mkfs.ext4",
        probe: Probe::Starts(&["-V"]),
        package: "e2fsprogs",
        reason: "makes the ext4 file systems that drivers are tested and timed on",
        purposes: &[Purpose::Fixtures],
    },
    Need {
        program: "mkfs.xfs",
        probe: Probe::Starts(&["-V"]),
        package: "xfsprogs",
        reason: "makes the xfs file systems that drivers are tested and timed on",
        purposes: &[Purpose::Fixtures],
    },
    Need {
        program: "mkfs.btrfs",
        probe: Probe::Starts(&["--version"]),
        package: "btrfs-progs",
        reason: "makes the btrfs file systems that drivers are tested and timed on",
        purposes: &[Purpose::Fixtures],
    },
    Need {
        program: "losetup",
        probe: Probe::Starts(&["--version"]),
        package: "mount",
        reason: "attaches and detaches the loop devices of tests and bench",
        purposes: &[Purpose::Fixtures],
    },
    Need {
        program: "strace",
        probe: Probe::Starts(&["--version"]),
        package: "strace",
        reason: "counts system calls where the kernel's trace events do not arrive",
        purposes: &[Purpose::Fixtures],
    },
    Need {
        program: "mount",
        probe: Probe::Starts(&["--version"]),
        package: "mount",
        reason: "mounts what a chroot needs",
        purposes: &[Purpose::RootFileSystem, Purpose::Chroot],
    },
    Need {
        program: "newuidmap",
        probe: Probe::Starts(&[]),
        package: "uidmap",
        reason: "gives the rootless suite its subordinate ids",
        purposes: &[Purpose::Rootless],
    },
    Need {
        program: "debootstrap",
        probe: Probe::Starts(&["--version"]),
        package: "debootstrap",
        reason: "makes the Debian root file system, once; it is cached afterwards",
        purposes: &[Purpose::RootFileSystem],
    },
    Need {
        program: "tar",
        probe: Probe::Starts(&["--version"]),
        package: "tar",
        reason: "packs and unpacks the root file system",
        purposes: &[Purpose::RootFileSystem, Purpose::Chroot],
    },
    Need {
        program: "unshare",
        probe: Probe::Starts(&["--version"]),
        package: "util-linux",
        reason: "keeps the mounts of a chroot out of this host's",
        purposes: &[Purpose::RootFileSystem, Purpose::Chroot],
    },
    Need {
        program: "git",
        probe: Probe::Starts(&["--version"]),
        package: "git",
        reason: "makes the clean clone",
        purposes: &[Purpose::Chroot],
    },
    Need {
        program: "pkg-config",
        probe: Probe::Starts(&["--version"]),
        package: "pkg-config",
        reason: "finds the library of the btrfs driver",
        purposes: &[Purpose::BtrfsDriver],
    },
    Need {
        program: "libbtrfsutil",
        probe: Probe::Holds(btrfs::links),
        package: "libbtrfsutil-dev",
        reason: "makes subvolumes for the btrfs driver",
        purposes: &[Purpose::BtrfsDriver],
    },
    Need {
        program: "libclang",
        probe: Probe::Holds(|_| btrfs::has_libclang()),
        package: "libclang-dev",
        reason: "reads the header of libbtrfsutil when the btrfs driver is built",
        purposes: &[Purpose::BtrfsDriver],
    },
];

/// Whether this process may mount and make devices.
pub(crate) fn is_root() -> bool {
    // The owner of /proc/self is the effective user.
    fs_err::metadata("/proc/self").is_ok_and(|entry| entry.uid() == 0)
}

/// Finds what `purposes` need, and installs what is missing where that is possible.
///
/// What stays missing is named on stderr and is no error: the suites report what depends on it
/// as unavailable.
pub(crate) fn ensure(sh: &Shell, purposes: &[Purpose]) -> anyhow::Result<()> {
    let missing = missing(sh, purposes);
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("missing on this host:");
    for need in &missing {
        eprintln!(
            "  {:<12} {} (Debian package `{}`)",
            need.program, need.reason, need.package
        );
    }
    if !answers(sh, "apt-get", &["--version"]) {
        eprintln!("this host has no apt-get: install the programs above by its own means");
        eprintln!("going on; what needs them is reported as unavailable");
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !is_root() {
        eprintln!(
            "not root; to install them, type:\n  {}",
            line_to_type(&packages)
        );
        eprintln!("going on; what needs them is reported as unavailable");
        return Ok(());
    }
    if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() && !confirmed(&packages)? {
        eprintln!("going on; what needs them is reported as unavailable");
        return Ok(());
    }
    if let Err(error) = install(sh, &packages) {
        eprintln!("could not install `{}`: {error:#}", packages.join(" "));
    }
    for need in self::missing(sh, purposes) {
        eprintln!(
            "still missing: `{}`; what needs it is reported as unavailable",
            need.program
        );
    }
    Ok(())
}

fn missing(sh: &Shell, purposes: &[Purpose]) -> Vec<&'static Need> {
    NEEDS
        .iter()
        .filter(|need| {
            need.purposes
                .iter()
                .any(|purpose| purposes.contains(purpose))
        })
        .filter(|need| match need.probe {
            Probe::Starts(arguments) => !answers(sh, need.program, arguments),
            Probe::Holds(holds) => !holds(sh),
        })
        .collect()
}

/// Whether the program starts. Some have no argument that makes them exit with 0.
fn answers(sh: &Shell, program: &str, arguments: &[&str]) -> bool {
    let mut command: std::process::Command = cmd!(sh, "{program} {arguments...}").into();
    // 126 and 127 come from a wrapper or the dynamic linker: found, but it cannot run.
    command
        .output()
        .is_ok_and(|output| !matches!(output.status.code(), Some(126 | 127)))
}

fn confirmed(packages: &[&str]) -> anyhow::Result<bool> {
    eprint!("install {} with apt-get? [Y/n] ", packages.join(" "));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(
        answer.trim().to_lowercase().as_str(),
        "" | "y" | "yes"
    ))
}

fn install(sh: &Shell, packages: &[&str]) -> anyhow::Result<()> {
    let _frontend = sh.push_env("DEBIAN_FRONTEND", "noninteractive");
    eprintln!("installing {}", packages.join(" "));
    run_silently(cmd!(sh, "apt-get -q update"))?;
    run_silently(cmd!(
        sh,
        "apt-get -qy --no-install-recommends install {packages...}"
    ))
}

fn line_to_type(packages: &[&str]) -> String {
    let packages = packages.join(" ");
    format!("sudo apt-get update && sudo apt-get install --no-install-recommends {packages}")
}
