//! A second ten by somebody who had seen neither the generator of the scripts nor the model, made
//! after the generator had changed; by the names that they have in `docs/testing.md`.

use super::archive::{Member, find};
use super::blind::{LARGE, inside};
use super::defects::{Defect, overlay, vfs};
use super::edits::{self, Found, OPAQUE, Place};
use super::{Lie, Plant};
use rustix::fs::SeekFrom;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use strata_driver::changeset::{Entry, EntryKind, EntryPath, Item};
use strata_driver::{Change, ChangeKind};

const SET_GROUP: u32 = 0o2000;
const OWNERS_RIGHTS: u32 = 0o700;
/// A changeset carries no longer path.
const LONGEST_PATH: usize = 4096;

pub(crate) const BLIND_AGAIN: &[Defect] = &[
    vfs(
        "refused-prepare-empties-snapshot",
        Plant::Refused(remove_all_inside),
    ),
    vfs(
        "remove-of-view-opens-directories",
        Plant::ViewRemoved(open_directories),
    ),
    vfs(
        "diff-swallows-names-that-begin-alike",
        Plant::Diff(swallow_names_that_begin_alike),
    ),
    vfs(
        "apply-follows-link-to-directory",
        Plant::Apply(follow_links_to_directories),
    ),
    vfs(
        "apply-group-of-directory-stays",
        Plant::Unpacked(leave_group_of_directory),
    ),
    overlay("commit-folds-whiteouts", Plant::Commit(fold_whiteouts)),
    overlay(
        "hole-shows-what-lies-below",
        Plant::Unmounted(fill_holes_from_below),
    ),
    overlay(
        "commit-joins-names-of-one-lower-file",
        Plant::Commit(join_names_of_one_lower_file),
    ),
    overlay(
        "changes-looks-at-each-path-alone",
        Plant::ChangesOfBoth(look_at_each_path_alone),
    ),
    overlay(
        "stat-remembers-parent-of-key",
        Plant::Lie(Lie::StatRemembersParent),
    ),
];

/// Whoever fails to make it cleans up, though it was there before.
fn remove_all_inside(place: &Place) {
    for entry in fs_err::read_dir(&place.top).unwrap() {
        edits::remove(&entry.unwrap().path());
    }
}

/// A removal makes directories passable before it empties them; what a view shows is its parent's.
fn open_directories(top: &Path) {
    let place = Place {
        top: top.to_owned(),
        lowers: Vec::new(),
    };
    edits::quietly(&place, |one| {
        let mode = one.facts.mode();
        if one.facts.is_dir() && mode & OWNERS_RIGHTS != OWNERS_RIGHTS {
            edits::set_mode(&one.path, mode | OWNERS_RIGHTS);
        }
    });
}

fn is_directory(members: &[Member], path: &[u8]) -> bool {
    find(members, path).is_some_and(|(entry, _)| entry.kind == EntryKind::Directory)
}

/// The path that a member says something of; marks that are not canonical say nothing.
fn subject(member: &Member) -> Option<Vec<u8>> {
    let entry = member.entry().map(|entry| entry.path.as_bytes().to_vec());
    entry.or_else(|| member.gone())
}

/// What lies below a directory that is gone is left out, and `d2` begins with `d`.
fn swallow_names_that_begin_alike(mut members: Vec<Member>, lower: &[Member]) -> Vec<Member> {
    let gone = members.iter().filter_map(Member::gone);
    let gone: Vec<_> = gone.filter(|path| is_directory(lower, path)).collect();
    members.retain(|member| {
        subject(member).is_none_or(|path| {
            gone.iter()
                .all(|gone| path == *gone || !path.starts_with(gone))
        })
    });
    members
}

/// The directory that a symbolic link leads to, without further links on the way.
fn led_to(members: &[Member], link: &Entry) -> Option<Vec<u8>> {
    let EntryKind::Symlink { target } = &link.kind else {
        return None;
    };
    let mut place: Vec<&[u8]> = Vec::new();
    if !target.starts_with(b"/") {
        place.extend(link.path.components());
        place.pop();
    }
    for component in target.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(place.pop()),
            name => {
                place.push(name);
                if !is_directory(members, &place.join(&b'/')) {
                    return None;
                }
            }
        }
    }
    (!place.is_empty()).then(|| place.join(&b'/'))
}

fn is_at_or_below(path: &[u8], directory: &[u8]) -> bool {
    let rest = path.strip_prefix(directory);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Where a path goes when its directory is taken for another.
fn moved(path: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let rest = path.strip_prefix(from)?;
    rest.starts_with(b"/").then(|| [to, rest].concat())
}

/// The changeset leaves the directory as it is, and what comes in addition is not in its way.
fn can_move(members: &[Member], from: &[u8], to: &[u8]) -> bool {
    members.iter().all(|member| {
        let is_plain = member
            .entry()
            .is_some_and(|entry| entry.kind == EntryKind::Directory);
        subject(member).is_none_or(|path| {
            (is_plain || !is_at_or_below(to, &path))
                && moved(&path, from, to)
                    .is_none_or(|path| path.len() <= LONGEST_PATH && find(members, &path).is_none())
        })
    })
}

/// A link to a directory is good enough for an entry that is a directory.
fn follow_links_to_directories(mut members: Vec<Member>, lower: &[Member]) -> Vec<Member> {
    let directories = members.iter().filter_map(Member::entry);
    let directories = directories.filter(|entry| entry.kind == EntryKind::Directory);
    let links: Vec<_> = directories
        .filter_map(|entry| {
            let (link, _) = find(lower, entry.path.as_bytes())?;
            Some((entry.path.as_bytes().to_vec(), led_to(lower, link)?))
        })
        .collect();
    for (from, to) in links {
        if !can_move(&members, &from, &to) {
            continue;
        }
        members.retain(|member| {
            member
                .entry()
                .is_none_or(|entry| entry.path.as_bytes() != from)
        });
        let follow = |path: &mut EntryPath| {
            if let Some(path_there) = moved(path.as_bytes(), &from, &to) {
                *path = EntryPath::parse(&path_there).unwrap();
            }
        };
        for member in &mut members {
            if let Item::Entry(entry) = &mut member.item {
                follow(&mut entry.path);
                if let EntryKind::HardLink { target } = &mut entry.kind {
                    follow(target);
                }
            }
        }
    }
    members
}

/// Who applies is root, so nothing need be given to root: but a set-group-id directory has given
/// what is made in it to its own group.
fn leave_group_of_directory(place: &Place, applied: &[Member]) {
    for entry in applied.iter().filter_map(Member::entry) {
        let Some(path) = inside(&place.top, entry.path.as_bytes()) else {
            continue;
        };
        if entry.path.is_root() || (entry.metadata.uid, entry.metadata.gid) != (0, 0) {
            continue;
        }
        let above = fs_err::symlink_metadata(path.parent().unwrap()).unwrap();
        // A later entry of the same name may be another.
        if let Ok(facts) = fs_err::symlink_metadata(&path)
            && above.mode() & SET_GROUP != 0
            && (facts.uid(), facts.gid()) == (0, 0)
        {
            Found { path, facts }.give_to(0, above.gid());
        }
    }
}

/// What shows below the top directory at a path in it, unless the layers above hide it.
pub(crate) fn below(place: &Place, path: &Path) -> Option<PathBuf> {
    let path = path.strip_prefix(&place.top).unwrap().as_os_str();
    for layer in [&place.top].into_iter().chain(&place.lowers) {
        let (mut here, mut is_there, mut is_cut) = (layer.clone(), true, false);
        let mut components = path.as_bytes().split(|byte| *byte == b'/').peekable();
        while let Some(component) = components.next() {
            here.push(OsStr::from_bytes(component));
            let Ok(facts) = here.symlink_metadata() else {
                is_there = false;
                break;
            };
            if components.peek().is_some() && !facts.is_dir() {
                return None;
            }
            is_cut |= facts.is_dir() && edits::value(&here, OPAQUE).is_some();
        }
        if is_there && *layer != place.top {
            return Some(here);
        }
        if is_cut {
            return None;
        }
    }
    None
}

fn entries(directory: &Path) -> Vec<Found> {
    let entries = fs_err::read_dir(directory).unwrap();
    let found = entries.map(|entry| {
        let path = entry.unwrap().path();
        let facts = fs_err::symlink_metadata(&path).unwrap();
        Found { path, facts }
    });
    found.collect()
}

/// A directory that says something of every name of the next layer becomes opaque, which says the
/// same in fewer words: but for names of the layers below that one.
fn fold_whiteouts(place: &Place) {
    edits::quietly(place, |one| {
        // The kernel does not look for a mark at the root of a layer.
        if !one.facts.is_dir() || one.path == place.top {
            return;
        }
        let Some(next) = below(place, &one.path) else {
            return;
        };
        if !fs_err::symlink_metadata(&next).unwrap().is_dir() {
            return;
        }
        let mut whiteouts = entries(&one.path);
        whiteouts.retain(Found::is_whiteout);
        let is_said = |old: &Found| {
            let new = one.path.join(old.path.file_name().unwrap());
            let new = new.symlink_metadata();
            // A directory over a directory says only some of it.
            old.is_whiteout() || new.is_ok_and(|new| !(new.is_dir() && old.facts.is_dir()))
        };
        if !whiteouts.is_empty() && entries(&next).iter().all(is_said) {
            for whiteout in whiteouts {
                edits::remove(&whiteout.path);
            }
            edits::set_value(&one.path, OPAQUE, b"y");
        }
    });
}

/// Where a file of so many bytes has none.
fn holes(file: &std::fs::File, size: u64) -> Vec<Range<u64>> {
    let (mut holes, mut place) = (Vec::new(), 0);
    while let Ok(start) = rustix::fs::seek(file, SeekFrom::Hole(place)) {
        // There is a hole at the end of every file.
        if start >= size {
            break;
        }
        place = rustix::fs::seek(file, SeekFrom::Data(start)).unwrap_or(size);
        holes.push(start..place);
    }
    holes
}

/// A hole in a file that came from below is taken for a block that has not been copied up yet.
fn fill_holes_from_below(place: &Place) {
    edits::quietly(place, |one| {
        if !one.facts.is_file() || one.facts.nlink() > 1 {
            return;
        }
        let Some(origin) = edits::origin(one) else {
            return;
        };
        let Some(old) = below(place, &one.path).filter(|path| {
            path.symlink_metadata().is_ok_and(|facts| {
                facts.is_file() && facts.ino() == origin && facts.size() <= LARGE
            })
        }) else {
            return;
        };
        let old = fs_err::read(old).unwrap();
        let file = edits::open(&one.path);
        for hole in holes(&file, one.facts.size().min(old.len() as u64)) {
            let end = hole.end.min(old.len() as u64);
            let shown = &old[hole.start as usize..end as usize];
            if shown.iter().any(|byte| *byte != 0) {
                one.keeping_privileges(|_| file.write_all_at(shown, hole.start).unwrap());
            }
        }
    });
}

/// What the kernel took apart when it copied up is put together again, whatever was written to
/// the names since.
fn join_names_of_one_lower_file(place: &Place) {
    let mut known: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let new = place.top.with_file_name("joined");
    edits::quietly(place, |one| {
        if !one.facts.is_file() || one.facts.nlink() > 1 {
            return;
        }
        let old = below(place, &one.path).and_then(|path| path.symlink_metadata().ok());
        let Some(old) = old.filter(|facts| facts.is_file() && facts.nlink() > 1) else {
            return;
        };
        let first = known.entry(old.ino()).or_insert_with(|| one.path.clone());
        if *first != one.path {
            fs_err::hard_link(first, &new).unwrap();
            fs_err::rename(&new, &one.path).unwrap();
        }
    });
}

/// An entry, by its first name if it is a further name of a file, with its content.
pub(crate) fn resolved<'a>(members: &'a [Member], path: &[u8]) -> Option<(&'a Entry, &'a [u8])> {
    let (entry, content) = find(members, path)?;
    match &entry.kind {
        EntryKind::HardLink { target } => find(members, target.as_bytes()),
        _ => Some((entry, content)),
    }
}

/// A path changes if something of its own differs, or something below it. Which names belong
/// together is nothing of their own.
fn look_at_each_path_alone(changes: &mut Vec<Change>, lower: &[Member], upper: &[Member]) {
    let is_same = |path: &[u8]| {
        let both = resolved(lower, path).zip(resolved(upper, path));
        both.is_some_and(|((old, old_content), (new, new_content))| {
            (&old.kind, &old.metadata, &old.xattrs) == (&new.kind, &new.metadata, &new.xattrs)
                && old_content == new_content
        })
    };
    let mut kept: Vec<Change> = Vec::new();
    for change in changes.drain(..).rev() {
        let is_alone = |path: &[u8]| kept.iter().all(|kept| !is_at_or_below(&kept.path, path));
        let is_nothing = change.kind == ChangeKind::Modified
            && !change.path.is_empty()
            && is_alone(&change.path)
            && is_same(&change.path);
        if !is_nothing {
            kept.push(change);
        }
    }
    kept.reverse();
    *changes = kept;
}
