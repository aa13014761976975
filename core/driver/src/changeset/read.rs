//! The reader: a state machine that is fed bytes and answers with events.

use super::assemble::{Assembled, FileMap, Source};
use super::content::{Content, Next};
use super::entry::{Entry, EntryKind, Item};
use super::error::{CodecError, CodecErrorKind, Malformed, shown};
use super::event::{Event, Skipped, Step, Summary};
use super::header::{self, Header, NameBuffer, padding_after};
use super::limits::Limits;
use super::pax::{Pax, Scope};
use super::sparse::{MapReader, SparseMap};
use super::{BLOCK, Block};

/// A pull parser over pushed bytes.
///
/// Feed it with [`advance`](Self::advance) until that answers [`Event::NeedMore`], then give it more;
/// call [`finish`](Self::finish) when there is none. It reads version 7, ustar, star, GNU and PAX
/// archives. An error is final.
///
/// Not checked here, since it takes memory of all names: that a hard link's target is in the layer.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    state: State,
    /// Bytes consumed.
    offset: u64,
    /// Where the header stands that is being read, for messages.
    header_offset: u64,
    /// A block that came in pieces, and how much of it is there.
    block: Box<Block>,
    filled: usize,
    /// The body of an extended header that came in pieces.
    body: Vec<u8>,
    global: Option<Pax>,
    pending: Pending,
    content: Content,
    summary: Summary,
    failed: Option<CodecError>,
}

#[derive(Debug)]
enum State {
    /// Before a header.
    Header,
    /// In the body of an extended header.
    Extension { kind: Extension, left: usize },
    /// In a sparse map that stands after the header.
    Map(Box<PendingMap>),
    /// In the content of a file.
    Content,
    /// In bytes that do not count; a header comes after them.
    Skip { left: u64 },
    /// After one zero block.
    ZeroBlock,
    /// After the end mark.
    Trailer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    Pax(Scope),
    LongName,
    LongLink,
}

/// What extended headers said about the entry to come.
#[derive(Debug, Default)]
struct Pending {
    pax: Option<Pax>,
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.pax.is_none() && self.name.is_none() && self.link.is_none()
    }
}

/// A sparse file whose map is not all there yet.
#[derive(Debug)]
struct PendingMap {
    entry: Entry,
    source: MapSource,
    /// Bytes of content in the archive.
    stored: u64,
    /// Bytes of padding after it.
    padding: u64,
}

/// Where the rest of a sparse map stands.
#[derive(Debug)]
enum MapSource {
    /// In blocks between header and content.
    OldGnu(SparseMap),
    /// In text at the beginning of the content.
    Pax(MapReader),
}

/// A block in the caller's buffer, or put together from pieces.
enum BlockBytes<'a> {
    Whole(&'a Block),
    Assembled(Box<Block>),
}

impl std::ops::Deref for BlockBytes<'_> {
    type Target = Block;

    fn deref(&self) -> &Block {
        match self {
            Self::Whole(block) => block,
            Self::Assembled(block) => block,
        }
    }
}

/// An error before it knows where it happened.
struct Fault {
    kind: CodecErrorKind,
    subject: String,
}

impl Fault {
    fn new(kind: impl Into<CodecErrorKind>, subject: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            subject: subject.into(),
        }
    }
}

impl Decoder {
    /// A decoder at the beginning of an archive.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            state: State::Header,
            offset: 0,
            header_offset: 0,
            block: Box::new([0; BLOCK]),
            filled: 0,
            body: Vec::new(),
            global: None,
            pending: Pending::default(),
            content: Content::default(),
            summary: Summary::default(),
            failed: None,
        }
    }

    /// How many bytes of the archive have been consumed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes that the decoder holds on the heap for the entry at hand: bounded by its limits.
    pub fn buffered(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        let pax = |pax: &Option<Pax>| pax.as_ref().map_or(0, Pax::buffered);
        let map = match &self.state {
            State::Map(pending) => match &pending.source {
                MapSource::OldGnu(map) => map.buffered(),
                MapSource::Pax(reader) => reader.map.buffered(),
            },
            _ => self.content.buffered(),
        };
        self.body.len()
            + length(&self.pending.name)
            + length(&self.pending.link)
            + pax(&self.pending.pax)
            + pax(&self.global)
            + map
    }

    /// Takes bytes off the front of `input` and says what they meant.
    ///
    /// The first byte of `input` must be the one after those consumed so far.
    ///
    /// # Errors
    /// [`CodecError`], and the same again on every later call.
    pub fn advance(&mut self, input: &[u8]) -> Result<Step, CodecError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let mut rest = input;
        match self.run(&mut rest) {
            Ok(event) => Ok(Step {
                consumed: input.len() - rest.len(),
                event,
            }),
            Err(fault) => {
                let Fault { kind, subject } = fault;
                let error = CodecError {
                    offset: self.header_offset,
                    kind,
                    subject,
                };
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Says that the archive is complete. A missing end mark and an empty archive are accepted.
    ///
    /// # Errors
    /// The archive ends inside an entry or its padding, or an earlier call has failed.
    pub fn finish(self) -> Result<Summary, CodecError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let truncated = match self.state {
            State::Header => self.filled > 0 || !self.pending.is_empty(),
            State::ZeroBlock => self.filled > 0,
            State::Skip { left } => left > 0,
            State::Trailer => false,
            _ => true,
        };
        if truncated {
            let (offset, kind) = (self.offset, CodecErrorKind::Truncated);
            let subject = format!("entry at byte {}", self.header_offset);
            return Err(CodecError {
                offset,
                kind,
                subject,
            });
        }
        Ok(self.summary)
    }

    fn run(&mut self, rest: &mut &[u8]) -> Result<Event, Fault> {
        loop {
            let event = match &mut self.state {
                State::Header => {
                    let Some(block) = self.next_block(rest) else {
                        return Ok(Event::NeedMore);
                    };
                    self.read_header(&block)?
                }
                State::Skip { left } => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    *left -= length as u64;
                    let more = *left > 0;
                    self.consume(rest, length);
                    if more {
                        return Ok(Event::NeedMore);
                    }
                    self.state = State::Header;
                    None
                }
                State::Content => match self.content.advance(rest.len()) {
                    Next::Event(event, length) => {
                        self.consume(rest, length);
                        return Ok(event);
                    }
                    Next::Padding(left) => {
                        self.state = State::Skip { left };
                        return Ok(Event::EndOfEntry);
                    }
                },
                &mut State::Extension { kind, left } => {
                    if !self.read_extension(rest, kind, left)? {
                        return Ok(Event::NeedMore);
                    }
                    None
                }
                State::Map(_) => {
                    let Some(block) = self.next_block(rest) else {
                        return Ok(Event::NeedMore);
                    };
                    match std::mem::replace(&mut self.state, State::Header) {
                        State::Map(pending) => self.read_map(pending, &block)?,
                        _ => None,
                    }
                }
                State::ZeroBlock => {
                    let Some(block) = self.next_block(rest) else {
                        return Ok(Event::NeedMore);
                    };
                    self.header_offset = self.offset - BLOCK as u64;
                    if !is_zero(&block) {
                        return Err(Fault::new(Malformed::LoneZeroBlock, "end mark"));
                    }
                    self.state = State::Trailer;
                    self.summary.end_mark = true;
                    Some(Event::End)
                }
                State::Trailer => {
                    if self.summary.trailing_data.is_none() {
                        let found = rest.iter().position(|&byte| byte != 0);
                        self.summary.trailing_data = found.map(|at| self.offset + at as u64);
                    }
                    self.consume(rest, rest.len());
                    return Ok(Event::NeedMore);
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    fn consume<'a>(&mut self, rest: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (taken, left) = rest.split_at(length);
        *rest = left;
        self.offset += length as u64;
        taken
    }

    /// The next block; `None` if it is not all there yet, and then the input is consumed.
    fn next_block<'a>(&mut self, rest: &mut &'a [u8]) -> Option<BlockBytes<'a>> {
        if self.filled == 0
            && let Some(block) = rest.first_chunk::<BLOCK>()
        {
            self.consume(rest, BLOCK);
            return Some(BlockBytes::Whole(block));
        }
        let length = rest.len().min(BLOCK - self.filled);
        let taken = self.consume(rest, length);
        self.block[self.filled..self.filled + length].copy_from_slice(taken);
        self.filled += length;
        if self.filled < BLOCK {
            return None;
        }
        self.filled = 0;
        Some(BlockBytes::Assembled(self.block.clone()))
    }

    fn read_header(&mut self, block: &Block) -> Result<Option<Event>, Fault> {
        self.header_offset = self.offset - BLOCK as u64;
        if block[0] == 0 && is_zero(block) {
            if !self.pending.is_empty() {
                return Err(Fault::new(Malformed::StrayExtension, "end mark"));
            }
            self.state = State::ZeroBlock;
            return Ok(None);
        }
        let header = Header::parse(block).map_err(|kind| Fault::new(kind, "header"))?;
        let extension = match header.flag() {
            b'x' => Extension::Pax(Scope::Entry),
            b'g' => Extension::Pax(Scope::Global),
            b'L' => Extension::LongName,
            b'K' => Extension::LongLink,
            _ => return self.read_entry(&header),
        };
        self.begin_extension(&header, extension)?;
        Ok(None)
    }

    fn begin_extension(&mut self, header: &Header<'_>, kind: Extension) -> Result<(), Fault> {
        let repeated = match kind {
            Extension::Pax(Scope::Entry) => self.pending.pax.is_some(),
            Extension::Pax(Scope::Global) => !self.pending.is_empty(),
            Extension::LongName => self.pending.name.is_some(),
            Extension::LongLink => self.pending.link.is_some(),
        };
        if repeated {
            return Err(Fault::new(Malformed::RepeatedExtension, "extended header"));
        }
        let (what, limit) = match kind {
            Extension::Pax(_) => ("bytes of an extended header", self.limits.pax_header),
            _ => ("bytes of a GNU long name", self.limits.pax_record),
        };
        let size = header
            .size()
            .map_err(|kind| Fault::new(kind, "extended header"))?;
        let Some(left) = usize::try_from(size).ok().filter(|&size| size <= limit) else {
            let kind = CodecErrorKind::OverLimit {
                what,
                limit: limit as u64,
            };
            return Err(Fault::new(kind, "extended header"));
        };
        self.state = State::Extension { kind, left };
        Ok(())
    }

    /// Takes the body of an extended header; says whether it was all there.
    fn read_extension(
        &mut self,
        rest: &mut &[u8],
        kind: Extension,
        left: usize,
    ) -> Result<bool, Fault> {
        let whole = self.body.is_empty() && rest.len() >= left;
        let taken = self.consume(rest, left.min(rest.len()));
        let assembled;
        let body = if whole {
            taken
        } else {
            self.body.extend_from_slice(taken);
            let left = left - taken.len();
            if left > 0 {
                self.state = State::Extension { kind, left };
                return Ok(false);
            }
            assembled = std::mem::take(&mut self.body);
            &assembled
        };
        match kind {
            Extension::Pax(scope) => self.read_pax(body, scope)?,
            Extension::LongName => self.pending.name = Some(header::until_nul(body).to_vec()),
            Extension::LongLink => self.pending.link = Some(header::until_nul(body).to_vec()),
        }
        self.state = State::Skip {
            left: padding_after(body.len() as u64),
        };
        Ok(true)
    }

    fn read_pax(&mut self, body: &[u8], scope: Scope) -> Result<(), Fault> {
        let mut pax = match scope {
            Scope::Entry => self.global.clone().unwrap_or_default(),
            Scope::Global => self.global.take().unwrap_or_default(),
        };
        pax.read(body, scope, &self.limits).map_err(|error| {
            let subject = match error.key {
                Some(key) => format!("extended header, key {key}"),
                None => "extended header".to_owned(),
            };
            Fault::new(error.kind, subject)
        })?;
        match scope {
            Scope::Entry => self.pending.pax = Some(pax),
            Scope::Global => self.global = Some(pax),
        }
        Ok(())
    }

    fn read_entry(&mut self, header: &Header<'_>) -> Result<Option<Event>, Fault> {
        let pending = std::mem::take(&mut self.pending);
        let mut pax = pending
            .pax
            .or_else(|| self.global.clone())
            .unwrap_or_default();
        let mut buffer: NameBuffer = [0; 256];
        if pending.name.is_some() && pax.path.is_some()
            || pending.link.is_some() && pax.linkpath.is_some()
        {
            let name = pax.path.as_deref().unwrap_or_default();
            return Err(Fault::new(Malformed::TwoNames, shown(name)));
        }
        let in_pax = pax
            .sparse
            .name
            .take()
            .or_else(|| pax.path.take())
            .or(pending.name);
        let raw = in_pax
            .as_deref()
            .unwrap_or_else(|| header.name(&mut buffer));
        let link = pax.linkpath.take().or(pending.link);
        let link = link.as_deref().unwrap_or_else(|| header.link());
        self.summary.entries += 1;
        let source = Source {
            header: *header,
            name: raw,
            link,
            limits: &self.limits,
        };
        let event = if self.summary.entries > self.limits.entries {
            Err(CodecErrorKind::OverLimit {
                what: "entries",
                limit: self.limits.entries,
            })
        } else {
            source
                .assemble(&mut pax)
                .and_then(|assembled| self.begin(assembled, raw))
        };
        self.summary.dropped_xattrs += pax.dropped_xattrs;
        event.map_err(|kind| Fault::new(kind, shown(raw)))
    }

    /// Turns to what follows the header of an entry: its content, or first its sparse map.
    fn begin(
        &mut self,
        assembled: Assembled,
        name: &[u8],
    ) -> Result<Option<Event>, CodecErrorKind> {
        let (entry, stored, map) = match assembled {
            Assembled::Item { item, ignored } => {
                self.skip(ignored);
                return Ok(Some(Event::Item(item)));
            }
            Assembled::Skipped { reason, ignored } => {
                self.summary.skipped += 1;
                self.skip(ignored);
                return Ok(Some(Event::Skipped(Skipped {
                    name: name.to_vec(),
                    reason,
                })));
            }
            Assembled::File { entry, stored, map } => (entry, stored, map),
        };
        let padding = padding_after(stored);
        let source = match map {
            FileMap::Whole => {
                self.state = State::Content;
                self.content = Content::plain(stored, padding);
                return Ok(Some(Event::Item(Item::Entry(entry))));
            }
            FileMap::Listed(map) => {
                return self.begin_sparse(entry, map, (stored, padding)).map(Some);
            }
            FileMap::Continued(map) => MapSource::OldGnu(map),
            FileMap::InContent => MapSource::Pax(MapReader::default()),
        };
        self.state = State::Map(Box::new(PendingMap {
            entry,
            source,
            stored,
            padding,
        }));
        Ok(None)
    }

    fn skip(&mut self, ignored: u64) {
        let left = ignored + padding_after(ignored);
        self.state = if left == 0 {
            State::Header
        } else {
            State::Skip { left }
        };
    }

    fn begin_sparse(
        &mut self,
        entry: Entry,
        map: SparseMap,
        (stored, padding): (u64, u64),
    ) -> Result<Event, CodecErrorKind> {
        if let EntryKind::File { size } = entry.kind {
            self.content = Content::sparse(size, map.checked(size, stored)?, padding);
            self.state = State::Content;
        }
        Ok(Event::Item(Item::Entry(entry)))
    }

    /// Takes one block of a sparse map that stands after the header.
    fn read_map(
        &mut self,
        mut pending: Box<PendingMap>,
        block: &Block,
    ) -> Result<Option<Event>, Fault> {
        let more = match &mut pending.source {
            MapSource::OldGnu(map) => map.read_old_gnu_block(block, &self.limits),
            // This map is part of the stored size.
            MapSource::Pax(reader) => match pending.stored.checked_sub(BLOCK as u64) {
                Some(stored) => {
                    pending.stored = stored;
                    reader.read(block, &self.limits)
                }
                None => Err(Malformed::SparseMap.into()),
            },
        };
        let subject = |entry: &Entry| shown(entry.path.as_bytes());
        if more.map_err(|kind| Fault::new(kind, subject(&pending.entry)))? {
            self.state = State::Map(pending);
            return Ok(None);
        }
        let PendingMap {
            entry,
            source,
            stored,
            padding,
        } = *pending;
        let map = match source {
            MapSource::OldGnu(map) => map,
            MapSource::Pax(reader) => reader.map,
        };
        let subject = subject(&entry);
        self.begin_sparse(entry, map, (stored, padding))
            .map(Some)
            .map_err(|kind| Fault::new(kind, subject))
    }
}

fn is_zero(block: &Block) -> bool {
    block.iter().all(|&byte| byte == 0)
}
