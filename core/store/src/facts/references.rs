//! Names of images: a repository with a tag, or with the digest that a registry gave.

use super::Facts;
use crate::ids::Digest;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use strata_driver::database::Sync;
use strata_driver::{Error, ErrorKind, Result};

/// What stands behind the repository in a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// `:TAG`.
    Tag(String),
    /// `@DIGEST`, of a manifest or an index.
    Digest(Digest),
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, ":{tag}"),
            Self::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

impl Target {
    fn columns(&self) -> (String, String) {
        match self {
            Self::Tag(tag) => (tag.clone(), String::new()),
            Self::Digest(digest) => (String::new(), digest.to_string()),
        }
    }
}

/// A name and the image that it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReferenceRow {
    /// The whole name of the repository, its registry included.
    pub repository: String,
    /// What stands behind it.
    pub target: Target,
    /// The image.
    pub image: Digest,
}

impl ReferenceRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let tag: String = row.get(1)?;
        let target = if tag.is_empty() {
            let digest: String = row.get(2)?;
            let digest = digest.parse().map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(
                    2,
                    rusqlite::types::Type::Text,
                    Box::<strata_driver::Error>::new(error),
                )
            })?;
            Target::Digest(digest)
        } else {
            Target::Tag(tag)
        };
        Ok(Self {
            repository: row.get(0)?,
            target,
            image: row.get(3)?,
        })
    }
}

const COLUMNS: &str = "repository, tag, digest, image";

impl Facts {
    /// Lets a name mean an image from now on; what it meant before.
    pub fn set_reference(
        &self,
        repository: &str,
        target: &Target,
        image: &Digest,
    ) -> Result<Option<Digest>> {
        self.database.write("name image", Sync::Now, |connection| {
            let before = set(connection, repository, target, image)?;
            if connection.changes() == 0 {
                return Err(Error::new(ErrorKind::NotFound, "name image")
                    .because("the image was removed meanwhile")
                    .with("image", image)
                    .into());
            }
            Ok(before)
        })
    }

    /// The image that a name means.
    pub fn reference(&self, repository: &str, target: &Target) -> Result<Option<Digest>> {
        let (tag, digest) = target.columns();
        self.database.query("look for name", |connection| {
            Ok(connection
                .prepare_cached(
                    "SELECT image FROM reference \
                     WHERE repository = ?1 AND tag = ?2 AND digest = ?3",
                )?
                .query_row(params![repository, tag, digest], |row| row.get(0))
                .optional()?)
        })
    }

    /// All names, in order.
    pub fn references(&self) -> Result<Vec<ReferenceRow>> {
        self.database.query("list names", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM reference ORDER BY repository, tag, digest"
            ))?;
            let rows = statement.query_map([], ReferenceRow::read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// The names of one image, in order.
    pub fn references_of(&self, image: &Digest) -> Result<Vec<ReferenceRow>> {
        self.database.query("list names of image", |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM reference WHERE image = ?1 \
                 ORDER BY repository, tag = '', tag, digest"
            ))?;
            let rows = statement.query_map([image], ReferenceRow::read)?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
    }

    /// Ends names.
    pub fn remove_references(&self, names: &[ReferenceRow]) -> Result<()> {
        self.database.write("end names", Sync::Now, |connection| {
            for name in names {
                let (tag, digest) = name.target.columns();
                connection
                    .prepare_cached(
                        "DELETE FROM reference \
                         WHERE repository = ?1 AND tag = ?2 AND digest = ?3",
                    )?
                    .execute(params![name.repository, tag, digest])?;
            }
            Ok(())
        })
    }
}

/// Lets a name mean an image; what it meant before.
pub(super) fn set(
    connection: &Connection,
    repository: &str,
    target: &Target,
    image: &Digest,
) -> rusqlite::Result<Option<Digest>> {
    let (tag, digest) = target.columns();
    let before = connection
        .prepare_cached(
            "SELECT image FROM reference WHERE repository = ?1 AND tag = ?2 AND digest = ?3",
        )?
        .query_row(params![repository, tag, digest], |row| row.get(0))
        .optional()?;
    connection
        .prepare_cached(&format!(
            "INSERT OR REPLACE INTO reference ({COLUMNS}) \
             SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM image WHERE id = ?4)"
        ))?
        .execute(params![repository, tag, digest, image])?;
    Ok(before)
}
