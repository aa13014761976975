//! The reader: a state machine that is fed bytes and answers with events.

use super::entry::{Entry, EntryKind, EntryPath, Item, Metadata, TarName, Timestamp};
use super::error::{CodecError, CodecErrorKind, Malformed, Rule, shown};
use super::header::{self, Header, NameBuffer, padding_after};
use super::limits::Limits;
use super::pax::{Pax, Scope};
use super::sparse::{MapReader, Segment, SparseKind, SparseMap};
use super::{BLOCK, Block};

/// What one call of [`Decoder::advance`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// How many bytes of the input are done with.
    ///
    /// They are content if the event is [`Event::Data`], and framing (headers, names, padding, end
    /// mark, skipped content) with any other event. Every byte of an archive is consumed exactly
    /// once, in order: framing and content put together again are the archive.
    pub consumed: usize,
    /// What they meant.
    pub event: Event,
}

/// What a decoder has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The whole input is consumed; more is needed, or [`Decoder::finish`].
    NeedMore,
    /// An entry, a whiteout or an opaque mark. After an entry that is a file come its [`Data`]
    /// and [`Hole`]s, in order and without gaps, then [`EndOfEntry`].
    ///
    /// [`Data`]: Event::Data
    /// [`Hole`]: Event::Hole
    /// [`EndOfEntry`]: Event::EndOfEntry
    Item(Item),
    /// The consumed bytes belong into the current file.
    Data {
        /// Where in the file they begin.
        offset: u64,
    },
    /// Zeros of the current file that the archive does not store.
    Hole {
        /// Where in the file they begin.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// The current file is complete.
    EndOfEntry,
    /// An entry that means nothing in a layer was left out.
    Skipped(Skipped),
    /// The end mark. What follows it is consumed and does not count.
    End,
}

/// An entry that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its name as the archive has it.
    pub name: Vec<u8>,
    /// Why.
    pub reason: SkipReason,
}

/// Why an entry was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// aufs's own records: `.wh..wh.plnk`, `.wh..wh.orph`, `.wh..wh.aufs`, and all below them.
    AufsMetadata,
    /// The label of a GNU tar volume.
    VolumeLabel,
}

/// What an archive held, known at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Entries, whiteouts, opaque marks and skipped entries.
    pub entries: u64,
    /// Entries left out.
    pub skipped: u64,
    /// Extended attributes left out: SELinux, IMA and EVM labels, `btrfs.*`, and namespaces that
    /// layers do not carry.
    pub dropped_xattrs: u64,
    /// Whether the two zero blocks were there.
    pub end_mark: bool,
    /// Where the first byte after the end mark stands that is not zero. Such bytes are part of the
    /// archive's digest and of nothing else, as with GNU tar and Go.
    pub trailing_data: Option<u64>,
}

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
    /// In the continuation blocks of an old GNU sparse file.
    OldGnuMap {
        entry: Box<Entry>,
        real_size: u64,
        map: SparseMap,
    },
    /// In the map before the content of a PAX 1.0 sparse file.
    PaxMap {
        entry: Box<Entry>,
        real_size: u64,
        reader: MapReader,
    },
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

/// The content of the current file.
#[derive(Debug, Default)]
struct Content {
    /// Bytes of the file, holes included.
    size: u64,
    /// How far it has been told.
    position: u64,
    /// What is left of the current segment.
    segment: Segment,
    /// The segments after it.
    segments: std::vec::IntoIter<Segment>,
    /// Bytes in the archive that come after the content.
    padding: u64,
}

/// A block in the caller's buffer, or put together from pieces.
enum BlockBytes<'a> {
    Whole(&'a Block),
    Assembled(Block),
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
            State::OldGnuMap { map, .. } => map.buffered(),
            State::PaxMap { reader, .. } => reader.map.buffered(),
            _ => self.content.segments.len() * size_of::<Segment>(),
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
                State::Content => self.read_content(rest),
                &mut State::Extension { kind, left } => {
                    if !self.read_extension(rest, kind, left)? {
                        return Ok(Event::NeedMore);
                    }
                    None
                }
                State::OldGnuMap { .. } | State::PaxMap { .. } => {
                    let Some(block) = self.next_block(rest) else {
                        return Ok(Event::NeedMore);
                    };
                    self.read_map(&block)?
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
        Some(BlockBytes::Assembled(*self.block))
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
        let left = usize::try_from(size)
            .ok()
            .filter(|&size| size <= limit)
            .ok_or_else(|| {
                Fault::new(
                    CodecErrorKind::OverLimit {
                        what,
                        limit: limit as u64,
                    },
                    "extended header",
                )
            })?;
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
        self.build_entry(header, &mut pax, &Names { raw, link })
            .map_err(|kind| Fault::new(kind, shown(raw)))
    }

    fn build_entry(
        &mut self,
        header: &Header<'_>,
        pax: &mut Pax,
        names: &Names<'_>,
    ) -> Result<Option<Event>, CodecErrorKind> {
        self.summary.entries += 1;
        if self.summary.entries > self.limits.entries {
            let limit = self.limits.entries;
            return Err(CodecErrorKind::OverLimit {
                what: "entries",
                limit,
            });
        }
        let size = match pax.size {
            Some(size) => size,
            None => header.size()?,
        };
        let kind = header_kind(header.flag(), names.raw)?;
        // Only these types have content. A size in any other header means nothing: GNU tar, Go and
        // Python agree on that, and so on where the next header stands.
        let stored = if matches!(kind, HeaderKind::File | HeaderKind::OldGnuSparse) {
            size
        } else {
            0
        };
        if stored > i64::MAX as u64 - BLOCK as u64 {
            return Err(Malformed::Number("size").into());
        }
        let sparse = pax.sparse.finish()?;
        if kind != HeaderKind::File && !matches!(sparse, SparseKind::None) {
            return Err(Malformed::SparseHeader.into());
        }
        if kind == HeaderKind::VolumeLabel {
            return Ok(Some(self.skip(names.raw, SkipReason::VolumeLabel, 0)));
        }
        let name = TarName::parse(names.raw)?;
        if kind == HeaderKind::OldGnuSparse && !matches!(name, TarName::Plain(_)) {
            // Its map may go on in blocks that no size accounts for.
            return Err(Malformed::SparseHeader.into());
        }
        let path = match name {
            TarName::Plain(path) => path,
            TarName::AufsMetadata(_) => {
                return Ok(Some(self.skip(names.raw, SkipReason::AufsMetadata, stored)));
            }
            TarName::Whiteout { directory, name } => {
                self.check_path(&directory, name.len() + 1)?;
                self.state = State::Skip {
                    left: stored + padding_after(stored),
                };
                return Ok(Some(Event::Item(Item::Whiteout { directory, name })));
            }
            TarName::Opaque { directory } => {
                self.check_path(&directory, 0)?;
                self.state = State::Skip {
                    left: stored + padding_after(stored),
                };
                return Ok(Some(Event::Item(Item::Opaque { directory })));
            }
        };
        self.check_path(&path, 0)?;
        if path.is_root() && kind != HeaderKind::Directory {
            return Err(Rule::RootType.into());
        }
        let kind = self.entry_kind(header, kind, (pax, names.link, size))?;
        let metadata = metadata(header, pax, &kind)?;
        let xattrs = pax.take_xattrs();
        self.summary.dropped_xattrs += pax.dropped_xattrs;
        let entry = Entry {
            path,
            kind,
            metadata,
            xattrs,
        };
        self.begin_content(header, entry, (stored, sparse))
    }

    fn skip(&mut self, name: &[u8], reason: SkipReason, stored: u64) -> Event {
        self.summary.skipped += 1;
        self.state = State::Skip {
            left: stored + padding_after(stored),
        };
        Event::Skipped(Skipped {
            name: name.to_vec(),
            reason,
        })
    }

    fn check_path(&self, path: &EntryPath, more: usize) -> Result<(), CodecErrorKind> {
        if path.as_bytes().len() + more > self.limits.path {
            let limit = self.limits.path as u64;
            return Err(CodecErrorKind::OverLimit {
                what: "bytes of a path",
                limit,
            });
        }
        Ok(())
    }

    fn entry_kind(
        &self,
        header: &Header<'_>,
        kind: HeaderKind,
        (pax, link, size): (&Pax, &[u8], u64),
    ) -> Result<EntryKind, CodecErrorKind> {
        let device = || -> Result<(u32, u32), Malformed> {
            let (major, minor) = header.device()?;
            Ok((
                pax.device_major.unwrap_or(major),
                pax.device_minor.unwrap_or(minor),
            ))
        };
        Ok(match kind {
            HeaderKind::File => EntryKind::File { size },
            HeaderKind::OldGnuSparse => EntryKind::File {
                size: header.sparse()?.2,
            },
            HeaderKind::HardLink if link.is_empty() => return Err(Rule::EmptyTarget.into()),
            HeaderKind::HardLink => match TarName::parse(link)? {
                TarName::Plain(target) if target.is_root() => return Err(Rule::LinkToRoot.into()),
                TarName::Plain(target) => {
                    self.check_path(&target, 0)?;
                    EntryKind::HardLink { target }
                }
                _ => return Err(Rule::WhiteoutName.into()),
            },
            HeaderKind::Symlink if link.is_empty() => return Err(Rule::EmptyTarget.into()),
            HeaderKind::Symlink if link.len() > self.limits.link => {
                let limit = self.limits.link as u64;
                return Err(CodecErrorKind::OverLimit {
                    what: "bytes of a link target",
                    limit,
                });
            }
            HeaderKind::Symlink => EntryKind::Symlink {
                target: link.to_vec(),
            },
            HeaderKind::CharDevice => match device()? {
                (0, 0) => return Err(Rule::WhiteoutDevice.into()),
                (major, minor) => EntryKind::CharDevice { major, minor },
            },
            HeaderKind::BlockDevice => {
                let (major, minor) = device()?;
                EntryKind::BlockDevice { major, minor }
            }
            HeaderKind::Directory => EntryKind::Directory,
            HeaderKind::Fifo => EntryKind::Fifo,
            HeaderKind::VolumeLabel => return Err(Rule::EntryType(header.flag()).into()),
        })
    }

    /// Turns to what follows the header of an entry: its content, or first its sparse map.
    fn begin_content(
        &mut self,
        header: &Header<'_>,
        mut entry: Entry,
        (stored, sparse): (u64, SparseKind),
    ) -> Result<Option<Event>, CodecErrorKind> {
        self.content.padding = padding_after(stored);
        self.content.segment = Segment {
            offset: 0,
            length: stored,
        };
        if header.flag() == b'S' {
            let (fields, continued, real_size) = header.sparse()?;
            let mut map = SparseMap::default();
            map.read_old_gnu(fields, &self.limits)?;
            if continued {
                self.state = State::OldGnuMap {
                    entry: Box::new(entry),
                    real_size,
                    map,
                };
                return Ok(None);
            }
            return self.begin_sparse(entry, real_size, map).map(Some);
        }
        match sparse {
            SparseKind::None => {}
            SparseKind::Listed { real_size, map } => {
                return self.begin_sparse(entry, real_size, map).map(Some);
            }
            SparseKind::InContent { real_size } => {
                let reader = MapReader::default();
                self.state = State::PaxMap {
                    entry: Box::new(entry),
                    real_size,
                    reader,
                };
                return Ok(None);
            }
        }
        match &mut entry.kind {
            EntryKind::File { .. } => self.begin_file(stored, Vec::new()),
            _ => self.state = State::Header,
        }
        Ok(Some(Event::Item(Item::Entry(entry))))
    }

    fn begin_sparse(
        &mut self,
        mut entry: Entry,
        real_size: u64,
        map: SparseMap,
    ) -> Result<Event, CodecErrorKind> {
        let segments = map.checked(real_size, self.content.segment.length)?;
        entry.kind = EntryKind::File { size: real_size };
        self.content.segment = Segment::default();
        self.begin_file(real_size, segments);
        Ok(Event::Item(Item::Entry(entry)))
    }

    fn begin_file(&mut self, size: u64, segments: Vec<Segment>) {
        self.content.size = size;
        self.content.position = 0;
        self.content.segments = segments.into_iter();
        self.state = State::Content;
    }

    /// Takes one block of a sparse map that stands after the header.
    fn read_map(&mut self, block: &Block) -> Result<Option<Event>, Fault> {
        let complete = match &mut self.state {
            State::OldGnuMap { map, .. } => map
                .read_old_gnu_block(block, &self.limits)
                .map(|more| !more),
            State::PaxMap { reader, .. } => {
                // The map is part of the stored size.
                let stored = &mut self.content.segment.length;
                match stored.checked_sub(BLOCK as u64) {
                    Some(left) => {
                        *stored = left;
                        reader.read(block, &self.limits)
                    }
                    None => Err(Malformed::SparseMap.into()),
                }
            }
            _ => unreachable!("only the map states read map blocks"),
        };
        let complete = complete.map_err(|kind| Fault::new(kind, "sparse map"))?;
        if !complete {
            return Ok(None);
        }
        let (entry, real_size, map) = match std::mem::replace(&mut self.state, State::Header) {
            State::OldGnuMap {
                entry,
                real_size,
                map,
            } => (entry, real_size, map),
            State::PaxMap {
                entry,
                real_size,
                reader,
            } => (entry, real_size, reader.map),
            _ => unreachable!("only the map states read map blocks"),
        };
        let subject = shown(entry.path.as_bytes());
        self.begin_sparse(*entry, real_size, map)
            .map(Some)
            .map_err(|kind| Fault::new(kind, subject))
    }

    fn read_content(&mut self, rest: &mut &[u8]) -> Option<Event> {
        let content = &mut self.content;
        if content.segment.length == 0
            && let Some(segment) = content.segments.next()
        {
            content.segment = segment;
        }
        let data = content.segment.length > 0;
        let next = if data {
            content.segment.offset
        } else {
            content.size
        };
        if content.position < next {
            let (offset, length) = (content.position, next - content.position);
            content.position = next;
            return Some(Event::Hole { offset, length });
        }
        if !data {
            self.state = State::Skip {
                left: content.padding,
            };
            return Some(Event::EndOfEntry);
        }
        if rest.is_empty() {
            return Some(Event::NeedMore);
        }
        let length = content.segment.length.min(rest.len() as u64);
        let offset = content.position;
        content.position += length;
        content.segment.offset += length;
        content.segment.length -= length;
        self.consume(rest, length as usize);
        Some(Event::Data { offset })
    }
}

/// The names of an entry as the archive has them.
struct Names<'a> {
    raw: &'a [u8],
    link: &'a [u8],
}

/// What a type flag stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HeaderKind {
    File,
    OldGnuSparse,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
    VolumeLabel,
}

fn header_kind(flag: u8, name: &[u8]) -> Result<HeaderKind, Rule> {
    Ok(match flag {
        // Before POSIX, a slash was all that told a directory.
        0 if name.ends_with(b"/") => HeaderKind::Directory,
        // `7` is a contiguous file, which Linux does not know.
        0 | b'0' | b'7' => HeaderKind::File,
        b'S' => HeaderKind::OldGnuSparse,
        b'1' => HeaderKind::HardLink,
        b'2' => HeaderKind::Symlink,
        b'3' => HeaderKind::CharDevice,
        b'4' => HeaderKind::BlockDevice,
        b'5' => HeaderKind::Directory,
        b'6' => HeaderKind::Fifo,
        b'V' => HeaderKind::VolumeLabel,
        // Among them GNU's incremental dumps (`D`) and pieces of files (`M`).
        other => return Err(Rule::EntryType(other)),
    })
}

fn metadata(header: &Header<'_>, pax: &Pax, kind: &EntryKind) -> Result<Metadata, CodecErrorKind> {
    let mode = match kind {
        EntryKind::Symlink { .. } => 0o777,
        _ => header.mode()?,
    };
    let uid = pax.uid.map_or_else(|| header.uid(), Ok)?;
    let gid = pax.gid.map_or_else(|| header.gid(), Ok)?;
    if uid == u32::MAX || gid == u32::MAX {
        return Err(Rule::NoOwner.into());
    }
    let mtime = match pax.mtime {
        Some(mtime) => mtime,
        None => Timestamp {
            seconds: header.mtime()?,
            nanoseconds: 0,
        },
    };
    Ok(Metadata {
        mode,
        uid,
        gid,
        mtime,
    })
}

fn is_zero(block: &Block) -> bool {
    block.iter().all(|&byte| byte == 0)
}
