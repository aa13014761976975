//! PAX extended headers: records `LENGTH KEY=VALUE\n`, and what they say about an entry.
//!
//! Values are binary: a record ends where its length says, whatever bytes it holds.

use super::acl;
use super::entry::{Timestamp, Xattr};
use super::error::{CodecErrorKind, Malformed, Rule, shown};
use super::limits::Limits;
use super::sparse::SparseKeys;
use super::travel::{is_overlay_mark, travels};

const SCHILY_XATTR: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";
const ACL_ACCESS: &[u8] = b"system.posix_acl_access";
const ACL_DEFAULT: &[u8] = b"system.posix_acl_default";

/// Which entries a PAX header speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// The next one (`x`).
    Entry,
    /// All that follow (`g`).
    Global,
}

/// What PAX headers say about an entry; `None` leaves the header's own field standing.
#[derive(Debug, Clone, Default)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) device_major: Option<u32>,
    pub(super) device_minor: Option<u32>,
    pub(super) sparse: SparseKeys,
    /// How many extended attributes were left out.
    pub(super) dropped_xattrs: u64,
    acl_access: Option<Vec<u8>>,
    acl_default: Option<Vec<u8>>,
    /// Attributes in libarchive's encoding, which yield to the others of the same name.
    encoded_xattrs: Vec<Xattr>,
    plain_xattrs: Vec<Xattr>,
    xattr_bytes: usize,
}

/// What is wrong with a PAX header, and at which key.
#[derive(Debug)]
pub(super) struct PaxError {
    pub(super) kind: CodecErrorKind,
    pub(super) key: Option<String>,
}

impl<K: Into<CodecErrorKind>> From<K> for PaxError {
    fn from(kind: K) -> Self {
        Self {
            kind: kind.into(),
            key: None,
        }
    }
}

impl Pax {
    /// Takes the records of `body` over what is there already.
    pub(super) fn read(
        &mut self,
        body: &[u8],
        scope: Scope,
        limits: &Limits,
    ) -> Result<(), PaxError> {
        let mut rest = body;
        while !rest.is_empty() {
            let record = split_record(rest, limits)?;
            let (key, value) = (record.key, record.value);
            rest = record.rest;
            if scope == Scope::Global && entry_only(key) {
                return Err(PaxError {
                    kind: Rule::GlobalKey.into(),
                    key: Some(shown(key)),
                });
            }
            self.take(key, value, limits).map_err(|error| PaxError {
                key: error.key.or_else(|| Some(shown(key))),
                ..error
            })?;
        }
        Ok(())
    }

    fn take(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), PaxError> {
        if let Some(name) = key.strip_prefix(SCHILY_XATTR) {
            return self.take_xattr(name, value, limits);
        }
        if let Some(name) = key.strip_prefix(LIBARCHIVE_XATTR) {
            let name = percent_decoded(name).ok_or(Malformed::PaxValue("LIBARCHIVE.xattr"))?;
            let value = base64_decoded(value).ok_or(Malformed::PaxValue("LIBARCHIVE.xattr"))?;
            if self.keeps(&name, value.len(), limits)? {
                self.encoded_xattrs.push((name, value));
            }
            return Ok(());
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return Ok(self.sparse.take(key, value, limits)?);
        }
        // An empty value takes back what an earlier record said.
        let value = (!value.is_empty()).then_some(value);
        match key {
            b"path" => self.path = value.map(name).transpose()?,
            b"linkpath" => self.linkpath = value.map(name).transpose()?,
            b"size" => self.size = value.map(|text| number(text, "size")).transpose()?,
            b"uid" => self.uid = value.map(|text| small_number(text, "uid")).transpose()?,
            b"gid" => self.gid = value.map(|text| small_number(text, "gid")).transpose()?,
            b"mtime" => self.mtime = value.map(timestamp).transpose()?,
            b"SCHILY.devmajor" => {
                self.device_major = value
                    .map(|text| small_number(text, "SCHILY.devmajor"))
                    .transpose()?;
            }
            b"SCHILY.devminor" => {
                self.device_minor = value
                    .map(|text| small_number(text, "SCHILY.devminor"))
                    .transpose()?;
            }
            b"SCHILY.acl.access" => self.acl_access = acl_value(value, acl::is_minimal)?,
            b"SCHILY.acl.default" => self.acl_default = acl_value(value, |_| false)?,
            // star's own sparse files: without its map, the content would be read wrongly.
            b"SCHILY.realsize" if value.is_some() => return Err(Malformed::SparseHeader.into()),
            b"RHT.security.selinux" => self.dropped_xattrs += 1,
            _ => {}
        }
        Ok(())
    }

    fn take_xattr(&mut self, name: &[u8], value: &[u8], limits: &Limits) -> Result<(), PaxError> {
        if self.keeps(name, value.len(), limits)? {
            self.plain_xattrs.push((name.to_vec(), value.to_vec()));
        }
        Ok(())
    }

    /// Whether an attribute of this name stays; counts it against the limit.
    fn keeps(&mut self, name: &[u8], size: usize, limits: &Limits) -> Result<bool, CodecErrorKind> {
        self.xattr_bytes = self
            .xattr_bytes
            .saturating_add(name.len())
            .saturating_add(size);
        if self.xattr_bytes > limits.xattrs {
            return Err(over("bytes of extended attributes", limits.xattrs));
        }
        if is_overlay_mark(name) {
            return Err(Rule::OverlayXattr.into());
        }
        if name.contains(&0) {
            return Err(Rule::XattrName.into());
        }
        let kept = travels(name);
        self.dropped_xattrs += u64::from(!kept);
        Ok(kept)
    }

    /// The extended attributes, sorted, the last of each name.
    ///
    /// ACLs in text yield to binary ones, libarchive's encoding to the plain records.
    pub(super) fn take_xattrs(&mut self) -> Vec<Xattr> {
        let mut xattrs = Vec::new();
        xattrs.extend(
            self.acl_access
                .take()
                .map(|value| (ACL_ACCESS.to_vec(), value)),
        );
        xattrs.extend(
            self.acl_default
                .take()
                .map(|value| (ACL_DEFAULT.to_vec(), value)),
        );
        xattrs.append(&mut self.encoded_xattrs);
        xattrs.append(&mut self.plain_xattrs);
        if xattrs.len() > 1 {
            // A stable sort over the reverse, so that the last of a name stands first and stays.
            xattrs.reverse();
            xattrs.sort_by(|left, right| left.0.cmp(&right.0));
            xattrs.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        xattrs
    }

    /// Bytes on the heap.
    pub(super) fn buffered(&self) -> usize {
        let length = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
        length(&self.path) + length(&self.linkpath) + self.xattr_bytes + self.sparse.buffered()
    }
}

fn over(what: &'static str, limit: usize) -> CodecErrorKind {
    CodecErrorKind::OverLimit {
        what,
        limit: limit as u64,
    }
}

/// Whether a record makes sense for one entry only. Attributes are among them because one global
/// header of a megabyte would cost a megabyte again for each entry after it.
fn entry_only(key: &[u8]) -> bool {
    const PREFIXES: [&[u8]; 4] = [
        b"GNU.sparse.",
        b"SCHILY.acl.",
        SCHILY_XATTR,
        LIBARCHIVE_XATTR,
    ];
    matches!(key, b"path" | b"linkpath" | b"size" | b"SCHILY.realsize")
        || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

/// One record, and what follows it.
struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

/// Splits the first record off.
fn split_record<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Record<'a>, CodecErrorKind> {
    let malformed = CodecErrorKind::from(Malformed::PaxRecord);
    // Twenty digits hold any length; a longer run of digits is no length.
    let space = bytes
        .iter()
        .take(21)
        .position(|&byte| byte == b' ')
        .ok_or(malformed)?;
    let length = decimal(&bytes[..space])
        .and_then(|length| usize::try_from(length).ok())
        .ok_or(malformed)?;
    if length > limits.pax_record {
        let what = "bytes of an extended header record";
        return Err(over(what, limits.pax_record));
    }
    let (record, rest) = bytes.split_at_checked(length).ok_or(malformed)?;
    let record = record
        .get(space + 1..)
        .and_then(|record| record.strip_suffix(b"\n"))
        .ok_or(malformed)?;
    let equals = record
        .iter()
        .position(|&byte| byte == b'=')
        .ok_or(malformed)?;
    let (key, value) = (&record[..equals], &record[equals + 1..]);
    if key.is_empty() || key.contains(&0) {
        return Err(malformed);
    }
    Ok(Record { key, value, rest })
}

fn name(value: &[u8]) -> Result<Vec<u8>, CodecErrorKind> {
    if value.contains(&0) {
        return Err(Rule::NulByte.into());
    }
    Ok(value.to_vec())
}

/// Reads a decimal number without sign.
pub(super) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// A number of bytes: fits in the signed offsets of the kernel.
pub(super) fn number(text: &[u8], key: &'static str) -> Result<u64, CodecErrorKind> {
    decimal(text)
        .filter(|&value| i64::try_from(value).is_ok())
        .ok_or_else(|| Malformed::PaxValue(key).into())
}

fn small_number(text: &[u8], key: &'static str) -> Result<u32, CodecErrorKind> {
    decimal(text)
        .and_then(|value| u32::try_from(value).ok())
        .ok_or_else(|| Malformed::PaxValue(key).into())
}

/// Reads seconds with an optional sign and fraction; digits after the ninth do not count.
fn timestamp(text: &[u8]) -> Result<Timestamp, CodecErrorKind> {
    parse_timestamp(text).ok_or_else(|| Malformed::PaxValue("mtime").into())
}

fn parse_timestamp(text: &[u8]) -> Option<Timestamp> {
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let point = text.iter().position(|&byte| byte == b'.');
    let (whole, fraction) = point.map_or((text, &b""[..]), |at| (&text[..at], &text[at + 1..]));
    let seconds = i128::from(decimal(whole)?);
    let mut nanoseconds: u32 = 0;
    for index in 0..fraction.len().max(9) {
        let digit = fraction.get(index).copied().unwrap_or(b'0');
        if !digit.is_ascii_digit() {
            return None;
        }
        if index < 9 {
            nanoseconds = nanoseconds * 10 + u32::from(digit - b'0');
        }
    }
    let (seconds, nanoseconds) = match (negative, nanoseconds) {
        (false, nanoseconds) => (seconds, nanoseconds),
        (true, 0) => (-seconds, 0),
        (true, nanoseconds) => (-seconds - 1, 1_000_000_000 - nanoseconds),
    };
    Some(Timestamp {
        seconds: i64::try_from(seconds).ok()?,
        nanoseconds,
    })
}

/// The binary form of an ACL in text, unless it says what permission bits say already.
fn acl_value(
    text: Option<&[u8]>,
    redundant: fn(&[u8]) -> bool,
) -> Result<Option<Vec<u8>>, CodecErrorKind> {
    let value = text.map(acl::from_text).transpose()?.flatten();
    Ok(value.filter(|value| !redundant(value)))
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let hex = |byte: u8| char::from(byte).to_digit(16);
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        rest = tail;
        if *byte == b'%' {
            let [high, low, tail @ ..] = rest else {
                return None;
            };
            decoded.push((hex(*high)? * 16 + hex(*low)?) as u8);
            rest = tail;
        } else {
            decoded.push(*byte);
        }
    }
    Some(decoded)
}

/// Reads base64, padded or not.
fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let text = text
        .strip_suffix(b"==")
        .or_else(|| text.strip_suffix(b"="))
        .unwrap_or(text);
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.chunks(4) {
        let mut bits: u32 = 0;
        for &byte in group {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            bits = (bits << 6) | u32::from(value);
        }
        if group.len() == 1 {
            return None;
        }
        bits <<= 6 * (4 - group.len());
        decoded.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamp_rounds_down() {
        let parse =
            |text: &str| parse_timestamp(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(parse("12"), Some((12, 0)));
        assert_eq!(parse("12.5"), Some((12, 500_000_000)));
        assert_eq!(parse("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(parse("-1.0000000001"), Some((-1, 0)));
        assert_eq!(parse("1.1234567899"), Some((1, 123_456_789)));
        assert_eq!(parse("-9223372036854775808"), Some((i64::MIN, 0)));
        for bad in [
            "",
            "-",
            ".5",
            "1.5x",
            "1e9",
            "9223372036854775808",
            " 1",
            "--1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn base64_reads_padded_and_bare() {
        for (text, plain) in [
            ("", ""),
            ("YQ", "a"),
            ("YQ==", "a"),
            ("YWI=", "ab"),
            ("YWJj", "abc"),
            ("YWJjZA", "abcd"),
        ] {
            assert_eq!(
                base64_decoded(text.as_bytes()).unwrap(),
                plain.as_bytes(),
                "{text}"
            );
        }
        assert_eq!(base64_decoded(b"Y"), None);
        assert_eq!(base64_decoded(b"Y!=="), None);
    }
}
