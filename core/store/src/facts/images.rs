//! Rows of images.

use super::{Facts, HELD, Target, layers, references};
use crate::ids::{ChainId, Digest};
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use std::collections::BTreeMap;
use strata_driver::database::{Fault, Sync};
use strata_driver::{Bytes, Error, ErrorKind, Result};

/// What a blob is to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlobRole {
    /// Its configuration, whose digest is the image's id.
    Config = 0,
    /// A manifest that names it.
    Manifest = 1,
    /// An index through which that manifest was chosen.
    Index = 2,
    /// A layer, as it travels.
    Layer = 3,
}

impl BlobRole {
    fn read(number: i64) -> Option<Self> {
        [Self::Config, Self::Manifest, Self::Index, Self::Layer]
            .into_iter()
            .find(|role| *role as i64 == number)
    }
}

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow {
    /// Digest of its configuration.
    pub id: Digest,
    /// The image that it was built upon, where that is known.
    pub parent: Option<Digest>,
    /// When it was made, as its configuration says. Unix seconds.
    pub created: Option<i64>,
    /// Bytes of the contents of all its layers.
    pub size: Bytes,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// An image whose blobs and layers are in the store.
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Digest of its configuration.
    pub id: Digest,
    /// The image that it was built upon, where that is known.
    pub parent: Option<Digest>,
    /// When it was made. Unix seconds.
    pub created: Option<i64>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The chains of its layers, base first.
    pub layers: Vec<ChainId>,
    /// Its blobs that are in the store.
    pub blobs: Vec<(Digest, BlobRole)>,
    /// Names that mean it from now on.
    pub names: Vec<(String, Target)>,
}

const COLUMNS: &str = "id, parent, created, size, labels";

impl ImageRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let labels: String = row.get(4)?;
        Ok(Self {
            id: row.get(0)?,
            parent: row.get(1)?,
            created: row.get(2)?,
            size: Bytes(row.get::<_, i64>(3)? as u64),
            labels: serde_json::from_str(&labels).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    4,
                    rusqlite::types::Type::Text,
                    Box::new(error),
                )
            })?,
        })
    }
}

impl Facts {
    /// Notes an image, what it takes and its names, for good: the commit point of a pull. What
    /// each name meant before.
    ///
    /// Layers and blobs must be there: one that was removed meanwhile is
    /// [`Busy`](ErrorKind::Busy). An image that is there already gains the blobs.
    pub(crate) fn add_image(&self, image: &NewImage) -> Result<Vec<Option<Digest>>> {
        self.database.write("add image", Sync::Now, |connection| {
            let size = insert_layers(connection, image)?;
            let labels = serde_json::to_string(&image.labels).unwrap_or_default();
            connection
                .prepare_cached(&format!(
                    "INSERT OR IGNORE INTO image ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5)"
                ))?
                .execute(params![
                    image.id,
                    image.parent,
                    image.created,
                    size as i64,
                    labels
                ])?;
            insert_blobs(connection, image)?;
            let names = image.names.iter();
            names
                .map(|(repository, target)| {
                    Ok(references::set(connection, repository, target, &image.id)?)
                })
                .collect()
        })
    }

    /// An image.
    pub fn image(&self, id: &Digest) -> Result<Option<ImageRow>> {
        self.database.query("look for image", |connection| {
            Ok(connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM image WHERE id = ?1"))?
                .query_row([id], ImageRow::read)
                .optional()?)
        })
    }

    /// All images, the newest first, and by their ids where they are of one second.
    pub fn images(&self) -> Result<Vec<ImageRow>> {
        self.database.query("list images", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM image ORDER BY ifnull(created, 0) DESC, id"
            ))?;
            let rows = statement.query_map([], ImageRow::read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Images whose id begins with these hexadecimal digits.
    pub fn images_by_prefix(&self, prefix: &str) -> Result<Vec<Digest>> {
        let prefix = prefix.to_ascii_uppercase();
        self.database.query("look for image", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT id FROM image WHERE substr(hex(id), 1, length(?1)) = ?1 ORDER BY id",
            )?;
            let rows = statement.query_map([&prefix], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Images that were built upon this one.
    pub fn children(&self, id: &Digest) -> Result<Vec<Digest>> {
        self.database.query("list children", |connection| {
            let mut statement =
                connection.prepare_cached("SELECT id FROM image WHERE parent = ?1 ORDER BY id")?;
            let rows = statement.query_map([id], |row| row.get(0))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The blobs of an image that are in the store.
    pub fn blobs_of(&self, image: &Digest) -> Result<Vec<(Digest, BlobRole)>> {
        self.database.query("list blobs of image", |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT digest, role FROM image_blob WHERE image = ?1 ORDER BY role, digest",
            )?;
            let rows = statement.query_map([image], |row| {
                let role: i64 = row.get(1)?;
                let role = BlobRole::read(role)
                    .ok_or(rusqlite::Error::IntegralValueOutOfRange(1, role))?;
                Ok((row.get(0)?, role))
            })?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }
}

/// Notes the layers of an image; the bytes of their contents.
fn insert_layers(connection: &Connection, image: &NewImage) -> Result<u64, Fault> {
    let mut size = 0;
    for (position, chain) in image.layers.iter().enumerate() {
        let held = layers::layer(connection, chain)?.filter(|layer| !layer.is_doomed);
        let Some(layer) = held else {
            return Err(gone("layer", chain).into());
        };
        size += layer.contents.0;
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO image_layer (image, position, chain) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![image.id, position as i64, chain])?;
    }
    Ok(size)
}

fn insert_blobs(connection: &Connection, image: &NewImage) -> Result<(), Fault> {
    for (digest, role) in &image.blobs {
        let is_held = connection
            .prepare_cached(&format!(
                "SELECT 1 FROM blob WHERE digest = ?1 AND state = {HELD}"
            ))?
            .exists([digest])?;
        if !is_held {
            return Err(gone("blob", digest).into());
        }
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO image_blob (image, digest, role) VALUES (?1, ?2, ?3)",
            )?
            .execute(params![image.id, digest, *role as i64])?;
    }
    Ok(())
}

fn gone(what: &'static str, which: &impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Busy, "add image")
        .because("what it takes was removed meanwhile")
        .with(what, which)
        .hint("try again")
}
