//! A copying driver's prepare on the large tree against `cp -a --reflink=never`.

use super::Figure;
use super::alternate::{Side, alternate};
use super::stage::Stage;
use crate::bench::command::Tool;
use crate::bench::corpus::{extract, remove};
use crate::bench::subject::Subject;
use anyhow::Result;
use strata_driver::Durability;

pub(super) fn measure(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let corpora = stage.corpora()?;
    let bed = stage.bed("ext4")?;
    // The volatile class: cp syncs nothing either.
    let subject = stage.open(&stage.plan.copying, &bed, Durability::Volatile)?;
    let base = corpora.import(&subject, "base")?;
    let (source, target) = (bed.path().join("source"), bed.path().join("target"));
    fs_err::create_dir(&source)?;
    for tar in &corpora.tars {
        extract(tar, &source)?;
    }
    bed.drain()?;
    let pairs = alternate(
        stage.plan.rounds,
        &mut Side {
            work: &mut || subject.prepare("copy", Some(&base)),
            restore: &mut || {
                subject.remove("copy")?;
                subject.reclaim()?;
                bed.drain()
            },
        },
        &mut Side {
            work: &mut || {
                let tool = Tool::new("cp").args(["-a", "--reflink=never"]);
                tool.args([&source, &target]).run().map(drop)
            },
            restore: &mut || {
                remove(&target)?;
                bed.drain()
            },
        },
    )?;
    subject.close()?;
    Ok(vec![pairs.wall("wall ratio", 0.8)?])
}
