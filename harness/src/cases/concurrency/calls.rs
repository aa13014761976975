//! Calls that run at the same time on one instance. Law 9.

use crate::cases::samples;
use crate::prelude::*;
use std::sync::Arc;
use strata_driver::StorageDriver;

const CALLERS: usize = 8;

/// Runs `call` for every caller at once and gives the results in their order.
fn at_once<T, F>(
    context: &Context,
    call: impl Fn(Arc<dyn StorageDriver>, usize) -> F,
) -> Result<Vec<T>>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let started: Vec<_> = (0..CALLERS)
        .map(|number| {
            context
                .setting()
                .runtime
                .spawn(call(context.driver().clone(), number))
        })
        .collect();
    let mut results = Vec::new();
    for task in started {
        results.push(context.wait(task)?);
    }
    Ok(results)
}

pub(crate) const ONE_OF_MANY_PREPARES_WINS: Case = Case {
    name: "one_of_many_prepares_wins",
    group: Group::Concurrency,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let expected = context.tree(&base)?;
        for round in 0..5 {
            let key = name(&format!("wanted-{round}"));
            let results = at_once(context, |driver, number| {
                let (key, base) = (key.clone(), base.clone());
                async move {
                    let options = PrepareOptions::default();
                    if number % 2 == 0 {
                        driver.prepare(&key, Some(&base), &options).await
                    } else {
                        driver.view(&key, Some(&base), &options).await
                    }
                }
            })?;
            let won = results.iter().filter(|result| result.is_ok()).count();
            ensure!(won == 1, "round {round}: {won} won");
            for refused in results.into_iter().filter(Result::is_err) {
                expect_kind(refused, ErrorKind::AlreadyExists, "a loser")?;
            }
            context
                .tree(&key)?
                .expect_equal(&expected, "what the winner made")?;
            context.remove(&key)?;
        }
        ensure!(
            context.reclaim()?.snapshots == 0 || context.reclaim()?.snapshots == 0,
            "remains"
        );
        ensure!(
            context.listed()? == [base.to_string()],
            "{:?}",
            context.listed()?
        );
        Ok(())
    },
};

pub(crate) const ONE_OF_MANY_COMMITS_WINS: Case = Case {
    name: "one_of_many_commits_wins",
    group: Group::Concurrency,
    needs: &[],
    run: |context| {
        for number in 0..CALLERS {
            let key = name(&format!("active-{number}"));
            context.prepare(&key, None)?;
            context.edit(&key, |dir| dir.file("who", number.to_string()).map(drop))?;
        }
        let results = at_once(context, |driver, number| async move {
            let key = name(&format!("active-{number}"));
            driver
                .commit(&key, &name("wanted"), &CommitOptions::default())
                .await
        })?;
        let won: Vec<_> = (0..CALLERS)
            .filter(|number| results[*number].is_ok())
            .collect();
        ensure!(won.len() == 1, "{won:?} won");
        let size = context.look(&name("wanted"), |root| Ok(fs_err::read(root.join("who"))?))?;
        ensure!(
            size == won[0].to_string().as_bytes(),
            "the tree is another's"
        );
        for refused in results.into_iter().filter(Result::is_err) {
            expect_kind(refused, ErrorKind::AlreadyExists, "a loser")?;
        }
        ensure!(context.list()?.len() == CALLERS, "{:?}", context.listed()?);
        Ok(())
    },
};

/// Whole lives side by side, each with its own keys.
pub(crate) const DIFFERENT_KEYS_DO_NOT_MEET: Case = Case {
    name: "different_keys_do_not_meet",
    group: Group::Concurrency,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let results = at_once(context, |driver, number| {
            let base = base.clone();
            async move {
                for round in 0..4 {
                    let key = name(&format!("key-{number}-{round}"));
                    let layer = name(&format!("layer-{number}-{round}"));
                    let entries = [
                        Entry::file("who", format!("{number} {round}")),
                        Entry::whiteout("lib"),
                    ];
                    let bytes = std::io::Cursor::new(archive(&entries));
                    driver
                        .prepare(&key, Some(&base), &PrepareOptions::default())
                        .await?;
                    let source = strata_driver::ChangesetSource::from_read(bytes);
                    driver
                        .apply(&key, source, &strata_driver::ApplyOptions::default())
                        .await?;
                    driver
                        .commit(&key, &layer, &CommitOptions::default())
                        .await?;
                    if round % 2 == 0 {
                        driver.remove(&layer).await?;
                    }
                }
                Ok::<(), strata_driver::Error>(())
            }
        })?;
        for result in results {
            result?;
        }
        ensure!(
            context.list()?.len() == 1 + CALLERS * 2,
            "{:?}",
            context.listed()?
        );
        for number in 0..CALLERS {
            let layer = name(&format!("layer-{number}-1"));
            let who = context.look(&layer, |root| Ok(fs_err::read(root.join("who"))?))?;
            ensure!(
                who == format!("{number} 1").as_bytes(),
                "layer {number} holds {who:?}"
            );
        }
        context.reclaim()?;
        Ok(())
    },
};

/// One parent, its views and diffs read by all while children come and go.
pub(crate) const READERS_DO_NOT_DISTURB: Case = Case {
    name: "readers_do_not_disturb",
    group: Group::Concurrency,
    needs: &[],
    run: |context| {
        use tokio::io::AsyncReadExt as _;
        let content = context.generator("readers").bytes(200_000);
        let base = context.layer(None, |dir| {
            samples::plain(dir)?;
            dir.file("big", &content).map(drop)
        })?;
        let expected = context.diff(None, &base)?;
        let results = at_once(context, |driver, number| {
            let (base, expected) = (base.clone(), expected.clone());
            async move {
                for round in 0..3 {
                    let key = name(&format!("child-{number}-{round}"));
                    driver
                        .prepare(&key, Some(&base), &PrepareOptions::default())
                        .await?;
                    let mut stream = driver.diff(None, &base, &DiffOptions::default()).await?;
                    let mut bytes = Vec::new();
                    stream.read_to_end(&mut bytes).await?;
                    ensure!(bytes == expected, "caller {number} read another diff");
                    driver.remove(&key).await?;
                }
                anyhow::Ok(())
            }
        })?;
        results.into_iter().collect()
    },
};

/// A remove that meets a prepare on the same parent: one of them is refused, never both done.
pub(crate) const REMOVE_MEETS_PREPARE: Case = Case {
    name: "remove_meets_prepare",
    group: Group::Concurrency,
    needs: &[],
    run: |context| {
        for round in 0..6 {
            let base = context.layer(None, samples::plain)?;
            let results = at_once(context, |driver, number| {
                let base = base.clone();
                async move {
                    if number == CALLERS / 2 {
                        return driver.remove(&base).await;
                    }
                    let key = name(&format!("child-{round}-{number}"));
                    driver
                        .prepare(&key, Some(&base), &PrepareOptions::default())
                        .await
                }
            })?;
            let removed = results[CALLERS / 2].is_ok();
            for (number, result) in results.into_iter().enumerate() {
                let kind = match (number == CALLERS / 2, removed) {
                    (true, false) => ErrorKind::InUse,
                    (false, true) => ErrorKind::NotFound,
                    _ => {
                        result?;
                        continue;
                    }
                };
                if result.is_err() {
                    expect_kind(result, kind, "the loser")?;
                } else {
                    bail!("round {round}: a child was prepared on a removed parent");
                }
            }
            for info in context.list()? {
                if info.parent.is_some() {
                    context.tree(&info.name)?.node("etc/hosts")?;
                    context.remove(&info.name)?;
                }
            }
        }
        Ok(())
    },
};

/// Mounts of the same snapshot held at once are one snapshot.
pub(crate) const VIEWS_OF_ONE_PARENT_LIVE_TOGETHER: Case = Case {
    name: "views_of_one_parent_live_together",
    group: Group::Concurrency,
    needs: &[],
    run: |context| {
        let base = context.layer(None, samples::plain)?;
        let expected = context.tree(&base)?;
        let mut lives = Vec::new();
        for number in 0..6 {
            let key = name(&format!("child-{number}"));
            if number % 2 == 0 {
                context.view(&key, Some(&base))?;
            } else {
                context.prepare(&key, Some(&base))?;
            }
            lives.push(context.mount(&key)?);
        }
        lives[1].file("mine", "1")?.unlink("run.sh")?;
        for number in [0, 2, 3, 4, 5] {
            lives[number]
                .tree()?
                .expect_equal(&expected, &format!("child {number}"))?;
        }
        lives.into_iter().try_for_each(crate::live::Live::unmount)
    },
};
