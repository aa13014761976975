//! The look at a changeset's first header, before anything is touched on its account.

use super::error::{OPERATION, codec, refused};
use super::pipeline;
use crate::changeset::{BLOCK, CodecError, CodecErrorKind, Decoder, Limits, Malformed};
use crate::error::{Error, Result};
use crate::stream::read_error;
use std::io::{Cursor, Read};

/// `changeset` from its first byte, once its first header has been read and is one, or the stream
/// has ended cleanly before any.
pub(crate) fn checked(mut changeset: Box<dyn Read + Send>) -> Result<Box<dyn Read + Send>> {
    let mut block = vec![0; BLOCK];
    let length = pipeline::fill(&mut *changeset, &mut block)
        .map_err(|error| read_error(OPERATION, error))?;
    block.truncate(length);
    let mut decoder = Decoder::new(Limits::default());
    let outcome = match decoder.advance(&block) {
        Ok(_) if length < BLOCK => decoder.finish().map(drop),
        outcome => outcome.map(drop),
    };
    match outcome {
        Ok(()) => Ok(Box::new(Cursor::new(block).chain(changeset))),
        Err(error) => Err(told(error, &block)),
    }
}

/// What a stream is that begins with `block` and not with an entry.
fn told(error: CodecError, block: &[u8]) -> Error {
    let is_archive = !matches!(
        error.kind,
        CodecErrorKind::Malformed(Malformed::Checksum) | CodecErrorKind::Truncated
    );
    if is_archive {
        return codec(error).hint("nothing was applied: the snapshot is as it was");
    }
    let (reason, hint) = match block {
        [0x1f, 0x8b, ..] => ("it looks like gzip", "decompress it first"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("it looks like zstd", "decompress it first"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("it looks like xz", "decompress it first"),
        [0x7f, b'E', b'L', b'F', ..] => ("it looks like a program (ELF)", "apply a tar archive"),
        _ => ("it does not begin with a tar header", "apply a tar archive"),
    };
    refused(format!("the changeset is no tar archive: {reason}"))
        .hint(format!(
            "{hint}; nothing was applied, the snapshot is as it was"
        ))
        .caused_by(error)
}
