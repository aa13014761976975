//! A process killed at any moment: afterwards every layer is complete and equal, or absent.

use crate::cases::lifecycle::prepare::{difference, paths_below_root};
use crate::conformance::{ChildOrder, child_command};
use crate::prelude::*;
use crate::seed::{Generator, rounds};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::Duration;
use strata_driver::{
    ApplyOptions, ChangesetSource, DriverFactory, Host, OpenOptions, StorageDriver,
};

/// The child's one step, by name.
const CHURN: &str = "churn";

/// What layer `number` holds; the child makes it and the case expects it.
fn entries(number: usize) -> Vec<Entry> {
    let mut entries = vec![Entry::dir("d")];
    for file in 0..20 {
        entries.push(Entry::file(
            format!("d/{file}"),
            format!("{number} {file} ").repeat(100),
        ));
    }
    entries.push(Entry::whiteout("gone"));
    entries
}

/// Makes and removes layers until it is killed; a line a step.
pub(crate) fn obey(factories: &[Arc<dyn DriverFactory>], order: &ChildOrder) -> Result<()> {
    ensure!(order.step == CHURN, "no such step: {}", order.step);
    let mut wanted = factories
        .iter()
        .filter(|factory| factory.name().as_str() == order.driver);
    let factory = wanted
        .next()
        .with_context(|| format!("no driver `{}`", order.driver))?;
    let mut options = OpenOptions::new(&order.root);
    options.settings.clone_from(&order.settings);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let driver = factory.open(&options, &Host::probe())?;
    let first = runtime.block_on(driver.list())?.len();
    for round in 0.. {
        runtime.block_on(churn(&driver, first * 1000 + round))?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{round}")?;
        out.flush()?;
    }
    Ok(())
}

async fn churn(driver: &Arc<dyn StorageDriver>, number: usize) -> strata_driver::Result<()> {
    let base = name("base");
    let key = name(&format!("active-{number}"));
    let layer = name(&format!("layer-{number}"));
    driver
        .prepare(&key, Some(&base), &PrepareOptions::default())
        .await?;
    let bytes = std::io::Cursor::new(archive(&entries(number)));
    driver
        .apply(
            &key,
            ChangesetSource::from_read(bytes),
            &ApplyOptions::default(),
        )
        .await?;
    driver
        .commit(&key, &layer, &CommitOptions::default())
        .await?;
    if number.is_multiple_of(2) {
        driver.remove(&layer).await?;
    }
    Ok(())
}

/// Kills the child when dropped, so that a failing case leaves no process.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) -> Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "a child could not be killed");
        }
    }
}

fn start_and_kill(context: &Context, generator: &mut Generator) -> Result<()> {
    let (program, order) = context.child(CHURN)?;
    let mut child = Killed(
        child_command(&program, &order)
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let lines = BufReader::new(child.0.stdout.take().context("no pipe")?);
    let wanted = 1 + generator.below(4);
    let mut seen = 0;
    for line in lines.lines().take(wanted) {
        let line = line?;
        ensure!(line.parse::<usize>().is_ok(), "the child said: {line}");
        seen += 1;
    }
    ensure!(
        seen == wanted,
        "the child ended by itself after {seen} steps"
    );
    std::thread::sleep(Duration::from_micros(generator.below(20_000) as u64));
    child.kill()
}

pub(crate) const KILL_LEAVES_WHOLE_LAYERS: Case = Case {
    name: "kill_leaves_whole_layers",
    group: Group::Crash,
    needs: &[],
    run: |context| {
        let key = context.active(None)?;
        context.edit(&key, |dir| {
            dir.file("gone", "1")?.file("kept", "1").map(drop)
        })?;
        let base = name("base");
        context.commit(&key, &base)?;
        let expected_base = context.tree(&base)?;
        let before = paths_below_root(context)?;
        let mut generator = context.generator("kill");
        for round in 0..rounds(6, 100) {
            context.shut()?;
            start_and_kill(context, &mut generator)?;
            context
                .reopen()
                .with_context(|| format!("open after kill {round}"))?;
            let listed = context.list()?;
            context
                .reopen()
                .with_context(|| format!("open again after kill {round}"))?;
            ensure!(
                context.list()? == listed,
                "the second recovery changed the list"
            );
            context
                .tree(&base)?
                .expect_equal(&expected_base, "the base")?;
            for info in &listed {
                expect_whole(context, info).with_context(|| format!("after kill {round}"))?;
            }
        }
        for info in context.list()? {
            if info.name != base {
                context.remove(&info.name)?;
            }
        }
        context.reclaim()?;
        let after = paths_below_root(context)?;
        ensure!(
            after == before,
            "orphans stay: {:?}",
            difference(&after, &before)
        );
        Ok(())
    },
};

fn expect_whole(context: &mut Context, info: &strata_driver::SnapshotInfo) -> Result<()> {
    let Some(number) = info.name.as_str().strip_prefix("layer-") else {
        return Ok(());
    };
    let number: usize = number.parse()?;
    ensure!(
        info.kind == SnapshotKind::Committed,
        "`{}` is {}",
        info.name,
        info.kind
    );
    let expected = entries(number);
    context.look(&info.name, |root| {
        ensure!(
            !root.join("gone").exists(),
            "`{}`: the whiteout is lost",
            info.name
        );
        ensure!(
            root.join("kept").exists(),
            "`{}`: the base is lost",
            info.name
        );
        for entry in expected.iter().filter(|entry| !entry.content.is_empty()) {
            let path = String::from_utf8_lossy(&entry.name).into_owned();
            let found = fs_err::read(root.join(&path))?;
            ensure!(
                found == entry.content,
                "`{}`: `{path}` is not whole",
                info.name
            );
        }
        Ok(())
    })
}
