//! sqlite-in-layer: transactions on a database that a lower layer brought, with a rollback
//! journal and with a write-ahead log. The first one meets the lower file, all others the copy.

use super::{Run, Workload};
use crate::bench::corpus::Base;
use crate::bench::outcome::Outcome;
use crate::bench::plan::Profile;
use crate::bench::sample::Unit;
use crate::bench::subject::{Subject, add_layer};
use crate::seed::{Generator, Seed};
use anyhow::{Context, Result, ensure};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

const BASE: &str = "sqlite-base";
const FILE: &str = "data.db";
/// Bytes of a row; one page holds three.
const ROW: usize = 1024;

#[derive(Debug)]
pub(super) struct SqliteInLayer {
    megabytes: u32,
    /// Transactions in each journal mode.
    transactions: u32,
}

impl SqliteInLayer {
    pub(super) fn new(profile: Profile) -> Self {
        // Ten blocks of 100 put ten transactions beyond the 99th percentile.
        let (megabytes, transactions) = profile.pick((8, 100), (64, 1_000));
        Self {
            megabytes,
            transactions,
        }
    }

    fn rows(&self) -> u32 {
        self.megabytes * ((1 << 20) / ROW as u32)
    }

    fn fill(&self, path: &Path) -> Result<()> {
        let mut database = open(path, "DELETE")?;
        let mut random = Seed::default().generator("sqlite base");
        let filling = database.transaction()?;
        filling.execute("CREATE TABLE data (id INTEGER PRIMARY KEY, body BLOB)", [])?;
        let mut insert = filling.prepare("INSERT INTO data VALUES (?1, ?2)")?;
        for id in 0..self.rows() {
            insert.execute(params![id, random.bytes(ROW)])?;
        }
        drop(insert);
        filling.commit()?;
        close(database)
    }

    /// One transaction: a row gets new content. What it took.
    fn change(&self, database: &Connection, random: &mut Generator) -> Result<Duration> {
        let id = random.below(self.rows() as usize) as u32;
        let body = random.bytes(ROW);
        let start = Instant::now();
        let changed = database
            .prepare_cached("UPDATE data SET body = ?1 WHERE id = ?2")?
            .execute(params![body, id])?;
        let time = start.elapsed();
        ensure!(changed == 1, "row {id} is lost");
        Ok(time)
    }

    fn change_many(
        &self,
        count: u32,
        database: &Connection,
        random: &mut Generator,
    ) -> Result<Vec<Duration>> {
        (0..count).map(|_| self.change(database, random)).collect()
    }
}

/// Opens `path` with every transaction on the disk at its end.
fn open(path: &Path, journal: &str) -> Result<Connection> {
    let database =
        Connection::open(path).with_context(|| format!("{} cannot be opened", path.display()))?;
    let mode: String =
        database.pragma_update_and_check(None, "journal_mode", journal, |row| row.get(0))?;
    ensure!(
        mode.eq_ignore_ascii_case(journal),
        "the journal mode stays {mode}"
    );
    database.pragma_update(None, "synchronous", "FULL")?;
    Ok(database)
}

fn close(database: Connection) -> Result<()> {
    database.close().map_err(|(_, error)| error.into())
}

impl Workload for SqliteInLayer {
    fn name(&self) -> &'static str {
        "sqlite-in-layer"
    }

    fn parameters(&self) -> BTreeMap<&'static str, u64> {
        BTreeMap::from([
            ("mebibytes", self.megabytes.into()),
            ("transactions", u64::from(self.transactions) * 2),
            ("row-bytes", ROW as u64),
        ])
    }

    fn bases(&self) -> &'static [Base] {
        &[]
    }

    fn set_up(&self, subject: &dyn Subject) -> Result<()> {
        add_layer(subject, None, BASE, &mut |root| self.fill(&root.join(FILE)))?;
        subject.share(BASE)
    }

    fn sample(&self, run: &mut Run<'_, '_>) -> Result<Outcome> {
        let key = run.key("sqlite");
        let live = run.fork(BASE, &key)?;
        let path = live.path().join(FILE);
        let mut random = Seed::default().generator("sqlite");
        let database = open(&path, "DELETE")?;
        let first = run.time("first", |_| self.change(&database, &mut random))?;
        run.recorder
            .figure("first", first.as_nanos() as f64, Unit::Ns);
        let times = run.time("delete", |_| {
            self.change_many(self.transactions - 1, &database, &mut random)
        })?;
        for time in times {
            run.recorder.latency("delete", time);
        }
        close(database)?;
        // Its last connection writes the log back into the database and removes it.
        let times = run.time("wal", |_| {
            let database = open(&path, "WAL")?;
            let times = self.change_many(self.transactions, &database, &mut random)?;
            close(database)?;
            Ok(times)
        })?;
        for time in times {
            run.recorder.latency("wal", time);
        }
        if let Some(device) = run.recorder.device_bytes() {
            let changed = f64::from(self.transactions) * 2.0 * ROW as f64;
            run.recorder
                .figure("write", device as f64 / changed, Unit::Ratio);
        }
        run.end(live, &key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree digests of all cells are compared, so nothing in the file may depend on the run.
    #[test]
    fn two_databases_after_the_same_transactions_are_equal_files() {
        let scratch = tempfile::tempdir_in(crate::fixture::scratch_place()).unwrap();
        let row = SqliteInLayer {
            megabytes: 1,
            transactions: 10,
        };
        let after = ["one", "two"].map(|name| {
            let path = scratch.path().join(name);
            row.fill(&path).unwrap();
            let before = fs_err::read(&path).unwrap();
            let mut random = Seed::default().generator("sqlite");
            for journal in ["DELETE", "WAL"] {
                let database = open(&path, journal).unwrap();
                let times = row.change_many(10, &database, &mut random).unwrap();
                assert_eq!(times.len(), 10);
                close(database).unwrap();
            }
            let after = fs_err::read(&path).unwrap();
            assert!(before != after);
            after
        });
        assert!(after[0] == after[1]);
        assert_eq!(fs_err::read_dir(scratch.path()).unwrap().count(), 2);
    }
}
