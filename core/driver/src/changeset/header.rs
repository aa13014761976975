//! The 512 bytes of a tar header, read field by field.

use super::error::Malformed;
use super::{BLOCK, Block};

/// Room for the longest name that a header holds: prefix, slash, name.
pub(super) type NameBuffer = [u8; 256];

/// Which layout the bytes after the link name have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// Nothing is there (Unix version 7).
    V7,
    /// A name prefix of 155 bytes (POSIX).
    Ustar,
    /// A name prefix of 131 bytes, then times (Schily's star).
    Star,
    /// Times and sparse maps (GNU before 1.0 of the PAX formats).
    Gnu,
}

/// A header whose checksum is right.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'a> {
    block: &'a Block,
    layout: Layout,
}

impl<'a> Header<'a> {
    pub(super) fn parse(block: &'a Block) -> Result<Self, Malformed> {
        verify_checksum(block)?;
        let layout = match &block[257..265] {
            b"ustar  \0" => Layout::Gnu,
            [b'u', b's', b't', b'a', b'r', 0, ..] if block[508..] == *b"tar\0" => Layout::Star,
            [b'u', b's', b't', b'a', b'r', 0, ..] => Layout::Ustar,
            _ => Layout::V7,
        };
        Ok(Self { block, layout })
    }

    pub(super) fn flag(&self) -> u8 {
        self.block[156]
    }

    /// The name with its prefix, assembled in `buffer`.
    pub(super) fn name<'b>(&self, buffer: &'b mut NameBuffer) -> &'b [u8] {
        let name = until_nul(&self.block[..100]);
        let prefix = match self.layout {
            Layout::Ustar => until_nul(&self.block[345..500]),
            Layout::Star => until_nul(&self.block[345..476]),
            Layout::V7 | Layout::Gnu => b"",
        };
        let mut length = 0;
        if !prefix.is_empty() {
            buffer[..prefix.len()].copy_from_slice(prefix);
            buffer[prefix.len()] = b'/';
            length = prefix.len() + 1;
        }
        buffer[length..length + name.len()].copy_from_slice(name);
        &buffer[..length + name.len()]
    }

    pub(super) fn link(&self) -> &'a [u8] {
        until_nul(&self.block[157..257])
    }

    pub(super) fn mode(&self) -> Result<u32, Malformed> {
        // Some writers put the file type bits here too, so the field may exceed twelve bits.
        let mode = number(&self.block[100..108]).ok_or(Malformed::Number("mode"))?;
        Ok((mode & 0o7777) as u32)
    }

    pub(super) fn uid(&self) -> Result<u32, Malformed> {
        self.unsigned(108..116, "uid")
    }

    pub(super) fn gid(&self) -> Result<u32, Malformed> {
        self.unsigned(116..124, "gid")
    }

    /// Bytes stored in the archive for this entry, if its type has any.
    pub(super) fn size(&self) -> Result<u64, Malformed> {
        size(&self.block[124..136]).ok_or(Malformed::Number("size"))
    }

    pub(super) fn mtime(&self) -> Result<i64, Malformed> {
        number(&self.block[136..148]).ok_or(Malformed::Number("mtime"))
    }

    /// Major and minor number; zero where the layout has no room for them.
    pub(super) fn device(&self) -> Result<(u32, u32), Malformed> {
        if self.layout == Layout::V7 {
            return Ok((0, 0));
        }
        Ok((
            self.unsigned(329..337, "device")?,
            self.unsigned(337..345, "device")?,
        ))
    }

    fn unsigned(&self, at: std::ops::Range<usize>, what: &'static str) -> Result<u32, Malformed> {
        number(&self.block[at])
            .and_then(|value| u32::try_from(value).ok())
            .ok_or(Malformed::Number(what))
    }

    /// The sparse fields of an old GNU header.
    pub(super) fn sparse(&self) -> Result<SparseFields<'a>, Malformed> {
        if self.layout != Layout::Gnu {
            return Err(Malformed::SparseHeader);
        }
        Ok(SparseFields {
            segments: &self.block[386..482],
            continued: self.block[482] != 0,
            real_size: size(&self.block[483..495]).ok_or(Malformed::Number("size"))?,
        })
    }
}

/// What an old GNU header says of a sparse file.
#[derive(Debug, Clone, Copy)]
pub(super) struct SparseFields<'a> {
    /// Four pairs of offset and length.
    pub(super) segments: &'a [u8],
    /// Whether blocks with more of them follow.
    pub(super) continued: bool,
    /// Bytes of the file, holes included.
    pub(super) real_size: u64,
}

fn verify_checksum(block: &Block) -> Result<(), Malformed> {
    let field: &[u8] = &block[148..156];
    let expected = number(field).ok_or(Malformed::Checksum)?;
    let sum = |bytes: &[u8]| bytes.iter().map(|&byte| u32::from(byte)).sum::<u32>();
    let blanks = 8 * u32::from(b' ');
    if expected == i64::from(sum(block) - sum(field) + blanks) {
        return Ok(());
    }
    // Some old writers summed signed characters.
    let signed = |bytes: &[u8]| bytes.iter().map(|&byte| i64::from(byte as i8)).sum::<i64>();
    if expected == signed(block) - signed(field) + i64::from(blanks) {
        return Ok(());
    }
    Err(Malformed::Checksum)
}

/// A number that counts bytes: not negative.
pub(super) fn size(field: &[u8]) -> Option<u64> {
    number(field).and_then(|value| u64::try_from(value).ok())
}

/// Reads an octal field, or a base-256 one (first bit set, then two's complement).
///
/// An octal field may have leading blanks and ends at a blank, a NUL or its last byte; an empty
/// one is zero.
pub(super) fn number(field: &[u8]) -> Option<i64> {
    let &first = field.first()?;
    if first & 0x80 != 0 {
        return base256(field);
    }
    let mut digits = field;
    while let [b' ' | 0, rest @ ..] = digits {
        digits = rest;
    }
    let mut value: i64 = 0;
    for &byte in digits {
        match byte {
            b'0'..=b'7' => value = (value << 3) | i64::from(byte - b'0'),
            b' ' | 0 => break,
            _ => return None,
        }
    }
    Some(value)
}

fn base256(field: &[u8]) -> Option<i64> {
    // The first bit only marks the encoding; the second is the sign.
    let negative = field[0] & 0x40 != 0;
    let mut value: i64 = if negative { -1 } else { 0 };
    for (index, &byte) in field.iter().enumerate() {
        let byte = if index == 0 {
            (byte & 0x7f) | if negative { 0x80 } else { 0 }
        } else {
            byte
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    Some(value)
}

pub(super) fn until_nul(field: &[u8]) -> &[u8] {
    field
        .iter()
        .position(|&byte| byte == 0)
        .map_or(field, |end| &field[..end])
}

/// How many bytes of padding follow `size` bytes of content.
pub(super) const fn padding_after(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}
