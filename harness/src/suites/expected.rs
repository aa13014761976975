//! What pjdfstest says otherwise than its tests' names promise, and why that is nobody's fault.

use super::pjdfstest::End;
use crate::fixture::FileSystemKind;
use strata_driver::{Quirk, QuirkSet};

/// What makes tests end otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The driver declares it.
    Quirk(Quirk),
    /// The directory is on this file system, or on a driver's that stands on it.
    On(FileSystemKind),
    /// The directory, as it is mounted, is on any file system but this.
    NotOn(FileSystemKind),
    /// How the suite is run here.
    AsRun,
}

/// What causes are looked for in.
#[derive(Clone, Debug)]
pub(super) struct Facts<'a> {
    /// What the driver declares; nothing for a plain directory.
    pub quirks: &'a QuirkSet,
    /// The file system of the directory, as the kernel names it.
    pub mounted: String,
    /// The file system that the driver stands on.
    pub below: String,
}

impl Cause {
    /// Whether it is at work.
    pub(super) fn holds(self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Quirk(quirk) => facts.quirks.contains(&quirk),
            Self::On(kind) => [&facts.mounted, &facts.below]
                .iter()
                .any(|name| *name == kind.as_str()),
            Self::NotOn(kind) => facts.mounted != kind.as_str(),
            Self::AsRun => true,
        }
    }
}

/// Tests that end otherwise for one reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub end: End,
    pub cause: Cause,
    pub reason: &'static str,
    pub names: &'static [&'static str],
}

/// All that may end otherwise; where the cause is at work, each must.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        end: End::Failed,
        cause: Cause::Quirk(Quirk::DeviceZeroRefused),
        reason: "the test makes a character device 0:0, which is how whiteouts are stored (EPERM)",
        names: &[
            "chmod::change_perm::char",
            "chmod::enotdir_component::char",
            "chmod::failed_chmod_unchanged_ctime::char",
            "chmod::update_ctime::char",
            "chown::enotdir_component::char",
            "chown::lchown::enotdir_component::char",
            "link::changed_ctime_success::char",
            "link::eexist_dest_exists::char",
            "link::enotdir_component_either::char",
            "link::remove_link::char",
            "link::share_metadata::char",
            "link::unchanged_ctime_fails::char",
            "mkdir::eexist_file_exists::char",
            "mkdir::enotdir_component::char",
            "mkfifo::eexist_file_exists::char",
            "mkfifo::enotdir_component::char",
            "mknod::eexist_file_exists::char",
            "mknod::enotdir_comp_char_block::char",
            "mknod::enotdir_component::char",
            "mknod::privileged::eexist_file_exists::char",
            "open::eexist_file_exists::char",
            "rename::changed_ctime_success::char",
            "rename::eexist_enotempty_to_non_empty::char",
            "rename::eisdir_to_dir_from_not_dir::char",
            "rename::enotdir_component_either::char",
            "rename::enotdir_from_dir_to_not_dir::char",
            "rename::preserve_metadata::char",
            "rename::to_multiply_linked::char",
            "rename::unchanged_ctime_failed::char",
            "rmdir::eexist_enotempty_non_empty_dir::char",
            "rmdir::enotdir_component::char",
            "symlink::create_symlink::char",
            "symlink::eexist_file_exists::char",
            "symlink::enotdir_component::char",
            "truncate::enotdir_component::char",
            "unlink::enotdir_component::char",
            "unlink::remove_type::char",
            "unlink::unchanged_ctime_failed::char",
            "unlink::update_ctime_success::char",
            "unlink::update_mtime_ctime_success_folder::char",
            "utimensat::changes_timestamps::char",
        ],
    },
    Family {
        end: End::Failed,
        cause: Cause::On(FileSystemKind::Btrfs),
        reason: "directories of btrfs have a link count of 1, which POSIX allows",
        names: &["rename::updates_link_parent"],
    },
    Family {
        end: End::Skipped,
        cause: Cause::NotOn(FileSystemKind::Ext4),
        reason: "the C library names no LINK_MAX that can be reached in a test",
        names: &["link::link_count_max"],
    },
    Family {
        end: End::Skipped,
        cause: Cause::AsRun,
        reason: "remounting read-only would be for the whole file system, which the driver writes \
                 to; `view_is_read_only` asks for EROFS",
        names: &[
            "chmod::erofs_named",
            "chown::erofs_named",
            "chown::lchown::erofs_named",
            "link::erofs_named",
            "mkdir::erofs_new_file",
            "mkfifo::erofs_new_file",
            "open::erofs_named",
            "open::erofs_new_file",
            "rename::erofs_named",
            "rmdir::erofs_named",
            "symlink::erofs_new_file",
            "truncate::erofs_named",
            "unlink::erofs_named",
        ],
    },
];
