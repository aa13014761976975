//! Reads what a mount plan names on disk, and merges it by the model's rule.
//!
//! The harness's own decoder: what a mount shows is held against what stands there.

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
    let read = if step.fs_type.starts_with("fuse.") {
        layer_of_names
    } else {
        overlay_layer
    };
    let mut layers = Vec::new();
    for directory in lowers.iter().rev() {
        let raw = Tree::read(directory)?;
        let digest = raw.digest();
        let known = *lower.entry(directory.clone()).or_insert(digest);
        ensure!(known == digest, "`{}` has changed", directory.display());
        layers.push(read(&raw, directory)?);
    }
    if let Some(directory) = upper {
        let raw = Tree::read(&directory)?;
        let holds_links = |path: &TreePath| path.as_bytes().starts_with(PSEUDO_LINK);
        if raw.nodes().keys().any(holds_links) {
            // Names of these files are in the union's own record.
            return Ok(None);
        }
        layers.push(read(&raw, &directory)?);
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

const WHITEOUT: &[u8] = b".wh.";
const RESERVED: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const PSEUDO_LINK: &[u8] = b".wh..wh.plnk/";

/// A directory whose marks are names, as in layers of images: `.wh.NAME` is a whiteout,
/// `.wh..wh..opq` makes its directory opaque, what else begins with `.wh..wh.` is no part of it.
fn layer_of_names(raw: &Tree, _directory: &Path) -> Result<Layer> {
    let mut layer = Layer::new();
    for (path, node) in raw.nodes() {
        let mut names = path.as_bytes().split(|byte| *byte == b'/');
        if names.any(|name| name.starts_with(RESERVED)) {
            continue;
        }
        let Some(hidden) = path.name().strip_prefix(WHITEOUT) else {
            let marked =
                node.kind == Kind::Directory && raw.nodes().contains_key(&path.join(OPAQUE));
            let entry = if marked {
                Entry::Opaque(node.clone())
            } else {
                Entry::Node(node.clone())
            };
            layer.insert(path.clone(), entry);
            continue;
        };
        let hidden = path.parent().unwrap_or_else(TreePath::root).join(hidden);
        ensure!(
            !raw.nodes().contains_key(&hidden),
            "`{hidden}` and its whiteout stand in one layer"
        );
        ensure!(
            node.kind == Kind::File && node.size == 0,
            "the whiteout `{path}` is no empty file"
        );
        layer.insert(hidden, Entry::Whiteout);
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
