//! Writing a journal while a layer is applied.

use super::record::{Kind, LONGEST_RAW, MAGIC, Record};
use crc32fast::Hasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use strata_driver::changeset::{BLOCK, Decoder, EntryPath, Event, Item, Limits};
use strata_driver::{ApplyObserver, DiffId};

/// Journals are mostly padding and repeated header fields: the fastest level finds them.
const LEVEL: i32 = 1;

/// Which contents stand in the journal itself, by the place of their entry in the layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inline {
    /// None that is not known to need it when it comes.
    #[default]
    Known,
    /// Those too.
    These(BTreeSet<u64>),
    /// All.
    All,
}

/// What became of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The layer's tree and the journal together are the tar.
    Whole {
        /// Bytes of all contents.
        contents: u64,
    },
    /// They are not: the journal is to be [written again](write_again) with these in it.
    Again(Inline),
}

/// Writes a journal from what an apply lets it see.
pub struct JournalWriter {
    out: zstd::Encoder<'static, BufWriter<File>>,
    raw: Vec<u8>,
    content: Option<Content>,
    layer: Layer,
    inline: Inline,
    contents: u64,
    /// The first failure; nothing is written after it.
    failure: Option<io::Error>,
}

/// The content that is passing.
struct Content {
    /// Its length, once the holes that the tar leaves out are filled.
    declared: u64,
    length: u64,
    checksum: Hasher,
    /// What has passed, where it is kept.
    kept: Option<Vec<u8>>,
    ordinal: u64,
}

impl std::fmt::Debug for JournalWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalWriter")
            .field("inline", &self.inline)
            .finish_non_exhaustive()
    }
}

impl JournalWriter {
    /// Begins a journal in an empty file.
    pub fn new(file: File, inline: Inline) -> io::Result<Self> {
        let mut out = zstd::Encoder::new(BufWriter::new(file), LEVEL)?;
        out.write_all(MAGIC)?;
        Ok(Self {
            out,
            raw: Vec::new(),
            content: None,
            layer: Layer::default(),
            inline,
            contents: 0,
            failure: None,
        })
    }

    /// Ends it. The file is not synced.
    pub fn finish(mut self, digest: DiffId, size: u64) -> io::Result<Written> {
        self.end_content();
        self.flush_raw();
        let digest = digest.sha256();
        self.put(&Record::End { digest, size });
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        self.out.finish()?.flush()?;
        Ok(match (self.inline, self.layer.lost()) {
            (Inline::All, _) => Written::Whole {
                contents: self.contents,
            },
            (_, Lost::Any) => Written::Again(Inline::All),
            (Inline::Known, Lost::These(lost)) if !lost.is_empty() => {
                Written::Again(Inline::These(lost))
            }
            (Inline::These(inline), Lost::These(lost)) if !lost.is_subset(&inline) => {
                Written::Again(Inline::These(lost))
            }
            _ => Written::Whole {
                contents: self.contents,
            },
        })
    }

    fn put(&mut self, record: &Record) {
        if self.failure.is_none() {
            self.failure = record.write(&mut self.out).err();
        }
    }

    fn flush_raw(&mut self) {
        let raw = std::mem::take(&mut self.raw);
        for piece in raw.chunks(LONGEST_RAW) {
            self.put(&Record::Raw(piece.to_vec()));
        }
    }

    fn put_inline(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(LONGEST_RAW) {
            self.put(&Record::Inline(piece.to_vec()));
        }
    }

    fn end_content(&mut self) {
        let Some(content) = self.content.take() else {
            return;
        };
        self.contents += content.declared;
        match content.kept {
            Some(bytes) => self.put_inline(&bytes),
            None if content.length == 0 => {}
            None => {
                if content.length != content.declared {
                    // Stored sparsely, and nothing said so before: the tree gives other bytes.
                    self.layer.lose(content.ordinal);
                }
                self.put(&Record::Content {
                    length: content.length,
                    checksum: content.checksum.finalize(),
                });
            }
        }
    }
}

impl ApplyObserver for JournalWriter {
    fn raw(&mut self, bytes: &[u8]) {
        self.end_content();
        self.raw.extend_from_slice(bytes);
        if self.raw.len() >= LONGEST_RAW {
            self.flush_raw();
        }
    }

    fn item(&mut self, item: &Item) {
        self.end_content();
        self.flush_raw();
        let record = Record::of(item);
        self.put(&record);
        let Record::Entry { path, kind, .. } = record else {
            return;
        };
        let ordinal = self.layer.add(path, &kind);
        if let Kind::File(declared) = kind {
            let keeps = match &self.inline {
                Inline::Known => false,
                Inline::These(these) => these.contains(&ordinal),
                Inline::All => true,
            };
            self.content = Some(Content {
                declared,
                length: 0,
                checksum: Hasher::new(),
                kept: keeps.then(Vec::new),
                ordinal,
            });
        }
    }

    fn data(&mut self, bytes: &[u8]) {
        let Some(content) = &mut self.content else {
            // Content in pieces, with framing between them.
            self.raw.extend_from_slice(bytes);
            return;
        };
        content.length += bytes.len() as u64;
        let Some(kept) = &mut content.kept else {
            content.checksum.update(bytes);
            return;
        };
        kept.extend_from_slice(bytes);
        if kept.len() >= LONGEST_RAW {
            let full = std::mem::take(kept);
            self.put_inline(&full);
        }
    }
}

/// What a layer has named so far: which contents its tree still has at its end.
#[derive(Debug, Default)]
struct Layer {
    entries: u64,
    /// The last of each path, and whether it is a directory.
    named: BTreeMap<EntryPath, Named>,
    lost: BTreeSet<u64>,
    /// An entry was reached through a link of the layer, so that paths say nothing.
    is_linked: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Named {
    Directory,
    File(u64),
    Other,
}

enum Lost {
    These(BTreeSet<u64>),
    Any,
}

impl Layer {
    /// Takes an entry in, and says which it is.
    fn add(&mut self, path: EntryPath, kind: &Kind) -> u64 {
        let ordinal = self.entries;
        self.entries += 1;
        let named = match kind {
            Kind::Directory => Named::Directory,
            Kind::File(_) => Named::File(ordinal),
            Kind::HardLink(_) | Kind::Symlink(_) | Kind::Special => Named::Other,
        };
        let mut above = path.parent();
        while let Some(directory) = above {
            match self.named.get(&directory) {
                // What is above that was looked at when it came.
                Some(Named::Directory) => break,
                Some(Named::File(_) | Named::Other) => self.is_linked = true,
                None => {}
            }
            above = directory.parent();
        }
        if named != Named::Directory {
            let below = self.named.range(path.clone()..).skip(1);
            let lost: Vec<u64> = below
                .take_while(|(known, _)| known.starts_with(&path))
                .filter_map(|(_, named)| named.file())
                .collect();
            self.lost.extend(lost);
        }
        if let Some(before) = self.named.insert(path, named) {
            self.lost.extend(before.file());
        }
        ordinal
    }

    fn lose(&mut self, ordinal: u64) {
        self.lost.insert(ordinal);
    }

    fn lost(self) -> Lost {
        if self.is_linked {
            Lost::Any
        } else {
            Lost::These(self.lost)
        }
    }
}

impl Named {
    fn file(self) -> Option<u64> {
        match self {
            Self::File(ordinal) => Some(ordinal),
            Self::Directory | Self::Other => None,
        }
    }
}

/// Writes the journal of a tar that is applied already.
pub fn write_again(
    file: File,
    inline: Inline,
    tar: &mut impl Read,
    (digest, size): (DiffId, u64),
) -> io::Result<Written> {
    let mut writer = JournalWriter::new(file, inline)?;
    let mut decoder = Decoder::new(Limits::default());
    let mut block = vec![0; 128 * BLOCK];
    loop {
        let length = tar.read(&mut block)?;
        if length == 0 {
            break;
        }
        let mut rest = &block[..length];
        loop {
            let step = decoder.advance(rest).map_err(io::Error::other)?;
            let (bytes, after) = rest.split_at(step.consumed);
            rest = after;
            match step.event {
                Event::Data { .. } => {
                    writer.data(bytes);
                    continue;
                }
                _ if !bytes.is_empty() => writer.raw(bytes),
                _ => {}
            }
            match step.event {
                Event::NeedMore => break,
                Event::Item(item) => writer.item(&item),
                _ => {}
            }
        }
    }
    decoder.finish().map_err(io::Error::other)?;
    writer.finish(digest, size)
}
