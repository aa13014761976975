//! Ten thousand snapshots held against ten.

use super::Figure;
use super::alternate::alternate_on;
use super::lifecycle::{chain, once};
use super::stage::Stage;
use crate::bench::subject::{DriverSubject, Subject};
use anyhow::Result;
use strata_driver::Durability;

/// Lifecycles of one run.
const REPEAT: u32 = 20;

fn holding(
    stage: &Stage<'_>,
    bed: &crate::bench::bed::Bed,
    held: u32,
) -> Result<(DriverSubject, String)> {
    let subject = stage.open(&stage.plan.stacking, bed, Durability::Volatile)?;
    let base = chain(&subject, 1)?;
    for number in 0..held {
        subject.prepare(&format!("held-{number}"), Some(&base))?;
    }
    Ok((subject, base))
}

pub(super) fn measure(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let bed = stage.bed("ext4")?;
    let (many, many_base) = holding(stage, &bed, 10_000)?;
    let (few, few_base) = holding(stage, &bed, 10)?;
    let pairs = alternate_on(
        &bed,
        stage.plan.rounds * 2,
        || (0..REPEAT).try_for_each(|_| once(&many, &many_base)),
        || (0..REPEAT).try_for_each(|_| once(&few, &few_base)),
    )?;
    few.close()?;
    many.close()?;
    Ok(vec![pairs.wall("wall ratio", 1.2)?])
}
