//! Two instances on one root, as two processes have them.

use crate::cases::samples;
use crate::prelude::*;

pub(crate) const TWO_INSTANCES_SHARE_A_ROOT: Case = Case {
    name: "two_instances_share_a_root",
    group: Group::Concurrency,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let setting = context.setting().clone();
        let other = setting.factory.open(&setting.open, &setting.host)?;
        let outcome = (|| {
            let seen = context.wait(other.stat(&base))?;
            ensure!(
                seen == context.stat(&base)?,
                "the instances tell different facts"
            );
            let key = name("theirs");
            context.wait(other.prepare(&key, Some(&base), &PrepareOptions::default()))?;
            expect_kind(
                context.prepare(&key, None),
                ErrorKind::AlreadyExists,
                "their key",
            )?;
            expect_kind(
                context.remove(&base),
                ErrorKind::InUse,
                "the parent of their child",
            )?;
            // A mount made through one is known to the other.
            let live = context.mount(&key)?;
            let committed =
                context.wait(other.commit(&key, &name("early"), &CommitOptions::default()));
            expect_kind(
                committed,
                ErrorKind::InUse,
                "commit of what is mounted elsewhere",
            )?;
            live.file("f", "1")?;
            live.unmount()?;
            context.wait(other.commit(&key, &name("frozen"), &CommitOptions::default()))?;
            ensure!(
                context.tree(&name("frozen"))?.get("f").is_some(),
                "the file is lost"
            );
            context.remove(&name("frozen"))?;
            expect_kind(
                context.wait(other.stat(&name("frozen"))),
                ErrorKind::NotFound,
                "after it",
            )
        })();
        context.wait(other.close())?;
        drop(other);
        outcome?;
        ensure!(
            context.tree(&base)?.get("etc/hosts").is_some(),
            "closing one hurt the other"
        );
        Ok(())
    },
};
