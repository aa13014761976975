//! What a driver can do on this host, its limits, and the deviations that it declares.

use crate::snapshot::Bytes;
use std::collections::BTreeSet;

/// Something a driver may or may not be able to do on this host, in the caller's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Capability {
    /// `diff` and `changes` follow the driver's own record of what changed: entries walked are
    /// in the order of the change, not of the tree.
    NativeDiff,
    /// `PrepareOptions::size_limit` is enforced.
    Quota,
    /// Copies share their blocks with the original: of a layer, or of a file when it is first
    /// written.
    ReflinkCopy,
    /// `CommitOptions::late_parent`: an active snapshot prepared without a parent gets one when
    /// it is committed.
    LateParent,
    /// Owners other than the caller's own are kept.
    Ownership,
    /// Device nodes can be made.
    Devices,
    /// `trusted.*` attributes are kept.
    TrustedXattrs,
    /// A mount can map owners.
    IdmappedMount,
}

impl Capability {
    /// All of them, in the order of documentation.
    pub const ALL: &[Self] = &[
        Self::NativeDiff,
        Self::Quota,
        Self::ReflinkCopy,
        Self::LateParent,
        Self::Ownership,
        Self::Devices,
        Self::TrustedXattrs,
        Self::IdmappedMount,
    ];

    /// The name used in output, configuration and `STRATA_CAPABILITIES`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NativeDiff => "native_diff",
            Self::Quota => "quota",
            Self::ReflinkCopy => "reflink_copy",
            Self::LateParent => "late_parent",
            Self::Ownership => "ownership",
            Self::Devices => "devices",
            Self::TrustedXattrs => "trusted_xattrs",
            Self::IdmappedMount => "idmapped_mount",
        }
    }

    /// The capability of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|capability| capability.as_str() == name)
    }
}

/// A declared deviation from what a plain directory tree would do: the closed list.
///
/// A harness case observes each in both directions: an undeclared deviation fails, and so does
/// a declared one that does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Quirk {
    /// Renaming a directory that comes from a lower layer answers EXDEV.
    /// (`quirk_directory_rename_exdev`)
    DirectoryRenameExdev,
    /// Renaming a directory that shows names of a lower layer answers EXDEV; one that shows none
    /// moves. (`quirk_merged_directory_rename_exdev`)
    MergedDirectoryRenameExdev,
    /// Writing to one name of a lower layer's hard-link group separates it from the others.
    /// (`quirk_hard_link_splits`)
    HardLinkSplits,
    /// The link count of a lower layer's file counts names that are hidden by a layer above.
    /// (`quirk_hidden_names_counted`)
    HiddenNamesCounted,
    /// A shared read-only mapping made before the first write keeps showing the old data.
    /// (`quirk_held_map_keeps_old_data`)
    HeldMapKeepsOldData,
    /// A writer that the driver cannot see (another mount namespace, a held descriptor) can
    /// still change a committed layer. (`quirk_late_writer_possible`, `commit_with_held_fd`,
    /// `commit_with_held_map`, `commit_mounted_elsewhere`)
    LateWriterPossible,
    /// Character devices 0:0 cannot be made in a mounted snapshot.
    /// (`quirk_device_zero_refused`)
    DeviceZeroRefused,
    /// Names that begin with `.wh.` cannot be made or looked up (EPERM), nor those of more than 242
    /// bytes (ENAMETOOLONG): the driver's marks are names. (`quirk_reserved_names`)
    ReservedNames,
    /// The inode number of a lower layer's file changes when it is first written.
    /// (`quirk_inode_changes`)
    InodeChanges,
    /// The inode number that a directory lists for a name may not be the one that stat(2) gives.
    /// (`quirk_entry_inode_differs`)
    EntryInodeDiffers,
    /// Holes of less than a MiB in a lower layer's file are filled when it is first written.
    /// (`quirk_small_holes_filled`)
    SmallHolesFilled,
    /// A rename that is refused because the other directory is not empty may change the time of the
    /// directory that it would have been from. (`quirk_refused_rename_touches`)
    RefusedRenameTouches,
}

impl Quirk {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::DirectoryRenameExdev,
        Self::MergedDirectoryRenameExdev,
        Self::HardLinkSplits,
        Self::HiddenNamesCounted,
        Self::HeldMapKeepsOldData,
        Self::LateWriterPossible,
        Self::DeviceZeroRefused,
        Self::ReservedNames,
        Self::InodeChanges,
        Self::EntryInodeDiffers,
        Self::SmallHolesFilled,
        Self::RefusedRenameTouches,
    ];

    /// The name used in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DirectoryRenameExdev => "directory_rename_exdev",
            Self::MergedDirectoryRenameExdev => "merged_directory_rename_exdev",
            Self::HardLinkSplits => "hard_link_splits",
            Self::HiddenNamesCounted => "hidden_names_counted",
            Self::HeldMapKeepsOldData => "held_map_keeps_old_data",
            Self::LateWriterPossible => "late_writer_possible",
            Self::DeviceZeroRefused => "device_zero_refused",
            Self::ReservedNames => "reserved_names",
            Self::InodeChanges => "inode_changes",
            Self::EntryInodeDiffers => "entry_inode_differs",
            Self::SmallHolesFilled => "small_holes_filled",
            Self::RefusedRenameTouches => "refused_rename_touches",
        }
    }
}

/// A set of capabilities.
pub type CapabilitySet = BTreeSet<Capability>;
/// A set of quirks.
pub type QuirkSet = BTreeSet<Quirk>;

/// Numbers rather than yes or no. `None` means that no limit is known to the driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// Committed layers below an active snapshot.
    pub max_depth: Option<u32>,
    /// Bytes of one file name.
    pub max_name: Option<u32>,
    /// Bytes of all extended attributes of one inode, about.
    pub max_xattrs: Option<Bytes>,
    /// Earliest modification time in seconds since 1970.
    pub min_time: Option<i64>,
    /// Latest modification time in seconds since 1970.
    pub max_time: Option<i64>,
}

/// Everything that a driver says of itself; probed once at open, then constant.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Capabilities {
    /// What it can do.
    pub set: CapabilitySet,
    /// Its declared deviations.
    pub quirks: QuirkSet,
    /// Its numbers.
    pub limits: Limits,
    /// For a capability that is absent: why, in one line.
    pub absent: Vec<(Capability, String)>,
}

impl Capabilities {
    /// Whether `capability` is there.
    pub fn has(&self, capability: Capability) -> bool {
        self.set.contains(&capability)
    }

    /// Whether `quirk` is declared.
    pub fn declares(&self, quirk: Quirk) -> bool {
        self.quirks.contains(&quirk)
    }

    /// Records `capability` as there, or as absent for `reason`.
    pub fn note(&mut self, capability: Capability, found: Result<(), String>) {
        match found {
            Ok(()) => {
                self.set.insert(capability);
            }
            Err(reason) => self.absent.push((capability, reason)),
        }
    }

    /// Why `capability` is absent.
    pub fn reason(&self, capability: Capability) -> &str {
        self.absent
            .iter()
            .find(|(known, _)| *known == capability)
            .map_or("the driver does not offer it", |(_, reason)| {
                reason.as_str()
            })
    }
}
