//! Workloads that users write in their configuration: layers of operations, which the bench runs
//! beside its own, and the suite as cases; both compare the trees that come out.

mod case;
mod quirks;
mod run;

pub use run::run_layer;

use anyhow::{bail, ensure};
use serde::Deserialize;
use std::fmt;
use strata_driver::Capability;

/// A named stack of layers, base first.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserWorkload {
    /// Its name in tables: `a-z`, `0-9` and `-`.
    pub name: String,
    /// Layers, base first.
    pub layers: Vec<UserLayer>,
}

/// What is done in one layer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserLayer {
    /// Operations in order.
    #[serde(with = "serde_yaml::with::singleton_map_recursive")]
    pub ops: Vec<Operation>,
}

/// One operation. Paths are relative to the root of the snapshot; contents are made from the
/// seed of the run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Operation {
    /// Makes a directory and its parents.
    Mkdir {
        /// Where.
        path: String,
    },
    /// Makes a file of `size` bytes, or makes an existing one that long and new throughout.
    Write {
        /// Where.
        path: String,
        /// Bytes.
        size: u64,
    },
    /// Makes `count` files of `size` bytes, named `0`, `1`, … in the directory `path`.
    Fill {
        /// The directory; made if it is missing.
        path: String,
        /// Files.
        count: u32,
        /// Bytes of each.
        size: u64,
    },
    /// Adds `size` bytes to a file's end.
    Append {
        /// Where.
        path: String,
        /// Bytes.
        size: u64,
    },
    /// Overwrites `size` bytes from `offset` on.
    Patch {
        /// Where.
        path: String,
        /// First byte.
        offset: u64,
        /// Bytes.
        size: u64,
    },
    /// Cuts or extends a file.
    Truncate {
        /// Where.
        path: String,
        /// New length in bytes.
        size: u64,
    },
    /// Removes a file, or a directory with all that is in it.
    Remove {
        /// What.
        path: String,
    },
    /// Renames.
    Rename {
        /// Old path.
        from: String,
        /// New path.
        to: String,
    },
    /// Makes a hard link.
    Link {
        /// The file.
        from: String,
        /// Its further name.
        to: String,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Where.
        path: String,
        /// What it says.
        target: String,
    },
    /// Sets the permission bits.
    Chmod {
        /// What.
        path: String,
        /// Octal, as text: `"0755"`.
        mode: String,
    },
    /// Sets owner and group.
    Chown {
        /// What.
        path: String,
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
    /// Sets an extended attribute.
    Xattr {
        /// What.
        path: String,
        /// Its name, namespace included.
        name: String,
        /// Its value.
        value: String,
    },
}

impl UserWorkload {
    /// Refuses what could not run: no layers, bad names, paths that leave the snapshot.
    pub fn check(&self) -> anyhow::Result<()> {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !self.name.is_empty() && self.name.len() <= 40 && self.name.chars().all(letters),
            "a workload's name is 1 to 40 of a-z, 0-9 and `-`, not `{}`",
            self.name.escape_debug()
        );
        ensure!(!self.layers.is_empty(), "a workload has at least one layer");
        ensure!(
            self.layers.len() <= 400,
            "a workload has at most 400 layers"
        );
        for (layer, operations) in self.layers.iter().enumerate() {
            for (index, operation) in operations.ops.iter().enumerate() {
                if let Err(fault) = operation.check() {
                    bail!("layer {layer}, operation {index}: {fault}");
                }
            }
        }
        Ok(())
    }

    /// What a driver must be capable of for it.
    pub(crate) fn needs(&self) -> Vec<Capability> {
        let operations = || self.layers.iter().flat_map(|layer| &layer.ops);
        let owns = |operation: &Operation| matches!(operation, Operation::Chown { .. });
        let trusted = |operation: &Operation| matches!(operation, Operation::Xattr { name, .. } if name.starts_with("trusted."));
        let mut needs = Vec::new();
        needs.extend(operations().any(owns).then_some(Capability::Ownership));
        needs.extend(
            operations()
                .any(trusted)
                .then_some(Capability::TrustedXattrs),
        );
        needs
    }
}

/// As it stands in the configuration, in one line.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Operation {
    fn check(&self) -> anyhow::Result<()> {
        for path in self.paths() {
            let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
            ensure!(
                path.split('/').all(plain) && !path.contains('\0') && path.len() < 4096,
                "`{}` is not a path inside the snapshot: relative, without `.`, `..` or empty parts",
                path.escape_debug()
            );
            ensure!(
                !path.split('/').any(|part| part.starts_with(".wh.")),
                "`{path}`: names that begin with `.wh.` cannot be carried by a layer"
            );
        }
        if let Self::Chmod { mode, .. } = self {
            let bits = u32::from_str_radix(mode, 8);
            ensure!(
                bits.is_ok_and(|bits| bits <= 0o7777),
                "`{mode}` is not an octal mode"
            );
        }
        Ok(())
    }

    fn paths(&self) -> Vec<&str> {
        match self {
            Self::Mkdir { path }
            | Self::Write { path, .. }
            | Self::Fill { path, .. }
            | Self::Append { path, .. }
            | Self::Patch { path, .. }
            | Self::Truncate { path, .. }
            | Self::Remove { path }
            | Self::Symlink { path, .. }
            | Self::Chmod { path, .. }
            | Self::Chown { path, .. }
            | Self::Xattr { path, .. } => vec![path],
            Self::Rename { from, to } | Self::Link { from, to } => vec![from, to],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> anyhow::Result<UserWorkload> {
        let workload: UserWorkload = serde_yaml::from_str(text)?;
        workload.check()?;
        Ok(workload)
    }

    #[test]
    fn yaml_of_every_operation_parses() {
        let workload = parse(
            "name: all\nlayers:\n- ops:\n  - mkdir: {path: d}\n  - write: {path: d/a, size: 10}\n  \
             - fill: {path: d/f, count: 2, size: 1}\n  - append: {path: d/a, size: 1}\n  \
             - patch: {path: d/a, offset: 1, size: 1}\n  - truncate: {path: d/a, size: 3}\n  \
             - link: {from: d/a, to: d/b}\n  - rename: {from: d/b, to: d/c}\n  \
             - symlink: {path: s, target: d/c}\n  - chmod: {path: d, mode: '0700'}\n  \
             - chown: {path: d, uid: 1, gid: 2}\n  - xattr: {path: d, name: user.a, value: b}\n- ops:\n  \
             - remove: {path: d}\n",
        )
        .unwrap();
        assert_eq!(workload.layers.len(), 2);
        assert_eq!(workload.layers[0].ops.len(), 12);
    }

    #[test]
    fn what_could_not_run_is_refused() {
        for text in [
            "name: A\nlayers: [{ops: []}]",
            "name: a\nlayers: []",
            "name: a\nlayers: [{ops: [{mkdir: {path: ../x}}]}]",
            "name: a\nlayers: [{ops: [{mkdir: {path: /x}}]}]",
            "name: a\nlayers: [{ops: [{mkdir: {path: x, mode: 1}}]}]",
            "name: a\nlayers: [{ops: [{explode: {path: x}}]}]",
            "name: a\nlayers: [{ops: [{chmod: {path: x, mode: '9'}}]}]",
            "name: a\nlayers: [{opps: []}]",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
