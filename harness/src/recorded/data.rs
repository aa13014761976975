//! The recordings as they are stored.

use super::verb::Operation;
use anyhow::{Context as _, Result};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const TEXT: &str = include_str!("../../data/semantics.json");

/// All recordings, parsed; an operation or a field that is not known here is an error.
pub(super) fn load() -> Result<Vec<Scenario>> {
    parse(TEXT)
}

fn parse(text: &str) -> Result<Vec<Scenario>> {
    let recordings: Recordings = serde_json::from_str(text).context("read the recordings")?;
    Ok(recordings.scenarios)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Recordings {
    /// How they were made, for people.
    #[serde(rename = "meta")]
    _meta: Value,
    scenarios: Vec<Scenario>,
}

/// Layers, operations on them, and what came of that in each column.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Scenario {
    pub name: String,
    /// Top lower branch first.
    pub layers: Vec<Vec<Entry>>,
    /// What the writable branch holds at first.
    #[serde(default)]
    pub upper_init: Vec<Entry>,
    #[serde(default)]
    pub mount: Mount,
    pub ops: Vec<Operation>,
    aufs: Recording,
    overlay_default: Option<Recording>,
    overlay_default_6_18: Option<Recording>,
    overlay_index_redirect: Option<Recording>,
    overlay_index_redirect_6_18: Option<Recording>,
}

/// How a mount differed from the others.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Mount {
    #[serde(rename = "mount_flags")]
    pub flags: Option<ReadOnly>,
    pub upper_tmpfs_bytes: Option<u64>,
    pub aufs_lower_perm: Option<Vec<String>>,
    pub aufs_upper_perm: Option<String>,
    pub aufs_opts: Option<String>,
    pub aufs_xino: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) enum ReadOnly {
    #[serde(rename = "ro")]
    Yes,
}

/// One thing in a branch at first.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    pub path: String,
    #[serde(rename = "type")]
    pub kind: EntryKind,
    #[serde(default, deserialize_with = "octal")]
    pub mode: u32,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    #[serde(default)]
    pub xattrs: BTreeMap<String, String>,
    #[serde(default)]
    pub data: String,
    /// Content that is a text so many times.
    pub data_repeat: Option<(String, usize)>,
    /// Content that is a program of this host.
    pub data_from: Option<String>,
    /// Size of a sparse file that ends in `tail`.
    pub size: Option<u64>,
    #[serde(default)]
    pub tail: String,
    #[serde(default)]
    pub target: String,
    #[serde(default)]
    pub to: String,
    /// Major and minor number.
    #[serde(default)]
    pub rdev: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EntryKind {
    Dir,
    File,
    Symlink,
    Link,
    Fifo,
    Chr,
    Whiteout,
    Opaque,
}

impl Entry {
    /// The attributes as bytes.
    pub(super) fn attributes(&self) -> Result<Vec<(&str, Vec<u8>)>> {
        let decode = |value: &str| match value.strip_prefix("hex:") {
            Some(digits) => hex::decode(digits).context("a value of an attribute"),
            None => Ok(value.as_bytes().to_vec()),
        };
        let pairs = self.xattrs.iter();
        pairs
            .map(|(key, value)| Ok((key.as_str(), decode(value)?)))
            .collect()
    }

    /// Content without holes; a sparse file is empty at first.
    pub(super) fn content(&self) -> Result<Vec<u8>> {
        if let Some((text, count)) = &self.data_repeat {
            return Ok(text.repeat(*count).into_bytes());
        }
        if let Some(program) = &self.data_from {
            return Ok(fs_err::read(program)?);
        }
        Ok(self.data.as_bytes().to_vec())
    }

    /// Gives the file at `at` its holes, if it is a sparse one.
    pub(super) fn write_sparse(&self, at: &Path) -> Result<()> {
        let Some(size) = self.size else {
            return Ok(());
        };
        let file = fs_err::OpenOptions::new().write(true).open(at)?;
        file.set_len(size)?;
        let end = size.checked_sub(self.tail.len() as u64);
        let end = end.context("a tail longer than its file")?;
        Ok(file.file().write_all_at(self.tail.as_bytes(), end)?)
    }

    /// Major and minor number.
    pub(super) fn device(&self) -> Result<(u32, u32)> {
        let (major, minor) = self.rdev.split_once(':').context("a device number")?;
        Ok((major.parse()?, minor.parse()?))
    }
}

/// What came of a scenario.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recording {
    /// 0, the name of an errno, or SKIP, one for each operation.
    pub errno: Vec<Value>,
    /// One for each operation; none at all where nothing was returned.
    #[serde(default)]
    pub ret: Vec<Value>,
    pub merged: Vec<Value>,
    pub upper: Vec<Value>,
    /// A listing, or `same`.
    merged_remount: Value,
    /// What is new or different in each lower branch.
    #[serde(default)]
    pub lower_changed: Vec<Vec<Value>>,
    #[serde(default)]
    pub index_entries: u64,
}

impl Recording {
    pub(super) fn merged_remount(&self) -> &[Value] {
        match self.merged_remount.as_array() {
            Some(listing) => listing,
            None => &self.merged,
        }
    }
}

/// Which of the recordings describes a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// The kernel's aufs, its own format in the writable branch.
    Aufs,
    /// The kernel's overlay with `index=off,redirect_dir=off`.
    OverlayDefault,
    /// The kernel's overlay with `index=on,redirect_dir=on`.
    OverlayIndexRedirect,
}

impl Column {
    /// The name that the recordings have for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Aufs => "aufs",
            Self::OverlayDefault => "overlay_default",
            Self::OverlayIndexRedirect => "overlay_index_redirect",
        }
    }
}

/// Major and minor number of a kernel.
pub(super) type Kernel = (u32, u32);

/// Every scenario that has a column has it for the oldest kernels.
pub(super) const ANY_KERNEL: Kernel = (0, 0);

/// The kernels of the two recordings of overlay. Between them some answers changed, one release
/// this, another that, and nobody recorded when.
const OLDER: Kernel = (6, 1);
const NEWER: Kernel = (6, 18);

impl Scenario {
    /// Paths of files that are copies of programs.
    pub(super) fn programs(&self) -> BTreeSet<String> {
        let entries = self.layers.iter().flatten();
        entries
            .filter(|entry| entry.kind == EntryKind::File && entry.data_from.is_some())
            .map(|entry| entry.path.clone())
            .collect()
    }

    /// A program that it takes and this host has not.
    pub(super) fn missing_program(&self) -> Option<&str> {
        let entries = self.layers.iter().flatten();
        let mut programs = entries.filter_map(|entry| entry.data_from.as_deref());
        programs.find(|program| !Path::new(program).is_file())
    }

    /// The recordings that may describe `column` on `kernel`, by name; any one of them, but all
    /// of it. On the recorded kernels and beyond there is one only.
    pub(super) fn recordings(
        &self,
        column: Column,
        kernel: Kernel,
    ) -> Vec<(&'static str, &Recording)> {
        let (older, newer) = match column {
            Column::Aufs => (Some(&self.aufs), None),
            Column::OverlayDefault => (
                self.overlay_default.as_ref(),
                self.overlay_default_6_18.as_ref(),
            ),
            Column::OverlayIndexRedirect => (
                self.overlay_index_redirect.as_ref(),
                self.overlay_index_redirect_6_18.as_ref(),
            ),
        };
        let older = older.filter(|_| newer.is_none() || kernel < NEWER);
        let newer = newer.filter(|_| kernel > OLDER);
        let named = |name, recording: Option<_>| recording.map(|recording| (name, recording));
        [named("6.1", older), named("6.18", newer)]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// Permission bits as text.
pub(super) fn octal<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let text = String::deserialize(from)?;
    u32::from_str_radix(&text, 8).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_parse_whole() {
        let scenarios = load().unwrap();
        assert_eq!(scenarios.len(), 203);
        for scenario in &scenarios {
            for column in [
                Column::Aufs,
                Column::OverlayDefault,
                Column::OverlayIndexRedirect,
            ] {
                for (_, recording) in scenario.recordings(column, (6, 12)) {
                    assert_eq!(recording.errno.len(), scenario.ops.len());
                    assert!(
                        recording.ret.is_empty() || recording.ret.len() == scenario.ops.len(),
                        "{}",
                        scenario.name
                    );
                }
            }
        }
    }

    #[test]
    fn unknown_verb_is_named() {
        let text = TEXT.replacen("[\"put\",", "[\"putt\",", 1);
        let error = format!("{:#}", parse(&text).unwrap_err());
        assert!(error.contains("`putt`"), "{error}");
    }

    #[test]
    fn newer_recording_is_for_newer_kernels() {
        let scenarios = load().unwrap();
        let differs = scenarios
            .iter()
            .find(|scenario| scenario.name == "tmpfile-basic")
            .unwrap();
        let names = |kernel| -> Vec<_> {
            let found = differs.recordings(Column::OverlayDefault, kernel);
            found.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names((5, 15)), ["6.1"]);
        assert_eq!(names((6, 1)), ["6.1"]);
        assert_eq!(names((6, 12)), ["6.1", "6.18"]);
        assert_eq!(names((6, 18)), ["6.18"]);
        assert_eq!(names((7, 0)), ["6.18"]);
    }
}
