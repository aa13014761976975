//! The same layers applied to a whole tree and to an overlay's upper directory show the same.
//!
//! The placement here is the smallest one for kernel overlay with one lower directory.

use crate::is_root;
use crate::layer::{Head, Layer, apply_bytes};
use crate::memory::Memory;
use crate::tree::tree;
use proptest::prelude::*;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, XattrFlags};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use strata_driver::Result;
use strata_driver::apply::{Below, DirectoryAttributes, Placement, Purpose};

struct OverlayPlacement {
    lower: OwnedFd,
    upper: OwnedFd,
}

const OPAQUE: &str = "trusted.overlay.opaque";

fn open(root: &OwnedFd, path: &[u8], flags: OFlags) -> Option<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve).ok()
}

fn kind(file: &OwnedFd) -> FileType {
    FileType::from_raw_mode(rustix::fs::fstat(file).unwrap().st_mode)
}

impl OverlayPlacement {
    /// Whether the upper directory keeps `path` from showing through.
    fn is_hidden(&self, path: &[u8]) -> bool {
        let ends = (0..path.len()).filter(|&at| path[at] == b'/');
        for end in std::iter::once(0).chain(ends) {
            let node = open(&self.upper, &path[..end], OFlags::PATH | OFlags::NOFOLLOW);
            let Some(node) = node else { return false };
            if kind(&node) != FileType::Directory {
                return true;
            }
            let directory = open(&self.upper, &path[..end], OFlags::DIRECTORY).unwrap();
            if rustix::fs::fgetxattr(&directory, OPAQUE, &mut [0_u8; 1][..]).is_ok() {
                return true;
            }
        }
        open(&self.upper, path, OFlags::PATH | OFlags::NOFOLLOW)
            .is_some_and(|node| kind(&node) != FileType::Directory)
    }

    fn names(&self) -> Vec<Vec<u8>> {
        let path = format!("/proc/self/fd/{}", self.lower.as_raw_fd());
        fs_err::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_encoded_bytes())
            .collect()
    }
}

fn whiteout(parent: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<()> {
    rustix::fs::mknodat(parent, name, FileType::CharacterDevice, Mode::empty(), 0)
}

fn mark_opaque(directory: impl std::os::fd::AsFd) {
    rustix::fs::fsetxattr(directory, OPAQUE, b"y", XattrFlags::empty()).unwrap();
}

impl Placement for OverlayPlacement {
    fn describe(&mut self, _path: &[u8]) {}

    fn below(&mut self, path: &[u8], _purpose: Purpose) -> Result<Below> {
        if self.is_hidden(path) {
            return Ok(Below::Nothing);
        }
        let Some(node) = open(&self.lower, path, OFlags::PATH | OFlags::NOFOLLOW) else {
            return Ok(Below::Nothing);
        };
        if kind(&node) != FileType::Directory {
            return Ok(Below::Other);
        }
        let directory = open(&self.lower, path, OFlags::DIRECTORY).unwrap();
        let attributes = DirectoryAttributes::read(directory.as_fd())?;
        Ok(Below::Directory(Box::new(attributes)))
    }

    fn hide(&mut self, parent: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap();
        whiteout(parent, name).unwrap();
        Ok(())
    }

    fn hide_all(&mut self, directory: BorrowedFd<'_>, path: &[u8]) -> Result<()> {
        if !path.is_empty() {
            mark_opaque(directory);
            return Ok(());
        }
        // The kernel ignores the mark at the root of a layer.
        for name in self.names() {
            match open(&self.upper, &name, OFlags::PATH | OFlags::NOFOLLOW) {
                None => whiteout(directory, &name).unwrap(),
                Some(node) if kind(&node) == FileType::Directory => {
                    mark_opaque(open(&self.upper, &name, OFlags::DIRECTORY).unwrap());
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn looks_past(&mut self, _path: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn uncover(&mut self, _parent: BorrowedFd<'_>, _path: &[u8]) -> Result<bool> {
        Ok(false)
    }

    fn longest_name(&self) -> usize {
        usize::MAX
    }
}

/// One item, chosen by numbers.
fn item(layer: Layer, (action, path, other): (u8, u8, u8)) -> Layer {
    let names = ["a", "b", "a/a", "a/b", "b/a", "a/a/a", "a/b/a", "c/a", "c"];
    let name = names[path as usize % names.len()];
    let (directory, last) = name.rsplit_once('/').unwrap_or((".", name));
    match action % 9 {
        0 | 1 => layer.file(name, &[b'0' + other % 10]),
        2 => layer.add(
            name,
            Head::new(b'5').mode(0o700 + u32::from(other % 8)),
            b"",
        ),
        3 => layer.symlink(name, names[other as usize % names.len()]),
        4 | 5 => layer.mark(&format!("{directory}/.wh.{last}")),
        6 => layer.mark(&format!("{name}/.wh..wh..opq")),
        7 => layer.hard_link(name, names[other as usize % names.len()]),
        _ if other.is_multiple_of(4) => layer.mark(".wh..wh..opq"),
        _ => layer.add(name, Head::new(b'6').mtime(u64::from(other)), b""),
    }
}

/// The items that an apply accepts on top of the layers before them.
fn accepted(scratch: &Path, before: &[&Layer], items: &[(u8, u8, u8)]) -> Layer {
    let mut layer = Layer::new();
    for &next in items {
        let more = item(layer.clone(), next);
        fs_err::create_dir(scratch).unwrap();
        for earlier in before {
            earlier.apply(scratch).unwrap();
        }
        if more.apply(scratch).is_ok() {
            layer = more;
        }
        fs_err::remove_dir_all(scratch).unwrap();
    }
    layer
}

struct Merged(PathBuf);

impl Drop for Merged {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::empty()).unwrap();
    }
}

/// Applies `layers` one after the other on top of `old`, both ways, and compares after each.
fn check(old: &Layer, layers: &[Layer]) {
    let memory = Memory::new(c"size=64m");
    let at = |name: &str| memory.path().join(name);
    for name in ["lower", "upper", "work", "merged", "whole"] {
        fs_err::create_dir(at(name)).unwrap();
    }
    old.apply(&at("lower")).unwrap();
    old.apply(&at("whole")).unwrap();
    let root = |name: &str| OwnedFd::from(fs_err::File::open(at(name)).unwrap().into_file());
    let mut placement = OverlayPlacement {
        lower: root("lower"),
        upper: root("upper"),
    };
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        at("lower").display(),
        at("upper").display(),
        at("work").display()
    );
    let options = CString::new(options).unwrap();
    for (round, layer) in layers.iter().enumerate() {
        layer.apply(&at("whole")).unwrap();
        apply_bytes(layer.archive(), &at("upper"), &mut placement).unwrap();
        let flags = MountFlags::empty();
        mount(
            "overlay",
            at("merged"),
            "overlay",
            flags,
            options.as_c_str(),
        )
        .unwrap();
        let merged = Merged(at("merged"));
        assert_eq!(tree(&merged.0), tree(&at("whole")), "round {round}");
    }
}

#[test]
fn a_whole_tree_and_an_overlay_show_the_same() {
    if !is_root() {
        return;
    }
    let items = |most| prop::collection::vec(any::<(u8, u8, u8)>(), 0..most);
    let config = ProptestConfig {
        cases: 80,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    proptest!(config, |(old in items(8), first in items(8), second in items(6))| {
        let memory = Memory::new(c"size=64m");
        let scratch = memory.path().join("scratch");
        let old = accepted(&scratch, &[], &old);
        let first = accepted(&scratch, &[&old], &first);
        let second = accepted(&scratch, &[&old, &first], &second);
        check(&old, &[first, second]);
    });
}

#[test]
fn a_whiteout_in_an_opaque_root_keeps_the_name_hidden() {
    if !is_root() {
        return;
    }
    let old = Layer::new().file("a", b"").file("d/x", b"");
    let layer = Layer::new()
        .mark(".wh..wh..opq")
        .mark(".wh.a")
        .mark("d/.wh.x");
    check(&old, &[layer, Layer::new().file("d/y", b"")]);
}

#[test]
fn what_comes_back_over_its_whiteout_shows_nothing_from_below() {
    if !is_root() {
        return;
    }
    let old = Layer::new()
        .directory("d")
        .file("d/x", b"")
        .directory("d/s")
        .file("d/s/y", b"");
    for layer in [
        Layer::new().mark(".wh.d").directory("d"),
        Layer::new().directory("d").mark(".wh.d"),
        Layer::new().mark(".wh.d").file("d/s/new", b""),
        Layer::new().file("d/s/new", b"").mark(".wh.d"),
        Layer::new().file("d", b"").directory("d"),
        Layer::new().mark("d/.wh.s").directory("d/s"),
        Layer::new().mark("d/.wh..wh..opq").directory("d/s"),
        Layer::new().directory("d/s").mark("d/.wh..wh..opq"),
        Layer::new()
            .mark(".wh..wh..opq")
            .directory("d")
            .directory("d/s"),
    ] {
        check(&old, &[layer, Layer::new().file("d/later", b"")]);
    }
}
