//! The test images: an OCI image layout, made once of Debian packages and cached outside the
//! checkout.
//!
//! Everything in it has fixed times and an order, and what packs and compresses comes from the tree
//! of tools, so the digests are the same on every machine as far as Debian's packages are.

mod content;
mod layout;
mod recipe;

use crate::cache::{self, Making};
use crate::exit::Stop;
use crate::peers::tree;
use crate::quiet::run_silently;
use crate::setup::{self, Purpose};
use crate::{mirror, namespace, rootfs};
use anyhow::{Context, anyhow, ensure};
use content::Trees;
use layout::Layout;
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::{Shell, cmd};

/// Counts up whenever the images change. The harness looks for the same name
/// (`harness/src/images/place.rs`).
const RECIPE: &str = "images-1";

/// The trees of all layers, and the tar under way.
const MEMORY_FOR_TREES: u64 = 3 << 30;

/// `cargo xtask images`.
#[derive(Debug)]
pub(crate) struct Images {
    /// Build into this directory. Given only to the process that [`ensure`] starts in a mount
    /// namespace of its own.
    pub(crate) build: Option<PathBuf>,
}

impl Images {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        if let Some(directory) = &self.build {
            return build(sh, directory);
        }
        if cached().is_none() {
            if !setup::is_root() {
                let message = "making the test images needs root: their files have owners";
                return Err(Stop::Impossible(message.to_owned()).into());
            }
            if rootfs::cached().is_none() {
                setup::ensure(sh, &[Purpose::RootFileSystem])?;
            }
        }
        println!("{}", ensure(sh)?.display());
        Ok(())
    }
}

/// The layout, if an earlier run left it in the cache.
pub(crate) fn cached() -> Option<PathBuf> {
    let place = cache::home().ok()?.join(name().ok()?);
    place.join("index.json").is_file().then_some(place)
}

/// The layout, made now if it is not in the cache. It takes the tree of tools.
pub(crate) fn ensure(sh: &Shell) -> anyhow::Result<PathBuf> {
    if let Some(layout) = cached() {
        return Ok(layout);
    }
    ensure!(
        setup::is_root(),
        "there are none in the cache, and making them needs root"
    );
    rootfs::ensure(sh)?;
    tree::ensure(sh)?;
    let making = Making::begin(&cache::home()?, &name()?)?;
    if let Some(layout) = cached() {
        return Ok(layout);
    }
    eprintln!("making the test images (once, about a minute)");
    let start = Instant::now();
    let (itself, directory) = (std::env::current_exe()?, making.scratch());
    namespace::private(sh)
        .args([
            itself.as_os_str(),
            "images".as_ref(),
            "--build".as_ref(),
            directory.as_os_str(),
        ])
        .run()
        .map_err(|_| anyhow!("they could not be made, as said above"))?;
    let finished = making.scratch().join("layout");
    cmd!(sh, "sync --file-system {finished}").quiet().run()?;
    let size = cmd!(sh, "du --summarize --block-size=1M {finished}")
        .quiet()
        .read()?;
    let place = making.finish(&finished)?;
    eprintln!(
        "made {} in {:.0} s: {} MiB",
        place.display(),
        start.elapsed().as_secs_f64(),
        size.split_whitespace().next().unwrap_or("?")
    );
    Ok(place)
}

/// The layout and the tree of tools for the tests that are about to run.
///
/// What cannot be had is named on stderr and is no error: the tests skip what needs it.
pub(crate) fn prepare(sh: &Shell) -> anyhow::Result<()> {
    if cached().is_some() && tree::cached().is_some() {
        return Ok(());
    }
    if !setup::is_root() {
        eprintln!("not root: the test images are not made, and what needs them is skipped");
        return Ok(());
    }
    if rootfs::cached().is_none() {
        setup::ensure(sh, &[Purpose::RootFileSystem])?;
    }
    if let Err(error) = tree::ensure(sh).and_then(|_| ensure(sh)) {
        eprintln!("no test images or container tools, what needs them is skipped: {error:#}");
    }
    Ok(())
}

fn name() -> anyhow::Result<String> {
    let (suite, architecture) = (mirror::SUITE, rootfs::architecture()?);
    Ok(format!("{RECIPE}-{suite}-{architecture}"))
}

/// Makes `layout` in `directory`.
///
/// Runs in a mount namespace of its own: nothing that is mounted here is ever unmounted, the
/// namespace ends with the process.
fn build(sh: &Shell, directory: &Path) -> anyhow::Result<()> {
    let debian = tree::cached().context("the tree of tools is gone")?;
    let base = rootfs::cached()
        .context("the root file system is gone")?
        .base;
    // Seen as /mnt by the programs of the tree, which alone are used: the host's tar may be another
    // version, and write other headers.
    let work = debian.join("mnt");
    if rootfs::memory_available() >= MEMORY_FOR_TREES {
        cmd!(sh, "mount -t tmpfs -o mode=0755,size=2560m tmpfs {work}")
            .quiet()
            .run()?;
    } else {
        let scratch = directory.join("work");
        fs_err::create_dir(&scratch)?;
        cmd!(sh, "mount --bind {scratch} {work}").quiet().run()?;
    }
    let _locale = sh.push_env("LC_ALL", "C");
    // The caller's may not be there in a chroot.
    let _temporary = sh.push_env("TMPDIR", "/tmp");
    let _proxy = mirror::proxy(sh).map(|proxy| sh.push_env("http_proxy", proxy));
    let resolver = Path::new("/etc/resolv.conf");
    let inside = debian.join("etc/resolv.conf");
    if resolver.exists() && inside.exists() {
        cmd!(sh, "mount --bind {resolver} {inside}").quiet().run()?;
    }
    download(sh, &debian)?;

    let trees = Trees {
        debian: &debian,
        base: &base,
    };
    for layer in recipe::LAYERS {
        trees.make(sh, layer)?;
    }
    let mut layout = Layout::begin(&directory.join("layout"), &debian)?;
    layout.pack(sh)?;
    layout.write_images(rootfs::architecture()?)
}

/// Brings the packages of all layers into `/mnt/packages` of the tree of tools.
fn download(sh: &Shell, debian: &Path) -> anyhow::Result<()> {
    fs_err::create_dir_all(debian.join("mnt/apt/lists/partial"))?;
    fs_err::create_dir_all(debian.join("mnt/apt/cache/archives/partial"))?;
    fs_err::create_dir(debian.join("mnt/packages"))?;
    let apt = [
        "-q",
        "-o",
        "Dir::State::Lists=/mnt/apt/lists",
        "-o",
        "Dir::Cache=/mnt/apt/cache",
        // The directories belong to root.
        "-o",
        "APT::Sandbox::User=root",
    ];
    run_silently(cmd!(sh, "chroot {debian} apt-get {apt...} update"))?;
    let packages = recipe::packages();
    let there = r#"cd /mnt/packages && exec apt-get "$@""#;
    run_silently(cmd!(
        sh,
        "chroot {debian} sh -c {there} download {apt...} download {packages...}"
    ))
}

#[cfg(test)]
mod tests {
    use crate::peers::tree;

    #[test]
    fn harness_looks_for_the_names_under_which_things_are_made() {
        let place = include_str!("../../../harness/src/images/place.rs");
        for name in [
            format!("\"{}-\"", super::RECIPE),
            format!("\"tools/{}-\"", tree::RECIPE),
        ] {
            assert!(place.contains(&name), "{name} in place.rs");
        }
    }
}
