//! fsx: one file, written and read by every means there is, which must hold what was written.

use super::ground::{DATA, LOWER, SECOND, SIZE, TWIN};
use super::{Evidence, Ran, Subject};
use crate::seed::rounds;
use anyhow::{Context as _, Result, bail, ensure};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::path::Path;
use strata_driver::process::Tool;
use strata_driver::{Quirk, QuirkSet};
use strata_sys::map::SharedMap;

/// Bytes of the file that fsx works on.
const LENGTH: usize = 256 << 10;
const _: () = assert!(
    LENGTH < DATA,
    "what a map shows must differ before and after"
);

/// How often each operation is drawn, relative to the others.
const ANYWHERE: &[(&str, f64)] = &[
    ("read", 10.0),
    ("write", 10.0),
    ("mapread", 10.0),
    ("mapwrite", 10.0),
    ("punch_hole", 5.0),
    ("sendfile", 5.0),
    ("copy_file_range", 5.0),
    ("posix_fadvise", 2.0),
    ("invalidate", 1.0),
    ("fsync", 1.0),
    ("fdatasync", 1.0),
];
/// Those that need the whole file.
const WHOLE: &[(&str, f64)] = &[
    ("truncate", 10.0),
    ("posix_fallocate", 2.0),
    ("close_open", 1.0),
];

/// Which file fsx is given, and how it opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    /// One that is not there yet.
    New,
    /// [`LOWER`], opened with `O_TRUNC`.
    Truncated,
    /// [`LOWER`], opened without: its end stays as it was.
    Kept,
}

impl File {
    fn name(self) -> &'static str {
        match self {
            Self::New => "w/new",
            Self::Truncated | Self::Kept => LOWER,
        }
    }

    fn weights(self) -> Vec<(&'static str, f64)> {
        // Unnamed ones would be drawn too.
        let of_whole = if self == Self::Kept { 0.0 } else { 1.0 };
        let whole = WHOLE
            .iter()
            .map(|(name, weight)| (*name, weight * of_whole));
        ANYWHERE.iter().copied().chain(whole).collect()
    }
}

/// Runs fsx on `file` in `subject`, and looks at what else shows the same file.
pub(super) fn run(file: File, tool: &Tool, subject: &Subject<'_>) -> Result<Ran> {
    let path = subject.dir.at(file.name());
    let held = match file {
        File::New => {
            ensure!(!path.exists(), "`{}` is there", path.display());
            None
        }
        File::Truncated | File::Kept => Some(Held::take(file, &path)?),
    };
    let operations = rounds(3000, 50_000) as u64;
    let kinds = exercise(file, tool, (subject, &path), operations)?;
    let content = fs_err::read(&path)?;
    if let Some(held) = held {
        let twin = fs_err::read(subject.dir.at(TWIN))?;
        held.judge((&content, &twin), subject.facts.quirks)?;
    }
    if file == File::Kept {
        expect_holes(&path)?;
    }
    Ok(Ran {
        text: format!("{operations} operations of {kinds} kinds"),
        evidence: Evidence::Content(Sha256::digest(&content).into()),
    })
}

/// Returns of how many kinds the operations were.
fn exercise(
    file: File,
    tool: &Tool,
    (subject, path): (&Subject<'_>, &Path),
    operations: u64,
) -> Result<usize> {
    let configuration = subject.scratch.join("fsx.toml");
    let weights = file.weights();
    fs_err::write(&configuration, configured(file, &weights))?;
    let [count, seed] = [operations, subject.seed.0].map(|number| number.to_string());
    // All operations are told, on standard error, to be counted.
    let arguments: [&std::ffi::OsStr; 10] = [
        "-vv".as_ref(),
        "-f".as_ref(),
        configuration.as_ref(),
        "-N".as_ref(),
        count.as_ref(),
        "-S".as_ref(),
        seed.as_ref(),
        "-P".as_ref(),
        subject.scratch.as_ref(),
        path.as_ref(),
    ];
    let output = tool
        .clone()
        .with_variable("RUST_LOG", "")
        .run(arguments)
        .context("fsx")?;
    ensure!(
        output.text()?.trim_end() == "All operations completed A-OK!",
        "fsx ended without its verdict: `{}`",
        output.text()?.trim_end()
    );
    let log = String::from_utf8_lossy(&output.stderr);
    let kinds = count_operations(&log, operations)?;
    for (setting, weight) in weights {
        let name = match setting {
            "close_open" => "close/open",
            "invalidate" => "msync",
            same => same,
        };
        ensure!(
            weight == 0.0 || kinds.contains_key(name),
            "none of {operations} operations was `{setting}`"
        );
    }
    Ok(kinds.len())
}

fn configured(file: File, weights: &[(&str, f64)]) -> String {
    let weights = weights
        .iter()
        .map(|(name, weight)| format!("{name} = {weight:.1}\n"));
    format!(
        "flen = {LENGTH}\nblockmode = {}\n[opsize]\nmax = 65536\nmin = 0\nalign = 1\n[weights]\n{}",
        file == File::Kept,
        weights.collect::<String>()
    )
}

/// Reads `[INFO  fsx] STEP OPERATION ...`: steps must be there from 1 to `operations`. Those of
/// size zero are skipped by fsx itself.
fn count_operations(log: &str, operations: u64) -> Result<BTreeMap<String, u64>> {
    let mut kinds = BTreeMap::new();
    let mut steps = 0;
    for line in log.lines() {
        let words = line.split_once("fsx] ").map(|(_, rest)| rest);
        let mut words = words.unwrap_or_default().split_whitespace();
        let Some(step) = words.next().and_then(|word| word.parse::<u64>().ok()) else {
            continue;
        };
        ensure!(step == steps + 1, "step {step} follows step {steps}");
        steps = step;
        let name = words.next().unwrap_or_default();
        if name != "skipping" {
            let name = name.split('(').next().unwrap_or_default();
            *kinds.entry(name.to_owned()).or_default() += 1;
        }
    }
    ensure!(
        steps == operations,
        "{steps} of {operations} operations were done"
    );
    Ok(kinds)
}

/// What was open before the first write, and what the file held then.
#[derive(Debug)]
struct Held {
    file: fs_err::File,
    /// Only of a file that is not cut shorter.
    map: Option<SharedMap>,
    before: Vec<u8>,
}

impl Held {
    fn take(file: File, path: &Path) -> Result<Self> {
        let opened = fs_err::File::open(path)?;
        let map = match file {
            File::Kept => Some(SharedMap::read_only(&opened, LENGTH)?),
            File::New | File::Truncated => None,
        };
        let before = read_all(&opened)?;
        let map_agrees = map
            .as_ref()
            .is_none_or(|map| map.read(0, LENGTH) == before[..LENGTH]);
        ensure!(
            map_agrees && before.len() as u64 == SIZE,
            "the file is not what its layer holds"
        );
        Ok(Self {
            file: opened,
            map,
            before,
        })
    }

    /// `content` is what the file's name shows now, `twin` what its other name does.
    fn judge(self, (content, twin): (&[u8], &[u8]), quirks: &QuirkSet) -> Result<()> {
        let seen = read_all(&self.file)?;
        if let Some(at) = difference(&seen, content) {
            bail!("a descriptor held since before the first write differs from byte {at} on");
        }
        let splits = Quirk::HardLinkSplits;
        follow(
            splits,
            quirks,
            ("its other name", twin),
            (&self.before, content),
        )?;
        if let Some(map) = &self.map {
            let keeps = Quirk::HeldMapKeepsOldData;
            let (old, new) = (&self.before[..LENGTH], &content[..LENGTH]);
            follow(
                keeps,
                quirks,
                ("a held map", &map.read(0, LENGTH)),
                (old, new),
            )?;
            if let Some(at) = difference(&self.before[LENGTH..], &content[LENGTH..]) {
                let at = at + LENGTH;
                bail!("byte {at} was never written, and is not the layer's");
            }
        }
        Ok(())
    }
}

/// What follows the writes shows the new content; under `quirk` the old.
fn follow(
    quirk: Quirk,
    quirks: &QuirkSet,
    (what, seen): (&str, &[u8]),
    (old, new): (&[u8], &[u8]),
) -> Result<()> {
    let declared = quirks.contains(&quirk);
    let wanted = if declared { old } else { new };
    match difference(seen, wanted) {
        None => Ok(()),
        Some(at) => bail!(
            "{what} differs from byte {at} on from what was {} (`{}` is {}declared)",
            if declared { "there before" } else { "written" },
            quirk.as_str(),
            if declared { "" } else { "not " },
        ),
    }
}

/// Where two contents begin to differ.
fn difference(one: &[u8], other: &[u8]) -> Option<usize> {
    let common = one.iter().zip(other).position(|(one, other)| one != other);
    common.or_else(|| (one.len() != other.len()).then(|| one.len().min(other.len())))
}

/// The whole content, whatever was read before.
fn read_all(file: &fs_err::File) -> Result<Vec<u8>> {
    use std::os::unix::fs::FileExt as _;
    let mut content = vec![0; file.metadata()?.len() as usize];
    file.file().read_exact_at(&mut content, 0)?;
    Ok(content)
}

/// Holes of a MiB and more, in whole MiB, are still there; smaller ones are a quirk's matter.
fn expect_holes(path: &Path) -> Result<()> {
    let file = fs_err::File::open(path)?;
    let data_from = |at| match rustix::fs::seek(&file, SeekFrom::Data(at)) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(errno),
    };
    let (first, last) = (data_from(1 << 20)?, data_from(SECOND + (1 << 20))?);
    ensure!(
        (first, last) == (Some(SECOND), None),
        "after the first MiB data starts at {first:?}, after the third at {last:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_and_gaps_refused() {
        let log = "[DEBUG fsx] Using seed 1\n[INFO  fsx] 1 write 0x1 .. 0x2 ( 0x1 bytes)\n\
                   [DEBUG fsx] 2 skipping zero size read\n[INFO  fsx] 3 posix_fadvise(Normal) 0x0\n";
        let kinds = count_operations(log, 3).unwrap();
        let names: Vec<_> = kinds.keys().map(String::as_str).collect();
        assert_eq!(names, ["posix_fadvise", "write"]);
        assert!(count_operations(log, 4).is_err());
        assert!(count_operations(&log.replace(" 2 ", " 4 "), 3).is_err());
        assert!(count_operations("", 1).is_err());
    }

    #[test]
    fn quirks_are_held_both_ways() {
        let quirk = Quirk::HardLinkSplits;
        let (none, declared) = (QuirkSet::new(), QuirkSet::from([quirk]));
        let told = |quirks, seen| follow(quirk, quirks, ("it", seen), (b"old", b"new")).is_ok();
        assert!(told(&none, b"new") && told(&declared, b"old"));
        assert!(!told(&none, b"old") && !told(&declared, b"new"));
    }

    #[test]
    fn first_difference_is_found() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"adc"), Some(1));
        assert_eq!(difference(b"ab", b"abc"), Some(2));
    }
}
