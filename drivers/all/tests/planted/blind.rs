//! Defects by somebody who had seen neither the generator of the scripts nor the model, by the
//! names that they have in `docs/testing.md`.

use super::archive::Member;
use super::defects::{Defect, overlay, vfs};
use super::edits::{self, ACCESS, Found, ORIGIN, Place};
use super::{Lie, Plant};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use strata_driver::MountPlan;
use strata_driver::changeset::Item;

/// Larger files are not looked at for equals.
pub(crate) const LARGE: u64 = 1 << 20;

/// Of an access list, `linux/posix_acl_xattr.h`: bytes before its entries, bytes of an entry, and
/// the tags of entries by name, of the owning group, of groups by name, and of the mask.
const LIST_HEADER: usize = 4;
const LIST_ENTRY: usize = 8;
const MASKED: [u8; 3] = [0x02, 0x04, 0x08];
const MASK: u8 = 0x10;

pub(crate) const BLIND: &[Defect] = &[
    vfs(
        "second-child-starts-as-first",
        Plant::Lie(Lie::SecondChildStartsAsFirst),
    ),
    vfs("commit-links-equal-files", Plant::Commit(link_equal_files)),
    vfs("apply-acl-mask-widened", Plant::Unpacked(widen_masks)),
    vfs(
        "diff-omits-whiteout-under-socket",
        Plant::DiffOfTree(no_whiteout_under_socket),
    ),
    vfs("question-replaces-open-file", Plant::Asked(replace_newest)),
    overlay(
        "diff-in-order-of-whole-paths",
        Plant::Diff(in_order_of_whole_paths),
    ),
    overlay(
        "view-omits-layer-without-entries",
        Plant::ViewPlan(leave_out_bare_layers),
    ),
    overlay(
        "origin-lost-on-second-remount",
        Plant::SecondRemount(origin_lost),
    ),
    overlay(
        "renamed-over-takes-old-mode",
        Plant::Commit(old_mode_of_renamed_over),
    ),
    overlay("list-in-order-of-age", Plant::Lie(Lie::ListInOrderOfAge)),
];

/// What two files have in common that a saver of space takes for one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Likeness {
    attributes: (u32, u32, u32, i64),
    xattrs: BTreeMap<OsString, Vec<u8>>,
    content: Vec<u8>,
}

impl Likeness {
    fn of(one: &Found) -> Self {
        let facts = &one.facts;
        let values = edits::keys(&one.path).into_iter();
        Self {
            attributes: (facts.mode(), facts.uid(), facts.gid(), facts.mtime()),
            xattrs: values
                .filter_map(|key| Some((edits::value(&one.path, &key)?, key)))
                .map(|(value, key)| (key, value))
                .collect(),
            content: fs_err::read(&one.path).unwrap(),
        }
    }
}

/// Files with the same content and attributes become one, as if that saved space only.
fn link_equal_files(place: &Place) {
    let mut known: BTreeMap<Likeness, PathBuf> = BTreeMap::new();
    let new = place.top.with_file_name("linked");
    edits::quietly(place, |one| {
        let facts = &one.facts;
        if !facts.is_file() || facts.nlink() > 1 || facts.size() == 0 || facts.size() > LARGE {
            return;
        }
        let first = known
            .entry(Likeness::of(one))
            .or_insert_with(|| one.path.clone());
        if *first != one.path {
            fs_err::hard_link(first, &new).unwrap();
            fs_err::rename(&new, &one.path).unwrap();
        }
    });
}

/// The list with a mask that takes nothing away, unless it has one.
fn with_wide_mask(list: &[u8]) -> Option<Vec<u8>> {
    let mut list = list.to_vec();
    let entries = list.get_mut(LIST_HEADER..)?;
    let all = entries.chunks_exact(LIST_ENTRY);
    let granted = all
        .filter(|entry| MASKED.contains(&entry[0]))
        .fold(0, |granted, entry| granted | entry[2]);
    let mask = entries
        .chunks_exact_mut(LIST_ENTRY)
        .find(|entry| entry[0] == MASK)?;
    if mask[2] | granted == mask[2] {
        return None;
    }
    mask[2] |= granted;
    Some(list)
}

/// Where a path of a changeset lies below `top`, unless a link leads there.
pub(crate) fn inside(top: &Path, path: &[u8]) -> Option<PathBuf> {
    let mut place = top.to_owned();
    for component in path.split(|byte| *byte == b'/') {
        if !fs_err::symlink_metadata(&place).ok()?.is_dir() {
            return None;
        }
        place.push(OsStr::from_bytes(component));
    }
    Some(place)
}

/// The mask of an access list is calculated anew when the list is set.
fn widen_masks(place: &Place, applied: &[Member]) {
    for entry in applied.iter().filter_map(Member::entry) {
        if let Some(path) = inside(&place.top, entry.path.as_bytes())
            && let Some(list) = edits::value(&path, ACCESS)
            && let Some(list) = with_wide_mask(&list)
        {
            edits::set_value(&path, ACCESS, &list);
        }
    }
}

/// Sockets are passed over, and with them what they stand on.
fn no_whiteout_under_socket(members: Vec<Member>, upper: &Path) -> Vec<Member> {
    let is_socket = |path: Vec<u8>| {
        inside(upper, &path)
            .and_then(|path| path.symlink_metadata().ok())
            .is_some_and(|facts| facts.file_type().is_socket())
    };
    let members = members.into_iter();
    members
        .filter(|member| !member.gone().is_some_and(is_socket))
        .collect()
}

/// The file that was changed last is copied, and the copy takes its place.
fn replace_newest(place: &Place) {
    let Some(newest) = edits::newest_file(place) else {
        return;
    };
    edits::quietly(place, |one| {
        let has_holes = one.facts.blocks() * 512 < one.facts.size();
        if one.path == newest.path && one.facts.nlink() == 1 && !has_holes {
            one.remake_file();
        }
    });
}

fn whole_path(member: &Member) -> Vec<u8> {
    let (directory, mark, name) = match &member.item {
        Item::Entry(entry) => return entry.path.as_bytes().to_vec(),
        Item::Whiteout { directory, name } => (directory, &b".wh."[..], &name[..]),
        Item::Opaque { directory } => (directory, &b".wh..wh..opq"[..], &b""[..]),
    };
    let slash = if directory.is_root() { &b""[..] } else { b"/" };
    [directory.as_bytes(), slash, mark, name].concat()
}

/// `a`, `a-b`, `a/c`: a slash is a byte like others.
pub(crate) fn in_order_of_whole_paths(mut members: Vec<Member>, _: &[Member]) -> Vec<Member> {
    members.sort_by_cached_key(whole_path);
    members
}

/// What has no entries seems to change nothing, though it has the attributes of the root. Two
/// layers must remain.
fn leave_out_bare_layers(plan: &mut MountPlan) {
    let options = &mut plan.steps[0].options;
    let is_layer = |key: &str| key == "lowerdir+";
    let mut layers = options.iter().filter(|one| is_layer(&one.key)).count();
    options.retain(|option| {
        let directory = option.value.as_ref().filter(|_| is_layer(&option.key));
        let is_bare = directory.is_some_and(|directory| {
            layers > 2 && fs_err::read_dir(directory).unwrap().next().is_none()
        });
        layers -= usize::from(is_bare);
        !is_bare
    });
}

fn origin_lost(place: &Place) {
    edits::quietly(place, |one| {
        if one.was_copied_up() {
            edits::remove_value(&one.path, ORIGIN);
        }
    });
}

/// The mode is taken from what lies below under the same name, which is another file.
fn old_mode_of_renamed_over(place: &Place) {
    edits::quietly(place, |one| {
        if one.facts.is_file()
            && let Some(origin) = edits::origin(one)
            && let Some(below) = edits::lower_facts(place, &one.path)
            && below.is_file()
            && below.ino() != origin
        {
            edits::set_mode(&one.path, below.mode());
        }
    });
}
