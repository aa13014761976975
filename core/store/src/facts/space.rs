//! Sizes by arithmetic over rows: what images share, what each alone takes.

use super::{Facts, LayerRow, layers};
use crate::ids::{ChainId, Digest};
use std::collections::HashMap;
use strata_driver::{Bytes, Result};

/// What one image takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageSpace {
    /// Bytes of its layers that other images have too.
    pub shared: Bytes,
    /// Bytes of its layers that it alone has.
    pub unique: Bytes,
}

/// What the rows of a store amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes of all layers that images have, each counted once.
    pub layers: Bytes,
    /// Bytes of all blobs that images have, each counted once.
    pub blobs: Bytes,
    /// Layers that no image has: how many, and their bytes.
    pub idle_layers: (u64, Bytes),
    /// Blobs that no image has: how many, and their bytes.
    pub idle_blobs: (u64, Bytes),
    /// By image.
    pub images: HashMap<Digest, ImageSpace>,
}

impl Facts {
    /// Adds up all sizes. Sizes of layers are those of the contents in their tars.
    pub fn space(&self) -> Result<Space> {
        self.database.read("add up sizes", |connection| {
            let mut space = Space::default();
            // Both tables are read once, in their order: joined by the database they would be
            // looked up row by row.
            let mut layers: HashMap<ChainId, (u64, u64)> = connection
                .prepare_cached("SELECT chain, contents FROM layer")?
                .query_map([], |row| {
                    Ok((row.get(0)?, (row.get::<_, i64>(1)? as u64, 0)))
                })?
                .collect::<rusqlite::Result<_>>()?;
            let uses: Vec<(Digest, ChainId)> = connection
                .prepare_cached("SELECT image, chain FROM image_layer")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?;
            for (_, chain) in &uses {
                if let Some((_, users)) = layers.get_mut(chain) {
                    *users += 1;
                }
            }
            for (image, chain) in uses {
                let own = space.images.entry(image).or_default();
                match layers.get(&chain) {
                    Some((contents, 1)) => own.unique.0 += contents,
                    Some((contents, _)) => own.shared.0 += contents,
                    None => {}
                }
            }
            for (contents, users) in layers.values() {
                if *users > 0 {
                    space.layers.0 += contents;
                } else {
                    space.idle_layers.0 += 1;
                    space.idle_layers.1.0 += contents;
                }
            }
            let sum = |query: &str| -> rusqlite::Result<(u64, u64)> {
                connection.prepare_cached(query)?.query_row([], |row| {
                    Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))
                })
            };
            let all = sum("SELECT count(*), ifnull(sum(size), 0) FROM blob")?;
            let in_use = sum("SELECT count(*), ifnull(sum(size), 0) FROM blob \
                            WHERE digest IN (SELECT digest FROM image_blob)")?;
            space.blobs = Bytes(in_use.1);
            space.idle_blobs = (all.0 - in_use.0, Bytes(all.1 - in_use.1));
            Ok(space)
        })
    }

    /// Layers that no image has.
    pub fn idle_layers(&self) -> Result<Vec<LayerRow>> {
        self.database.query("list idle layers", |connection| {
            layers::select(
                connection,
                "WHERE NOT EXISTS \
                 (SELECT 1 FROM image_layer WHERE image_layer.chain = layer.chain)",
            )
        })
    }

    /// Blobs that no image has.
    pub fn idle_blobs(&self) -> Result<Vec<(Digest, Bytes)>> {
        self.database.query("list idle blobs", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT digest, size FROM blob WHERE NOT EXISTS \
                 (SELECT 1 FROM image_blob WHERE image_blob.digest = blob.digest)",
            )?;
            let rows = statement.query_map([], |row| {
                Ok((row.get(0)?, Bytes(row.get::<_, i64>(1)? as u64)))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}
