//! The trees that workloads stand on: a real root file system or a generated one, and our layers.

mod edits;
mod seeded;

use crate::bench::command::Tool;
use crate::bench::plan::{Profile, RootfsSource};
use crate::bench::subject::{Subject, add_layer};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Name of the large tree's top layer in every cell.
pub(crate) const ROOTFS: &str = "rootfs";

/// Prefix of the deep chain's layers; the layer at depth `n` is `deep-n`.
pub(crate) const DEEP: &str = "deep";

/// Modification time of everything that our own edits touch, so that trees of different cells
/// can be compared with their times.
pub(crate) const EDIT_TIME: i64 = 1_700_000_000;

/// A tree that several rows share, made once per cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Base {
    /// The large tree with our layers on it.
    Rootfs,
    /// A chain of many small layers.
    Deep,
}

/// The input of a run as files.
#[derive(Clone, Debug)]
pub(crate) struct Corpora {
    /// Uncompressed tars of the large tree, base first.
    pub tars: Vec<PathBuf>,
    /// What it is, for the report.
    pub description: String,
    /// Layers of the deep chain.
    pub depth: u32,
    /// Bytes of all regular files in the tars.
    pub content: u64,
    /// Decides generated contents.
    pub seed: u64,
}

impl Corpora {
    /// Makes the tars of `source` in `scratch`.
    pub(crate) fn make(source: &RootfsSource, scratch: &Path, seed: u64) -> Result<Self> {
        let mut tars = Vec::new();
        match source {
            RootfsSource::Tar { base, layers } => {
                for (index, path) in std::iter::once(base).chain(layers).enumerate() {
                    tars.push(uncompressed(
                        path,
                        &scratch.join(format!("layer-{index}.tar")),
                    )?);
                }
            }
            RootfsSource::Directory(path) => {
                tars.push(scratch.join("layer-0.tar"));
                pack(path, &tars[0])?;
            }
            RootfsSource::SeededCorpus | RootfsSource::SmallCorpus => {
                let tree = scratch.join("seeded");
                let small = matches!(source, RootfsSource::SmallCorpus);
                seeded::make(&tree, seed, if small { 10 } else { 1 })?;
                tars.push(scratch.join("layer-0.tar"));
                pack(&tree, &tars[0])?;
                fs_err::remove_dir_all(&tree)?;
            }
        }
        let (mut bytes, mut content) = (0, 0);
        for tar in &tars {
            bytes += fs_err::metadata(tar)?.len();
            content += content_of(tar)?;
        }
        Ok(Self {
            tars,
            description: format!("{source}, {} MB of tar", bytes / 1_000_000),
            depth: 0,
            content,
            seed,
        })
    }

    /// Chooses the depth of the deep chain.
    #[must_use]
    pub(crate) fn with_depth(mut self, profile: Profile) -> Self {
        // 64 is the depth that fits ten blocks into minutes; 128 is the deepest that Docker makes.
        self.depth = profile.pick(64, 128);
        self
    }

    /// Makes `base` in a cell.
    pub(crate) fn set_up(&self, base: Base, subject: &dyn Subject) -> Result<()> {
        match base {
            Base::Rootfs => self.set_up_rootfs(subject).context("the large tree"),
            Base::Deep => self.set_up_deep(subject).context("the deep chain"),
        }
    }

    fn set_up_rootfs(&self, subject: &dyn Subject) -> Result<()> {
        let top = self.import(subject, "import")?;
        let mut parent = top;
        for (index, edit) in edits::LAYERS.iter().enumerate() {
            let last = index + 1 == edits::LAYERS.len();
            let name = if last {
                ROOTFS.to_owned()
            } else {
                format!("edit-{index}")
            };
            add_layer(subject, Some(&parent), &name, &mut |root| {
                edit(root, self.seed)
            })?;
            parent = name;
        }
        subject.share(ROOTFS)
    }

    /// Applies all tars as a chain of layers `PREFIX-N`; returns the top one's name.
    pub(crate) fn import(&self, subject: &dyn Subject, prefix: &str) -> Result<String> {
        let mut parent: Option<String> = None;
        for (index, tar) in self.tars.iter().enumerate() {
            let (key, name) = (
                format!("{prefix}-{index}-work"),
                format!("{prefix}-{index}"),
            );
            subject.prepare(&key, parent.as_deref())?;
            subject.apply(&key, tar)?;
            subject.commit(&key, &name)?;
            parent = Some(name);
        }
        parent.context("there is no tar to import")
    }

    fn set_up_deep(&self, subject: &dyn Subject) -> Result<()> {
        let mut parent: Option<String> = None;
        for depth in 1..=self.depth {
            let name = format!("{DEEP}-{depth}");
            add_layer(subject, parent.as_deref(), &name, &mut |root| {
                let bin = root.join("bin");
                fs_err::create_dir_all(&bin)?;
                Ok(fs_err::write(
                    bin.join(deep_file(depth)),
                    format!("{depth:64}"),
                )?)
            })?;
            parent = Some(name);
        }
        subject.share(&format!("{DEEP}-{}", self.depth))
    }
}

/// Name in `bin` of the file that layer `depth` of the deep chain adds.
pub(crate) fn deep_file(depth: u32) -> String {
    format!("tool-{depth:03}")
}

/// Puts the tree at `directory` into `tar` as it is, other file systems left out.
pub(crate) fn pack(directory: &Path, tar: &Path) -> Result<()> {
    Tool::new("tar")
        .args(["--format=posix", "--xattrs", "--xattrs-include=*", "--acls"])
        .args([
            "--sort=name",
            "--numeric-owner",
            "--one-file-system",
            "-c",
            "-f",
        ])
        .arg(tar)
        .arg("-C")
        .arg(directory)
        .arg(".")
        .run()
        .map(drop)
}

/// Bytes of the regular files in `tar`; a second name of a file counts nothing.
fn content_of(tar: &Path) -> Result<u64> {
    let listed = Tool::new("tar")
        .args(["--numeric-owner", "--quoting-style=escape", "-tvf"])
        .arg(tar)
        .run()?;
    let files = listed.lines().filter(|line| line.starts_with('-'));
    files
        .map(|line| {
            let size = line.split_whitespace().nth(2).unwrap_or_default();
            size.parse::<u64>()
                .with_context(|| format!("`{line}` of {} has no size", tar.display()))
        })
        .sum()
}

/// Extracts a changeset into `directory` with GNU tar, whiteouts obeyed: what drivers are held
/// against shares no code with them.
pub(crate) fn extract(tar: &Path, directory: &Path) -> Result<()> {
    let empty = fs_err::read_dir(directory)?.next().is_none();
    if !empty {
        let names = Tool::new("tar")
            .arg("--quoting-style=literal")
            .arg("-tf")
            .arg(tar)
            .run()?;
        for name in names.lines() {
            obey_whiteout(directory, Path::new(name))?;
        }
    }
    Tool::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--acls",
            "--numeric-owner",
        ])
        .args(["--exclude=.wh.*", "-x", "-p", "-f"])
        .arg(tar)
        .arg("-C")
        .arg(directory)
        .run()
        .map(drop)
}

fn obey_whiteout(root: &Path, entry: &Path) -> Result<()> {
    let name = entry
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let Some(hidden) = name.strip_prefix(".wh.") else {
        return Ok(());
    };
    if entry.is_absolute()
        || entry
            .components()
            .any(|part| part == std::path::Component::ParentDir)
    {
        bail!("the tar names a path outside: {}", entry.display());
    }
    let parent = root.join(entry.parent().unwrap_or(Path::new("")));
    if hidden != ".wh..opq" {
        return remove(&parent.join(hidden));
    }
    if parent.is_dir() {
        for child in fs_err::read_dir(&parent)? {
            remove(&child?.path())?;
        }
    }
    Ok(())
}

/// Removes whatever is at `path`, if anything is.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs_err::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs_err::remove_dir_all(path)?,
        Ok(_) => fs_err::remove_file(path)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// `path` itself if it is a plain tar, else its content unpacked to `target`.
fn uncompressed(path: &Path, target: &Path) -> Result<PathBuf> {
    let mut magic = [0_u8; 4];
    let mut file = fs_err::File::open(path)?;
    let read = file.read(&mut magic)?;
    let file = fs_err::File::open(path)?;
    let mut content: Box<dyn Read> = match &magic[..read] {
        [0x1F, 0x8B, ..] => Box::new(flate2::read::MultiGzDecoder::new(file)),
        [0x28, 0xB5, 0x2F, 0xFD] => Box::new(zstd::stream::read::Decoder::new(file)?),
        _ => return Ok(path.to_owned()),
    };
    let mut plain = std::io::BufWriter::with_capacity(1 << 20, fs_err::File::create(target)?);
    std::io::copy(&mut content, &mut plain)
        .with_context(|| format!("{} cannot be unpacked", path.display()))?;
    plain.flush()?;
    Ok(target.to_owned())
}

#[cfg(test)]
mod tests;
