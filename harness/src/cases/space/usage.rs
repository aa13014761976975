//! What is counted, shared and given back.

use crate::cases::lifecycle::prepare::{difference, paths_below_root};
use crate::cases::samples;
use crate::prelude::*;

const MIB: u64 = 1 << 20;

pub(crate) const USAGE_COUNTS_OWN_BYTES: Case = Case {
    name: "usage_counts_own_bytes",
    group: Group::Space,
    needs: &[],
    run: |context| {
        let content = context.generator("usage").bytes(8 << 20);
        let base = context.layer(None, |dir| dir.file("below", &content).map(drop))?;
        let whole = context.usage(&base)?;
        ensure!(
            whole.bytes.0 >= 8 * MIB && whole.bytes.0 < 10 * MIB,
            "{whole:?} for 8 MiB"
        );
        let key = context.active(Some(&base))?;
        let before = context.usage(&key)?;
        let content = context.generator("usage-above").bytes(4 << 20);
        context.edit(&key, |dir| {
            dir.file("above", &content)?;
            for number in 0..10 {
                dir.file(format!("small-{number}"), "1")?;
            }
            Ok(())
        })?;
        let after = context.usage(&key)?;
        let grown = after.bytes.0.saturating_sub(before.bytes.0);
        ensure!(
            (4 * MIB..5 * MIB).contains(&grown),
            "it grew by {grown} for 4 MiB"
        );
        let inodes = after.inodes.0.saturating_sub(before.inodes.0);
        ensure!(
            (11..=13).contains(&inodes),
            "it grew by {inodes} inodes for 11 files"
        );
        ensure!(
            context.usage(&base)?.bytes == whole.bytes,
            "the parent's usage changed"
        );
        expect_kind(
            context.usage(&name("nobody")),
            ErrorKind::NotFound,
            "usage of nobody",
        )?;
        let layer = context.commit_fresh(&key)?;
        let committed = context.usage(&layer)?.bytes.0;
        ensure!(committed >= 4 * MIB, "{committed} bytes once committed");
        Ok(())
    },
};

pub(crate) const RECLAIM_GIVES_SPACE_BACK: Case = Case {
    name: "reclaim_gives_space_back",
    group: Group::Space,
    needs: &[],
    run: |context| {
        // The first life makes whatever the driver makes once.
        let first = context.layer(None, samples::plain)?;
        context.remove(&first)?;
        context.reclaim()?;
        let (paths, free) = (paths_below_root(context)?, free_bytes(context)?);
        let content = context.generator("reclaim").bytes(32 << 20);
        let base = context.layer(None, |dir| {
            samples::plain(dir)?;
            dir.file("big", &content)?.mode("etc", 0)?;
            dir.dir("many")?;
            (0..500).try_for_each(|number| dir.file(format!("many/{number}"), "1").map(drop))
        })?;
        let top = context.layer(Some(&base), |dir| dir.file("f", "1").map(drop))?;
        let active = context.active(Some(&top))?;
        context.edit(&active, |dir| dir.file("g", "1").map(drop))?;
        ensure!(
            free_bytes(context)? + 30 * MIB < free,
            "32 MiB take no space"
        );
        for gone in [&active, &top, &base] {
            context.remove(gone)?;
        }
        ensure!(
            context.list()?.is_empty(),
            "removed and listed: {:?}",
            context.listed()?
        );
        context.reclaim()?;
        let again = context.reclaim()?;
        ensure!(
            again.snapshots == 0,
            "the second reclaim found {}",
            again.snapshots
        );
        let now = paths_below_root(context)?;
        ensure!(now == paths, "files stay: {:?}", difference(&now, &paths));
        if context.setting().kind.is_some() {
            let left = free.saturating_sub(free_bytes(context)?);
            ensure!(left < 8 * MIB, "{left} bytes are not given back");
        }
        Ok(())
    },
};

/// Free bytes of the driver's file system, once it has settled.
fn free_bytes(context: &Context) -> Result<u64> {
    let root = fs_err::File::open(context.root())?;
    rustix::fs::syncfs(&root)?;
    let stat = rustix::fs::fstatvfs(&root)?;
    Ok(stat.f_bfree * stat.f_frsize)
}

/// Bytes that a child takes of the file system once one byte of a large file was changed.
fn cost_of_a_copy(context: &mut Context) -> Result<u64> {
    let bytes = context.generator("reflink").bytes(32 << 20);
    let base = context.layer(None, |dir| dir.file("big", &bytes).map(drop))?;
    let before = free_bytes(context)?;
    let key = context.active(Some(&base))?;
    context.edit(&key, |dir| {
        dir.mode("big", 0o600)?.overwrite("big", 5, b"x").map(drop)
    })?;
    let cost = before.saturating_sub(free_bytes(context)?);
    let read = context.look(&key, |root| Ok(fs_err::read(root.join("big"))?))?;
    ensure!(
        read.len() == bytes.len() && read[6..] == bytes[6..],
        "the copy is not equal"
    );
    Ok(cost)
}

pub(crate) const REFLINK_COPY_SHARES_BLOCKS: Case = Case {
    name: "reflink_copy_shares_blocks",
    group: Group::Space,
    needs: &[Capability::ReflinkCopy],
    run: |context| {
        let cost = cost_of_a_copy(context)?;
        ensure!(cost < 8 * MIB, "a copy of 32 MiB takes {cost} bytes");
        Ok(())
    },
};

/// The inverse: a driver that claims no sharing shares nothing.
pub(crate) fn demand_own_blocks(context: &mut Context) -> Result<()> {
    let cost = cost_of_a_copy(context)?;
    ensure!(
        cost >= 24 * MIB,
        "a copy of 32 MiB takes {cost} bytes, and sharing is not claimed"
    );
    Ok(())
}

/// Upstream: `SetQuota` of graphtest, which passes when the write succeeds.
pub(crate) const QUOTA_IS_ENFORCED: Case = Case {
    name: "quota_is_enforced",
    group: Group::Space,
    needs: &[Capability::Quota],
    run: |context| {
        let key = name("limited");
        let options = PrepareOptions::default().with_size_limit(Bytes(16 * MIB));
        context.prepare_with(&key, None, &options)?;
        let live = context.mount(&key)?;
        let content = context.generator("quota").bytes(1 << 20);
        // As a container's root, to which ext4 makes no exception.
        let bound = strata_driver::quota::Bound::new()?;
        live.file("fits", &content)?;
        let mut refused = None;
        for number in 0..40 {
            let written = live.file(format!("f{number}"), &content).and_then(|_| {
                let file = fs_err::File::open(live.at(format!("f{number}")))?;
                Ok(file.sync_all()?)
            });
            if let Err(error) = written {
                refused = Some(error);
                break;
            }
        }
        drop(bound);
        live.unmount()?;
        let error = refused.context("40 MiB fit into a limit of 16 MiB")?;
        let errno = error.chain().find_map(|cause| {
            let io = cause.downcast_ref::<std::io::Error>();
            io.and_then(rustix::io::Errno::from_io_error)
                .or_else(|| cause.downcast_ref().copied())
        });
        ensure!(
            matches!(
                errno,
                Some(rustix::io::Errno::DQUOT | rustix::io::Errno::NOSPC)
            ),
            "refused with {errno:?}: {error:#}"
        );
        let changeset = archive(&[Entry::file(
            "more",
            context.generator("more").bytes(20 << 20),
        )]);
        let other = name("applied");
        context.prepare_with(&other, None, &options)?;
        expect_kind(
            context.apply(&other, &changeset),
            ErrorKind::NoSpace,
            "apply over the limit",
        )?;
        Ok(())
    },
};

pub(crate) const LIMIT_GOES_WITH_ITS_SNAPSHOT: Case = Case {
    name: "limit_goes_with_its_snapshot",
    group: Group::Space,
    needs: &[Capability::Quota],
    run: |context| {
        let key = name("limited");
        let limited = PrepareOptions::default().with_size_limit(Bytes(16 * MIB));
        context.prepare_with(&key, None, &limited)?;
        let content = context.generator("within").bytes(8 << 20);
        context.edit(&key, |dir| dir.file("within", &content).map(drop))?;
        let layer = context.commit_fresh(&key)?;
        // A child without a limit has none, and one with a limit has all of it to itself.
        let above = context.generator("above").bytes(12 << 20);
        for (number, options) in [limited, PrepareOptions::default()].iter().enumerate() {
            let child = name(&format!("child-{number}"));
            context.prepare_with(&child, Some(&layer), options)?;
            let files = if options.size_limit.is_some() { 1 } else { 3 };
            context.edit(&child, |dir| {
                for file in 0..files {
                    dir.file(format!("above-{file}"), &above)?;
                    fs_err::File::open(dir.at(format!("above-{file}")))?.sync_all()?;
                }
                Ok(())
            })?;
            context.commit_fresh(&child)?;
        }
        Ok(())
    },
};
