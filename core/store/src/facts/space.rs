//! Sizes by arithmetic over rows: what images share, what each alone takes.

use super::{Facts, HELD, LayerRow, layers};
use crate::ids::Digest;
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
            let sum = |query: &str| -> rusqlite::Result<(u64, Bytes)> {
                connection.prepare_cached(query)?.query_row([], |row| {
                    Ok((
                        row.get::<_, i64>(0)? as u64,
                        Bytes(row.get::<_, i64>(1)? as u64),
                    ))
                })
            };
            space.layers = sum("SELECT count(*), ifnull(sum(contents), 0) FROM layer \
                 WHERE EXISTS (SELECT 1 FROM image_layer WHERE image_layer.chain = layer.chain)")?
            .1;
            space.blobs = sum("SELECT count(*), ifnull(sum(size), 0) FROM blob \
                 WHERE EXISTS (SELECT 1 FROM image_blob WHERE image_blob.digest = blob.digest)")?
            .1;
            space.idle_layers = sum(
                "SELECT count(*), ifnull(sum(contents), 0) FROM layer WHERE \
                 NOT EXISTS (SELECT 1 FROM image_layer WHERE image_layer.chain = layer.chain)",
            )?;
            space.idle_blobs = sum("SELECT count(*), ifnull(sum(size), 0) FROM blob WHERE \
                 NOT EXISTS (SELECT 1 FROM image_blob WHERE image_blob.digest = blob.digest)")?;
            let mut statement = connection.prepare_cached(&format!(
                "WITH users AS (SELECT chain, count(DISTINCT image) AS images \
                                FROM image_layer GROUP BY chain) \
                 SELECT image_layer.image, \
                        sum(CASE WHEN users.images > 1 THEN layer.contents ELSE 0 END), \
                        sum(CASE WHEN users.images > 1 THEN 0 ELSE layer.contents END) \
                 FROM image_layer JOIN layer USING (chain) JOIN users USING (chain) \
                 WHERE layer.state = {HELD} GROUP BY image_layer.image"
            ))?;
            let rows = statement.query_map([], |row| {
                let bytes = |column| row.get(column).map(|bytes: i64| Bytes(bytes as u64));
                Ok((
                    row.get::<_, Digest>(0)?,
                    ImageSpace {
                        shared: bytes(1)?,
                        unique: bytes(2)?,
                    },
                ))
            })?;
            for row in rows {
                let (image, sizes) = row?;
                space.images.insert(image, sizes);
            }
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
