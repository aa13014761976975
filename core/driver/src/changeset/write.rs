//! The writer: entries in the canonical form of `docs/formats.md`.
//!
//! Each function appends whole blocks to a caller's buffer and keeps no state. The caller gives
//! entries in order, and after a file its content and the [`padding`] to it, and at last
//! [`END_MARK`]. On an error the buffer is as it was.

use super::entry::{Entry, EntryKind, EntryPath, Item, Metadata, OPAQUE_NAME, Timestamp};
use super::entry::{WHITEOUT_PREFIX, Xattr, check_component};
use super::error::{EncodeError, Rule};
use super::header::padding_after;
use super::limits::{LONGEST_PATH, MAJOR_LIMIT, MINOR_LIMIT};
use super::{BLOCK, Block};

/// The two zero blocks that close an archive.
pub static END_MARK: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// Widths of header fields: the first value that does not fit.
const SMALL_LIMIT: u32 = 1 << 21;
const LARGE_LIMIT: u64 = 1 << 33;
/// Bytes of a name or target that a header holds.
const NAME_BYTES: usize = 100;

/// The zeros that follow content of `size` bytes.
pub fn padding(size: u64) -> &'static [u8] {
    &END_MARK[..padding_after(size) as usize]
}

/// Appends one item: PAX header where it needs one, and header. The content of a file is not part
/// of it.
///
/// # Errors
/// [`EncodeError`] names an entry that the format cannot carry.
pub fn encode_item(item: &Item, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    match item {
        Item::Entry(entry) => encode_entry(entry, out),
        Item::Whiteout { directory, name } => encode_whiteout(directory, name, out),
        Item::Opaque { directory } => encode_opaque(directory, out),
    }
}

/// Appends one entry. A hard link's extended attributes are those of the name it links to, and are
/// not written again. The root's time never counts and is written as zero.
///
/// # Errors
/// As [`encode_item`].
pub fn encode_entry(entry: &Entry, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let refuse = |rule| EncodeError {
        subject: format!("\"{}\"", entry.path),
        rule,
    };
    let mut fields = Fields::of(&entry.kind, entry.metadata);
    let path = entry.path.as_bytes();
    if reserved(path) {
        return Err(refuse(Rule::WhiteoutName));
    }
    fields.name = match (&entry.kind, entry.path.is_root()) {
        (EntryKind::Directory, true) => Name {
            parts: [b"./", b"", b"", b""],
        },
        (_, true) => return Err(refuse(Rule::RootType)),
        (EntryKind::Directory, false) => Name {
            parts: [path, b"/", b"", b""],
        },
        (_, false) => Name {
            parts: [path, b"", b"", b""],
        },
    };
    if entry.path.is_root() {
        fields.mtime = Timestamp::default();
    }
    let mut xattrs = entry.xattrs.as_slice();
    match &entry.kind {
        EntryKind::HardLink { target } if target.is_root() => return Err(refuse(Rule::LinkToRoot)),
        EntryKind::HardLink { target } if reserved(target.as_bytes()) => {
            return Err(refuse(Rule::WhiteoutName));
        }
        EntryKind::HardLink { .. } => xattrs = &[],
        EntryKind::Symlink { target } if target.is_empty() => {
            return Err(refuse(Rule::EmptyTarget));
        }
        EntryKind::Symlink { target } if target.contains(&0) => return Err(refuse(Rule::NulByte)),
        EntryKind::CharDevice { major: 0, minor: 0 } => return Err(refuse(Rule::WhiteoutDevice)),
        _ => {}
    }
    let target = match &entry.kind {
        EntryKind::HardLink { target } => target.as_bytes().len(),
        _ => 0,
    };
    if path.len().max(target) > LONGEST_PATH {
        return Err(refuse(Rule::LongPath));
    }
    if fields.major >= MAJOR_LIMIT || fields.minor >= MINOR_LIMIT {
        return Err(refuse(Rule::DeviceNumber));
    }
    if fields.mtime.nanoseconds >= 1_000_000_000 {
        return Err(refuse(Rule::Nanoseconds));
    }
    for (name, _) in xattrs {
        if super::is_overlay_mark(name) {
            return Err(refuse(Rule::OverlayXattr));
        }
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) {
            return Err(refuse(Rule::XattrName));
        }
    }
    fields.encode(xattrs, out);
    Ok(())
}

/// Appends the whiteout of `name` in `directory`.
///
/// # Errors
/// `name` is no file name, or begins with `.wh.` itself.
pub fn encode_whiteout(
    directory: &EntryPath,
    name: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let checked = check_component(name);
    let reserved = reserved(directory.as_bytes()) || name.starts_with(WHITEOUT_PREFIX);
    let long = directory.as_bytes().len() + 1 + name.len() > LONGEST_PATH;
    let broken = checked
        .err()
        .or(reserved.then_some(Rule::WhiteoutName))
        .or(long.then_some(Rule::LongPath));
    if let Some(rule) = broken {
        let subject = format!("\"{directory}/{}\"", name.escape_ascii());
        return Err(EncodeError { subject, rule });
    }
    encode_mark(directory, [WHITEOUT_PREFIX, name], out);
    Ok(())
}

/// Appends an opaque mark. No canonical diff holds one; other formats are translated to it.
///
/// # Errors
/// A component of `directory` begins with `.wh.`.
pub fn encode_opaque(directory: &EntryPath, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    if reserved(directory.as_bytes()) {
        let subject = format!("\"{directory}\"");
        return Err(EncodeError {
            subject,
            rule: Rule::WhiteoutName,
        });
    }
    encode_mark(directory, [OPAQUE_NAME, b""], out);
    Ok(())
}

/// Appends an empty file of mode, owner and time zero.
fn encode_mark(directory: &EntryPath, name: [&[u8]; 2], out: &mut Vec<u8>) {
    let metadata = Metadata {
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Timestamp::default(),
    };
    let mut fields = Fields::of(&EntryKind::File { size: 0 }, metadata);
    let slash: &[u8] = if directory.is_root() { b"" } else { b"/" };
    fields.name = Name {
        parts: [directory.as_bytes(), slash, name[0], name[1]],
    };
    fields.encode(&[], out);
}

/// Whether a component of a normalised path begins with `.wh.`.
fn reserved(path: &[u8]) -> bool {
    path.starts_with(WHITEOUT_PREFIX)
        || path
            .windows(5)
            .any(|window| window[0] == b'/' && window[1..] == *WHITEOUT_PREFIX)
}

/// A name in pieces, so that a slash or a prefix costs no copy.
#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    parts: [&'a [u8]; 4],
}

impl Name<'_> {
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }

    /// Writes as much as `field` holds.
    fn write_cut(&self, mut field: &mut [u8]) {
        for part in self.parts {
            let length = part.len().min(field.len());
            field[..length].copy_from_slice(&part[..length]);
            field = &mut field[length..];
        }
    }
}

/// What a header says.
#[derive(Debug, Clone, Copy)]
struct Fields<'a> {
    name: Name<'a>,
    link: &'a [u8],
    flag: u8,
    mode: u32,
    uid: u32,
    gid: u32,
    size: u64,
    mtime: Timestamp,
    major: u32,
    minor: u32,
}

impl<'a> Fields<'a> {
    /// All but the name.
    fn of(kind: &'a EntryKind, metadata: Metadata) -> Self {
        let mut fields = Self {
            name: Name {
                parts: [b"", b"", b"", b""],
            },
            link: b"",
            flag: b'0',
            mode: metadata.mode & 0o7777,
            uid: metadata.uid,
            gid: metadata.gid,
            size: 0,
            mtime: metadata.mtime,
            major: 0,
            minor: 0,
        };
        match kind {
            EntryKind::File { size } => fields.size = *size,
            EntryKind::HardLink { target } => {
                (fields.flag, fields.link) = (b'1', target.as_bytes());
            }
            EntryKind::Symlink { target } => {
                (fields.flag, fields.link, fields.mode) = (b'2', target, 0o777);
            }
            EntryKind::CharDevice { major, minor } => {
                (fields.flag, fields.major, fields.minor) = (b'3', *major, *minor);
            }
            EntryKind::BlockDevice { major, minor } => {
                (fields.flag, fields.major, fields.minor) = (b'4', *major, *minor);
            }
            EntryKind::Directory => fields.flag = b'5',
            EntryKind::Fifo => fields.flag = b'6',
        }
        fields
    }

    /// Appends the PAX header, if one is needed, and the header.
    fn encode(mut self, xattrs: &[Xattr], out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + BLOCK, 0);
        let body = start + BLOCK;
        self.encode_records(xattrs, out);
        if out.len() > body {
            let length = out.len() - body;
            out.resize(out.len() + padding_after(length as u64) as usize, 0);
            let extension = Fields {
                name: Name {
                    parts: [b"././@PaxHeader", b"", b"", b""],
                },
                size: length as u64,
                ..Fields::of(&EntryKind::Fifo, ZERO)
            };
            Fields {
                flag: b'x',
                ..extension
            }
            .write(block_at(out, start));
            let header = out.len();
            out.resize(header + BLOCK, 0);
            self.write(block_at(out, header));
        } else {
            self.write(block_at(out, start));
        }
    }

    /// Appends the PAX records in order of their keys, and zeroes what only they can hold.
    fn encode_records(&mut self, xattrs: &[Xattr], out: &mut Vec<u8>) {
        if xattrs.is_sorted_by(|left, right| left.0 < right.0) {
            encode_xattrs(xattrs.iter(), out);
        } else {
            // Sorted with the last of a name in front, so that it is the one that stays.
            let mut sorted: Vec<&Xattr> = xattrs.iter().rev().collect();
            sorted.sort_by(|left, right| left.0.cmp(&right.0));
            sorted.dedup_by(|later, earlier| later.0 == earlier.0);
            encode_xattrs(sorted.into_iter(), out);
        }
        if self.gid >= SMALL_LIMIT {
            encode_record(b"gid", &[Decimal::new(self.gid.into()).text()], out);
            self.gid = 0;
        }
        if self.link.len() > NAME_BYTES {
            encode_record(b"linkpath", &[self.link], out);
        }
        let fits = (0..LARGE_LIMIT as i64).contains(&self.mtime.seconds);
        if self.mtime.nanoseconds != 0 || !fits {
            encode_time(self.mtime, out);
            self.mtime.seconds = if fits { self.mtime.seconds } else { 0 };
        }
        if self.name.len() > NAME_BYTES {
            encode_record(b"path", &self.name.parts, out);
        }
        if self.size >= LARGE_LIMIT {
            encode_record(b"size", &[Decimal::new(self.size).text()], out);
            self.size = 0;
        }
        if self.uid >= SMALL_LIMIT {
            encode_record(b"uid", &[Decimal::new(self.uid.into()).text()], out);
            self.uid = 0;
        }
    }

    fn write(&self, block: &mut Block) {
        self.name.write_cut(&mut block[..NAME_BYTES]);
        write_octal(&mut block[100..107], self.mode.into());
        write_octal(&mut block[108..115], self.uid.into());
        write_octal(&mut block[116..123], self.gid.into());
        write_octal(&mut block[124..135], self.size);
        write_octal(&mut block[136..147], self.mtime.seconds as u64);
        block[156] = self.flag;
        Name {
            parts: [self.link, b"", b"", b""],
        }
        .write_cut(&mut block[157..257]);
        block[257..265].copy_from_slice(b"ustar\x0000");
        write_octal(&mut block[329..336], self.major.into());
        write_octal(&mut block[337..344], self.minor.into());
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        write_octal(&mut block[148..154], sum.into());
        block[154] = 0;
    }
}

/// The metadata of a PAX header.
const ZERO: Metadata = Metadata {
    mode: 0,
    uid: 0,
    gid: 0,
    mtime: Timestamp {
        seconds: 0,
        nanoseconds: 0,
    },
};

fn block_at(out: &mut [u8], at: usize) -> &mut Block {
    (&mut out[at..at + BLOCK])
        .try_into()
        .expect("the slice is one block long")
}

/// Fills `field` with octal digits; the value is known to fit.
fn write_octal(field: &mut [u8], mut value: u64) {
    for digit in field.iter_mut().rev() {
        *digit = b'0' + (value & 7) as u8;
        value >>= 3;
    }
}

fn encode_xattrs<'a>(xattrs: impl Iterator<Item = &'a Xattr>, out: &mut Vec<u8>) {
    for (name, value) in xattrs {
        let body = b"SCHILY.xattr.".len() + name.len() + value.len() + 3;
        out.extend_from_slice(Decimal::new(record_length(body)).text());
        out.extend_from_slice(b" SCHILY.xattr.");
        out.extend_from_slice(name);
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(b'\n');
    }
}

fn encode_time(time: Timestamp, out: &mut Vec<u8>) {
    // The text is sign and magnitude, the time stamp is rounded down.
    let negative = time.seconds < 0;
    let (seconds, nanoseconds) = match (negative, time.nanoseconds) {
        (true, 1..) => (
            time.seconds.unsigned_abs() - 1,
            1_000_000_000 - time.nanoseconds,
        ),
        (_, nanoseconds) => (time.seconds.unsigned_abs(), nanoseconds),
    };
    let mut fraction = *b".000000000";
    let mut rest = nanoseconds;
    for digit in fraction[1..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    let digits = fraction.iter().rposition(|&byte| byte != b'0').unwrap_or(0);
    let fraction = if nanoseconds == 0 {
        &b""[..]
    } else {
        &fraction[..=digits]
    };
    let sign = if negative { &b"-"[..] } else { b"" };
    encode_record(
        b"mtime",
        &[sign, Decimal::new(seconds).text(), fraction],
        out,
    );
}

fn encode_record(key: &[u8], value: &[&[u8]], out: &mut Vec<u8>) {
    let body = key.len() + value.iter().map(|part| part.len()).sum::<usize>() + 3;
    out.extend_from_slice(Decimal::new(record_length(body)).text());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    for part in value {
        out.extend_from_slice(part);
    }
    out.push(b'\n');
}

/// The length of a record, its own digits included, whose other bytes number `body`.
fn record_length(body: usize) -> u64 {
    let body = body as u64;
    let digits = |value: u64| u64::from(value.checked_ilog10().unwrap_or(0)) + 1;
    let length = body + digits(body);
    body + digits(length)
}

/// A number in decimal, without a trip to the heap.
struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    fn new(mut value: u64) -> Self {
        let mut decimal = Self {
            digits: [0; 20],
            start: 20,
        };
        loop {
            decimal.start -= 1;
            decimal.digits[decimal.start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return decimal;
            }
        }
    }

    fn text(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}
