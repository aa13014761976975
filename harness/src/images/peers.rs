//! Other people's container tools, from the tree of the cache.

use super::{Skip, place};
use std::path::{Path, PathBuf};
use std::process::Command;

/// See there.
const ENTER: &str = include_str!("enter.sh");

/// The tree with `docker-registry`, `skopeo`, `podman`, Docker and containerd. Nothing of it is
/// installed into the host.
#[derive(Clone, Debug)]
pub struct Peers {
    tree: PathBuf,
}

impl Peers {
    /// The tree of the cache.
    pub fn find() -> Result<Self, Skip> {
        let tree = place::find(place::TREE, "usr/bin/docker-registry")?;
        Ok(Self { tree })
    }

    /// `program` as it sees the host's files, with its own C library. For programs that need no
    /// files of their own, as `docker-registry` and `docker`; it takes no privilege.
    pub fn direct(&self, program: &str) -> Result<Command, Skip> {
        let directory = ["usr/bin", "usr/sbin"]
            .map(|directory| self.tree.join(directory))
            .into_iter()
            .find(|directory| directory.join(program).is_file())
            .ok_or_else(|| Skip::because(format!("the tree of tools has no `{program}`")))?;
        let (libraries, loader) = self.loader()?;
        let mut command = Command::new(loader);
        command
            .arg("--library-path")
            .arg(libraries)
            .arg(directory.join(program));
        Ok(command)
    }

    /// Where the C library is, and the program in it that starts others, see ld.so(8).
    fn loader(&self) -> Result<(PathBuf, PathBuf), Skip> {
        let found = |directory: &Path, is_it: fn(&str) -> bool| {
            let entries = fs_err::read_dir(directory).ok()?;
            entries
                .filter_map(Result::ok)
                .find(|entry| is_it(&entry.file_name().to_string_lossy()))
                .map(|entry| entry.path())
        };
        let libraries = found(&self.tree.join("usr/lib"), |name| {
            name.contains("-linux-gnu")
        });
        let loader = libraries
            .as_deref()
            .and_then(|libraries| found(libraries, |name| name.starts_with("ld-linux")));
        libraries
            .zip(loader)
            .ok_or_else(|| Skip::because("the tree of tools has no C library"))
    }

    /// `program` with the tree as its root directory, which sees `visible` at their own paths, the
    /// host's devices and network, and nothing else; what it writes elsewhere is gone with it. So
    /// are the processes that it leaves, and all its mounts. Arguments are appended by the caller.
    ///
    /// It dies with the thread that starts it.
    pub fn entered(&self, program: &str, visible: &[&Path]) -> Result<Command, Skip> {
        if !rustix::process::geteuid().is_root() {
            return Err(Skip::because(format!(
                "`{program}` needs root: it runs in a mount namespace of its own"
            )));
        }
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "unshare", "--mount"]);
        command.args(["--propagation", "unchanged", "--pid", "--fork"]);
        command.args(["--kill-child", "--", "sh", "-euc", ENTER, "enter"]);
        command.arg(&self.tree).args(visible);
        command.arg("--").arg(program);
        Ok(command)
    }
}
