//! Maps of sparse files: where in a file the stored bytes belong.
//!
//! Four ways to write one: old GNU (in the header and blocks after it), and PAX versions 0.0
//! (repeated records), 0.1 (one record) and 1.0 (text before the content).

use super::error::{CodecErrorKind, Malformed};
use super::limits::Limits;
use super::pax::{decimal, number};
use super::{Block, header};

/// A stretch of a file whose bytes are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The segments of one file, in order, none of them empty.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseMap {
    segments: Vec<Segment>,
    /// Empty segments, which mark a hole at the end; they count, so that they cannot go on forever.
    empty: usize,
}

impl SparseMap {
    fn push(&mut self, segment: Segment, limits: &Limits) -> Result<(), CodecErrorKind> {
        if self.segments.len() + self.empty >= limits.sparse_segments {
            let limit = limits.sparse_segments as u64;
            return Err(CodecErrorKind::OverLimit {
                what: "segments of a sparse file",
                limit,
            });
        }
        if segment.length == 0 {
            self.empty += 1;
        } else {
            self.segments.push(segment);
        }
        Ok(())
    }

    /// The segments, if they are in order, inside a file of `real_size` bytes, and hold exactly
    /// `stored` bytes.
    pub(super) fn checked(self, real_size: u64, stored: u64) -> Result<Vec<Segment>, Malformed> {
        let (mut end, mut total) = (0u64, 0u64);
        for segment in &self.segments {
            if segment.offset < end {
                return Err(Malformed::SparseMap);
            }
            end = segment
                .offset
                .checked_add(segment.length)
                .ok_or(Malformed::SparseMap)?;
            // Cannot overflow: the segments so far do not overlap and end at or before `end`.
            total += segment.length;
        }
        if end > real_size || total != stored {
            return Err(Malformed::SparseMap);
        }
        Ok(self.segments)
    }

    pub(super) fn buffered(&self) -> usize {
        self.segments.len() * size_of::<Segment>()
    }

    /// Reads the pairs of fields of an old GNU header or continuation.
    pub(super) fn read_old_gnu(
        &mut self,
        fields: &[u8],
        limits: &Limits,
    ) -> Result<(), CodecErrorKind> {
        for pair in fields.chunks_exact(24) {
            // The first unused pair ends the map.
            if pair[12] == 0 {
                break;
            }
            let value = |field| header::size(field).ok_or(Malformed::SparseMap);
            let segment = Segment {
                offset: value(&pair[..12])?,
                length: value(&pair[12..])?,
            };
            self.push(segment, limits)?;
        }
        Ok(())
    }

    /// Reads a continuation block; says whether one more follows.
    pub(super) fn read_old_gnu_block(
        &mut self,
        block: &Block,
        limits: &Limits,
    ) -> Result<bool, CodecErrorKind> {
        self.read_old_gnu(&block[..504], limits)?;
        Ok(block[504] != 0)
    }
}

/// The `GNU.sparse.*` records of one entry.
#[derive(Debug, Clone, Default)]
pub(super) struct SparseKeys {
    pub(super) name: Option<Vec<u8>>,
    real_size: Option<u64>,
    major: Option<u64>,
    minor: Option<u64>,
    blocks: Option<u64>,
    map: Option<SparseMap>,
    /// The offset of a segment of version 0.0 whose length is yet to come.
    open_offset: Option<u64>,
}

/// What the records of an entry say about its map.
#[derive(Debug)]
pub(super) enum SparseKind {
    /// Not sparse.
    None,
    /// The map is here.
    Listed { real_size: u64, map: SparseMap },
    /// The map stands before the content.
    InContent { real_size: u64 },
}

impl SparseKeys {
    /// Takes one record; `key` comes without `GNU.sparse.`.
    pub(super) fn take(
        &mut self,
        key: &[u8],
        value: &[u8],
        limits: &Limits,
    ) -> Result<(), CodecErrorKind> {
        match key {
            b"major" => self.major = Some(number(value, "GNU.sparse.major")?),
            b"minor" => self.minor = Some(number(value, "GNU.sparse.minor")?),
            b"numblocks" => self.blocks = Some(number(value, "GNU.sparse.numblocks")?),
            // Named `size` up to version 0.1, `realsize` since.
            b"size" | b"realsize" => self.real_size = Some(number(value, "GNU.sparse.size")?),
            b"name" if value.contains(&0) => return Err(super::error::Rule::NulByte.into()),
            b"name" => self.name = (!value.is_empty()).then(|| value.to_vec()),
            b"offset" => {
                let offset = number(value, "GNU.sparse.offset")?;
                if self.open_offset.replace(offset).is_some() {
                    return Err(Malformed::SparseMap.into());
                }
            }
            b"numbytes" => {
                let length = number(value, "GNU.sparse.numbytes")?;
                let offset = self.open_offset.take().ok_or(Malformed::SparseMap)?;
                self.map
                    .get_or_insert_default()
                    .push(Segment { offset, length }, limits)?;
            }
            b"map" => self.take_map(value, limits)?,
            _ => return Err(Malformed::SparseHeader.into()),
        }
        Ok(())
    }

    fn take_map(&mut self, text: &[u8], limits: &Limits) -> Result<(), CodecErrorKind> {
        let mut map = SparseMap::default();
        if !text.is_empty() {
            let mut numbers = text.split(|&byte| byte == b',');
            while let Some(offset) = numbers.next() {
                let offset = decimal(offset).ok_or(Malformed::SparseMap)?;
                let length = numbers
                    .next()
                    .and_then(decimal)
                    .ok_or(Malformed::SparseMap)?;
                map.push(Segment { offset, length }, limits)?;
            }
        }
        self.map = Some(map);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<SparseKind, Malformed> {
        let version = (self.major.unwrap_or(0), self.minor.unwrap_or(0));
        let versioned = self.major.is_some() || self.minor.is_some();
        let any =
            versioned || self.map.is_some() || self.real_size.is_some() || self.blocks.is_some();
        if self.open_offset.is_some() || (!any && self.name.is_some()) {
            return Err(Malformed::SparseHeader);
        }
        if !any {
            return Ok(SparseKind::None);
        }
        let real_size = self.real_size.ok_or(Malformed::SparseHeader)?;
        match (version, self.map.take()) {
            ((1, 0), None) => Ok(SparseKind::InContent { real_size }),
            ((0, 0 | 1), map) => {
                let map = map.unwrap_or_default();
                let counted = (map.segments.len() + map.empty) as u64;
                if self.blocks.is_some_and(|blocks| blocks != counted) {
                    return Err(Malformed::SparseMap);
                }
                Ok(SparseKind::Listed { real_size, map })
            }
            _ => Err(Malformed::SparseHeader),
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.name.as_ref().map_or(0, Vec::len) + self.map.as_ref().map_or(0, SparseMap::buffered)
    }
}

/// Reads the map of PAX version 1.0 block by block: decimal numbers, each closed by a newline; a
/// count, then offset and length of each segment.
#[derive(Debug, Clone, Default)]
pub(super) struct MapReader {
    pub(super) map: SparseMap,
    /// Segments still to come, once the count is known.
    left: Option<u64>,
    offset: Option<u64>,
    value: Option<u64>,
}

impl MapReader {
    /// Takes one block; says whether the map goes on after it.
    pub(super) fn read(&mut self, block: &Block, limits: &Limits) -> Result<bool, CodecErrorKind> {
        for &byte in block {
            if self.left == Some(0) {
                return Ok(false);
            }
            match byte {
                b'0'..=b'9' => {
                    let value = self.value.unwrap_or(0).checked_mul(10);
                    let value = value.and_then(|value| value.checked_add(u64::from(byte - b'0')));
                    self.value = Some(value.ok_or(Malformed::SparseMap)?);
                }
                b'\n' => {
                    let value = self.value.take().ok_or(Malformed::SparseMap)?;
                    self.take(value, limits)?;
                }
                _ => return Err(Malformed::SparseMap.into()),
            }
        }
        Ok(self.left != Some(0))
    }

    fn take(&mut self, value: u64, limits: &Limits) -> Result<(), CodecErrorKind> {
        match (self.left, self.offset.take()) {
            (None, _) => self.left = Some(value),
            (Some(_), None) => self.offset = Some(value),
            (Some(left), Some(offset)) => {
                self.map.push(
                    Segment {
                        offset,
                        length: value,
                    },
                    limits,
                )?;
                self.left = Some(left - 1);
            }
        }
        Ok(())
    }
}
