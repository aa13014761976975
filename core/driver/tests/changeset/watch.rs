//! Decodes an archive piece by piece and checks what every decoding must hold to.

use strata_driver::changeset::{
    CodecError, CodecErrorKind, Decoder, Entry, EntryKind, EntryPath, Event, Item, Limits,
    SkipReason, Summary, encode_item, padding,
};

/// What an archive held, in order; independent of how its bytes arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Item(Item),
    /// The stored stretches of a file, adjacent ones joined.
    Content(Vec<(u64, Vec<u8>)>),
    Skipped(SkipReason),
    End,
}

/// Decodes `archive`, given in pieces of the sizes that `piece` names.
///
/// Checks that framing and content together are the archive, that a file's data and holes come in
/// order and fill it, and that memory stays bounded.
pub(crate) fn decode_in_pieces(
    archive: &[u8],
    limits: Limits,
    mut piece: impl FnMut() -> usize,
) -> Result<(Vec<Seen>, Summary), CodecError> {
    let mut decoder = Decoder::new(limits);
    let mut seen = Vec::new();
    let mut again = Vec::with_capacity(archive.len());
    let mut file: Option<(u64, u64)> = None;
    let mut given = 0;
    let bound = 3 * limits.pax_header + 2 * limits.pax_record + 32 * limits.sparse_segments;
    loop {
        let end = archive.len().min(given + piece());
        let mut input = &archive[given..end];
        loop {
            let step = decoder.advance(input)?;
            let (taken, rest) = input.split_at(step.consumed);
            input = rest;
            again.extend_from_slice(taken);
            assert_eq!(decoder.offset(), again.len() as u64);
            assert!(
                decoder.buffered() <= bound,
                "{} bytes held",
                decoder.buffered()
            );
            match step.event {
                Event::NeedMore => {
                    assert!(input.is_empty(), "input left over");
                    break;
                }
                Event::Item(item) => {
                    assert_eq!(file, None, "an item inside a file");
                    if let Item::Entry(Entry {
                        kind: EntryKind::File { size },
                        ..
                    }) = &item
                    {
                        file = Some((0, *size));
                    }
                    seen.push(Seen::Item(item));
                    if file.is_some() {
                        seen.push(Seen::Content(Vec::new()));
                    }
                }
                Event::Data { offset } => {
                    let (position, size) = file.as_mut().expect("data belongs to a file");
                    assert_eq!(*position, offset);
                    *position += taken.len() as u64;
                    assert!(*position <= *size && !taken.is_empty());
                    let Some(Seen::Content(stretches)) = seen.last_mut() else {
                        unreachable!()
                    };
                    match stretches.last_mut() {
                        Some((start, bytes)) if *start + bytes.len() as u64 == offset => {
                            bytes.extend_from_slice(taken);
                        }
                        _ => stretches.push((offset, taken.to_vec())),
                    }
                }
                Event::Hole { offset, length } => {
                    let (position, size) = file.as_mut().expect("a hole belongs to a file");
                    assert_eq!((*position, taken.len()), (offset, 0));
                    *position += length;
                    assert!(length > 0 && *position <= *size);
                }
                Event::EndOfEntry => {
                    let (position, size) = file.take().expect("a file ends");
                    assert_eq!(position, size);
                }
                Event::Skipped(skipped) => seen.push(Seen::Skipped(skipped.reason)),
                Event::End => seen.push(Seen::End),
            }
        }
        given = end;
        if given == archive.len() {
            break;
        }
    }
    assert!(
        again == archive,
        "framing and content differ from the archive"
    );
    Ok((seen, decoder.finish()?))
}

/// Decodes `archive` given whole.
pub(crate) fn decode(archive: &[u8]) -> Result<(Vec<Seen>, Summary), CodecError> {
    decode_in_pieces(archive, Limits::default(), || usize::MAX / 2)
}

/// The items of an archive that must be readable.
pub(crate) fn items(archive: &[u8]) -> Vec<Item> {
    let (seen, _) = decode(archive).expect("the archive is sound");
    seen.into_iter()
        .filter_map(|seen| match seen {
            Seen::Item(item) => Some(item),
            _ => None,
        })
        .collect()
}

/// Writes what was seen again; holes become zeros.
pub(crate) fn encode(seen: &[Seen]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut size = 0;
    for seen in seen {
        match seen {
            Seen::Item(item) => {
                encode_item(item, &mut out).expect("the item can be written");
                if let Item::Entry(Entry {
                    kind: EntryKind::File { size: bytes },
                    ..
                }) = item
                {
                    size = *bytes;
                }
            }
            Seen::Content(stretches) => {
                let start = out.len();
                out.resize(start + size as usize, 0);
                for (offset, bytes) in stretches {
                    out[start + *offset as usize..][..bytes.len()].copy_from_slice(bytes);
                }
                out.extend_from_slice(padding(size));
            }
            Seen::Skipped(_) | Seen::End => {}
        }
    }
    out.extend_from_slice(&strata_driver::changeset::END_MARK);
    out
}

/// A path that must parse.
pub(crate) fn path(text: &[u8]) -> EntryPath {
    EntryPath::parse(text).expect("the path is sound")
}

/// The entries of an archive that holds nothing else.
pub(crate) fn entries(archive: &[u8]) -> Vec<Entry> {
    let entry = |item| match item {
        Item::Entry(entry) => entry,
        other => panic!("not an entry: {other:?}"),
    };
    items(archive).into_iter().map(entry).collect()
}

/// Checks each archive against the reason it is refused for, and that pieces change nothing.
pub(crate) fn refused(table: &[(&str, Vec<u8>, CodecErrorKind)]) {
    for (what, archive, kind) in table {
        let error = decode(archive).expect_err(what);
        assert_eq!(error.kind, *kind, "{what}: {error}");
        let line = error.to_string();
        assert!(!line.contains(['\n', '\0', '\u{1b}']), "{what}: {line}");
        let again = decode_in_pieces(archive, Limits::default(), || 1).expect_err(what);
        assert_eq!(again, error, "{what} in pieces");
    }
}
