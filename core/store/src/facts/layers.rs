//! Rows of layers. A layer's row is written after its snapshot is committed.

use super::{DOOMED, Diff, Facts, HELD};
use crate::ids::ChainId;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use strata_driver::database::{Fault, Sync};
use strata_driver::{Bytes, DiffId, Result};

/// A layer in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRow {
    /// The layer with all below it; the name of its snapshot.
    pub chain: ChainId,
    /// What it stands on.
    pub parent: Option<ChainId>,
    /// The sha256 of its tar.
    pub diff: DiffId,
    /// Bytes of its tar.
    pub size: Bytes,
    /// Bytes of the contents in its tar: the layer's size, on every driver.
    pub contents: Bytes,
    /// When it was committed. Unix milliseconds.
    pub created_ms: i64,
    /// Nothing needs it any more; its bytes are about to go.
    pub is_doomed: bool,
}

const COLUMNS: &str = "chain, parent, diff, size, contents, created_ms, state";

impl LayerRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            chain: row.get(0)?,
            parent: row.get(1)?,
            diff: row.get::<_, Diff>(2)?.0,
            size: Bytes(row.get::<_, i64>(3)? as u64),
            contents: Bytes(row.get::<_, i64>(4)? as u64),
            created_ms: row.get(5)?,
            is_doomed: row.get::<_, i64>(6)? != HELD,
        })
    }
}

impl Facts {
    /// Notes a layer whose snapshot is committed.
    pub(crate) fn add_layer(&self, layer: &LayerRow) -> Result<()> {
        self.database.write("add layer", Sync::Later, |connection| {
            connection
                .prepare_cached(&format!(
                    "INSERT OR IGNORE INTO layer ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
                ))?
                .execute(params![
                    layer.chain,
                    layer.parent,
                    Diff(layer.diff),
                    layer.size.0 as i64,
                    layer.contents.0 as i64,
                    layer.created_ms,
                    if layer.is_doomed { DOOMED } else { HELD },
                ])?;
            Ok(())
        })
    }

    /// A layer, doomed ones included.
    pub fn layer(&self, chain: &ChainId) -> Result<Option<LayerRow>> {
        self.database
            .query("look for layer", |connection| Ok(layer(connection, chain)?))
    }

    /// All layers, in order of their chains.
    pub fn layers(&self) -> Result<Vec<LayerRow>> {
        self.database
            .query("list layers", |connection| select(connection, ""))
    }

    /// The layers of an image, base first.
    pub fn layers_of(&self, image: &crate::ids::Digest) -> Result<Vec<LayerRow>> {
        self.database.query("list layers of image", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT layer.chain, layer.parent, layer.diff, layer.size, layer.contents, \
                 layer.created_ms, layer.state FROM image_layer JOIN layer USING (chain) \
                 WHERE image_layer.image = ?1 ORDER BY position",
            )?;
            let rows = statement.query_map([image], LayerRow::read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Whether some layer has this diff.
    pub(crate) fn has_diff(&self, diff: DiffId) -> Result<bool> {
        self.database.query("look for diff", |connection| {
            Ok(connection
                .prepare_cached("SELECT 1 FROM layer WHERE diff = ?1 LIMIT 1")?
                .exists([Diff(diff)])?)
        })
    }

    /// Whether a layer has this diff that is not the one that goes.
    pub(crate) fn has_diff_beside(&self, diff: DiffId, going: Option<&ChainId>) -> Result<bool> {
        self.database.query("look for diff", |connection| {
            Ok(connection
                .prepare_cached("SELECT 1 FROM layer WHERE diff = ?1 AND chain IS NOT ?2 LIMIT 1")?
                .exists(params![Diff(diff), going])?)
        })
    }

    /// Forgets a layer whose snapshot is gone.
    pub(crate) fn forget_layer(&self, chain: &ChainId) -> Result<()> {
        self.database
            .write("forget layer", Sync::Later, |connection| {
                connection
                    .prepare_cached("DELETE FROM layer WHERE chain = ?1")?
                    .execute([chain])?;
                Ok(())
            })
    }
}

pub(super) fn layer(
    connection: &Connection,
    chain: &ChainId,
) -> rusqlite::Result<Option<LayerRow>> {
    connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM layer WHERE chain = ?1"))?
        .query_row([chain], LayerRow::read)
        .optional()
}

/// Layers by a condition.
pub(super) fn select(connection: &Connection, condition: &str) -> Result<Vec<LayerRow>, Fault> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT {COLUMNS} FROM layer {condition}"))?;
    let rows = statement.query_map([], LayerRow::read)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
