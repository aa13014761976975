//! Freeing what nothing needs: one transaction says so, and bytes go afterwards.

use super::{DOOMED, Facts, GOING, HELD, Kind, layers};
use crate::ids::{ChainId, Digest};
use rusqlite::{Connection, params};
use strata_driver::database::{Fault, Sync};
use strata_driver::{Bytes, Error, ErrorKind, Result};

/// What a removal freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Layers that nothing needs any more, top first.
    pub layers: Vec<ChainId>,
    /// Bytes of their contents, and of blobs.
    pub bytes: Bytes,
}

/// What is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Doomed {
    /// Layers; one that stands on another comes before it.
    pub layers: Vec<(ChainId, Option<ChainId>)>,
    /// Blobs.
    pub blobs: Vec<Digest>,
}

impl Facts {
    /// Removes an image with all its names, so many, and dooms what it alone took. With other
    /// names, or with an image upon it, it is [`Busy`](ErrorKind::Busy): somebody was faster.
    pub(crate) fn remove_image(&self, id: &Digest, names: usize) -> Result<Freed> {
        self.database
            .write("remove image", Sync::Now, |connection| {
                let (found, children): (i64, i64) = connection
                    .prepare_cached(
                        "SELECT (SELECT count(*) FROM reference WHERE image = ?1), \
                         (SELECT count(*) FROM image WHERE parent = ?1)",
                    )?
                    .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
                if found != names as i64 || children > 0 {
                    return Err(Error::new(ErrorKind::Busy, "remove image")
                        .because("somebody has given it a name meanwhile, or built upon it")
                        .with("image", id)
                        .hint("look at it, and try again")
                        .into());
                }
                let chains: Vec<ChainId> = connection
                    .prepare_cached(
                        "SELECT chain FROM image_layer WHERE image = ?1 ORDER BY position DESC",
                    )?
                    .query_map([id], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                let blobs: Vec<Digest> = connection
                    .prepare_cached("SELECT digest FROM image_blob WHERE image = ?1")?
                    .query_map([id], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                for statement in [
                    "DELETE FROM reference WHERE image = ?1",
                    "DELETE FROM image_layer WHERE image = ?1",
                    "DELETE FROM image_blob WHERE image = ?1",
                    "DELETE FROM image WHERE id = ?1",
                ] {
                    connection.prepare_cached(statement)?.execute([id])?;
                }
                let mut freed = Freed::default();
                for chain in chains {
                    // Below one that stays, all stay.
                    if !doom_layer(connection, &chain, &mut freed)? {
                        break;
                    }
                }
                for blob in blobs {
                    doom_blob(connection, &blob, &mut freed)?;
                }
                Ok(freed)
            })
    }

    /// Dooms every layer and blob that no image takes and nobody has leased.
    pub(crate) fn doom_unused(&self) -> Result<Freed> {
        self.database.write("prune", Sync::Now, |connection| {
            let mut freed = Freed::default();
            loop {
                let chains: Vec<ChainId> = connection
                    .prepare_cached(&format!(
                        "SELECT chain FROM layer WHERE state = {HELD} AND {LAYER_IS_UNUSED}"
                    ))?
                    .query_map([], |row| row.get(0))?
                    .collect::<rusqlite::Result<_>>()?;
                let mut is_done = true;
                for chain in chains {
                    is_done &= !doom_layer(connection, &chain, &mut freed)?;
                }
                if is_done {
                    break;
                }
            }
            let blobs: Vec<Digest> = connection
                .prepare_cached(&format!("SELECT digest FROM blob WHERE state = {HELD}"))?
                .query_map([], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            for blob in blobs {
                doom_blob(connection, &blob, &mut freed)?;
            }
            Ok(freed)
        })
    }

    /// A doomed layer could not be deleted now: it is deleted later, and may be held again until
    /// then. With a held one upon it, it is held.
    pub(crate) fn stay(&self, chain: &ChainId) -> Result<()> {
        self.database.write("sweep", Sync::Later, |connection| {
            connection
                .prepare_cached(&format!(
                    "UPDATE layer SET state = CASE WHEN EXISTS (SELECT 1 FROM layer AS child \
                     WHERE child.parent = ?1 AND child.state = {HELD}) \
                     THEN {HELD} ELSE {DOOMED} END WHERE chain = ?1 AND state = {GOING}"
                ))?
                .execute([chain])?;
            Ok(())
        })
    }

    /// What is doomed, and from now on is not to be held again.
    pub(crate) fn begin_sweep(&self) -> Result<Doomed> {
        self.database.write("sweep", Sync::Later, |connection| {
            let mut doomed = Doomed::default();
            for (table, column) in [("layer", "chain"), ("blob", "digest")] {
                connection.execute(
                    &format!("UPDATE {table} SET state = {GOING} WHERE state = {DOOMED}"),
                    [],
                )?;
                if table == "blob" {
                    doomed.blobs = connection
                        .prepare_cached(&format!(
                            "SELECT {column} FROM {table} WHERE state = {GOING}"
                        ))?
                        .query_map([], |row| row.get(0))?
                        .collect::<rusqlite::Result<_>>()?;
                } else {
                    doomed.layers = connection
                        .prepare_cached(&format!(
                            "SELECT {column}, parent FROM {table} WHERE state = {GOING}"
                        ))?
                        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                        .collect::<rusqlite::Result<_>>()?;
                }
            }
            doomed.layers = top_first(doomed.layers);
            Ok(doomed)
        })
    }

    /// Whether something waits to be deleted.
    pub fn has_doomed(&self) -> Result<bool> {
        self.database.query("look for doomed", |connection| {
            for table in ["layer", "blob"] {
                if connection
                    .prepare_cached(&format!(
                        "SELECT 1 FROM {table} WHERE state <> {HELD} LIMIT 1"
                    ))?
                    .exists([])?
                {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }
}

/// A layer without image, without a held layer on it and without lease.
const LAYER_IS_UNUSED: &str = "\
    NOT EXISTS (SELECT 1 FROM image_layer WHERE image_layer.chain = layer.chain) \
    AND NOT EXISTS (SELECT 1 FROM layer AS child \
                    WHERE child.parent = layer.chain AND child.state = 0) \
    AND NOT EXISTS (SELECT 1 FROM lease WHERE lease.kind = 1 AND lease.key = layer.chain)";

fn doom_layer(connection: &Connection, chain: &ChainId, freed: &mut Freed) -> Result<bool, Fault> {
    let changed = connection
        .prepare_cached(&format!(
            "UPDATE layer SET state = {DOOMED} \
             WHERE chain = ?1 AND state = {HELD} AND {LAYER_IS_UNUSED}"
        ))?
        .execute([chain])?;
    if changed == 0 {
        return Ok(false);
    }
    if let Some(layer) = layers::layer(connection, chain)? {
        freed.bytes.0 += layer.contents.0;
    }
    freed.layers.push(*chain);
    Ok(true)
}

fn doom_blob(connection: &Connection, digest: &Digest, freed: &mut Freed) -> Result<(), Fault> {
    let size: Vec<i64> = connection
        .prepare_cached(&format!(
            "UPDATE blob SET state = {DOOMED} WHERE digest = ?1 AND state = {HELD} \
             AND NOT EXISTS (SELECT 1 FROM image_blob WHERE image_blob.digest = ?1) \
             AND NOT EXISTS (SELECT 1 FROM lease WHERE kind = ?2 AND key = ?1) \
             RETURNING size"
        ))?
        .query_map(params![digest, Kind::Blob as i64], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    freed.bytes.0 += size.iter().map(|size| *size as u64).sum::<u64>();
    Ok(())
}

/// Children before their parents.
fn top_first(layers: Vec<(ChainId, Option<ChainId>)>) -> Vec<(ChainId, Option<ChainId>)> {
    use std::collections::HashMap;
    let parents: HashMap<ChainId, Option<ChainId>> = layers.iter().copied().collect();
    let depth = |chain: &ChainId| {
        let mut depth = 0_usize;
        let mut at = parents.get(chain).copied().flatten();
        while let Some(parent) = at {
            depth += 1;
            at = parents.get(&parent).copied().flatten();
        }
        depth
    };
    let mut ordered: Vec<_> = layers
        .into_iter()
        .map(|layer| (depth(&layer.0), layer))
        .collect();
    ordered.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
    ordered.into_iter().map(|(_, layer)| layer).collect()
}
