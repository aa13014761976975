//! Tables, versions, and making or recognising a root.
//!
//! `snapshot.name` is NULL once the snapshot is being removed, which frees the name. `parent` is
//! no foreign key: a row that is being removed may outlive its parent's.
//!
//! Numbers are never given twice: an instance reserves a range of them, above the highest that was
//! ever reserved, which stands in the row of `reserved` without a holder.

use super::{CatalogOptions, query};
use crate::database::{Database, Missing, Sync, explain};
use crate::error::{Error, ErrorKind, Result};
use crate::holder::HOLDERS;
use crate::name::DriverName;
use crate::options::Durability;
use rusqlite::Connection;
use std::path::Path;
use strata_sys::lock::FileLock;

/// File name of the catalogue in a root.
pub(super) const FILE: &str = "catalog.db";

/// `application_id` of the database: "Stra".
const APPLICATION: i64 = 0x5374_7261;
/// Version of the tables below.
const VERSION: i64 = 2;

/// Key of the driver's name in `meta`.
const DRIVER: &str = "driver";
/// Keys that a driver records itself get this prefix.
pub(super) const OPTION_PREFIX: &str = "option.";

const TABLES: &str = "
CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY,
    name TEXT UNIQUE,
    kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    state INTEGER NOT NULL CHECK (state BETWEEN 1 AND 2),
    parent INTEGER,
    labels TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    holder TEXT
) STRICT;
CREATE INDEX snapshot_by_parent ON snapshot (parent) WHERE parent IS NOT NULL;
CREATE TABLE reserved (
    holder TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (holder, first)
) STRICT, WITHOUT ROWID;
INSERT INTO reserved VALUES ('', 1, 0);
CREATE TABLE mount (
    number INTEGER PRIMARY KEY,
    snapshot INTEGER NOT NULL,
    target BLOB NOT NULL,
    mount_id INTEGER,
    namespace TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    holder_pid INTEGER NOT NULL,
    holder_started INTEGER NOT NULL
) STRICT;
CREATE INDEX mount_by_snapshot ON mount (snapshot);
CREATE INDEX mount_by_target ON mount (target);
";

/// What a file that may be a catalogue turned out to be.
enum Found {
    Nothing,
    Ours,
}

/// Opens or makes the catalogue in `root`.
pub(super) fn open(root: &Path, options: &CatalogOptions<'_>) -> Result<Database> {
    const OPERATION: &str = "open root";
    let path = root.join(FILE);
    if !path
        .try_exists()
        .map_err(|error| Error::io(OPERATION, error).with("root", root.display()))?
    {
        return create(root, options);
    }
    let database = Database::open(&path, options.durability, Missing::Refuse)?;
    match recognise(&database, &path)? {
        Found::Ours => {}
        // Somebody is making it right now, or died while doing so.
        Found::Nothing => {
            drop(database);
            return create(root, options);
        }
    }
    let driver = driver_of(&database, &path)?;
    if driver == *options.driver {
        return Ok(database);
    }
    Err(Error::new(ErrorKind::InvalidInput, OPERATION)
        .because(format!(
            "the root belongs to driver `{driver}`, not to `{}`",
            options.driver
        ))
        .with("root", root.display())
        .hint(format!(
            "open it with driver `{driver}`, or give `{}` a root of its own",
            options.driver
        )))
}

/// The driver of the root at `root`, if it is one.
pub(super) fn peek(root: &Path) -> Result<Option<DriverName>> {
    let path = root.join(FILE);
    match rustix::fs::stat(&path) {
        Ok(stat) if stat.st_size > 0 => {}
        Ok(_) | Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return Ok(None),
        Err(errno) => {
            return Err(Error::io("open root", errno.into()).with("root", root.display()));
        }
    }
    let database = Database::open(&path, Durability::Volatile, Missing::Refuse)?;
    match recognise(&database, &path)? {
        Found::Ours => driver_of(&database, &path).map(Some),
        Found::Nothing => Ok(None),
    }
}

fn create(root: &Path, options: &CatalogOptions<'_>) -> Result<Database> {
    const OPERATION: &str = "make root";
    let io = |error| Error::io(OPERATION, error).with("root", root.display());
    match fs_err::create_dir(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(io(error).hint("make the directory above it first"));
        }
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    // Two processes may find the same empty directory. The later one finds a root, and in it what
    // a driver makes beside the catalogue.
    let lock = FileLock::exclusive(root).map_err(|error| Error::from(error).during(OPERATION))?;
    if peek(root)?.is_some() {
        drop(lock);
        return open(root, options);
    }
    refuse_filled(root)?;
    let path = root.join(FILE);
    let database = Database::open(&path, options.durability, Missing::Create)?;
    if matches!(recognise(&database, &path)?, Found::Ours) {
        drop(lock);
        drop(database);
        return open(root, options);
    }
    match fs_err::create_dir(root.join(HOLDERS)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(io(error)),
        Ok(()) | Err(_) => {}
    }
    database.begin(OPERATION, root)?;
    database.write(OPERATION, Sync::Now, |connection| {
        connection.execute_batch(TABLES)?;
        query::set_meta(connection, DRIVER, options.driver.as_str())?;
        connection.execute_batch(&format!(
            "PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION};"
        ))?;
        Ok(())
    })?;
    if options.durability == Durability::Durable {
        for directory in [Some(root), root.parent()].into_iter().flatten() {
            let directory = if directory.as_os_str().is_empty() {
                Path::new(".")
            } else {
                directory
            };
            fs_err::File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(io)?;
        }
    }
    Ok(database)
}

/// Only an empty directory, or one in which a catalogue was being made, becomes a root.
fn refuse_filled(root: &Path) -> Result<()> {
    const OPERATION: &str = "make root";
    let io = |error| Error::io(OPERATION, error).with("root", root.display());
    for entry in fs_err::read_dir(root).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        // `lost+found` is what mkfs puts into a new file system.
        let own = [
            FILE,
            "catalog.db-wal",
            "catalog.db-shm",
            "catalog.db-journal",
            HOLDERS,
            "lost+found",
        ];
        // Another process may be probing here.
        let scratch = name
            .as_encoded_bytes()
            .starts_with(crate::probe::SCRATCH_PREFIX.as_bytes());
        if !scratch && !own.iter().any(|known| name == *known) {
            return Err(Error::new(ErrorKind::InvalidInput, OPERATION)
                .because("the directory is neither empty nor a driver's root")
                .with("root", root.display())
                .with("found", name.display())
                .hint("choose an empty or a new directory"));
        }
    }
    Ok(())
}

fn recognise(database: &Database, path: &Path) -> Result<Found> {
    const OPERATION: &str = "open root";
    let number = |connection: &Connection, pragma: &str| {
        connection.query_row(pragma, [], |row| row.get::<_, i64>(0))
    };
    let (application, version, tables) = database.read(OPERATION, |connection| {
        Ok((
            number(connection, "PRAGMA application_id")?,
            number(connection, "PRAGMA user_version")?,
            number(connection, "SELECT count(*) FROM sqlite_schema")?,
        ))
    })?;
    let refuse = |reason: String, hint: &str| {
        Err(Error::new(ErrorKind::InvalidInput, OPERATION)
            .because(reason)
            .with("catalogue", path.display())
            .hint(hint))
    };
    match (application, version) {
        (0, 0) if tables == 0 => Ok(Found::Nothing),
        (APPLICATION, VERSION) => Ok(Found::Ours),
        (APPLICATION, later) if later > VERSION => refuse(
            format!("it has version {later}, and this program knows versions up to {VERSION}"),
            "use the program that wrote it, or a later one",
        ),
        (APPLICATION, earlier) if earlier > 0 => refuse(
            format!("it has version {earlier}, which was never released"),
            "fill a new root",
        ),
        _ => refuse(
            "it is a database of another program".to_owned(),
            "choose an empty or a new directory",
        ),
    }
}

fn driver_of(database: &Database, path: &Path) -> Result<DriverName> {
    let name = database.query("open root", |connection| {
        Ok(query::meta(connection, DRIVER)?)
    })?;
    name.and_then(|name| DriverName::new(name).ok())
        .ok_or_else(|| {
            explain(
                "open root",
                path,
                rusqlite::Error::InvalidColumnType(
                    0,
                    DRIVER.to_owned(),
                    rusqlite::types::Type::Null,
                ),
            )
        })
}
