//! The trees of the layers, below `/mnt/trees` of the tree of tools: what a changeset says, with
//! whiteouts and opaque marks as the files that they are in a tar.

use super::recipe::{Content, Generated, LAYERS, Layer, named_here};
use crate::quiet::run_silently;
use anyhow::{Context, ensure};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use xshell::{Shell, cmd};

/// Directories that Debian's packages name and that are symbolic links to `usr/...` in the root.
const LINKS_OF_THE_ROOT: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// What is different on every machine that makes a root file system: logs, the state of its
/// resolver, and a cache with inode numbers.
const MACHINES_OWN: &[&str] = &[
    "etc/hostname",
    "etc/resolv.conf",
    "var/cache/ldconfig/aux-cache",
    "var/log/alternatives.log",
    "var/log/apt",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
];

/// What makes a directory opaque, see the image specification, *Opaque Whiteout*.
const OPAQUE: &str = ".wh..wh..opq";

/// Of one directory no more files are removed.
const REMOVALS_EACH: usize = 40;

#[derive(Clone, Copy, Debug)]
pub(super) struct Trees<'a> {
    /// The tree of tools, with a work directory on its `/mnt`.
    pub(super) debian: &'a Path,
    /// The tar of the root file system.
    pub(super) base: &'a Path,
}

impl Trees<'_> {
    fn of(&self, layer: &str) -> PathBuf {
        self.debian.join("mnt/trees").join(layer)
    }

    /// Makes the tree of `layer`; those before it are there.
    pub(super) fn make(&self, sh: &Shell, layer: &Layer) -> anyhow::Result<()> {
        let tree = self.of(layer.name);
        fs_err::create_dir_all(&tree)?;
        let below: Vec<PathBuf> = LAYERS
            .iter()
            .take_while(|other| other.name != layer.name)
            .map(|other| self.of(other.name))
            .collect();
        match &layer.content {
            Content::Base => self.unpack_base(sh, &tree),
            Content::Packages(packages) => {
                self.unpack_packages(sh, layer.name, packages)?;
                mark_new_directories(&tree, &below)
            }
            Content::Generated(generated) => generate(generated, &tree),
            Content::Removals(count) => {
                let from = self.of("python");
                remove(*count, &from, &tree)
            }
            Content::Changed { of, files } => change(of, *files, &self.of("app"), &tree),
        }
    }

    fn unpack_base(&self, sh: &Shell, tree: &Path) -> anyhow::Result<()> {
        let base = self.base;
        cmd!(sh, "tar --extract --file={base} --directory={tree}")
            .args(["--numeric-owner", "--xattrs", "--xattrs-include=*"])
            .quiet()
            .run()?;
        for part in MACHINES_OWN {
            let part = tree.join(part);
            cmd!(sh, "rm -rf -- {part}").quiet().run()?;
        }
        // Containers get devices of their own, and without privilege nobody can make these.
        for device in sorted(&tree.join("dev"))? {
            cmd!(sh, "rm -rf -- {device}").quiet().run()?;
        }
        // Each machine has a mirror of its own.
        fs_err::write(
            tree.join("etc/apt/sources.list"),
            "deb http://deb.debian.org/debian bookworm main\n",
        )?;
        for name in ["etc/shadow", "etc/shadow-"] {
            let path = tree.join(name);
            if path.exists() {
                let text = fs_err::read_to_string(&path)?;
                fs_err::write(&path, without_day_of_change(&text))?;
            }
        }
        Ok(())
    }

    fn unpack_packages(&self, sh: &Shell, layer: &str, names: &[&str]) -> anyhow::Result<()> {
        let tree = self.of(layer);
        fs_err::create_dir(tree.join("usr"))?;
        for link in LINKS_OF_THE_ROOT {
            fs_err::create_dir(tree.join("usr").join(link))?;
            symlink(Path::new("usr").join(link), tree.join(link))
                .with_context(|| format!("cannot link `{link}`"))?;
        }
        let debian = self.debian;
        let unpack = r#"dpkg-deb --fsys-tarfile /mnt/packages/"$1"_*.deb |
            tar --extract --numeric-owner --keep-directory-symlink --directory="/mnt/trees/$2""#;
        for name in names.iter().map(|name| named_here(name)) {
            run_silently(cmd!(
                sh,
                "chroot {debian} sh -euc {unpack} unpack {name} {layer}"
            ))?;
        }
        for link in LINKS_OF_THE_ROOT {
            fs_err::remove_file(tree.join(link))?;
            let directory = tree.join("usr").join(link);
            if fs_err::read_dir(&directory)?.next().is_none() {
                fs_err::remove_dir(directory)?;
            }
        }
        Ok(())
    }
}

/// The third field is the day on which the password was changed: that of the making. See shadow(5).
fn without_day_of_change(shadow: &str) -> String {
    let mut lines = String::new();
    for line in shadow.lines() {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let Some(day) = fields.get_mut(2) {
            *day = "20089";
        }
        lines.push_str(&fields.join(":"));
        lines.push('\n');
    }
    lines
}

/// Whoever makes a directory in one that comes from below makes it opaque in an overlay, though
/// nothing was there before; and so images have a mark in it.
fn mark_new_directories(tree: &Path, below: &[PathBuf]) -> anyhow::Result<()> {
    let mut pending = vec![tree.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for path in sorted(&directory)? {
            if !fs_err::symlink_metadata(&path)?.is_dir() {
                continue;
            }
            let name = path.strip_prefix(tree).expect("the walk started there");
            if below.iter().any(|below| below.join(name).is_dir()) {
                pending.push(path);
            } else {
                mark(&path.join(OPAQUE))?;
            }
        }
    }
    Ok(())
}

/// An empty file that nobody may read, as Docker writes its whiteouts.
fn mark(path: &Path) -> anyhow::Result<()> {
    fs_err::write(path, "")?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o000))?;
    Ok(())
}

fn generate(generated: &Generated, tree: &Path) -> anyhow::Result<()> {
    let top = tree.join(generated.directory);
    fs_err::create_dir_all(&top)?;
    let mut numbers = Numbers(0x5354_5241_5441_0001);
    for number in 0..generated.directories {
        fs_err::create_dir(top.join(format!("module{number:02}")))?;
    }
    for number in 0..generated.files {
        let module = number % generated.directories;
        let path = top.join(format!("module{module:02}/part{number:04}.js"));
        let length = 600 + numbers.next() as usize % 5400;
        let mut text = String::with_capacity(length + 64);
        while text.len() < length {
            text.push_str("export const value = ");
            text.push_str(&(numbers.next() % 4).to_string());
            text.push_str("; // a line like many others\n");
        }
        fs_err::write(path, text)?;
    }
    if generated.blob > 0 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| numbers.next().to_le_bytes())
            .take(generated.blob / 8)
            .flatten()
            .collect();
        fs_err::write(top.join("blob"), bytes)?;
    }
    Ok(())
}

/// Whiteouts of `count` files of `from`, some of each directory that has many.
fn remove(count: usize, from: &Path, tree: &Path) -> anyhow::Result<()> {
    let mut left = count;
    let mut pending = vec![from.to_path_buf()];
    while let Some(directory) = pending.pop() {
        let (mut files, mut directories) = (Vec::new(), Vec::new());
        for path in sorted(&directory)? {
            let kind = fs_err::symlink_metadata(&path)?.file_type();
            let is_mark = path.ends_with(OPAQUE);
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && !is_mark {
                files.push(path);
            }
        }
        pending.extend(directories.into_iter().rev());
        if files.len() < REMOVALS_EACH / 2 {
            continue;
        }
        for path in files.iter().take(REMOVALS_EACH.min(left)) {
            let name = path.strip_prefix(from).expect("the walk started there");
            let file = name.file_name().context("a file has a name")?;
            let place = tree.join(name.with_file_name(format!(".wh.{}", file.display())));
            fs_err::create_dir_all(place.parent().context("it is below the tree")?)?;
            mark(&place)?;
            left -= 1;
        }
    }
    ensure!(left == 0, "{left} files too few to remove");
    Ok(())
}

/// The first `files` of what was generated into `from`, with other modes; and the blob, which a
/// hard link makes part of the layer whole.
fn change(of: &Generated, files: usize, from: &Path, tree: &Path) -> anyhow::Result<()> {
    let (from, to) = (from.join(of.directory), tree.join(of.directory));
    fs_err::create_dir_all(&to)?;
    let mut left = files;
    for module in sorted(&from)? {
        if left == 0 || !module.is_dir() {
            continue;
        }
        let copy = to.join(module.file_name().context("a directory has a name")?);
        fs_err::create_dir(&copy)?;
        for path in sorted(&module)?.into_iter().take(left) {
            let changed = copy.join(path.file_name().context("a file has a name")?);
            fs_err::copy(&path, &changed)?;
            fs_err::set_permissions(&changed, std::fs::Permissions::from_mode(0o600))?;
            left -= 1;
        }
    }
    fs_err::copy(from.join("blob"), to.join("blob"))?;
    fs_err::hard_link(to.join("blob"), to.join("blob.link"))?;
    symlink("module00", to.join("current")).context("cannot make a symbolic link")?;
    ensure!(left == 0, "{left} files too few to change");
    Ok(())
}

fn sorted(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = fs_err::read_dir(directory)?
        .map(|entry| Ok(entry?.path()))
        .collect::<anyhow::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

/// The same numbers everywhere: xorshift64, Marsaglia, *Xorshift RNGs*, 2003.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{Numbers, mark_new_directories, without_day_of_change};
    use xshell::Shell;

    #[test]
    fn topmost_new_directories_are_marked_and_no_others() {
        let sh = Shell::new().unwrap();
        let place = sh.create_temp_dir().unwrap();
        let [below, tree] = ["below", "tree"].map(|name| place.path().join(name));
        sh.create_dir(below.join("usr/lib")).unwrap();
        sh.create_dir(tree.join("usr/lib/new/deeper")).unwrap();
        sh.create_dir(tree.join("opt")).unwrap();
        mark_new_directories(&tree, &[below]).unwrap();
        let is_marked = |name: &str| tree.join(name).join(super::OPAQUE).exists();
        let names = ["usr", "usr/lib", "usr/lib/new", "usr/lib/new/deeper", "opt"];
        assert_eq!(
            names.map(is_marked),
            [false, false, true, false, true],
            "{names:?}"
        );
    }

    #[test]
    fn shadow_has_a_fixed_day() {
        assert_eq!(
            without_day_of_change("root:*:20410:0:99999:7:::\n"),
            "root:*:20089:0:99999:7:::\n"
        );
    }

    #[test]
    fn numbers_are_the_same_everywhere() {
        let mut numbers = Numbers(1);
        assert_eq!(
            [numbers.next(), numbers.next()],
            [1_082_269_761, 1_152_992_998_833_853_505]
        );
    }
}
