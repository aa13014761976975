//! The trait that every storage driver implements.

use crate::capability::Capabilities;
use crate::counters::Counters;
use crate::error::Result;
use crate::name::SnapshotName;
use crate::options::{ApplyOptions, CommitOptions, DiffOptions, PrepareOptions};
use crate::plan::MountPlan;
use crate::snapshot::{Applied, Change, DriverInfo, Labels, Reclaimed, SnapshotInfo, Usage};
use crate::stream::{ChangesetSource, DiffStream};
use async_trait::async_trait;

/// A backend that stores stacked file-system snapshots.
///
/// # Contract
/// This is what callers need from a backend, and nothing more. Every statement under "Behaviour"
/// is checked by the harness case whose name follows it. An operation is complete or rolled back
/// even if its future is dropped.
///
/// # Life of a snapshot
/// `prepare` starts an *active* snapshot on a committed parent or on nothing; `mounts` says how to
/// see it; `commit` freezes it under a name, after which it can be a parent. `view` starts a
/// read-only look at a committed one. Keys and names share one space.
#[async_trait]
pub trait StorageDriver: std::fmt::Debug + Send + Sync + 'static {
    /// Name, root and durability of this instance. Never fails, does no I/O.
    fn info(&self) -> &DriverInfo;

    /// What this instance can do on this host, as probed when it was opened. No I/O.
    fn capabilities(&self) -> &Capabilities;

    /// What this instance has counted so far. No I/O.
    fn counters(&self) -> &Counters;

    /// Starts an active snapshot on top of `parent`, or on nothing.
    ///
    /// `size_limit` requires [`Capability::Quota`](crate::Capability::Quota).
    ///
    /// # Behaviour
    /// - Without a parent it is an empty directory: 0755, 0:0, mtime 0, no attributes.
    ///   (`empty_snapshot_is_canonical`)
    /// - On a parent it shows the parent's tree, whole. (`child_equals_parent`)
    /// - A key or name in use is `AlreadyExists`; nothing is changed. (`prepare_twice`)
    /// - An uncommitted parent is `InvalidState`, an unknown one `NotFound`. (`parent_must_be_committed`)
    /// - A size limit counts what is written to this snapshot, and is nobody else's.
    ///   (`quota_is_enforced`, `limit_goes_with_its_snapshot`)
    /// - On error, no trace remains. (`failed_operations_leave_nothing`)
    async fn prepare(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()>;

    /// Starts a read-only view of `parent`, or of nothing.
    ///
    /// # Behaviour
    /// - It shows the parent's tree and refuses every write. (`view_is_read_only`)
    /// - It is never committed: `InvalidState`. (`view_cannot_be_committed`)
    async fn view(
        &self,
        key: &SnapshotName,
        parent: Option<&SnapshotName>,
        options: &PrepareOptions,
    ) -> Result<()>;

    /// Says how to see an active snapshot or a view as a directory. Mounts nothing.
    ///
    /// # Behaviour
    /// - Asked twice it says the same. (`mounts_is_idempotent`)
    /// - After the commit the plan can no longer be mounted. (`plan_ends_with_its_key`)
    /// - A committed snapshot is `InvalidState`. (`committed_has_no_mounts`)
    async fn mounts(&self, key: &SnapshotName) -> Result<MountPlan>;

    /// Freezes an active snapshot under `name`. The key is free again afterwards.
    ///
    /// `late_parent` requires [`Capability::LateParent`](crate::Capability::LateParent).
    ///
    /// # Behaviour
    /// - The committed tree is the active one's, and never changes. (`parent_is_immutable`)
    /// - Nor do those change it who had the active one open or mounted, unless
    ///   [`Quirk::LateWriterPossible`](crate::Quirk::LateWriterPossible) is declared.
    ///   (`commit_with_held_fd`, `commit_with_held_map`, `commit_mounted_elsewhere`)
    /// - A snapshot that is mounted is `InUse`. (`commit_of_mounted_is_in_use`)
    /// - A name in use is `AlreadyExists`, a key that is not active `InvalidState`, an unknown one
    ///   `NotFound`. (`commit_refusals`)
    /// - Labels of the active snapshot are not inherited. (`commit_replaces_labels`)
    /// - A late parent gives the tree that applying the layers in order would. A directory that no
    ///   entry describes is like the parent's where it is as it was made, 0755 and 0:0, also if
    ///   somebody has set it so in a mount. (`late_parent_equals_serial`,
    ///   `late_parent_answers_marks`, `late_parent_gives_attributes`)
    async fn commit(
        &self,
        key: &SnapshotName,
        name: &SnapshotName,
        options: &CommitOptions,
    ) -> Result<()>;

    /// Deletes a snapshot. The name is free at once; bytes may be given back by `reclaim`.
    ///
    /// # Behaviour
    /// - A snapshot with children is `InUse`. (`remove_of_parent_is_in_use`)
    /// - A mounted one is `InUse`. (`remove_of_mounted_is_in_use`)
    /// - An absent one is `NotFound`. (`remove_absent`)
    /// - The name can be used again, for any kind. (`name_reuse`)
    async fn remove(&self, name: &SnapshotName) -> Result<()>;

    /// Facts about one snapshot.
    ///
    /// # Behaviour
    /// - Kind and parent are as made; an unknown name is `NotFound`. (`stat_tells_kind_and_parent`)
    async fn stat(&self, name: &SnapshotName) -> Result<SnapshotInfo>;

    /// All snapshots, in order of their names.
    ///
    /// # Behaviour
    /// - Exactly those that exist, during changes too. (`list_is_exact`)
    async fn list(&self) -> Result<Vec<SnapshotInfo>>;

    /// Replaces the labels of a snapshot of any kind.
    ///
    /// # Behaviour
    /// - Only labels and the time of update change. (`relabel_changes_labels_only`)
    async fn relabel(&self, name: &SnapshotName, labels: &Labels) -> Result<()>;

    /// Space held by this snapshot alone, its parents left out. May walk it.
    ///
    /// # Behaviour
    /// - It grows by about what is written. (`usage_counts_own_bytes`)
    async fn usage(&self, name: &SnapshotName) -> Result<Usage>;

    /// The paths that differ from `lower` (nothing, if none) to `upper`, in the order of the
    /// canonical changeset. `upper` may be active; then it must not be written meanwhile.
    ///
    /// # Behaviour
    /// - Exactly what changed, and the ancestors of that. (`changes_are_exact`)
    async fn changes(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
    ) -> Result<Vec<Change>>;

    /// The changes from `lower` (nothing, if none) to `upper` as a canonical changeset.
    ///
    /// # Behaviour
    /// - A function of the two trees alone: the same edits give the same bytes.
    ///   (`diff_is_canonical`)
    /// - Applied on `lower` it gives `upper`. (`apply_of_diff_is_identity`)
    /// - With `NativeDiff`, entries walked are in the order of what changed.
    ///   (`native_diff_walks_changes_only`)
    async fn diff(
        &self,
        lower: Option<&SnapshotName>,
        upper: &SnapshotName,
        options: &DiffOptions,
    ) -> Result<DiffStream>;

    /// Applies a changeset to an active snapshot that is not mounted.
    ///
    /// # Behaviour
    /// - Whiteouts and opaque marks hide what lies below, in any order. (`apply_hides_lower`)
    /// - Nothing in the stream can name a path outside. (`apply_is_confined`)
    /// - Digest and size are those of the stream. (`apply_reports_digest_and_size`)
    /// - What is refused leaves the snapshot for removal only. (`apply_refusals`)
    /// - What does not begin like a changeset leaves it as it was. (`no_archive_spoils_nothing`)
    async fn apply(
        &self,
        key: &SnapshotName,
        changeset: ChangesetSource,
        options: &ApplyOptions,
    ) -> Result<Applied>;

    /// Deletes what removed and half-made snapshots left. Idempotent, safe after a crash.
    ///
    /// # Behaviour
    /// - Afterwards nothing of a removed snapshot is on disk. (`reclaim_gives_space_back`)
    async fn reclaim(&self) -> Result<Reclaimed>;

    /// Undoes what `mounts` made ready and waits for background work. Idempotent.
    ///
    /// # Behaviour
    /// - Closing twice is fine. (`close_twice`)
    async fn close(&self) -> Result<()>;
}
