//! Rows of blobs that are in their places.

use super::Facts;
use crate::ids::Digest;
use rusqlite::{OptionalExtension as _, params};
use strata_driver::database::Sync;
use strata_driver::{Bytes, Result};

impl Facts {
    /// Notes a blob that is in its place.
    pub(crate) fn add_blob(&self, digest: &Digest, size: Bytes) -> Result<()> {
        self.database.write("add blob", Sync::Later, |connection| {
            connection
                .prepare_cached("INSERT OR IGNORE INTO blob (digest, size) VALUES (?1, ?2)")?
                .execute(params![digest, size.0 as i64])?;
            Ok(())
        })
    }

    /// The size of a blob that is in its place.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Bytes>> {
        self.database.query("look for blob", |connection| {
            let size: Option<i64> = connection
                .prepare_cached("SELECT size FROM blob WHERE digest = ?1")?
                .query_row([digest], |row| row.get(0))
                .optional()?;
            Ok(size.map(|size| Bytes(size as u64)))
        })
    }

    /// All blobs.
    pub fn blobs(&self) -> Result<Vec<(Digest, Bytes)>> {
        self.database.query("list blobs", |connection| {
            let mut statement = connection.prepare_cached("SELECT digest, size FROM blob")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get(0)?, Bytes(row.get::<_, i64>(1)? as u64)))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Whether a blob has a row, or somebody is about to give it one.
    pub(crate) fn is_wanted(&self, digest: &Digest) -> Result<bool> {
        self.database.query("look for blob", |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT 1 FROM blob WHERE digest = ?1 \
                     UNION ALL SELECT 1 FROM lease WHERE kind = 0 AND key = ?1",
                )?
                .exists([digest])?)
        })
    }

    /// Forgets a blob that is gone.
    pub(crate) fn forget_blob(&self, digest: &Digest) -> Result<()> {
        self.database
            .write("forget blob", Sync::Later, |connection| {
                connection
                    .prepare_cached("DELETE FROM blob WHERE digest = ?1")?
                    .execute([digest])?;
                Ok(())
            })
    }
}
