//! The members of an archive: read by their headers alone, their contents where they are.
//!
//! An archive may come from anybody. Names never become paths; a link leads to another member or
//! nowhere.

use super::refused;
use crate::Result;
use crate::document::LARGEST_DOCUMENT;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use strata_driver::Error;
use strata_driver::changeset::{CodecError, Decoder, EntryKind, Event, Item, Limits};

const OPERATION: &str = "read archive";
/// What is kept in memory of an archive is bounded by these. An image has some dozen members, with
/// short names.
const LIMITS: Limits = Limits {
    pax_record: 64 << 10,
    pax_header: 1 << 20,
    path: 1024,
    link: 1024,
    xattrs: 64 << 10,
    sparse_segments: 1024,
    entries: 1 << 16,
};
/// Bytes that are read at a header.
const HEADERS: usize = 4 << 10;
/// Bytes of content that are passed over at once.
const CONTENT: usize = 1 << 20;
/// Links that are followed one after the other. Old archives have one.
const MOST_LINKS: usize = 16;

/// An archive, and where its members are.
#[derive(Debug)]
pub(super) struct Archive {
    file: Arc<File>,
    members: HashMap<String, Member>,
}

#[derive(Clone, Debug)]
enum Member {
    File { at: u64, size: u64 },
    Link(String),
}

/// The content of a member; copies read on their own.
#[derive(Clone, Debug)]
pub(crate) struct Section {
    file: Arc<File>,
    at: u64,
    size: u64,
    position: u64,
}

impl Archive {
    /// Reads the headers. Blocking.
    pub(super) fn read(file: File) -> Result<Self> {
        let length = file
            .metadata()
            .map_err(|error| Error::io(OPERATION, error))?
            .len();
        let mut members = HashMap::new();
        let mut headers = Headers::new(&file);
        while let Some((item, at)) = headers.next()? {
            let Item::Entry(entry) = item else {
                return Err(refused("it has names in it that only layers have"));
            };
            let name = text(entry.path.as_bytes())?;
            let member = match entry.kind {
                EntryKind::Directory => continue,
                EntryKind::File { size } => {
                    if at.checked_add(size).is_none_or(|end| end > length) {
                        return Err(refused(format!("it is cut off in `{}`", shown(&name))));
                    }
                    headers.pass(size);
                    Member::File { at, size }
                }
                EntryKind::Symlink { target } => {
                    Member::Link(resolved(parent_of(&name), &text(&target)?)?)
                }
                EntryKind::HardLink { target } => Member::Link(text(target.as_bytes())?),
                _ => {
                    return Err(refused(format!(
                        "`{}` is neither a file nor a link",
                        shown(&name)
                    )));
                }
            };
            if members.contains_key(&name) {
                return Err(refused(format!("`{}` is in it twice", shown(&name))));
            }
            members.insert(name, member);
        }
        Ok(Self {
            file: Arc::new(file),
            members,
        })
    }

    /// A member, if there is one of that name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Section>> {
        let mut name = normal(name)?;
        for _ in 0..MOST_LINKS {
            match self.members.get(&name) {
                None => return Ok(None),
                Some(Member::Link(target)) => name.clone_from(target),
                Some(Member::File { at, size }) => {
                    return Ok(Some(Section {
                        file: Arc::clone(&self.file),
                        at: *at,
                        size: *size,
                        position: 0,
                    }));
                }
            }
        }
        Err(refused(format!("`{}` is a loop of links", shown(&name))))
    }

    /// A member that must be there.
    pub(super) fn member(&self, name: &str) -> Result<Section> {
        self.find(name)?
            .ok_or_else(|| refused(format!("`{}` is missing", shown(name))))
    }

    /// The content of a member that is a document.
    pub(super) fn document(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(mut section) = self.find(name)? else {
            return Ok(None);
        };
        if section.size > LARGEST_DOCUMENT {
            return Err(refused(format!(
                "`{}` has {} bytes, more than {LARGEST_DOCUMENT}",
                shown(name),
                section.size
            )));
        }
        let mut bytes = Vec::new();
        section
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io(OPERATION, error))?;
        Ok(Some(bytes))
    }
}

impl Section {
    /// All of a file.
    pub(crate) fn whole(file: File) -> io::Result<Self> {
        Ok(Self {
            at: 0,
            size: file.metadata()?.len(),
            file: Arc::new(file),
            position: 0,
        })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The rest from `position` on.
    #[must_use]
    pub(super) fn from(mut self, position: u64) -> Self {
        self.position = position.min(self.size);
        self
    }

    /// The first bytes.
    pub(super) fn start(&self, length: usize) -> Result<Vec<u8>> {
        let mut start = Vec::new();
        let mut section = self.clone().from(0).take(length as u64);
        section
            .read_to_end(&mut start)
            .map_err(|error| Error::io(OPERATION, error))?;
        Ok(start)
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.size - self.position;
        let room = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = self
            .file
            .read_at(&mut buffer[..room], self.at + self.position)?;
        if read == 0 && room > 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the archive became shorter",
            ));
        }
        self.position += read as u64;
        Ok(read)
    }
}

/// The headers of a tar. The codec is given zeros in the place of contents, which it only counts.
struct Headers<'a> {
    file: &'a File,
    decoder: Decoder,
    block: Vec<u8>,
    zeros: Vec<u8>,
    /// Content that the codec is still to count.
    left: u64,
}

impl<'a> Headers<'a> {
    fn new(file: &'a File) -> Self {
        Self {
            file,
            decoder: Decoder::new(LIMITS),
            block: vec![0; HEADERS],
            zeros: vec![0; CONTENT],
            left: 0,
        }
    }

    /// The next member, and where its content begins.
    fn next(&mut self) -> Result<Option<(Item, u64)>> {
        loop {
            let input = if self.left > 0 {
                let length = self.left.min(CONTENT as u64) as usize;
                &self.zeros[..length]
            } else {
                let read = self
                    .file
                    .read_at(&mut self.block, self.decoder.offset())
                    .map_err(|error| Error::io(OPERATION, error))?;
                if read == 0 {
                    break;
                }
                &self.block[..read]
            };
            let step = self.decoder.advance(input).map_err(no_tar)?;
            match step.event {
                Event::Item(item) => return Ok(Some((item, self.decoder.offset()))),
                Event::Data { .. } => self.left -= step.consumed as u64,
                Event::Hole { .. } => return Err(refused("a file in it is stored sparsely")),
                Event::End => return Ok(None),
                Event::NeedMore | Event::EndOfEntry | Event::Skipped(_) => {}
            }
        }
        let decoder = std::mem::replace(&mut self.decoder, Decoder::new(LIMITS));
        decoder.finish().map_err(no_tar)?;
        Ok(None)
    }

    /// Passes over the content of the last member.
    fn pass(&mut self, size: u64) {
        self.left = size;
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn no_tar(error: CodecError) -> crate::ImageError {
    refused(format!("its tar is refused: {error}"))
}

fn text(name: &[u8]) -> Result<String> {
    String::from_utf8(name.to_vec())
        .map_err(|_| refused(format!("`{}` is no name", name.escape_ascii())))
}

/// A name for people: short, and without what a terminal would obey.
pub(super) fn shown(name: &str) -> String {
    name.chars()
        .take(100)
        .flat_map(char::escape_debug)
        .collect()
}

/// The one form of a name that stays inside.
fn normal(name: &str) -> Result<String> {
    resolved("", name).and_then(|path| {
        let leaves = name.split('/').any(|part| part == "..");
        if leaves || path.is_empty() {
            return Err(refused(format!("`{}` is no name of a member", shown(name))));
        }
        Ok(path)
    })
}

/// What a link in the directory `base` leads to.
fn resolved(base: &str, target: &str) -> Result<String> {
    let outside = || refused(format!("`{}` leads out of it", shown(target)));
    if target.starts_with('/') {
        return Err(outside());
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop().ok_or_else(outside)?),
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

fn parent_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(parent, _)| parent)
}
