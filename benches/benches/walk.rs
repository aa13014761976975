//! The naive walk over two equal trees, with the copy's record, by threads.

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::path::Path;
use strata_driver::Counters;
use strata_driver::diff::{CompareOptions, Outcome, Upper, compare};
use strata_driver::tree::{CopyOptions, Witness, copy};

/// Directories of fifty files each.
const DIRECTORIES: u32 = 40;

fn fill(root: &Path) -> anyhow::Result<()> {
    for directory in 0..DIRECTORIES {
        let path = root.join(format!("d{directory}"));
        fs_err::create_dir_all(&path)?;
        for file in 0..50 {
            fs_err::write(path.join(format!("f{file}")), [1; 100])?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> anyhow::Result<File> {
    Ok(fs_err::File::open(path)?.into_parts().0)
}

fn walk(criterion: &mut Criterion) {
    let scratch = tempfile::tempdir().expect("there is a temporary directory");
    let [lower, upper] = ["lower", "upper"].map(|name| scratch.path().join(name));
    fill(&lower).expect("the temporary directory can be written");
    fs_err::create_dir(&upper).expect("the temporary directory can be written");
    let (lower, upper) = (
        open(&lower).expect("made above"),
        open(&upper).expect("made above"),
    );
    let options = CopyOptions::default().with_witness(Witness::Record);
    let copied = copy(lower.as_fd(), upper.as_fd(), &options).expect("the tree can be copied");
    let record = copied.record.expect("a record was asked for");
    let mut group = criterion.benchmark_group("walk");
    for threads in [1, 2] {
        let count = NonZeroUsize::new(threads).expect("one and two are not zero");
        let options = CompareOptions::default()
            .with_threads(count)
            .with_record(&record);
        group.bench_function(
            BenchmarkId::new("2,000 equal files, threads", threads),
            |bencher| {
                bencher.iter(|| {
                    let upper = Upper::Whole(upper.as_fd());
                    let counters = Counters::default();
                    let outcome = compare(Some(lower.as_fd()), upper, &options, &counters);
                    assert!(matches!(outcome, Ok(Outcome::Compared(_))));
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, walk);
criterion_main!(benches);
