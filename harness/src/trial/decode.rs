//! Reads what a mount plan names on disk, and merges it by the model's rule.
//!
//! The harness's own decoder: what the kernel shows is held against what stands there.

use crate::model::layer::{Entry, Layer, merge};
use crate::tree::{Kind, Tree, TreePath};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use strata_driver::MountPlan;

/// The tree of a plan; none if this is no form that is known here. `lower` holds the digests of
/// lower directories, which must not change.
pub(crate) fn tree(
    plan: &MountPlan,
    lower: &mut BTreeMap<PathBuf, [u8; 32]>,
) -> Result<Option<Tree>> {
    let [step] = &plan.steps[..] else {
        return Ok(None);
    };
    if step.fs_type == "bind" {
        // The source may be a link.
        return Ok(Some(Tree::read(&fs_err::canonicalize(&step.source)?)?));
    }
    let mut lowers = Vec::new();
    let mut upper = None;
    for option in &step.options {
        match (option.key.as_str(), option.value.as_deref()) {
            ("lowerdir+", Some(directory)) => lowers.push(PathBuf::from(directory)),
            ("upperdir", Some(directory)) => upper = Some(PathBuf::from(directory)),
            ("redirect_dir" | "metacopy", Some("on")) => return Ok(None),
            _ => {}
        }
    }
    if lowers.is_empty() {
        return Ok(None);
    }
    let mut layers = Vec::new();
    for directory in lowers.iter().rev() {
        let raw = Tree::read(directory)?;
        let digest = raw.digest();
        let known = *lower.entry(directory.clone()).or_insert(digest);
        ensure!(known == digest, "`{}` has changed", directory.display());
        layers.push(overlay_layer(&raw, directory)?);
    }
    if let Some(directory) = upper {
        layers.push(overlay_layer(&Tree::read(&directory)?, &directory)?);
    }
    Ok(Some(merge(&layers)))
}

/// A directory in overlay's format: a whiteout is a character device 0:0, an opaque directory has
/// an attribute; `Documentation/filesystems/overlayfs.rst`.
fn overlay_layer(raw: &Tree, directory: &Path) -> Result<Layer> {
    let mut layer = Layer::new();
    for (path, node) in raw.nodes() {
        let entry = match node.kind {
            Kind::CharacterDevice if node.device == (0, 0) => Entry::Whiteout,
            Kind::Directory if is_opaque(directory, path)? => Entry::Opaque(node.clone()),
            _ => Entry::Node(node.clone()),
        };
        layer.insert(path.clone(), entry);
    }
    Ok(layer)
}

fn is_opaque(directory: &Path, path: &TreePath) -> Result<bool> {
    let path = directory.join(OsStr::from_bytes(path.as_bytes()));
    for key in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        let mut value = [0; 8];
        match rustix::fs::lgetxattr(&path, key, &mut value[..]) {
            Ok(length) if value[..length] == *b"y" => return Ok(true),
            Ok(_) | Err(rustix::io::Errno::NODATA | rustix::io::Errno::OPNOTSUPP) => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("`{key}` of `{}`", path.display()));
            }
        }
    }
    Ok(false)
}
