//! Closing and opening again.

use crate::cases::lifecycle::prepare::{difference, paths_below_root};
use crate::cases::samples;
use crate::prelude::*;

pub(crate) const REOPEN_KEEPS_EVERYTHING: Case = Case {
    name: "reopen_keeps_everything",
    group: Group::Crash,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let top = context.layer(Some(&base), |dir| {
            dir.unlink("run.sh")?.file("f", "1").map(drop)
        })?;
        let key = context.active(Some(&top))?;
        context.edit(&key, |dir| {
            dir.file("unfinished", "1")?.unlink("lib").map(drop)
        })?;
        let view = name("view");
        context.view(&view, Some(&base))?;
        let labels = Labels::from([("a".into(), "b".into())]);
        context.wait(context.driver().relabel(&key, &labels))?;
        let removed = context.layer(Some(&top), |dir| dir.file("g", "1").map(drop))?;
        context.remove(&removed)?;
        context.reclaim()?;
        let listed = context.list()?;
        let names = [&base, &top, &key, &view];
        let mut trees = Vec::new();
        for name in names {
            trees.push(context.tree(name)?);
        }
        let diff = context.diff(Some(&top), &key)?;
        let paths = paths_below_root(context)?;
        for time in ["once", "twice"] {
            context.reopen()?;
            ensure!(
                context.list()? == listed,
                "opened {time}: {:?}",
                context.listed()?
            );
            for (name, tree) in names.into_iter().zip(&trees) {
                context
                    .tree(name)?
                    .expect_equal(tree, &format!("opened {time}, `{name}`"))?;
            }
            ensure!(
                context.diff(Some(&top), &key)? == diff,
                "opened {time}: another diff"
            );
            let now = paths_below_root(context)?;
            ensure!(
                now == paths,
                "opened {time}: {:?}",
                difference(&now, &paths)
            );
        }
        context.commit_fresh(&key)?;
        Ok(())
    },
};
