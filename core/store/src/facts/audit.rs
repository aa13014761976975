//! Rows that name what has no row: what a check asks of the facts alone.

use super::Facts;
use crate::ids::{ChainId, Digest};
use rusqlite::Connection;
use strata_driver::Result;
use strata_driver::database::Sync;

/// Rows that lead nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dangling {
    /// Images with a layer that has no row.
    pub image_layers: Vec<(Digest, ChainId)>,
    /// Images with a blob that has no row.
    pub image_blobs: Vec<(Digest, Digest)>,
    /// Layers upon one that has no row.
    pub parents: Vec<(ChainId, ChainId)>,
    /// Images with a layer that does not stand on the one before it.
    pub unstacked: Vec<(Digest, ChainId)>,
    /// Names of images without a row.
    pub references: Vec<(String, Digest)>,
    /// Images without a row of which other rows tell what they take.
    pub images: Vec<Digest>,
    /// Images that do not list their own configuration.
    pub without_config: Vec<Digest>,
}

impl Facts {
    /// Rows that lead nowhere.
    pub(crate) fn dangling(&self) -> Result<Dangling> {
        self.database.read("check rows", |connection| {
            Ok(Dangling {
                image_layers: pairs(
                    connection,
                    "SELECT image, chain FROM image_layer WHERE NOT EXISTS \
                     (SELECT 1 FROM layer WHERE layer.chain = image_layer.chain)",
                )?,
                image_blobs: pairs(
                    connection,
                    "SELECT image, digest FROM image_blob WHERE NOT EXISTS \
                     (SELECT 1 FROM blob WHERE blob.digest = image_blob.digest)",
                )?,
                parents: pairs(
                    connection,
                    "SELECT chain, parent FROM layer WHERE parent IS NOT NULL AND NOT EXISTS \
                     (SELECT 1 FROM layer AS below WHERE below.chain = layer.parent)",
                )?,
                unstacked: pairs(
                    connection,
                    "SELECT image_layer.image, image_layer.chain \
                     FROM image_layer JOIN layer USING (chain) \
                     LEFT JOIN image_layer AS below ON below.image = image_layer.image \
                       AND below.position = image_layer.position - 1 \
                     WHERE layer.parent IS NOT below.chain",
                )?,
                references: pairs(
                    connection,
                    "SELECT repository || CASE WHEN tag = '' THEN '@' || digest ELSE ':' || tag \
                     END, image FROM reference WHERE NOT EXISTS \
                     (SELECT 1 FROM image WHERE image.id = reference.image)",
                )?,
                images: singles(
                    connection,
                    "SELECT image FROM image_layer \
                     WHERE NOT EXISTS (SELECT 1 FROM image WHERE id = image) \
                     UNION SELECT image FROM image_blob \
                     WHERE NOT EXISTS (SELECT 1 FROM image WHERE id = image)",
                )?,
                without_config: singles(
                    connection,
                    "SELECT id FROM image WHERE NOT EXISTS \
                     (SELECT 1 FROM image_blob WHERE image = id AND digest = id)",
                )?,
            })
        })
    }

    /// Deletes names of images that have no row, and what rows tell of such images.
    pub(crate) fn delete_dangling(&self) -> Result<()> {
        self.database.write("mend rows", Sync::Now, |connection| {
            for table in ["reference", "image_layer", "image_blob"] {
                connection.execute(
                    &format!(
                        "DELETE FROM {table} WHERE NOT EXISTS \
                         (SELECT 1 FROM image WHERE image.id = {table}.image)"
                    ),
                    [],
                )?;
            }
            Ok(())
        })
    }

    /// Images that take a layer.
    pub fn images_with(&self, chain: &ChainId) -> Result<Vec<Digest>> {
        self.database.query("list images of layer", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT DISTINCT image FROM image_layer WHERE chain = ?1 ORDER BY image",
            )?;
            let rows = statement.query_map([chain], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

fn pairs<A: rusqlite::types::FromSql, B: rusqlite::types::FromSql>(
    connection: &Connection,
    query: &str,
) -> rusqlite::Result<Vec<(A, B)>> {
    connection
        .prepare_cached(query)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn singles<A: rusqlite::types::FromSql>(
    connection: &Connection,
    query: &str,
) -> rusqlite::Result<Vec<A>> {
    connection
        .prepare_cached(query)?
        .query_map([], |row| row.get(0))?
        .collect()
}
