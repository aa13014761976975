//! The Debian root file system that the bench runs on: made once, cached outside the checkout.
//!
//! The cache is a directory with two layers, base first: `base.tar`, a whole minimal Debian, and
//! `package.tar`, what installing one package changed in it, with whiteouts as `.wh.NAME`.

use crate::cache::{self, Making};
use crate::exit::Stop;
use crate::quiet::run_silently;
use crate::{mirror, namespace, setup};
use anyhow::{Context, anyhow, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use xshell::{Shell, cmd};

/// Small, and yet of the shape of real layers: a dozen directories, some 700 files, byte code.
const PACKAGE: &str = "python3-minimal";

/// The tree is built in memory if this much is free: dpkg syncs after each file, and memory
/// leaves nothing behind when the run is killed.
const MEMORY_FOR_TREE: u64 = 2 << 30;

/// The two layers of the cached root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Layers {
    pub(crate) base: PathBuf,
    pub(crate) package: PathBuf,
}

/// `cargo xtask rootfs`.
#[derive(Debug)]
pub(crate) struct Rootfs {
    /// Build into this directory. Given only to the process that [`ensure`] starts in a mount
    /// namespace of its own.
    pub(crate) build: Option<PathBuf>,
}

impl Rootfs {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        if let Some(directory) = &self.build {
            return build(sh, directory);
        }
        if cached().is_none() {
            if !setup::is_root() {
                return Err(Stop::Impossible(
                    "making a root file system needs root (it makes devices and owners)".to_owned(),
                )
                .into());
            }
            setup::ensure(sh, &[setup::Purpose::RootFileSystem])?;
        }
        let layers = ensure(sh)?;
        println!("{}\n{}", layers.base.display(), layers.package.display());
        Ok(())
    }
}

/// The layers, if an earlier run left them in the cache.
pub(crate) fn cached() -> Option<Layers> {
    layers_in(&cache::home().ok()?.join(name().ok()?))
}

/// The layers, made now if they are not in the cache.
///
/// Safe against a second run at once (a lock file) and against being killed: the finished
/// directory is renamed into its place as the last step.
pub(crate) fn ensure(sh: &Shell) -> anyhow::Result<Layers> {
    if let Some(layers) = cached() {
        return Ok(layers);
    }
    ensure!(
        setup::is_root(),
        "there is none in the cache, and making one needs root"
    );
    let home = cache::home()?;
    let making = Making::begin(&home, &name()?)?;
    if let Some(layers) = cached() {
        return Ok(layers);
    }

    eprintln!("making the Debian root file system (once, one to three minutes)");
    let start = Instant::now();
    let (itself, directory) = (std::env::current_exe()?, making.scratch());
    namespace::private(sh)
        .args([
            itself.as_os_str(),
            "rootfs".as_ref(),
            "--build".as_ref(),
            directory.as_os_str(),
        ])
        .run()
        .map_err(|_| anyhow!("it could not be made, as said above"))?;
    let finished = making.scratch().join("layers");
    let layers = layers_in(&finished).context("the build left no layers")?;
    for file in [&layers.base, &layers.package] {
        fs_err::File::open(file)?.sync_all()?;
    }
    let place = making.finish(&finished)?;
    eprintln!(
        "made {} in {:.0} s",
        place.display(),
        start.elapsed().as_secs_f64()
    );
    layers_in(&place).context("the cache does not hold what was just put there")
}

fn layers_in(directory: &Path) -> Option<Layers> {
    let layers = Layers {
        base: directory.join("base.tar"),
        package: directory.join("package.tar"),
    };
    (layers.base.is_file() && layers.package.is_file()).then_some(layers)
}

fn name() -> anyhow::Result<String> {
    Ok(format!("rootfs-{}-{}", mirror::SUITE, architecture()?))
}

/// Debian's name for the processor.
pub(crate) fn architecture() -> anyhow::Result<&'static str> {
    Ok(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "riscv64" => "riscv64",
        "s390x" => "s390x",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64el",
        other => bail!(
            "Debian has no `{}` for the processor `{other}`",
            mirror::SUITE
        ),
    })
}

/// Makes `layers/base.tar` and `layers/package.tar` in `directory`.
///
/// Runs in a mount namespace of its own: nothing that is mounted here is ever unmounted, the
/// namespace ends with the process.
fn build(sh: &Shell, directory: &Path) -> anyhow::Result<()> {
    let (tree, layers) = (directory.join("tree"), directory.join("layers"));
    fs_err::create_dir(&tree)?;
    fs_err::create_dir(&layers)?;
    if memory_available() >= MEMORY_FOR_TREE {
        cmd!(sh, "mount -t tmpfs -o mode=0755,size=1536m tmpfs {tree}")
            .quiet()
            .run()?;
    }
    let _locale = sh.push_env("LC_ALL", "C");
    // The caller's may not be there in a chroot.
    let _temporary = sh.push_env("TMPDIR", "/tmp");
    let _frontend = sh.push_env("DEBIAN_FRONTEND", "noninteractive");
    let _proxy = mirror::proxy(sh).map(|proxy| sh.push_env("http_proxy", proxy));

    let (architecture, suite, mirror) = (architecture()?, mirror::SUITE, mirror::mirror());
    // apt in the tree cannot speak to an https mirror without certificates.
    let include = mirror
        .starts_with("https:")
        .then_some("--include=ca-certificates");
    run_silently(cmd!(
        sh,
        "debootstrap --variant=minbase --arch={architecture} {include...} {suite} {tree} {mirror}"
    ))?;
    forget_downloads(sh, &tree)?;
    let base = layers.join("base.tar");
    pack(sh, &tree, &base, &["--one-file-system", "--sort=name", "."])?;

    let before = stamps(&tree)?;
    cmd!(sh, "mount -t proc proc {tree}/proc").quiet().run()?;
    run_silently(cmd!(sh, "chroot {tree} apt-get -q update"))?;
    run_silently(cmd!(
        sh,
        "chroot {tree} apt-get -qy --no-install-recommends install {PACKAGE}"
    ))?;
    forget_downloads(sh, &tree)?;
    cmd!(sh, "umount {tree}/proc").quiet().run()?;
    let changes = Changes::between(&before, &stamps(&tree)?);
    changes.pack(
        sh,
        &Packing {
            tree: &tree,
            scratch: directory,
            file: &layers.join("package.tar"),
        },
    )
}

/// What images leave out as well: lists and archives that apt can fetch again.
fn forget_downloads(sh: &Shell, tree: &Path) -> anyhow::Result<()> {
    run_silently(cmd!(sh, "chroot {tree} apt-get clean"))?;
    let lists = "rm -rf /var/lib/apt/lists/*";
    run_silently(cmd!(sh, "chroot {tree} sh -c {lists}"))
}

fn pack(sh: &Shell, tree: &Path, file: &Path, what: &[&str]) -> anyhow::Result<()> {
    // Access and change times are facts about this run, not about the tree.
    cmd!(
        sh,
        "tar --create --file={file} --directory={tree} --format=posix"
    )
    .args(["--pax-option=delete=atime,delete=ctime", "--numeric-owner"])
    .args(["--xattrs", "--xattrs-include=*", "--acls"])
    .args(what)
    .quiet()
    .run()?;
    Ok(())
}

/// Bytes of memory that can be had without swapping; 0 if that is unknown.
pub(crate) fn memory_available() -> u64 {
    let kibibytes = fs_err::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("MemAvailable:"))?;
            line.trim().strip_suffix(" kB")?.parse::<u64>().ok()
        });
    kibibytes.unwrap_or(0) * 1024
}

/// Changes whenever anything about a file does: inode, and change time in seconds and nanoseconds.
type Stamp = (u64, i64, i64);

fn stamps(tree: &Path) -> anyhow::Result<BTreeMap<PathBuf, Stamp>> {
    let device = fs_err::symlink_metadata(tree)?.dev();
    let mut found = BTreeMap::new();
    let mut pending = vec![tree.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in fs_err::read_dir(&directory)? {
            let path = entry?.path();
            let entry = fs_err::symlink_metadata(&path)?;
            if entry.dev() != device {
                continue;
            }
            let stamp = (entry.ino(), entry.ctime(), entry.ctime_nsec());
            let name = path
                .strip_prefix(tree)
                .expect("the walk started there")
                .to_path_buf();
            found.insert(name, stamp);
            if entry.is_dir() {
                pending.push(path);
            }
        }
    }
    Ok(found)
}

/// What one step did to a tree, as paths below its root.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// New or changed, and the directories above everything that is new, changed or gone.
    written: BTreeSet<PathBuf>,
    /// Gone, without what is below a directory that is gone.
    gone: BTreeSet<PathBuf>,
}

struct Packing<'a> {
    tree: &'a Path,
    /// For the names and the whiteouts.
    scratch: &'a Path,
    file: &'a Path,
}

impl Changes {
    fn between(before: &BTreeMap<PathBuf, Stamp>, after: &BTreeMap<PathBuf, Stamp>) -> Self {
        let mut changes = Self::default();
        for (path, stamp) in after {
            if before.get(path) != Some(stamp) {
                changes.written.insert(path.clone());
            }
        }
        for path in before.keys().filter(|path| !after.contains_key(*path)) {
            let parent_stays = path
                .parent()
                .is_none_or(|parent| parent.as_os_str().is_empty() || after.contains_key(parent));
            if parent_stays {
                changes.gone.insert(path.clone());
            }
        }
        let ancestors: BTreeSet<PathBuf> = changes
            .written
            .iter()
            .chain(&changes.gone)
            .flat_map(|path| path.ancestors().skip(1))
            .filter(|path| !path.as_os_str().is_empty())
            .map(Path::to_path_buf)
            .collect();
        changes.written.extend(ancestors);
        changes
    }

    fn pack(&self, sh: &Shell, packing: &Packing<'_>) -> anyhow::Result<()> {
        let names = packing.scratch.join("names");
        let from = format!("--files-from={}", names.display());
        write_names(&names, self.written.iter())?;
        pack(
            sh,
            packing.tree,
            packing.file,
            &["--no-recursion", "--null", &from],
        )?;

        let staging = packing.scratch.join("whiteouts");
        let whiteouts: Vec<PathBuf> = self.gone.iter().map(|path| whiteout(path)).collect();
        for path in &whiteouts {
            let path = staging.join(path);
            fs_err::create_dir_all(path.parent().expect("it is below the staging directory"))?;
            fs_err::write(path, "")?;
        }
        if !whiteouts.is_empty() {
            write_names(&names, whiteouts.iter())?;
            let file = packing.file;
            cmd!(
                sh,
                "tar --append --file={file} --directory={staging} --format=posix --mtime=@0"
            )
            .args(["--pax-option=delete=atime,delete=ctime", "--numeric-owner"])
            .args(["--owner=0", "--group=0", "--mode=0", "--null", &from])
            .quiet()
            .run()?;
        }
        Ok(())
    }
}

/// Where the layer says that `path` is gone.
fn whiteout(path: &Path) -> PathBuf {
    let mut name = OsString::from(".wh.");
    name.push(path.file_name().expect("paths below the root have a name"));
    path.with_file_name(name)
}

fn write_names<'a>(file: &Path, names: impl Iterator<Item = &'a PathBuf>) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    for name in names {
        bytes.extend_from_slice(name.as_os_str().as_bytes());
        bytes.push(0);
    }
    fs_err::write(file, bytes)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Changes, Stamp, whiteout};
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};

    fn tree(entries: &[(&str, u64)]) -> BTreeMap<PathBuf, Stamp> {
        entries
            .iter()
            .map(|(path, inode)| (PathBuf::from(path), (*inode, 0, 0)))
            .collect()
    }

    #[test]
    fn changes_hold_ancestors_and_topmost_deletions() {
        let before = tree(&[
            ("a", 1),
            ("a/b", 2),
            ("a/b/c", 3),
            ("d", 4),
            ("d/e", 5),
            ("f", 6),
        ]);
        let after = tree(&[("a", 1), ("d", 4), ("d/e", 7), ("f", 6), ("g", 8)]);
        let changes = Changes::between(&before, &after);
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect();
        assert_eq!(changes.written, paths(&["a", "d", "d/e", "g"]));
        assert_eq!(changes.gone, paths(&["a/b"]));
    }

    #[test]
    fn whiteout_stands_beside_what_is_gone() {
        assert_eq!(whiteout(Path::new("a/b")), Path::new("a/.wh.b"));
    }
}
