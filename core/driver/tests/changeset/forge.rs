//! Makes tar archives field by field, wrong ones too.

/// A header under construction.
#[derive(Clone)]
pub(crate) struct Forge {
    block: [u8; 512],
}

/// A ustar header of a type, with sound values in all fields.
pub(crate) fn header(name: &[u8], flag: u8) -> Forge {
    let mut forge = Forge { block: [0; 512] };
    forge.block[156] = flag;
    forge
        .field(0, name)
        .field(100, b"0000644\0")
        .field(108, b"0000000\0")
        .field(116, b"0000000\0")
        .field(136, b"00000000000\0")
        .field(257, b"ustar\x0000")
        .field(329, b"0000000\0")
        .field(337, b"0000000\0")
        .size(0)
}

impl Forge {
    pub(crate) fn field(mut self, at: usize, bytes: &[u8]) -> Self {
        self.block[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn size(self, size: usize) -> Self {
        self.field(124, format!("{size:011o}\0").as_bytes())
    }

    pub(crate) fn link(self, target: &[u8]) -> Self {
        self.field(157, target)
    }

    pub(crate) fn gnu(self) -> Self {
        self.field(257, b"ustar  \0")
    }

    /// The block with its checksum.
    pub(crate) fn done(self) -> Vec<u8> {
        let mut block = self.field(148, b"        ").block;
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.to_vec()
    }

    /// The block with the sum of its bytes taken as signed characters.
    pub(crate) fn done_signed(self) -> Vec<u8> {
        let mut block = self.field(148, b"        ").block;
        let sum: i32 = block.iter().map(|&byte| i32::from(byte as i8)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block.to_vec()
    }
}

/// A whole empty file.
pub(crate) fn file(name: &[u8]) -> Vec<u8> {
    header(name, b'0').done()
}

/// Content padded to a block.
pub(crate) fn padded(content: &[u8]) -> Vec<u8> {
    let mut bytes = content.to_vec();
    bytes.resize(content.len().next_multiple_of(512), 0);
    bytes
}

/// A header of type `flag` and its body: an extended header, or a file with content.
pub(crate) fn with_body(name: &[u8], flag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, flag).size(body.len()).done();
    bytes.extend(padded(body));
    bytes
}

/// One PAX record.
pub(crate) fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let body = key.len() + value.len() + 3;
    let length = (body..body + 20)
        .find(|length| body + length.to_string().len() == *length)
        .expect("the digits of a length add at most twenty");
    [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// A PAX header for the next entry.
pub(crate) fn pax(records: &[(&[u8], &[u8])]) -> Vec<u8> {
    let body: Vec<u8> = records
        .iter()
        .flat_map(|(key, value)| record(key, value))
        .collect();
    with_body(b"././@PaxHeader", b'x', &body)
}

/// Pieces one after another, and the end mark.
pub(crate) fn archive(pieces: &[&[u8]]) -> Vec<u8> {
    [pieces.concat(), vec![0; 1024]].concat()
}

/// An archive of one empty file.
pub(crate) fn one(name: &[u8]) -> Vec<u8> {
    archive(&[&file(name)])
}

/// An archive of one empty file `f` with PAX records before it.
pub(crate) fn with_pax(records: &[(&[u8], &[u8])]) -> Vec<u8> {
    archive(&[&pax(records), &file(b"f")])
}

/// An archive of one header.
pub(crate) fn flagged(forge: Forge) -> Vec<u8> {
    archive(&[&forge.done()])
}
