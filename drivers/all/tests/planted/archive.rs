//! A changeset taken apart into its members, and put together again.

use std::io::{Read as _, Write as _};
use strata_driver::changeset::{
    Decoder, END_MARK, Entry, EntryKind, Event, Item, Limits, encode_item, padding,
};
use strata_driver::{ChangesetSource, DiffSink, DiffStream, Error, Result, blocking};
use tokio::io::AsyncReadExt as _;

/// An item with its content.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) item: Item,
    pub(crate) content: Vec<u8>,
}

impl Member {
    /// Its entry, unless it is a mark.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        match &self.item {
            Item::Entry(entry) => Some(entry),
            _ => None,
        }
    }

    /// The path that a whiteout takes away.
    pub(crate) fn gone(&self) -> Option<Vec<u8>> {
        match &self.item {
            Item::Whiteout { directory, name } if directory.is_root() => Some(name.clone()),
            Item::Whiteout { directory, name } => {
                Some([directory.as_bytes(), b"/", &name[..]].concat())
            }
            _ => None,
        }
    }
}

/// The entry of `path`, with its content.
pub(crate) fn find<'a>(members: &'a [Member], path: &[u8]) -> Option<(&'a Entry, &'a [u8])> {
    members.iter().find_map(|member| {
        let entry = member.entry()?;
        (entry.path.as_bytes() == path).then_some((entry, &member.content[..]))
    })
}

/// Whether there is an entry below `directory`, at any depth.
pub(crate) fn has_below(members: &[Member], directory: &[u8]) -> bool {
    let start = [directory, b"/"].concat();
    let mut entries = members.iter().filter_map(Member::entry);
    entries.any(|entry| entry.path.as_bytes().starts_with(&start))
}

pub(crate) fn decode(mut bytes: &[u8]) -> Vec<Member> {
    let mut decoder = Decoder::new(Limits::default());
    let mut members: Vec<Member> = Vec::new();
    loop {
        let step = decoder.advance(bytes).unwrap();
        let (consumed, rest) = bytes.split_at(step.consumed);
        bytes = rest;
        match step.event {
            Event::Item(item) => members.push(Member {
                item,
                content: Vec::new(),
            }),
            Event::Data { .. } => members
                .last_mut()
                .unwrap()
                .content
                .extend_from_slice(consumed),
            Event::NeedMore => return members,
            Event::Hole { .. } => panic!("a canonical changeset has no sparse maps"),
            _ => {}
        }
    }
}

pub(crate) fn encode(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for member in members {
        encode_item(&member.item, &mut bytes).unwrap();
        if let Some(EntryKind::File { size }) = member.entry().map(|entry| &entry.kind) {
            bytes.extend_from_slice(&member.content);
            bytes.extend_from_slice(padding(*size));
        }
    }
    bytes.extend_from_slice(&END_MARK);
    bytes
}

/// All of a stream.
pub(crate) async fn read(mut stream: DiffStream) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let done = stream.read_to_end(&mut bytes).await;
    done.map_err(|error| Error::io("diff", error))?;
    Ok(bytes)
}

/// A stream of these.
pub(crate) fn sent(members: Vec<Member>) -> DiffStream {
    DiffSink::produce(move |sink| {
        let written = sink.write_all(&encode(&members));
        written.map_err(|error| Error::io("diff", error))
    })
}

/// All that is to be applied.
pub(crate) async fn read_source(changeset: ChangesetSource) -> Result<Vec<u8>> {
    blocking(move || {
        let mut bytes = Vec::new();
        let done = changeset.into_read().read_to_end(&mut bytes);
        done.map_err(|error| Error::io("apply", error))?;
        Ok(bytes)
    })
    .await
}
