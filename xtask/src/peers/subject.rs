//! Who pulls, and how each is told to.

use super::measure::{self, Cost};
use super::registry::Layer;
use super::tree::direct;
use crate::ground::Kind;
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The least that a pull can be: fetch, inflate, write files. Nothing is checked or kept.
pub(super) const FLOOR: &str = "floor";

/// The same for who keeps blobs and has everything on disk at the end.
pub(super) const STORED: &str = "floor, blobs kept, synced";

/// Enters the tree; the harness does it the same way.
const ENTER: &str = include_str!("../../../harness/src/images/enter.sh");

/// Layer by layer into one directory each: DIRECTORY ADDRESS DIGEST...
const FLOOR_SCRIPT: &str = r#"
directory=$1; address=$2; shift 2
for digest; do
    mkdir "$directory/$digest"
    curl --fail --silent "$address/$digest" | pigz -dc |
        tar --extract --preserve-permissions --numeric-owner --directory "$directory/$digest"
done
"#;

/// The same, with the blobs kept as all stores do, and all of it on disk at the end.
const STORED_SCRIPT: &str = r#"
directory=$1; address=$2; shift 2
for digest; do
    mkdir "$directory/$digest"
    curl --fail --silent "$address/$digest" | tee "$directory/$digest.blob" | pigz -dc |
        tar --extract --preserve-permissions --numeric-owner --directory "$directory/$digest"
done
sync --file-system "$directory"
"#;

/// Our own command, and how it is run.
#[derive(Clone, Debug)]
pub(super) struct Strata {
    pub(super) command: PathBuf,
    /// A driver; with `:volatile` behind it nothing is synced.
    pub(super) driver: String,
}

impl Strata {
    /// The driver's name and the durability class.
    pub(super) fn driver(&self) -> (&str, &str) {
        self.driver
            .split_once(':')
            .unwrap_or((&self.driver, "durable"))
    }
}

/// What one pull is about.
#[derive(Clone, Debug)]
pub(super) struct Round<'a> {
    pub(super) tools: &'a Path,
    pub(super) host: &'a str,
    pub(super) image: &'a str,
    pub(super) layers: &'a [Layer],
    /// A fresh file system.
    pub(super) directory: &'a Path,
    pub(super) strata: Option<Strata>,
}

/// One that pulls.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) ground: Kind,
    pub(super) run: fn(&Round<'_>) -> anyhow::Result<Cost>,
}

pub(super) const SUBJECTS: &[Subject] = &[
    Subject {
        name: FLOOR,
        ground: Kind::Ext4,
        run: |round| floor(round, FLOOR_SCRIPT),
    },
    Subject {
        name: STORED,
        ground: Kind::Ext4,
        run: |round| floor(round, STORED_SCRIPT),
    },
    Subject {
        name: "skopeo to containers-storage overlay",
        ground: Kind::Ext4,
        run: skopeo,
    },
    Subject {
        name: "podman overlay",
        ground: Kind::Ext4,
        run: podman,
    },
    Subject {
        name: "containerd overlayfs",
        ground: Kind::Ext4,
        run: |round| containerd(round, "overlayfs"),
    },
    Subject {
        name: "containerd native",
        ground: Kind::Ext4,
        run: |round| containerd(round, "native"),
    },
    Subject {
        name: "containerd btrfs",
        ground: Kind::Btrfs,
        run: |round| containerd(round, "btrfs"),
    },
    Subject {
        name: "docker overlay2",
        ground: Kind::Ext4,
        run: docker,
    },
];

const STRATA_ON_EXT4: Subject = Subject {
    name: "strata",
    ground: Kind::Ext4,
    run: strata,
};

const STRATA_ON_BTRFS: Subject = Subject {
    name: "strata",
    ground: Kind::Btrfs,
    run: strata,
};

/// Ours with this driver.
pub(super) fn of_driver(driver: &str) -> &'static Subject {
    match driver.split(':').next() {
        Some("btrfs") => &STRATA_ON_BTRFS,
        _ => &STRATA_ON_EXT4,
    }
}

/// A program of the tree with the tree as its root directory.
pub(super) fn entered(tools: &Path, program: &str, visible: &[&Path]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare", "--mount"])
        .args(["--propagation", "unchanged", "--pid", "--fork"])
        .args(["--kill-child", "--", "sh", "-euc", ENTER, "enter"])
        .arg(tools)
        .args(visible)
        .args(["--", program]);
    command
}

impl Round<'_> {
    fn entered(&self, program: &str) -> Command {
        let mut command = entered(self.tools, program, &[self.directory]);
        // What is put aside while pulling belongs to the pull: on the same file system.
        command.env("TMPDIR", self.directory);
        command
    }

    fn reference(&self) -> String {
        format!("{}/{}:latest", self.host, self.image)
    }

    fn path(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }
}

fn floor(round: &Round<'_>, script: &str) -> anyhow::Result<Cost> {
    let address = format!("http://{}/v2/{}/blobs", round.host, round.image);
    let mut command = round.entered("sh");
    command.args(["-euc", script, "floor"]);
    command.arg(round.directory).arg(address);
    command.args(round.layers.iter().map(|layer| &layer.digest));
    measure::once(&mut command)
}

fn skopeo(round: &Round<'_>) -> anyhow::Result<Cost> {
    let (root, run) = (round.path("root"), round.path("run"));
    let reference = round.reference();
    let mut command = round.entered("skopeo");
    command
        .args(["copy", "--quiet", "--src-tls-verify=false"])
        .arg(format!("docker://{reference}"))
        .arg(format!(
            "containers-storage:[overlay@{root}+{run}]{reference}"
        ));
    measure::once(&mut command)
}

fn podman(round: &Round<'_>) -> anyhow::Result<Cost> {
    let mut command = round.entered("podman");
    command
        .args([
            "--root",
            &round.path("root"),
            "--runroot",
            &round.path("run"),
        ])
        .args(["--storage-driver", "overlay", "pull", "--quiet"])
        .args(["--tls-verify=false", &round.reference()]);
    measure::once(&mut command)
}

fn containerd(round: &Round<'_>, snapshotter: &str) -> anyhow::Result<Cost> {
    let socket = round.path("containerd.sock");
    let configuration = round.path("config.toml");
    let text = format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = {socket:?}\n",
        round.path("root"),
        round.path("state"),
    );
    fs_err::write(&configuration, text)?;
    let client = || -> anyhow::Result<Command> {
        let mut command = direct(round.tools, "ctr")?;
        command.args(["--address", &socket]);
        Ok(command)
    };
    measure::with_daemon(
        round
            .entered("containerd")
            .args(["--config", &configuration]),
        client()?.arg("version"),
        client()?
            .args([
                "images",
                "pull",
                "--plain-http",
                "--snapshotter",
                snapshotter,
            ])
            .arg(round.reference()),
    )
}

fn docker(round: &Round<'_>) -> anyhow::Result<Cost> {
    let socket = format!("unix://{}", round.path("docker.sock"));
    let client = || -> anyhow::Result<Command> {
        let mut command = direct(round.tools, "docker")?;
        command
            .args(["--host", &socket])
            .env("DOCKER_CONFIG", round.path("client"));
        Ok(command)
    };
    measure::with_daemon(
        round
            .entered("dockerd")
            .args(["--host", &socket, "--data-root", &round.path("root")])
            .args([
                "--exec-root",
                &round.path("exec"),
                "--pidfile",
                &round.path("pid"),
            ])
            .args(["--storage-driver", "overlay2", "--bridge=none"])
            .args(["--iptables=false", "--ip6tables=false"]),
        client()?.arg("version"),
        client()?.args(["pull", "--quiet"]).arg(round.reference()),
    )
}

fn strata(round: &Round<'_>) -> anyhow::Result<Cost> {
    let strata = round.strata.as_ref().context("no command was given")?;
    let (driver, class) = strata.driver();
    let mut command = Command::new(&strata.command);
    command
        .args(["--root", &round.path("root"), "--driver", driver])
        .args(["--durability", class])
        .args(["pull", &round.reference()])
        .env("TMPDIR", round.directory);
    measure::once(&mut command)
}
