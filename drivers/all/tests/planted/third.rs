//! A third ten, by somebody who had seen neither the generator of the scripts nor the other
//! defects; by the names that they have in `docs/testing.md`.

use super::archive::Member;
use super::blind::inside;
use super::blind_again::{below, resolved};
use super::defects::{Defect, overlay, vfs};
use super::edits::{self, DEFAULT, Found, Place};
use super::{Lie, Mutant, Plant};
use rustix::fs::{CWD, FileType, Mode};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use strata_driver::changeset::{EntryKind, EntryPath, Item};
use strata_driver::{
    Change, ChangeKind, Labels, MountOption, MountPlan, Result, SnapshotKind, SnapshotName,
};

pub(crate) const THIRD: &[Defect] = &[
    vfs(
        "copy-keeps-links-of-files-only",
        Plant::Copy(keep_links_of_files_only),
    ),
    overlay(
        "mounts-make-user-marks",
        Plant::EitherPlan(mount_with_user_marks),
    ),
    overlay(
        "commit-asks-next-layer-only",
        Plant::Commit(edits::whiteout_of_deep_name_lost),
    ),
    overlay("remount-resets-root", Plant::Remount(reset_root)),
    overlay(
        "view-of-base-layer-writable",
        Plant::ViewPlan(mount_base_layer_writable),
    ),
    vfs(
        "diff-new-name-stands-alone",
        Plant::Diff(let_new_names_stand_alone),
    ),
    vfs(
        "changes-compares-link-counts",
        Plant::ChangesOfBoth(compare_link_counts),
    ),
    overlay(
        "apply-takes-no-attribute-away",
        Plant::Unpacked(take_no_attribute_away),
    ),
    vfs("remove-takes-views", Plant::Lie(Lie::RemoveTakesViews)),
    overlay("labels-stay-with-name", Plant::Lie(Lie::LabelsStayWithName)),
];

impl Mutant {
    /// The labels of a new snapshot: those of the one before it by that name were not deleted.
    pub(super) fn with_old_labels(&self, name: &SnapshotName, labels: &Labels) -> Labels {
        let old = self.labels.lock().unwrap().get(name).cloned();
        let mut all = old.unwrap_or_default();
        all.extend(labels.clone());
        all
    }

    /// Notes the labels of a name that is to become free. If it does not, it is taken, and its
    /// labels are noted again.
    pub(super) async fn note_labels(&self, name: &SnapshotName) {
        if self.lies(Lie::LabelsStayWithName)
            && let Ok(info) = self.inner.stat(name).await
        {
            let mut labels = self.labels.lock().unwrap();
            labels.insert(name.clone(), info.labels);
        }
    }

    /// Removes the views of a snapshot that has no other children.
    pub(super) async fn take_views(&self, name: &SnapshotName) -> Result<()> {
        if !self.lies(Lie::RemoveTakesViews) {
            return Ok(());
        }
        let mut children = self.inner.list().await?;
        children.retain(|info| info.parent.as_ref() == Some(name));
        if children.iter().all(|info| info.kind == SnapshotKind::View) {
            for view in children {
                self.inner.remove(&view.name).await?;
            }
        }
        Ok(())
    }
}

/// Makes another inode of what is no file and no directory, under the same name.
fn part(one: &Found, new: &Path) {
    let facts = &one.facts;
    if facts.is_symlink() {
        let target = fs_err::read_link(&one.path).unwrap();
        fs_err::os::unix::fs::symlink(target, new).unwrap();
    } else {
        let kind = FileType::from_raw_mode(facts.mode());
        rustix::fs::mknodat(CWD, new, kind, Mode::RUSR, facts.rdev()).unwrap();
    }
    edits::chown(new, facts.uid(), facts.gid());
    if !facts.is_symlink() {
        edits::set_mode(new, facts.mode());
    }
    for key in edits::keys(&one.path) {
        let value = edits::value(&one.path, &key).unwrap();
        edits::set_value(new, key, &value);
    }
    fs_err::rename(new, &one.path).unwrap();
}

/// Which inodes have been copied already is remembered of regular files alone.
fn keep_links_of_files_only(place: &Place) {
    let new = place.top.with_file_name("parted");
    let mut copied = BTreeSet::new();
    edits::quietly(place, |one| {
        let facts = &one.facts;
        let is_linked = !facts.is_file() && !facts.is_dir() && facts.nlink() > 1;
        if is_linked && !copied.insert(facts.ino()) {
            part(one, &new);
        }
    });
}

/// What mounts thinks that it is in a user namespace, so the kernel keeps its marks under names
/// that what reads and writes the layers does not look at.
fn mount_with_user_marks(plan: &mut MountPlan) {
    let options = &mut plan.steps[0].options;
    for option in options.iter_mut() {
        // These two exclude each other; without marks of redirects, it is the same.
        if option.key == "redirect_dir" && option.value.as_deref() == Some("off") {
            option.value = Some("nofollow".into());
        }
    }
    if options.iter().all(|option| option.key != "userxattr") {
        options.push(MountOption::flag("userxattr"));
    }
}

fn is_stand_in(lower: &Path) -> bool {
    lower.parent().and_then(Path::file_name) == Some(OsStr::new("empty"))
}

/// What gives a new upper directory the mode and owner of the parent's root does so at each
/// mount.
fn reset_root(place: &Place) {
    let parent = place.lowers.first().filter(|lower| !is_stand_in(lower));
    let wanted = parent.map_or((0o755, 0, 0), |parent| {
        let facts = fs_err::symlink_metadata(parent).unwrap();
        (facts.mode() & 0o7777, facts.uid(), facts.gid())
    });
    let facts = fs_err::symlink_metadata(&place.top).unwrap();
    if (facts.mode() & 0o7777, facts.uid(), facts.gid()) != wanted {
        let (mode, uid, gid) = wanted;
        edits::chown(&place.top, uid, gid);
        edits::set_mode(&place.top, mode);
    }
}

/// With one layer there is nothing to merge; that case has a mount of its own, which forgets
/// that it is for a view.
fn mount_base_layer_writable(plan: &mut MountPlan) {
    let step = &mut plan.steps[0];
    let mut layers = step.options.iter_mut().filter(|option| {
        let directory = option.value.as_deref().map(Path::new);
        option.key == "lowerdir+" && directory.is_some_and(|directory| !is_stand_in(directory))
    });
    let (Some(layer), None) = (layers.next(), layers.next()) else {
        return;
    };
    let work = Path::new(layer.value.as_ref().unwrap()).with_file_name("work of views");
    fs_err::create_dir_all(&work).unwrap();
    layer.key = "upperdir".into();
    let work = work.into_os_string().into_string().unwrap();
    step.options.push(MountOption::pair("workdir", work));
    step.flags.read_only = false;
}

/// Whether a name shows the same in both, whatever the other names of its inode.
fn is_same(members: &[Member], lower: &[Member], path: &[u8]) -> bool {
    let both = resolved(members, path).zip(resolved(lower, path));
    both.is_some_and(|((new, new_content), (old, old_content))| {
        (&new.kind, &new.metadata, &new.xattrs) == (&old.kind, &old.metadata, &old.xattrs)
            && new_content == old_content
    })
}

/// Names by the least one of their inode, of what has several.
fn groups(members: &[Member]) -> BTreeMap<EntryPath, Vec<EntryPath>> {
    let mut groups: BTreeMap<EntryPath, Vec<EntryPath>> = BTreeMap::new();
    for entry in members.iter().filter_map(Member::entry) {
        if let EntryKind::HardLink { target } = &entry.kind {
            let names = groups.entry(target.clone());
            let names = names.or_insert_with(|| vec![target.clone()]);
            names.push(entry.path.clone());
        }
    }
    groups
}

/// The paths that differ are found first, and links are looked for among those.
fn let_new_names_stand_alone(mut members: Vec<Member>, lower: &[Member]) -> Vec<Member> {
    for (least, names) in groups(&members) {
        let is_old = |name: &EntryPath| is_same(&members, lower, name.as_bytes());
        let (old, new): (Vec<_>, Vec<_>) = names.into_iter().partition(is_old);
        if old.is_empty() {
            continue;
        }
        let (first, content) = resolved(&members, least.as_bytes()).unwrap();
        let (first, content) = (first.clone(), content.to_vec());
        members.retain(|member| {
            let entry = member.entry();
            entry.is_none_or(|entry| !old.contains(&entry.path))
        });
        for member in &mut members {
            let Item::Entry(entry) = &mut member.item else {
                continue;
            };
            if Some(&entry.path) == new.first() {
                entry.kind = first.kind.clone();
                entry.xattrs.clone_from(&first.xattrs);
                member.content.clone_from(&content);
            } else if new.contains(&entry.path) {
                entry.kind = EntryKind::HardLink {
                    target: new[0].clone(),
                };
            }
        }
    }
    members
}

/// How many names the inode of each name has, of what has several.
fn link_counts(members: &[Member]) -> BTreeMap<Vec<u8>, usize> {
    let groups = groups(members).into_values();
    let counts = groups.flat_map(|names| {
        let count = names.len();
        let names = names.into_iter();
        names.map(move |name| (name.as_bytes().to_vec(), count))
    });
    counts.collect()
}

/// Where a change stands: a whiteout by its own name.
fn order(change: &Change) -> Vec<Vec<u8>> {
    let components = change.path.split(|byte| *byte == b'/');
    let mut components: Vec<_> = components.map(<[u8]>::to_vec).collect();
    if change.kind == ChangeKind::Deleted {
        let name = components.pop().unwrap();
        components.push([b".wh.", &name[..]].concat());
    }
    components
}

/// A file that lost one of its names is another by stat(2).
fn compare_link_counts(changes: &mut Vec<Change>, lower: &[Member], upper: &[Member]) {
    let (old, new) = (link_counts(lower), link_counts(upper));
    let mut listed: BTreeSet<Vec<u8>> = changes.iter().map(|one| one.path.clone()).collect();
    for (path, count) in old {
        let is_there = resolved(upper, &path).is_some();
        if !is_there || new.get(&path).copied().unwrap_or(1) == count {
            continue;
        }
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let ends = slashes.map(|(place, _)| place).chain([path.len()]);
        for end in ends {
            let path = path[..end].to_vec();
            if listed.insert(path.clone()) {
                changes.push(Change {
                    path,
                    kind: ChangeKind::Modified,
                });
            }
        }
    }
    changes.sort_by_cached_key(order);
}

/// Whether it is a caller's attribute, with no meaning for the mode.
fn is_plain(key: &OsStr) -> bool {
    let is_of = |space: &[u8]| key.as_bytes().starts_with(space);
    (is_of(b"user.") || is_of(b"trusted.") || key == DEFAULT)
        && !is_of(b"trusted.overlay.")
        && !is_of(b"user.overlay.")
}

/// A directory that is there already is copied up as it is, and gets the attributes of its entry
/// on top.
fn take_no_attribute_away(place: &Place, applied: &[Member]) {
    for entry in applied.iter().filter_map(Member::entry) {
        let Some(path) = inside(&place.top, entry.path.as_bytes()) else {
            continue;
        };
        let is_directory = |path: &Path| path.symlink_metadata().is_ok_and(|facts| facts.is_dir());
        let Some(old) = below(place, &path).filter(|old| is_directory(old)) else {
            continue;
        };
        if entry.kind != EntryKind::Directory || !is_directory(&path) {
            continue;
        }
        for key in edits::keys(&old).into_iter().filter(|key| is_plain(key)) {
            if edits::value(&path, &key).is_none() {
                let value = edits::value(&old, &key).unwrap();
                edits::set_value(&path, key, &value);
            }
        }
    }
}
