//! Stores on fresh file systems, and the registry beside them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use strata_harness::fixture::{FileSystemKind, Fixture};
use strata_harness::images::{ImageLayout, Peers, RegistryServer};

/// The registry with the test images, or nothing where it cannot be had, which is said.
pub struct Parts {
    pub layout: ImageLayout,
    pub registry: RegistryServer,
    _place: tempfile::TempDir,
}

impl Parts {
    pub fn with(names: &[&str]) -> Option<Self> {
        let found = Peers::find().and_then(|peers| Ok((peers, ImageLayout::cached()?)));
        let (peers, layout) = found.map_err(|skip| eprintln!("skipped: {skip}")).ok()?;
        let place = tempfile::tempdir().unwrap();
        let registry = RegistryServer::start(&peers, place.path()).unwrap();
        registry.fill(&layout, names).unwrap();
        Some(Self {
            layout,
            registry,
            _place: place,
        })
    }

    /// The name of an image of this registry.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.registry.host())
    }
}

/// A driver on a file system that it runs on.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub driver: &'static str,
    pub kind: FileSystemKind,
}

/// The drivers that this command knows and this host runs.
pub fn cells() -> Vec<Cell> {
    let mut cells = vec![
        Cell {
            driver: "overlay",
            kind: FileSystemKind::Ext4,
        },
        Cell {
            driver: "vfs",
            kind: FileSystemKind::Xfs,
        },
    ];
    if cfg!(feature = "btrfs") {
        cells.push(Cell {
            driver: "btrfs",
            kind: FileSystemKind::Btrfs,
        });
    }
    cells.retain(|cell| {
        let missing = cell.kind.missing();
        if let Some(reason) = &missing {
            eprintln!("skipped: {}: {reason}", cell.driver);
        }
        missing.is_none()
    });
    cells
}

/// A store on a file system of its own.
pub struct Store {
    pub fixture: Arc<Fixture>,
    root: PathBuf,
    pub driver: &'static str,
    home: tempfile::TempDir,
    extra: Vec<String>,
}

impl Store {
    pub fn on(cell: Cell, size: u64) -> Self {
        let fixture = Fixture::file_system(cell.kind, size).unwrap();
        Self {
            root: fixture.path().join("store"),
            fixture: Arc::new(fixture),
            driver: cell.driver,
            home: tempfile::tempdir().unwrap(),
            extra: Vec::new(),
        }
    }

    /// Another one on the same file system.
    pub fn beside(&self, name: &str) -> Self {
        Self {
            fixture: Arc::clone(&self.fixture),
            root: self.fixture.path().join(name),
            driver: self.driver,
            home: tempfile::tempdir().unwrap(),
            extra: self.extra.clone(),
        }
    }

    /// With further flags before each command.
    pub fn with(mut self, flags: &[&str]) -> Self {
        self.extra.extend(flags.iter().map(ToString::to_string));
        self
    }

    pub fn root(&self) -> PathBuf {
        self.root.clone()
    }

    pub fn home(&self) -> &Path {
        self.home.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_strata"));
        command
            .arg("--root")
            .arg(self.root())
            .args(["--driver", self.driver])
            .args(&self.extra)
            .args(arguments)
            .current_dir(self.home.path())
            .env("DOCKER_CONFIG", self.home.path())
            .env("TZ", "UTC")
            .env_remove("STRATA_CONFIG")
            .env_remove("STRATA_DRIVER")
            .env_remove("STRATA_ROOT")
            .env_remove("STRATA_DURABILITY")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Standard output of a command that succeeds.
    #[track_caller]
    pub fn good(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            stderr(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Standard error of a command that ends with 1.
    #[track_caller]
    pub fn bad(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {text}");
        text
    }
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
