//! Archives put together by hand, so that they can be wrong in every way.

use std::io::Cursor;
use std::os::fd::AsFd as _;
use std::path::Path;
use strata_driver::apply::{ApplyTarget, Placement, PlainPlacement};
use strata_driver::{Applied, ApplyOptions, Result};

/// Fields of a header.
#[derive(Clone)]
pub(crate) struct Head {
    pub(crate) flag: u8,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: u64,
    pub(crate) link: Vec<u8>,
    pub(crate) device: (u32, u32),
    pub(crate) pax: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Head {
    /// A type flag, with the owner of this process and a time of its own.
    pub(crate) fn new(flag: u8) -> Self {
        Self {
            flag,
            mode: if flag == b'5' { 0o755 } else { 0o644 },
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            mtime: 1_000_000_000,
            link: Vec::new(),
            device: (0, 0),
            pax: Vec::new(),
        }
    }

    pub(crate) fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub(crate) fn owner(self, uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..self }
    }

    pub(crate) fn mtime(self, mtime: u64) -> Self {
        Self { mtime, ..self }
    }

    pub(crate) fn link(self, target: &str) -> Self {
        Self {
            link: target.into(),
            ..self
        }
    }

    pub(crate) fn device(self, major: u32, minor: u32) -> Self {
        Self {
            device: (major, minor),
            ..self
        }
    }

    pub(crate) fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.into(), value.to_vec()));
        self
    }

    pub(crate) fn xattr(self, name: &str, value: &[u8]) -> Self {
        self.pax(&format!("SCHILY.xattr.{name}"), value)
    }
}

/// An archive in the making.
#[derive(Clone, Default)]
pub(crate) struct Layer {
    pub(crate) bytes: Vec<u8>,
}

impl Layer {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[expect(clippy::needless_pass_by_value, reason = "heads are made on the spot")]
    pub(crate) fn add(mut self, name: &str, head: Head, content: &[u8]) -> Self {
        if !head.pax.is_empty() {
            let mut body = Vec::new();
            for (key, value) in &head.pax {
                let rest = key.len() + value.len() + 3;
                let digits = (1..20)
                    .find(|n| (rest + n).to_string().len() == *n)
                    .unwrap();
                body.extend_from_slice((rest + digits).to_string().as_bytes());
                body.push(b' ');
                body.extend_from_slice(key);
                body.push(b'=');
                body.extend_from_slice(value);
                body.push(b'\n');
            }
            self.block("././@PaxHeader", &Head::new(b'x'), &body);
        }
        self.block(name, &head, content);
        self
    }

    fn block(&mut self, name: &str, head: &Head, content: &[u8]) {
        let mut block = [0_u8; 512];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &name.as_bytes()[..name.len().min(100)]);
        put(100, format!("{:07o}", head.mode).as_bytes());
        put(108, format!("{:07o}", head.uid.min(0o7_777_777)).as_bytes());
        put(116, format!("{:07o}", head.gid.min(0o7_777_777)).as_bytes());
        put(124, format!("{:011o}", content.len()).as_bytes());
        put(136, format!("{:011o}", head.mtime).as_bytes());
        put(148, b"        ");
        put(156, &[head.flag]);
        put(157, &head.link);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", head.device.0).as_bytes());
        put(337, format!("{:07o}", head.device.1).as_bytes());
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.bytes.extend_from_slice(&block);
        self.bytes.extend_from_slice(content);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
    }

    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.add(name, Head::new(b'0'), content)
    }

    pub(crate) fn directory(self, name: &str) -> Self {
        self.add(name, Head::new(b'5'), b"")
    }

    pub(crate) fn symlink(self, name: &str, target: &str) -> Self {
        self.add(name, Head::new(b'2').link(target), b"")
    }

    pub(crate) fn hard_link(self, name: &str, target: &str) -> Self {
        self.add(name, Head::new(b'1').link(target), b"")
    }

    /// A whiteout or an opaque mark, by its full name.
    pub(crate) fn mark(self, name: &str) -> Self {
        self.file(name, b"")
    }

    /// The whole archive, with its end mark.
    pub(crate) fn archive(&self) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes.extend_from_slice(&[0; 1024]);
        bytes
    }

    pub(crate) fn apply(&self, root: &Path) -> Result<Applied> {
        apply_bytes(self.archive(), root, &mut PlainPlacement)
    }
}

pub(crate) fn apply_bytes(
    bytes: Vec<u8>,
    root: &Path,
    placement: &mut dyn Placement,
) -> Result<Applied> {
    let root = fs_err::File::open(root).unwrap();
    let target = ApplyTarget {
        root: root.file().as_fd(),
        placement,
    };
    strata_driver::apply(
        target,
        Box::new(Cursor::new(bytes)),
        &ApplyOptions::default(),
    )
}
