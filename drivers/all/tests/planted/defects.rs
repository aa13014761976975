//! The defects, by the names that they have in `docs/testing.md`.

use super::archive::{Member, find, has_below};
use super::edits;
use super::{Lie, Plant};
use std::collections::BTreeMap;
use strata_driver::changeset::{EntryKind, Item};
use strata_driver::{Change, ChangeKind, MountPlan};

/// The driver that a defect is planted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    Vfs,
    Overlay,
}

/// One defect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defect {
    pub(crate) name: &'static str,
    pub(crate) base: Base,
    pub(crate) plant: Plant,
}

pub(crate) const fn vfs(name: &'static str, plant: Plant) -> Defect {
    Defect {
        name,
        base: Base::Vfs,
        plant,
    }
}

pub(crate) const fn overlay(name: &'static str, plant: Plant) -> Defect {
    Defect {
        name,
        base: Base::Overlay,
        plant,
    }
}

pub(crate) const DEFECTS: &[Defect] = &[
    vfs("copy-owner-lost", Plant::Copy(edits::owner_lost)),
    vfs("copy-owner-cut-to-16-bits", Plant::Copy(edits::owner_cut)),
    vfs("copy-xattr-cut", Plant::Copy(edits::xattr_cut)),
    vfs(
        "copy-empty-xattr-lost",
        Plant::Copy(edits::empty_xattr_lost),
    ),
    vfs("copy-link-xattr-lost", Plant::Copy(edits::link_xattr_lost)),
    vfs(
        "copy-mtime-in-seconds",
        Plant::Copy(edits::mtime_in_seconds),
    ),
    vfs(
        "copy-mtime-before-1970-lost",
        Plant::Copy(edits::mtime_before_1970_lost),
    ),
    vfs(
        "copy-directory-mtime-moved",
        Plant::Copy(edits::directory_mtime_moved),
    ),
    vfs(
        "copy-splits-hard-links",
        Plant::Copy(edits::hard_links_split),
    ),
    vfs("copy-fills-holes", Plant::Copy(edits::holes_filled)),
    vfs(
        "copy-sparse-tail-lost",
        Plant::Copy(edits::sparse_tail_lost),
    ),
    vfs(
        "copy-beyond-4096-lost",
        Plant::Copy(edits::beyond_4096_lost),
    ),
    vfs("copy-set-id-lost", Plant::Copy(edits::set_id_lost)),
    vfs("copy-capability-lost", Plant::Copy(edits::capability_lost)),
    vfs("copy-sticky-lost", Plant::Copy(edits::sticky_lost)),
    vfs("copy-acl-lost", Plant::Copy(edits::acl_lost)),
    vfs(
        "copy-default-acl-lost",
        Plant::Copy(edits::default_acl_lost),
    ),
    vfs(
        "copy-default-acl-leaks",
        Plant::Copy(edits::default_acl_leaks),
    ),
    vfs("copy-device-cut-to-8-bits", Plant::Copy(edits::device_cut)),
    vfs(
        "copy-fifo-becomes-file",
        Plant::Copy(edits::fifo_becomes_file),
    ),
    vfs("copy-socket-lost", Plant::Copy(edits::socket_lost)),
    vfs("copy-target-cut", Plant::Copy(edits::target_cut)),
    vfs(
        "copy-empty-directory-lost",
        Plant::Copy(edits::empty_directory_lost),
    ),
    vfs("copy-name-255-lost", Plant::Copy(edits::long_name_lost)),
    vfs("copy-name-not-utf8-lost", Plant::Copy(edits::odd_name_lost)),
    overlay(
        "root-attributes-lost",
        Plant::Copy(edits::root_attributes_lost),
    ),
    vfs(
        "child-writes-to-parent",
        Plant::Lie(Lie::ChildWritesToParent),
    ),
    vfs("view-writable", Plant::Lie(Lie::ViewWritable)),
    overlay(
        "view-shows-grandparent",
        Plant::Lie(Lie::ViewShowsGrandparent),
    ),
    overlay("prepare-on-latest", Plant::Lie(Lie::PrepareOnLatest)),
    vfs("remount-forgets-newest", Plant::Remount(edits::newest_lost)),
    vfs("remount-new-inode", Plant::Remount(edits::new_inode)),
    overlay("plan-shows-old-upper", Plant::Lie(Lie::PlanShowsOldUpper)),
    overlay("layers-in-wrong-order", Plant::Plan(swap_layers)),
    overlay("layer-beyond-64-left-out", Plant::Plan(leave_out_layers)),
    vfs(
        "reopen-forgets-last-layer",
        Plant::Lie(Lie::ReopenForgetsLast),
    ),
    overlay("opaque-mark-dropped", Plant::Commit(edits::opaque_dropped)),
    overlay(
        "opaque-mark-dropped-on-remount",
        Plant::Remount(edits::opaque_dropped),
    ),
    overlay(
        "whiteout-lost-on-rename",
        Plant::Unmounted(edits::whiteout_of_renamed_lost),
    ),
    overlay(
        "whiteout-of-directory-lost",
        Plant::Commit(edits::whiteout_of_directory_lost),
    ),
    overlay(
        "whiteout-of-deep-name-lost",
        Plant::Commit(edits::whiteout_of_deep_name_lost),
    ),
    overlay(
        "copy-up-owner-lost",
        Plant::Unmounted(edits::owner_of_copied_up_lost),
    ),
    overlay(
        "copy-up-xattr-lost",
        Plant::Unmounted(edits::xattr_of_copied_up_lost),
    ),
    overlay(
        "copy-up-moves-parents-time",
        Plant::Unmounted(edits::time_above_copied_up_moved),
    ),
    vfs(
        "commit-loses-last-write",
        Plant::Commit(edits::last_write_lost),
    ),
    overlay("commit-beyond-4096-lost", Plant::Commit(edits::newest_cut)),
    vfs(
        "diff-omits-empty-directory",
        Plant::Diff(no_empty_directory),
    ),
    overlay(
        "diff-omits-metadata-change",
        Plant::Diff(no_metadata_change),
    ),
    overlay("diff-omits-removed-name", Plant::Diff(no_last_whiteout)),
    vfs("diff-omits-symlink-retarget", Plant::Diff(no_retarget)),
    vfs(
        "diff-trusts-size-and-time",
        Plant::Diff(trust_size_and_time),
    ),
    overlay("diff-hard-link-as-file", Plant::Diff(no_hard_link)),
    vfs("diff-mtime-in-seconds", Plant::Diff(mtime_in_seconds)),
    overlay("changes-lists-phantom", Plant::Changes(phantom)),
    overlay("apply-whiteout-lost", Plant::Apply(no_whiteout)),
    vfs(
        "apply-keeps-full-directory",
        Plant::Apply(no_full_directory),
    ),
    overlay(
        "apply-keeps-replaced-children",
        Plant::Apply(no_whiteout_beside),
    ),
    overlay("apply-long-whiteout-lost", Plant::Apply(no_long_whiteout)),
    vfs(
        "apply-moves-directory-time",
        Plant::Applied(edits::directory_mtime_moved),
    ),
    vfs(
        "remove-of-parent-succeeds",
        Plant::Lie(Lie::RemoveOfParentSucceeds),
    ),
    overlay("remove-does-nothing", Plant::Lie(Lie::RemoveDoesNothing)),
    vfs("list-omits-a-layer", Plant::Lie(Lie::ListOmitsLast)),
    overlay("stat-wrong-parent", Plant::Lie(Lie::StatWrongParent)),
];

fn swap_layers(plan: &mut MountPlan) {
    let options = &mut plan.steps[0].options;
    if options.len() > 2 && options[..2].iter().all(|option| option.key == "lowerdir+") {
        options.swap(0, 1);
    }
}

fn leave_out_layers(plan: &mut MountPlan) {
    let mut lowers = 0;
    plan.steps[0].options.retain(|option| {
        lowers += usize::from(option.key == "lowerdir+");
        option.key != "lowerdir+" || lowers <= 64
    });
}

/// Those members of a changeset that `keep` keeps.
fn those(members: Vec<Member>, keep: impl Fn(&Member) -> bool) -> Vec<Member> {
    members.into_iter().filter(keep).collect()
}

fn no_empty_directory(members: Vec<Member>, _: &[Member]) -> Vec<Member> {
    let all = members.clone();
    those(members, |member| {
        member.entry().is_none_or(|entry| {
            let path = entry.path.as_bytes();
            let marks = || all.iter().filter_map(Member::gone);
            let below = [path, b"/"].concat();
            entry.kind != EntryKind::Directory
                || entry.path.is_root()
                || has_below(&all, path)
                || marks().any(|gone| gone.starts_with(&below))
        })
    })
}

fn no_metadata_change(members: Vec<Member>, lower: &[Member]) -> Vec<Member> {
    those(members, |member| {
        member.entry().is_none_or(|entry| {
            find(lower, entry.path.as_bytes()).is_none_or(|(old, content)| {
                !matches!(entry.kind, EntryKind::File { .. })
                    || old.kind != entry.kind
                    || content != member.content
            })
        })
    })
}

fn no_last_whiteout(members: Vec<Member>, _: &[Member]) -> Vec<Member> {
    let mut last: BTreeMap<Vec<u8>, (u32, Vec<u8>)> = BTreeMap::new();
    for member in &members {
        if let Item::Whiteout { directory, name } = &member.item {
            let known = last.entry(directory.as_bytes().to_vec()).or_default();
            *known = (known.0 + 1, name.clone());
        }
    }
    those(members, |member| match &member.item {
        Item::Whiteout { directory, name } => {
            let (count, last) = &last[directory.as_bytes()];
            *count < 2 || name != last
        }
        _ => true,
    })
}

fn no_retarget(members: Vec<Member>, lower: &[Member]) -> Vec<Member> {
    those(members, |member| {
        member.entry().is_none_or(|entry| {
            find(lower, entry.path.as_bytes()).is_none_or(|(old, _)| {
                let both = [&old.kind, &entry.kind];
                !both
                    .iter()
                    .all(|kind| matches!(kind, EntryKind::Symlink { .. }))
            })
        })
    })
}

fn trust_size_and_time(members: Vec<Member>, lower: &[Member]) -> Vec<Member> {
    those(members, |member| {
        member.entry().is_none_or(|entry| {
            find(lower, entry.path.as_bytes())
                .is_none_or(|(old, content)| old != entry || content == member.content)
        })
    })
}

fn no_hard_link(mut members: Vec<Member>, _: &[Member]) -> Vec<Member> {
    let all = members.clone();
    for member in &mut members {
        if let Item::Entry(entry) = &mut member.item
            && let EntryKind::HardLink { target } = &entry.kind
            && let Some((first, content)) = find(&all, target.as_bytes())
        {
            entry.kind = first.kind.clone();
            entry.xattrs.clone_from(&first.xattrs);
            member.content = content.to_vec();
        }
    }
    members
}

fn mtime_in_seconds(mut members: Vec<Member>, _: &[Member]) -> Vec<Member> {
    for member in &mut members {
        if let Item::Entry(entry) = &mut member.item {
            entry.metadata.mtime.nanoseconds = 0;
        }
    }
    members
}

fn phantom(changes: &mut Vec<Change>, lower: &[Member]) {
    let unchanged = lower.iter().filter_map(Member::entry).find(|entry| {
        let path = entry.path.as_bytes();
        changes.iter().all(|change| change.path != path)
    });
    if let Some(entry) = unchanged {
        changes.push(Change {
            path: entry.path.as_bytes().to_vec(),
            kind: ChangeKind::Modified,
        });
        changes.sort();
    }
}

fn no_whiteout(members: Vec<Member>, _: &[Member]) -> Vec<Member> {
    those(members, |member| member.gone().is_none())
}

fn no_full_directory(members: Vec<Member>, lower: &[Member]) -> Vec<Member> {
    those(members, |member| {
        member.gone().is_none_or(|gone| !has_below(lower, &gone))
    })
}

fn no_whiteout_beside(members: Vec<Member>, _: &[Member]) -> Vec<Member> {
    let all = members.clone();
    those(members, |member| match &member.item {
        Item::Whiteout { directory, .. } => {
            directory.is_root() || !has_below(&all, directory.as_bytes())
        }
        _ => true,
    })
}

fn no_long_whiteout(members: Vec<Member>, _: &[Member]) -> Vec<Member> {
    those(members, |member| match &member.item {
        Item::Whiteout { name, .. } => name.len() <= 251,
        _ => true,
    })
}
