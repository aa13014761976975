//! What is compared, and what ours is to reach.

use super::bed::{Bed, Upper};
use super::callers::Threads;
use super::content::{
    ARCHIVE_ENTRIES, BIG, BIG_BYTES, COPIED, COPIED_BYTES, HALVES, TREE, TREE_ENTRIES, UPPER_BIG,
};
use super::contestant::Contestant;
use super::measure::{Cost, measure, repeated};
use super::view::View;
use super::{callers, clocks};
use anyhow::ensure;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// CPU seconds; the goal is a ratio to the measure's in the same round.
    Cpu,
    /// MiB written to the device, as many as the goal at most.
    Written,
    /// Wall time of one thread over that of two, as much as the goal at least.
    SpeedUp,
}

/// A goal: for what is strict about writers and readers of one lower file, and for the rest of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    strict: f64,
    others: f64,
}

const fn for_all(goal: f64) -> Goal {
    Goal {
        strict: goal,
        others: goal,
    }
}

/// Something done on a mount.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) unit: Unit,
    /// Read-only unions have no part in it.
    writes: bool,
    /// It is done where there are reflinks.
    pub(super) reflinks: bool,
    goal: Goal,
    run: fn(&Bed<'_>, &Contestant) -> anyhow::Result<Sample>,
}

/// One figure, and a word on where it comes from.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) figure: f64,
    pub(super) told: String,
}

impl From<Cost> for Sample {
    fn from(cost: Cost) -> Self {
        Self {
            figure: cost.cpu().as_secs_f64(),
            told: cost.to_string(),
        }
    }
}

const READS: Case = Case {
    name: "",
    about: "",
    unit: Unit::Cpu,
    writes: false,
    reflinks: false,
    goal: for_all(1.0),
    run: walk_fresh,
};

const WRITES: Case = Case {
    writes: true,
    ..READS
};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "walk-fresh",
        about: "walk and stat of 18,000 entries, fresh mount",
        goal: for_all(2.0),
        run: walk_fresh,
        ..READS
    },
    Case {
        name: "walk-warm",
        about: "the same again",
        goal: for_all(1.3),
        run: walk_warm,
        ..READS
    },
    Case {
        name: "read-lower",
        about: "1 GiB of a lower file from end to end, fresh mount",
        goal: Goal {
            strict: 5.0,
            others: 1.1,
        },
        run: |bed, contestant| read_fresh(bed, contestant, Upper::Empty, BIG),
        ..READS
    },
    Case {
        name: "read-lower-again",
        about: "the same again",
        goal: Goal {
            strict: 2.0,
            others: 1.0,
        },
        run: |bed, contestant| read_again(bed, contestant, Upper::Empty, BIG),
        ..READS
    },
    Case {
        name: "read-upper",
        about: "1 GiB of an upper file from end to end, fresh mount",
        goal: for_all(1.1),
        run: |bed, contestant| read_fresh(bed, contestant, Upper::BigFile, UPPER_BIG),
        ..READS
    },
    Case {
        name: "read-upper-again",
        about: "the same again",
        run: |bed, contestant| read_again(bed, contestant, Upper::BigFile, UPPER_BIG),
        ..READS
    },
    Case {
        name: "read-pages",
        about: "60,000 reads of 4 KiB here and there in a lower file that was read before",
        run: read_pages,
        ..READS
    },
    Case {
        name: "small-files",
        about: "2,000 files of 4 KiB made and removed",
        goal: for_all(3.5),
        run: small_files,
        ..WRITES
    },
    Case {
        name: "untar",
        about: "`tar -x` of 45 MB in 3,300 entries",
        goal: for_all(2.7),
        run: untar,
        ..WRITES
    },
    Case {
        name: "remove",
        about: "`rm -rf` of what was unpacked",
        goal: for_all(4.0),
        run: remove,
        ..WRITES
    },
    Case {
        name: "copy-up",
        about: "one byte written to a lower file of 256 MiB",
        run: copy_up,
        ..WRITES
    },
    Case {
        name: "copy-up-reflink",
        about: "the same on xfs with reflinks, MiB written to the device",
        unit: Unit::Written,
        reflinks: true,
        run: copy_up_written,
        ..WRITES
    },
    Case {
        name: "two-threads",
        about: "walk-fresh by one thread over the same by two, wall",
        unit: Unit::SpeedUp,
        goal: for_all(1.6),
        run: two_threads,
        ..READS
    },
];

impl Case {
    pub(super) fn takes(&self, contestant: &Contestant) -> bool {
        !(self.writes && contestant.is_read_only())
    }

    /// What is asked of one of ours.
    pub(super) fn goal(&self, contestant: &Contestant) -> Option<f64> {
        let Goal { strict, others } = self.goal;
        contestant.is_ours().then_some(if contestant.is_strict() {
            strict
        } else {
            others
        })
    }

    pub(super) fn run(&self, bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
        (self.run)(bed, contestant)
    }
}

fn check_walk(directory: &Path) -> anyhow::Result<()> {
    let entries = callers::walk(directory)?;
    ensure!(entries == TREE_ENTRIES, "a walk finds {entries} entries");
    Ok(())
}

fn check_read(file: &Path) -> anyhow::Result<()> {
    let bytes = callers::read(file)?;
    ensure!(bytes == BIG_BYTES, "there are {bytes} bytes to read");
    Ok(())
}

fn walk_fresh(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    // Each sample begins with what is below in the kernel's caches.
    check_walk(&bed.lower().join(TREE))?;
    let cost = repeated(|| {
        bed.with(contestant, Upper::Empty, |view| {
            let tree = view.existing(TREE);
            measure(view, || check_walk(&tree))
        })
    })?;
    Ok(cost.into())
}

fn walk_warm(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    bed.with(contestant, Upper::Empty, |view| {
        let tree = view.existing(TREE);
        // Once for the names, and once for what is only kept for those who come back.
        check_walk(&tree)?;
        check_walk(&tree)?;
        Ok(repeated(|| measure(view, || check_walk(&tree)))?.into())
    })
}

fn read_fresh(
    bed: &Bed<'_>,
    contestant: &Contestant,
    upper: Upper,
    name: &str,
) -> anyhow::Result<Sample> {
    check_read(&match upper {
        Upper::Empty => bed.lower().join(name),
        Upper::BigFile => bed.shelf(),
    })?;
    let cost = repeated(|| {
        bed.with(contestant, upper, |view| {
            let file = view.existing(name);
            measure(view, || check_read(&file))
        })
    })?;
    Ok(cost.into())
}

fn read_again(
    bed: &Bed<'_>,
    contestant: &Contestant,
    upper: Upper,
    name: &str,
) -> anyhow::Result<Sample> {
    bed.with(contestant, upper, |view| {
        let file = view.existing(name);
        check_read(&file)?;
        Ok(repeated(|| measure(view, || check_read(&file)))?.into())
    })
}

fn read_pages(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    bed.with(contestant, Upper::Empty, |view| {
        let file = view.existing(BIG);
        check_read(&file)?;
        Ok(repeated(|| measure(view, || callers::read_pages(&file)))?.into())
    })
}

fn small_files(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    let cost = repeated(|| {
        bed.with(contestant, Upper::Empty, |view| {
            let directory = view.fresh("small");
            fs_err::create_dir(&directory)?;
            let cost = measure(view, || callers::small_files(&directory))?;
            // A directory that is not empty stays.
            fs_err::remove_dir(&directory)?;
            Ok(cost)
        })
    })?;
    Ok(cost.into())
}

/// A directory with what is in the archive, on a fresh mount, and what it cost to unpack.
fn unpacked<T>(
    bed: &Bed<'_>,
    contestant: &Contestant,
    then: impl FnOnce(&View, &Path, Cost) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    bed.with(contestant, Upper::Empty, |view| {
        let directory = view.fresh("unpacked");
        fs_err::create_dir(&directory)?;
        let cost = measure(view, || callers::unpack(bed.sh, &bed.archive(), &directory))?;
        then(view, &directory, cost)
    })
}

fn untar(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    let cost = repeated(|| {
        unpacked(bed, contestant, |_, directory, cost| {
            let entries = callers::walk(directory)?;
            let are_all = entries == ARCHIVE_ENTRIES as u64;
            ensure!(are_all, "{entries} entries were unpacked");
            Ok(cost)
        })
    })?;
    Ok(cost.into())
}

fn remove(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    let cost = repeated(|| {
        unpacked(bed, contestant, |view, directory, _| {
            measure(view, || callers::remove(bed.sh, directory))
        })
    })?;
    Ok(cost.into())
}

/// Without a union the file is copied by hand.
fn copy_and_write(view: &View, bed: &Bed<'_>) -> anyhow::Result<()> {
    if view.is_plain() {
        fs_err::copy(bed.lower().join(COPIED), view.fresh(COPIED))?;
    }
    let file = view.existing(COPIED);
    callers::write_one(&file)?;
    let bytes = fs_err::metadata(&file)?.len();
    ensure!(bytes == COPIED_BYTES, "the copy has {bytes} bytes");
    Ok(())
}

fn copy_up(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    callers::read(&bed.lower().join(COPIED))?;
    let cost = repeated(|| {
        bed.with(contestant, Upper::Empty, |view| {
            measure(view, || copy_and_write(view, bed))
        })
    })?;
    Ok(cost.into())
}

fn copy_up_written(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    let bytes = bed.with(contestant, Upper::Empty, |view| {
        let before = bed.written()?;
        copy_and_write(view, bed)?;
        // What the mount itself still holds back.
        fs_err::File::open(view.existing(COPIED))?.sync_all()?;
        Ok(bed.written()? - before)
    })?;
    let figure = bytes as f64 / f64::from(1 << 20);
    let told = format!("{figure:.2} MiB written");
    Ok(Sample { figure, told })
}

fn two_threads(bed: &Bed<'_>, contestant: &Contestant) -> anyhow::Result<Sample> {
    /// So much CPU time for either.
    const LEAST: Duration = Duration::from_secs(1);

    check_walk(&bed.lower().join(TREE))?;
    let walk = |threads: Threads| {
        bed.with(contestant, Upper::Empty, |view| {
            let halves = HALVES.map(|half| view.existing(TREE).join(half));
            let start = Instant::now();
            let entries = callers::walk_by(threads, &halves)?;
            let are_all = entries + halves.len() as u64 == TREE_ENTRIES;
            ensure!(are_all, "{entries} entries in the halves");
            Ok(start.elapsed())
        })
    };
    let (mut one, mut two) = (Duration::ZERO, Duration::ZERO);
    let begin = clocks::of_callers()?;
    while clocks::of_callers()?.saturating_sub(begin) < 2 * LEAST {
        one += walk(Threads::One)?;
        two += walk(Threads::OneEach)?;
    }
    let figure = one.as_secs_f64() / two.as_secs_f64();
    let told = format!("{figure:.2} times as fast by two threads");
    Ok(Sample { figure, told })
}
