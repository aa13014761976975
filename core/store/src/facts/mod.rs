//! What a store knows: the rows of `store.db`.
//!
//! Layers, blobs and images are rows here; what a snapshot is, only the driver knows. Rows that
//! belong to nothing any more are *doomed* in the transaction that frees them, and their bytes go
//! afterwards (see [`sweep`](crate::Store::sweep)).

mod audit;
mod blobs;
mod images;
mod layers;
mod leases;
mod references;
mod removal;
pub(crate) mod schema;
mod space;

pub use images::{BlobRole, ImageRow, NewImage};
pub use layers::LayerRow;
pub(crate) use leases::{Kind, Taken};
pub use references::{ReferenceRow, Target};
pub use removal::Freed;
pub use space::{ImageSpace, Space};

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use strata_driver::DiffId;
use strata_driver::database::Database;

/// The facts of one store.
#[derive(Debug)]
pub struct Facts {
    pub(crate) database: Database,
}

/// A row that exists and belongs to something.
const HELD: i64 = 0;
/// A row that belongs to nothing.
const DOOMED: i64 = 1;
/// A doomed row whose bytes are being deleted.
const GOING: i64 = 2;

macro_rules! as_blob {
    ($name:ty) => {
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
            }
        }

        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                <[u8; 32]>::try_from(value.as_blob()?)
                    .map(Self::from_sha256)
                    .map_err(|error| FromSqlError::Other(Box::new(error)))
            }
        }
    };
}

as_blob!(crate::ids::Digest);
as_blob!(crate::ids::ChainId);

/// A diff's digest in a row.
struct Diff(DiffId);

impl ToSql for Diff {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.sha256().to_vec().into())
    }
}

impl FromSql for Diff {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        <[u8; 32]>::try_from(value.as_blob()?)
            .map(|digest| Self(DiffId::from_sha256(digest)))
            .map_err(|error| FromSqlError::Other(Box::new(error)))
    }
}
