//! What is said of snapshots.

use crate::prelude::*;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Upstream: `StatActive`, `StatComitted`, `TransitivityTest` of containerd.
pub(crate) const STAT_TELLS_KIND_AND_PARENT: Case = Case {
    name: "stat_tells_kind_and_parent",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |_| Ok(()))?;
        let middle = context.layer(Some(&base), |_| Ok(()))?;
        let (active, view) = (name("active"), name("view"));
        context.prepare(&active, Some(&middle))?;
        context.view(&view, Some(&middle))?;
        let expected = [
            (&base, SnapshotKind::Committed, None),
            (&middle, SnapshotKind::Committed, Some(&base)),
            (&active, SnapshotKind::Active, Some(&middle)),
            (&view, SnapshotKind::View, Some(&middle)),
        ];
        for again in [false, true] {
            for (name, kind, parent) in expected {
                let info = context.stat(name)?;
                ensure!(
                    info.name == *name && info.kind == kind && info.parent.as_ref() == parent,
                    "`{name}` is {info:?}"
                );
                ensure!(
                    info.created_ms > 0 && info.updated_ms >= info.created_ms,
                    "{info:?}"
                );
            }
            if !again {
                context.reopen()?;
            }
        }
        expect_kind(
            context.stat(&name("nobody")),
            ErrorKind::NotFound,
            "stat of nobody",
        )
        .map(drop)
    },
};

/// Upstream: `ListLayers` of graphtest; `Walk`, `StatInWalk` of containerd.
pub(crate) const LIST_IS_EXACT: Case = Case {
    name: "list_is_exact",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        ensure!(
            context.list()?.is_empty(),
            "a fresh root lists {:?}",
            context.listed()?
        );
        let base = context.layer(None, |_| Ok(()))?;
        let mut stable = BTreeSet::from([base.to_string()]);
        for key in ["a", "B", "ä", "k8s.io/3/sha256:0", "a b", "-"] {
            context.prepare(&name(key), Some(&base))?;
            stable.insert(key.to_owned());
        }
        let sorted: Vec<_> = stable.iter().cloned().collect();
        ensure!(
            context.listed()? == sorted,
            "{:?} and not {sorted:?}",
            context.listed()?
        );
        for info in context.list()? {
            ensure!(
                context.stat(&info.name)? == info,
                "stat and list differ on `{}`",
                info.name
            );
        }
        let stop = Arc::new(AtomicBool::new(false));
        let churn = {
            let (driver, stop, base) = (context.driver().clone(), stop.clone(), base.clone());
            context.setting().runtime.spawn(async move {
                let options = PrepareOptions::default();
                while !stop.load(Ordering::Relaxed) {
                    for number in 0..4 {
                        driver
                            .prepare(&name(&format!("churn-{number}")), Some(&base), &options)
                            .await?;
                    }
                    for number in 0..4 {
                        driver.remove(&name(&format!("churn-{number}"))).await?;
                    }
                }
                Ok::<(), strata_driver::Error>(())
            })
        };
        let mut outcome = Ok(());
        for _ in 0..30 {
            let listed = context.listed()?;
            let found: BTreeSet<_> = listed
                .iter()
                .filter(|name| !name.starts_with("churn-"))
                .cloned()
                .collect();
            if found != stable {
                outcome = Err(anyhow::anyhow!("during changes it listed {listed:?}"));
            }
        }
        stop.store(true, Ordering::Relaxed);
        context.wait(churn)??;
        outcome
    },
};

/// Upstream: `Update` of containerd.
pub(crate) const RELABEL_CHANGES_LABELS_ONLY: Case = Case {
    name: "relabel_changes_labels_only",
    group: Group::Lifecycle,
    needs: &[],
    run: |context| {
        let base = context.layer(None, |dir| dir.file("f", "1").map(drop))?;
        let (active, view) = (name("active"), name("view"));
        context.prepare(&active, Some(&base))?;
        context.view(&view, Some(&base))?;
        let tree = context.tree(&base)?;
        for target in [&base, &active, &view] {
            let before = context.stat(target)?;
            let labels = Labels::from([("key".into(), "a value, with = and \n in it".into())]);
            context.wait(context.driver().relabel(target, &labels))?;
            let after = context.stat(target)?;
            ensure!(after.labels == labels, "`{target}`: {:?}", after.labels);
            ensure!(
                after.updated_ms >= before.updated_ms,
                "`{target}`: updated earlier"
            );
            let mut expected = before;
            (expected.labels, expected.updated_ms) = (labels, after.updated_ms);
            ensure!(
                after == expected,
                "`{target}`: {after:?} and not {expected:?}"
            );
            context.wait(context.driver().relabel(target, &Labels::new()))?;
            ensure!(
                context.stat(target)?.labels.is_empty(),
                "`{target}`: labels stay"
            );
        }
        let nobody = context.wait(context.driver().relabel(&name("nobody"), &Labels::new()));
        expect_kind(nobody, ErrorKind::NotFound, "relabel of nobody")?;
        context
            .tree(&base)?
            .expect_equal(&tree, "after relabelling")
    },
};
