//! The naive walk over two equal trees: threads, and the bare loop under it.

use super::Figure;
use super::alternate::{Side, alternate};
use super::stage::Stage;
use crate::bench::corpus::extract;
use crate::bench::subject::bare_walk;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::Path;
use strata_driver::Counters;
use strata_driver::diff::{CompareOptions, Outcome, Upper, compare};
use strata_driver::tree::{CopyOptions, CopyRecord, Witness, copy};

/// Two equal trees, and the record of the copy.
#[derive(Debug)]
struct Trees {
    lower: File,
    upper: File,
    record: CopyRecord,
}

fn open(path: &Path) -> Result<File> {
    Ok(fs_err::File::open(path)?.into_parts().0)
}

impl Trees {
    fn walk(&self, threads: usize) -> Result<()> {
        let threads = NonZeroUsize::new(threads).context("a walk needs a thread")?;
        let options = CompareOptions::default()
            .with_threads(threads)
            .with_record(&self.record);
        let counters = Counters::default();
        let upper = Upper::Whole(self.upper.as_fd());
        let outcome = compare(Some(self.lower.as_fd()), upper, &options, &counters)?;
        ensure!(
            matches!(outcome, Outcome::Compared(_)),
            "the walk did not compare"
        );
        Ok(())
    }
}

pub(super) fn measure(stage: &Stage<'_>) -> Result<Vec<Figure>> {
    let corpora = stage.corpora()?;
    let bed = stage.bed("ext4")?;
    let [lower, upper] = ["lower", "upper"].map(|name| bed.path().join(name));
    for path in [&lower, &upper] {
        fs_err::create_dir(path)?;
    }
    // Several trees side by side make a walk long enough to time.
    for number in 0..4 {
        let one = lower.join(format!("{number}"));
        fs_err::create_dir(&one)?;
        for tar in &corpora.tars {
            extract(tar, &one)?;
        }
    }
    let (lower_file, upper_file) = (open(&lower)?, open(&upper)?);
    let options = CopyOptions::default().with_witness(Witness::Record);
    let copied = copy(lower_file.as_fd(), upper_file.as_fd(), &options)?;
    let trees = Trees {
        lower: lower_file,
        upper: upper_file,
        record: copied.record.context("a record was asked for")?,
    };
    bed.drain()?;
    let mut nothing = [|| Ok(()), || Ok(())];
    let [first, second] = &mut nothing;
    let threads = alternate(
        stage.plan.rounds,
        &mut Side {
            work: &mut || trees.walk(2),
            restore: first,
        },
        &mut Side {
            work: &mut || trees.walk(1),
            restore: second,
        },
    )?;
    let bare = alternate(
        stage.plan.rounds,
        &mut Side {
            work: &mut || trees.walk(1),
            restore: first,
        },
        &mut Side {
            work: &mut || {
                let mut entries = 0;
                bare_walk(&lower, &mut entries)?;
                bare_walk(&upper, &mut entries)
            },
            restore: second,
        },
    )?;
    Ok(vec![
        threads.wall("wall, 2 threads to 1", 0.65)?,
        bare.processor("CPU, 1 thread to bare loop", 1.3)?,
    ])
}
