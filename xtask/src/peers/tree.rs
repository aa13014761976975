//! The programs that Strata is compared with and tested against: a Debian tree that has them,
//! made once, cached outside the checkout, and never installed into the host.

use crate::cache::{self, Making};
use crate::quiet::run_silently;
use crate::{mirror, namespace, rootfs, setup};
use anyhow::{Context, anyhow, ensure};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;
use xshell::{Shell, cmd};

/// Counts up whenever what is installed or taken out below changes. The harness looks for the same
/// name (`harness/src/images/place.rs`).
pub(crate) const RECIPE: &str = "peers-2";

const PACKAGES: &[&str] = &[
    // The registry that tests fill and pull from.
    "docker-registry",
    // Peers, and oracles of what they say and of how they read our image layouts.
    "skopeo",
    "podman",
    "docker.io",
    "containerd",
    // What podman and docker start containers with.
    "crun",
    "runc",
    // A union file system in user space, for `cargo xtask unions`.
    "fuse-overlayfs",
    // The floor, and the blobs of test images.
    "curl",
    "ca-certificates",
    "pigz",
    "zstd",
];

/// What no program reads; a third of what the packages take.
const NEVER_READ: &[&str] = &[
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "var/cache",
    "var/lib/apt/lists",
];

/// The tree, if an earlier run left it in the cache.
pub(crate) fn cached() -> Option<PathBuf> {
    let place = place().ok()?.join(name().ok()?);
    is_whole(&place).then_some(place)
}

/// The tree, made now if it is not in the cache. It stands on the cached root file system.
pub(crate) fn ensure(sh: &Shell) -> anyhow::Result<PathBuf> {
    if let Some(tree) = cached() {
        return Ok(tree);
    }
    ensure!(
        setup::is_root(),
        "there is none in the cache, and making one needs root"
    );
    let base = rootfs::ensure(sh)?.base;
    let making = Making::begin(&place()?, &name()?)?;
    if let Some(tree) = cached() {
        return Ok(tree);
    }
    eprintln!("making a Debian tree with container tools (once, half a minute)");
    let start = Instant::now();
    let tree = making.scratch().join("tree");
    fs_err::create_dir(&tree)?;
    cmd!(sh, "tar --extract --file={base} --directory={tree}")
        .args(["--numeric-owner", "--xattrs", "--xattrs-include=*"])
        .quiet()
        .run()?;
    let itself = std::env::current_exe()?;
    namespace::private(sh)
        .args([
            itself.as_os_str(),
            "peers".as_ref(),
            "--build".as_ref(),
            tree.as_os_str(),
        ])
        .run()
        .map_err(|_| anyhow!("it could not be made, as said above"))?;
    ensure!(is_whole(&tree), "the packages brought no `docker-registry`");
    cmd!(sh, "sync --file-system {tree}").quiet().run()?;
    let size = cmd!(sh, "du --summarize --block-size=1M {tree}")
        .quiet()
        .read()?;
    let tree = making.finish(&tree)?;
    eprintln!(
        "made {} in {:.0} s: {} MiB",
        tree.display(),
        start.elapsed().as_secs_f64(),
        size.split_whitespace().next().unwrap_or("?")
    );
    Ok(tree)
}

/// A program of the tree among the host's files, with its own C library.
pub(crate) fn direct(tools: &Path, program: &str) -> anyhow::Result<Command> {
    let is_loader = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().starts_with("ld-linux")
    };
    let libraries = fs_err::read_dir(tools.join("usr/lib"))?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().contains("-linux-gnu"))
        .context("the tree has no C library")?;
    let loader = fs_err::read_dir(&libraries)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(is_loader)
        .context("the tree has no ld.so")?;
    let mut command = Command::new(loader);
    command.arg("--library-path").arg(libraries);
    command.arg(tools.join("usr/bin").join(program));
    Ok(command)
}

fn place() -> anyhow::Result<PathBuf> {
    Ok(cache::home()?.join("tools"))
}

fn name() -> anyhow::Result<String> {
    let (suite, architecture) = (mirror::SUITE, rootfs::architecture()?);
    Ok(format!("{RECIPE}-{suite}-{architecture}"))
}

fn is_whole(tree: &Path) -> bool {
    tree.join("usr/bin/docker-registry").is_file()
}

/// Installs the packages into `tree`, in a mount namespace of its own that ends with the process.
pub(super) fn build(sh: &Shell, tree: &Path) -> anyhow::Result<()> {
    let _locale = sh.push_env("LC_ALL", "C");
    // The caller's may not be there in a chroot.
    let _temporary = sh.push_env("TMPDIR", "/tmp");
    let _frontend = sh.push_env("DEBIAN_FRONTEND", "noninteractive");
    let _proxy = mirror::proxy(sh).map(|proxy| sh.push_env("http_proxy", proxy));
    resolve_names_as_the_host(tree)?;
    // policy-rc.d(8): 101 forbids; nothing that is installed is started.
    let policy = tree.join("usr/sbin/policy-rc.d");
    fs_err::write(&policy, "#!/bin/sh\nexit 101\n")?;
    fs_err::set_permissions(&policy, std::fs::Permissions::from_mode(0o755))?;

    cmd!(sh, "mount -t proc proc {tree}/proc").quiet().run()?;
    run_silently(cmd!(sh, "chroot {tree} apt-get -q update"))?;
    // The tree is synced once, when it is whole.
    run_silently(cmd!(
        sh,
        "chroot {tree} apt-get -qy --no-install-recommends
         -o Dpkg::Options::=--force-unsafe-io install {PACKAGES...}"
    ))?;
    cmd!(sh, "umount {tree}/proc").quiet().run()?;
    for part in NEVER_READ {
        let part = tree.join(part);
        cmd!(sh, "rm -rf -- {part}").quiet().run()?;
        fs_err::create_dir(&part)?;
    }
    Ok(())
}

/// A tree in which apt is to find its mirror: the host's resolver is the right one here, and not
/// that of the host on which the root file system was made.
pub(crate) fn resolve_names_as_the_host(tree: &Path) -> anyhow::Result<()> {
    let host = Path::new("/etc/resolv.conf");
    if host.exists() {
        fs_err::copy(host, tree.join("etc/resolv.conf")).context("names are not resolved")?;
    }
    Ok(())
}
