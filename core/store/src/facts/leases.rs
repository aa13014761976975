//! What an instance is using and nothing else keeps: a row for each, bearing the instance's name.

use super::{DOOMED, Facts, GOING, HELD};
use rusqlite::{Connection, params};
use strata_driver::Result;
use strata_driver::database::{Fault, Sync};

/// What a lease keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Blob = 0,
    Layer = 1,
}

/// What was found when something was to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is there, and stays.
    Held,
    /// It is not there; the lease waits for it.
    Absent,
    /// It is being deleted right now; there is no lease.
    Going,
}

impl Kind {
    fn table(self) -> (&'static str, &'static str) {
        match self {
            Self::Blob => ("blob", "digest"),
            Self::Layer => ("layer", "chain"),
        }
    }
}

impl Facts {
    /// Leases a blob or a layer to `holder`; what was doomed is held again.
    pub(crate) fn take(&self, holder: &str, kind: Kind, key: &[u8]) -> Result<Taken> {
        self.database
            .write("take lease", Sync::Later, |connection| {
                take(connection, holder, kind, key)
            })
    }

    /// Ends all leases of `holder`.
    pub(crate) fn release(&self, holder: &str) -> Result<()> {
        self.database
            .write("end leases", Sync::Later, |connection| {
                connection
                    .prepare_cached("DELETE FROM lease WHERE holder = ?1")?
                    .execute([holder])?;
                Ok(())
            })
    }

    /// Everybody who has a lease.
    pub(crate) fn holders(&self) -> Result<Vec<String>> {
        self.database.query("list leases", |connection| {
            let mut statement = connection.prepare_cached("SELECT DISTINCT holder FROM lease")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn take(connection: &Connection, holder: &str, kind: Kind, key: &[u8]) -> Result<Taken, Fault> {
    let (table, column) = kind.table();
    let state: Option<i64> = connection
        .prepare_cached(&format!("SELECT state FROM {table} WHERE {column} = ?1"))?
        .query_row([key], |row| row.get(0))
        .map(Some)
        .or_else(|error| match error {
            rusqlite::Error::QueryReturnedNoRows => Ok(None),
            other => Err(other),
        })?;
    if state == Some(GOING) {
        return Ok(Taken::Going);
    }
    connection
        .prepare_cached("INSERT OR IGNORE INTO lease (holder, kind, key) VALUES (?1, ?2, ?3)")?
        .execute(params![holder, kind as i64, key])?;
    if state == Some(DOOMED) {
        connection
            .prepare_cached(&format!(
                "UPDATE {table} SET state = {HELD} WHERE {column} = ?1"
            ))?
            .execute([key])?;
    }
    Ok(if state.is_some() {
        Taken::Held
    } else {
        Taken::Absent
    })
}
