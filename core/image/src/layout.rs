//! The store's blobs as an OCI image layout that other tools read:
//! `skopeo copy oci:STORE/oci:docker.io/library/NAME:TAG ...`.
//!
//! `oci/index.json` names each tagged image that has a manifest with all its blobs here. It is
//! derived from the facts, and made again from them where it is lost or strange.

use crate::Result;
use crate::document::{Descriptor, media_type};
use crate::outgoing::manifest_in_store;
use crate::reference::Reference;
use std::collections::BTreeMap;
use std::path::PathBuf;
use strata_driver::{Error, ErrorKind};
use strata_store::{Digest, Store, Target};
use strata_sys::lock::FileLock;

/// The annotation by which tools find an image in a layout (`annotations.md`).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The annotation in which containerd and Docker keep an image's whole name.
pub(crate) const IMAGE_NAME: &str = "io.containerd.image.name";

const OPERATION: &str = "write layout";

/// Each descriptor has a line of its own, so that one name is exchanged without reading them all.
const HEAD: &str = concat!(
    r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":["#,
    "\n"
);
const TAIL: &str = "\n]}\n";

/// Brings what the layout says of these names up to date. Blocking.
pub fn note<'a>(
    store: &Store,
    names: impl IntoIterator<Item = (&'a str, &'a Target)>,
) -> Result<()> {
    let mut tags = names
        .into_iter()
        .filter(|(_, target)| matches!(target, Target::Tag(_)))
        .peekable();
    if tags.peek().is_none() {
        return Ok(());
    }
    let _lock = lock(store)?;
    let Some(text) = read(store)? else {
        return make(store);
    };
    let Some(mut lines) = split(&text) else {
        return make(store);
    };
    let mut fresh = Vec::new();
    for (repository, target) in tags {
        let name = format!("{repository}{target}");
        let image = store.facts().reference(repository, target)?;
        let line = image.map(|image| line(store, &name, &image)).transpose()?;
        fresh.push((name, line.flatten()));
    }
    for (name, line) in &fresh {
        match line {
            Some(line) => lines.insert(name, line),
            None => lines.remove(name.as_str()),
        };
    }
    write(store, &joined(lines.into_values()))
}

/// Makes the layout's index from the facts. Blocking.
pub fn rebuild(store: &Store) -> Result<()> {
    let _lock = lock(store)?;
    make(store)
}

/// [`note`], for who has done what it was asked for already.
pub(crate) fn note_after<'a>(
    store: &Store,
    names: impl IntoIterator<Item = (&'a str, &'a Target)>,
) {
    if let Err(error) = note(store, names) {
        tracing::warn!(%error, "the layout for other tools is not up to date");
    }
}

fn lock(store: &Store) -> Result<FileLock> {
    FileLock::exclusive(&store.layout().oci())
        .map_err(|error| Error::from(error).during(OPERATION).into())
}

fn index(store: &Store) -> PathBuf {
    store.layout().oci().join("index.json")
}

fn read(store: &Store) -> Result<Option<String>> {
    match fs_err::read_to_string(index(store)) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Error::io(OPERATION, error).into()),
    }
}

/// The lines of an index by the names in them; none if we did not write it so.
fn split(text: &str) -> Option<BTreeMap<&str, &str>> {
    let lines = text.strip_prefix(HEAD)?.strip_suffix(TAIL)?;
    let lines = lines.split(",\n").filter(|line| !line.is_empty());
    // No name has a quotation mark in it.
    lines
        .map(|line| {
            let (_, name) = line.strip_suffix("\"}}")?.rsplit_once('"')?;
            Some((name, line))
        })
        .collect()
}

fn joined<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let mut text = HEAD.to_owned();
    for (at, line) in lines.enumerate() {
        text.push_str(if at > 0 { ",\n" } else { "" });
        text.push_str(line);
    }
    text.push_str(TAIL);
    text
}

fn make(store: &Store) -> Result<()> {
    let mut lines = BTreeMap::new();
    for row in store.facts().references()? {
        if matches!(row.target, Target::Tag(_)) {
            let name = format!("{}{}", row.repository, row.target);
            if let Some(line) = line(store, &name, &row.image)? {
                lines.insert(name, line);
            }
        }
    }
    write(store, &joined(lines.values().map(String::as_str)))
}

/// The line of a name; none if the image is not all in the store's blobs.
fn line(store: &Store, name: &str, image: &Digest) -> Result<Option<String>> {
    let Some((document, manifest)) = manifest_in_store(store, image)? else {
        return Ok(None);
    };
    let size = document.bytes.len() as u64;
    let descriptor = named(
        Descriptor::new(manifest.media_type, document.digest, size),
        name,
    );
    serde_json::to_string(&descriptor)
        .map(Some)
        .map_err(|error| {
            Error::new(ErrorKind::Other, OPERATION)
                .caused_by(error)
                .into()
        })
}

/// A manifest in an index, under a whole name.
pub(crate) fn named(mut descriptor: Descriptor, name: &str) -> Descriptor {
    for key in [IMAGE_NAME, REF_NAME] {
        descriptor.annotations.insert(key.into(), name.into());
    }
    descriptor
}

fn write(store: &Store, text: &str) -> Result<()> {
    let io = |error| Error::io(OPERATION, error);
    let path = index(store);
    let beside = path.with_extension("json.new");
    fs_err::write(&beside, text).map_err(io)?;
    fs_err::rename(&beside, &path).map_err(io)?;
    Ok(())
}

/// The names in what people are told of a removal.
pub(crate) fn targets(names: impl IntoIterator<Item = String>) -> Vec<(String, Target)> {
    let references = names
        .into_iter()
        .filter_map(|name| Reference::parse(&name).ok());
    references
        .map(|reference| {
            let target = crate::images::target_of(&reference);
            (reference.repository().to_string(), target)
        })
        .collect()
}

/// An index of these manifests, by OCI's `image-index.md`.
pub(crate) fn index_of(manifests: &[Descriptor]) -> Vec<u8> {
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_INDEX,
        "manifests": manifests,
    })
    .to_string()
    .into_bytes()
}
