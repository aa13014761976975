//! What a repair of the store takes from here: how to read a layer's blob.

use crate::document::Compression;
use crate::packing::unpacked;
use std::io::{self, Read as _};
use std::sync::Arc;
use strata_store::BlobReader;
use strata_store::check::Repair;

/// A repair that knows every compression of layers.
pub fn repair() -> Repair {
    Repair::new(Arc::new(|blob| {
        let compression = compression_of(&blob)?;
        Ok(Box::new(unpacked(blob, compression)))
    }))
}

/// How a blob is compressed, by its first bytes: what its media type was stands in no row.
fn compression_of(blob: &BlobReader) -> io::Result<Compression> {
    let mut start = Vec::new();
    blob.clone().take(4).read_to_end(&mut start)?;
    Ok(match start.as_slice() {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        // A frame, or a skippable one before it (RFC 8878, 3.1).
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Compression::Zstd,
        _ => Compression::None,
    })
}
