//! What a transaction of the catalogue costs: `catalog_cost ROOT [durable|volatile] [ROWS] [ROUNDS]`.
//!
//! Makes a catalogue with ROWS committed snapshots in ROOT (new or empty), then runs ROUNDS of
//! prepare and remove and prints CPU and wall microseconds of each step; `strace -c -f` around it
//! counts system calls.

use rustix::time::{ClockId, clock_gettime};
use std::path::PathBuf;
use strata_driver::catalog::{Catalog, CatalogOptions, CommitRow, NewSnapshot};
use strata_driver::{DriverName, Durability, Labels, Result, SnapshotKind, SnapshotName};

/// CPU and wall seconds of one kind of step.
#[derive(Default)]
struct Cost {
    cpu: f64,
    wall: f64,
    count: u32,
}

impl Cost {
    fn of<T>(&mut self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = (now(ClockId::ThreadCPUTime), now(ClockId::Monotonic));
        let value = work();
        self.cpu += now(ClockId::ThreadCPUTime) - before.0;
        self.wall += now(ClockId::Monotonic) - before.1;
        self.count += 1;
        value
    }

    fn print(&self, step: &str) {
        let each = 1e6 / f64::from(self.count.max(1));
        eprintln!(
            "{step:16} {:8.1} us cpu {:8.1} us wall",
            self.cpu * each,
            self.wall * each
        );
    }
}

fn now(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().expect("ROOT is given"));
    let durability = match arguments.next().as_deref() {
        Some("durable") => Durability::Durable,
        _ => Durability::Volatile,
    };
    let mut number = |default| {
        arguments
            .next()
            .map_or(default, |text| text.parse().expect("a number"))
    };
    let (rows, rounds): (u32, u32) = (number(10), number(1000));
    let driver = DriverName::new("example")?;
    let open = |durability| {
        Catalog::open(
            &root,
            &CatalogOptions {
                driver: &driver,
                durability,
            },
        )
    };
    let labels = Labels::new();
    let mut parent: Option<SnapshotName> = None;
    let filled = open(Durability::Volatile)?;
    for row in 0..rows {
        let (key, name) = (
            SnapshotName::new(format!("key-{row}"))?,
            SnapshotName::new(format!("layer-{row}"))?,
        );
        // Chains of ten, as images have them.
        let parent_name = parent.take().filter(|_| row % 10 != 0);
        let new = NewSnapshot {
            key: &key,
            kind: SnapshotKind::Active,
            parent: parent_name.as_ref(),
            labels: &labels,
        };
        filled.create(&new, |_| Ok(()), |_| Ok(()))?;
        filled.commit(&CommitRow {
            key: &key,
            name: &name,
            labels: &labels,
            late_parent: None,
        })?;
        parent = Some(name);
    }
    drop(filled);

    let mut opened = Cost::default();
    let catalog = opened.of(|| open(durability))?;
    let mut costs: [Cost; 6] = Default::default();
    for round in 0..rounds {
        let key = SnapshotName::new(format!("container-{round}"))?;
        let new = NewSnapshot {
            key: &key,
            kind: SnapshotKind::Active,
            parent: parent.as_ref(),
            labels: &labels,
        };
        let id = costs[0].of(|| catalog.create(&new, |_| Ok(()), |_| Ok(())))?;
        costs[3].of(|| catalog.get(&key))?;
        costs[4].of(|| catalog.chain(&key))?;
        costs[5].of(|| catalog.is_mounted(id))?;
        let removed = costs[1].of(|| catalog.begin_remove(&key))?;
        costs[2].of(|| catalog.finish_remove(removed.id))?;
    }
    opened.print("open");
    for (cost, step) in costs.iter().zip([
        "create",
        "begin_remove",
        "finish_remove",
        "get",
        "chain",
        "is_mounted",
    ]) {
        cost.print(step);
    }
    let three: f64 = costs[..3].iter().map(|cost| cost.cpu).sum();
    eprintln!(
        "prepare + remove {:8.1} us cpu",
        three * 1e6 / f64::from(rounds)
    );
    Ok(())
}
