//! A tar writer of the harness's own: canonical headers when asked nicely, any lie when not.
//!
//! Shares no code with the project's codec, so that neither can hide the other's mistakes.

/// Bytes of a tar block.
pub const BLOCK: usize = 512;

/// One entry as it will stand in the archive; every field can lie.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name as written: directories carry their trailing slash.
    pub name: Vec<u8>,
    /// Type flag.
    pub flag: u8,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Nanoseconds since 1970.
    pub mtime: i128,
    /// Content that follows.
    pub content: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Major and minor number.
    pub device: (u32, u32),
    /// Extended attributes, written as `SCHILY.xattr.*`.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Further PAX records, written before sorting.
    pub pax: Vec<(Vec<u8>, Vec<u8>)>,
    /// The size that the header claims, if it lies.
    pub claimed_size: Option<u64>,
}

impl Entry {
    /// An entry of this name and type, mode 0644, everything else zero.
    pub fn new(name: impl AsRef<[u8]>, flag: u8) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            flag,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            content: Vec::new(),
            link: Vec::new(),
            device: (0, 0),
            xattrs: Vec::new(),
            pax: Vec::new(),
            claimed_size: None,
        }
    }

    /// A regular file.
    pub fn file(name: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::new(name, b'0');
        entry.content = content.as_ref().to_vec();
        entry
    }

    /// A directory of mode 0755; the slash is added.
    pub fn dir(name: impl AsRef<[u8]>) -> Self {
        let mut name = name.as_ref().to_vec();
        name.push(b'/');
        let mut entry = Self::new(name, b'5');
        entry.mode = 0o755;
        entry
    }

    /// A symbolic link.
    pub fn symlink(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::new(name, b'2');
        entry.mode = 0o777;
        entry.link = target.as_ref().to_vec();
        entry
    }

    /// A hard link.
    pub fn hard_link(name: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Self {
        let mut entry = Self::new(name, b'1');
        entry.link = target.as_ref().to_vec();
        entry
    }

    /// The whiteout of `name`, which may have directories before it.
    pub fn whiteout(name: &str) -> Self {
        let (directory, base) = match name.rsplit_once('/') {
            Some((directory, base)) => (format!("{directory}/"), base),
            None => (String::new(), name),
        };
        let mut entry = Self::new(format!("{directory}.wh.{base}"), b'0');
        entry.mode = 0;
        entry
    }

    /// The opaque mark of `directory`; of the layer's root if it is empty.
    pub fn opaque(directory: &str) -> Self {
        let slash = if directory.is_empty() { "" } else { "/" };
        let mut entry = Self::new(format!("{directory}{slash}.wh..wh..opq"), b'0');
        entry.mode = 0;
        entry
    }

    /// Sets the permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Sets owner and group.
    #[must_use]
    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        (self.uid, self.gid) = (uid, gid);
        self
    }

    /// Sets the modification time.
    #[must_use]
    pub fn mtime(mut self, seconds: i64, nanoseconds: u32) -> Self {
        self.mtime = i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds);
        self
    }

    /// Adds an extended attribute.
    #[must_use]
    pub fn xattr(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.xattrs
            .push((key.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Adds a PAX record.
    #[must_use]
    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Self {
        self.pax
            .push((key.as_bytes().to_vec(), value.as_ref().to_vec()));
        self
    }

    /// Sets the device numbers.
    #[must_use]
    pub fn device(mut self, major: u32, minor: u32) -> Self {
        self.device = (major, minor);
        self
    }

    /// Lets the header claim another size.
    #[must_use]
    pub fn claiming(mut self, size: u64) -> Self {
        self.claimed_size = Some(size);
        self
    }

    /// Appends the entry, with the PAX header that it needs.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut records = self.pax.clone();
        if self.name.len() > 100 {
            records.push((b"path".to_vec(), self.name.clone()));
        }
        if self.link.len() > 100 {
            records.push((b"linkpath".to_vec(), self.link.clone()));
        }
        let whole = self.mtime.div_euclid(1_000_000_000);
        let fits_time = (0..1 << 33).contains(&whole);
        if self.mtime.rem_euclid(1_000_000_000) != 0 || !fits_time {
            records.push((b"mtime".to_vec(), time_text(self.mtime).into_bytes()));
        }
        let fits_id = |id: u64| id < 1 << 21;
        for (key, id) in [("uid", self.uid), ("gid", self.gid)] {
            if !fits_id(id) {
                records.push((key.as_bytes().to_vec(), id.to_string().into_bytes()));
            }
        }
        for (key, value) in &self.xattrs {
            records.push(([b"SCHILY.xattr.", &key[..]].concat(), value.clone()));
        }
        records.sort();
        if !records.is_empty() {
            write_pax(out, b'x', &records);
        }
        let header = Header {
            name: &self.name,
            mode: self.mode,
            uid: if fits_id(self.uid) { self.uid } else { 0 },
            gid: if fits_id(self.gid) { self.gid } else { 0 },
            size: self.claimed_size.unwrap_or(self.content.len() as u64),
            seconds: if fits_time { whole as u64 } else { 0 },
            flag: self.flag,
            link: &self.link,
            device: self.device,
        };
        out.extend_from_slice(&header.block());
        out.extend_from_slice(&self.content);
        pad(out);
    }
}

/// An archive of `entries` with its end mark.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in entries {
        entry.write(&mut out);
    }
    end(&mut out);
    out
}

/// Appends the two zero blocks.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 2 * BLOCK]);
}

/// Appends an extended header of these records.
pub fn write_pax(out: &mut Vec<u8>, flag: u8, records: &[(Vec<u8>, Vec<u8>)]) {
    let mut body = Vec::new();
    for (key, value) in records {
        body.extend_from_slice(&record(key, value));
    }
    let header = Header {
        name: b"././@PaxHeader",
        mode: 0,
        uid: 0,
        gid: 0,
        size: body.len() as u64,
        seconds: 0,
        flag,
        link: b"",
        device: (0, 0),
    };
    out.extend_from_slice(&header.block());
    out.extend_from_slice(&body);
    pad(out);
}

/// One PAX record: its own length in decimal, counted in.
pub fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

fn time_text(nanoseconds: i128) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let magnitude = nanoseconds.unsigned_abs();
    let mut text = format!("{sign}{}", magnitude / 1_000_000_000);
    let fraction = magnitude % 1_000_000_000;
    if fraction != 0 {
        let digits = format!("{fraction:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

/// The fields of a ustar header.
#[derive(Clone, Copy, Debug)]
pub struct Header<'a> {
    /// Name; cut at its field.
    pub name: &'a [u8],
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Size.
    pub size: u64,
    /// Whole seconds since 1970.
    pub seconds: u64,
    /// Type flag.
    pub flag: u8,
    /// Link target; cut at its field.
    pub link: &'a [u8],
    /// Major and minor number.
    pub device: (u32, u32),
}

impl Header<'_> {
    /// The block, with a true checksum.
    pub fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut put = |offset: usize, bytes: &[u8]| {
            block[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(0, &self.name[..self.name.len().min(100)]);
        put(100, &octal(u64::from(self.mode), 8));
        put(108, &octal(self.uid, 8));
        put(116, &octal(self.gid, 8));
        put(124, &octal(self.size, 12));
        put(136, &octal(self.seconds, 12));
        put(156, &[self.flag]);
        put(157, &self.link[..self.link.len().min(100)]);
        put(257, b"ustar\x0000");
        put(329, &octal(u64::from(self.device.0), 8));
        put(337, &octal(u64::from(self.device.1), 8));
        set_checksum(&mut block);
        block
    }
}

fn octal(value: u64, width: usize) -> Vec<u8> {
    let digits = width - 1;
    let mut text = format!("{value:0digits$o}").into_bytes();
    text.truncate(digits);
    text.push(0);
    text
}

/// Computes the checksum of a header and writes it into its field.
pub fn set_checksum(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_counts_its_own_length() {
        assert_eq!(record(b"path", b"a"), b"9 path=a\n");
        // The length itself makes the length longer here.
        assert_eq!(record(b"k", &[b'v'; 95]).len(), 102);
    }

    #[test]
    fn time_text_has_no_trailing_zeros() {
        assert_eq!(time_text(1_500_000_000), "1.5");
        assert_eq!(time_text(-1_500_000_000), "-1.5");
        assert_eq!(time_text(3_000_000_000), "3");
    }

    #[test]
    fn header_has_a_checksum_that_verifies() {
        let out = archive(&[Entry::file("a", "hello")]);
        assert_eq!(out.len(), 4 * BLOCK);
        let stored = u32::from_str_radix(str::from_utf8(&out[148..154]).unwrap(), 8).unwrap();
        let mut block: [u8; BLOCK] = out[..BLOCK].try_into().unwrap();
        block[148..156].fill(b' ');
        assert_eq!(
            stored,
            block.iter().map(|byte| u32::from(*byte)).sum::<u32>()
        );
    }
}
