//! What a copying driver writes to the device where files can share their blocks.

use super::Figure;
use super::stage::Stage;
use crate::bench::stats::median;
use crate::bench::subject::{Subject, bare_walk};
use anyhow::{Context, Result};
use strata_driver::Durability;

/// Bytes per entry: one inode and its share of directories and trees.
const LIMIT: f64 = 4096.0;

pub(super) fn measure(stage: &Stage<'_>, kind: &str) -> Result<Vec<Figure>> {
    let corpora = stage.corpora()?;
    let bed = stage.bed(kind)?;
    let subject = stage.open(&stage.plan.copying, &bed, Durability::Durable)?;
    let base = corpora.import(&subject, "base")?;
    let mut entries = 0;
    let mut written = Vec::new();
    for _ in 0..3 {
        bed.drain()?;
        let before = bed.device_counts()?;
        subject.prepare("copy", Some(&base))?;
        bed.drain()?;
        written.push(bed.device_counts()?.since(before).bytes as f64);
        let live = subject.mount("copy")?;
        entries = 0;
        bare_walk(live.path(), &mut entries)?;
        live.unmount()?;
        subject.remove("copy")?;
        subject.reclaim()?;
    }
    subject.close()?;
    let written = median(&written).context("three copies were made")?;
    Ok(vec![Figure::count(
        "device bytes per entry",
        written / entries.max(1) as f64,
        LIMIT,
    )])
}
