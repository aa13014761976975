//! Tables, versions, and making or recognising a store.

use crate::layout::Layout;
use rusqlite::Connection;
use std::path::Path;
use strata_driver::database::{Database, Missing, Sync};
use strata_driver::holder::HOLDERS;
use strata_driver::{Durability, Error, ErrorKind, Result};
use strata_sys::lock::FileLock;

/// `application_id` of the database: "Strs".
const APPLICATION: i64 = 0x5374_7273;
/// Version of the tables below.
const VERSION: i64 = 1;

/// `state` of blobs and layers: 0 held, 1 doomed. A doomed row belongs to nothing any more; its
/// bytes are still there.
const TABLES: &str = "
CREATE TABLE blob (
    digest BLOB PRIMARY KEY,
    size INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE TABLE layer (
    chain BLOB PRIMARY KEY,
    parent BLOB,
    diff BLOB NOT NULL,
    size INTEGER NOT NULL,
    contents INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX layer_by_parent ON layer (parent) WHERE parent IS NOT NULL;
CREATE INDEX layer_by_diff ON layer (diff);
CREATE TABLE image (
    id BLOB PRIMARY KEY,
    parent BLOB,
    created INTEGER,
    size INTEGER NOT NULL,
    labels TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX image_by_parent ON image (parent) WHERE parent IS NOT NULL;
CREATE TABLE image_layer (
    image BLOB NOT NULL,
    position INTEGER NOT NULL,
    chain BLOB NOT NULL,
    PRIMARY KEY (image, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_layer_by_chain ON image_layer (chain);
CREATE TABLE image_blob (
    image BLOB NOT NULL,
    digest BLOB NOT NULL,
    role INTEGER NOT NULL,
    PRIMARY KEY (image, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX image_blob_by_digest ON image_blob (digest);
CREATE TABLE reference (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL DEFAULT '',
    digest TEXT NOT NULL DEFAULT '',
    image BLOB NOT NULL,
    PRIMARY KEY (repository, tag, digest),
    CHECK ((tag = '') <> (digest = ''))
) STRICT, WITHOUT ROWID;
CREATE INDEX reference_by_image ON reference (image);
CREATE TABLE lease (
    holder TEXT NOT NULL,
    kind INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (holder, kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_by_key ON lease (kind, key);
";

/// Opens the facts of the store at `layout`, or makes an empty store there.
pub(crate) fn open_or_make(layout: &Layout, durability: Durability) -> Result<Database> {
    if exists(layout)? {
        return open(layout, durability);
    }
    make(layout, durability)
}

/// Whether there is a store.
pub(crate) fn exists(layout: &Layout) -> Result<bool> {
    match rustix::fs::stat(layout.database()) {
        Ok(stat) => Ok(stat.st_size > 0),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
        Err(errno) => {
            Err(Error::io("open store", errno.into()).with("root", layout.root().display()))
        }
    }
}

/// Opens the facts of a store that exists.
pub(crate) fn open(layout: &Layout, durability: Durability) -> Result<Database> {
    let path = layout.database();
    let database = Database::open(&path, durability, Missing::Refuse)?;
    if is_ours(&database, &path)? {
        Ok(database)
    } else {
        // Somebody died while making it, or makes it now.
        drop(database);
        make(layout, durability)
    }
}

fn make(layout: &Layout, durability: Durability) -> Result<Database> {
    const OPERATION: &str = "make store";
    let root = layout.root();
    let io = |error| Error::io(OPERATION, error).with("root", root.display());
    make_directory(root).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => io(error).hint("make the directory above it first"),
        _ => io(error),
    })?;
    // Two processes may find the same empty directory.
    let lock = FileLock::exclusive(root).map_err(|error| Error::from(error).during(OPERATION))?;
    refuse_filled(layout)?;
    let path = layout.database();
    let database = Database::open(&path, durability, Missing::Create)?;
    if is_ours(&database, &path)? {
        return Ok(database);
    }
    for directory in [
        root.join(HOLDERS),
        layout.oci(),
        layout.oci().join("blobs"),
        layout.blobs(),
        layout.fetches(),
        layout.journals(),
    ] {
        make_directory(&directory).map_err(io)?;
    }
    fs_err::write(
        layout.oci().join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )
    .map_err(io)?;
    // Layers hold set-id programs; nobody else is to reach them (CVE-2021-41091).
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs_err::set_permissions(root, private).map_err(io)?;
    database.begin(OPERATION, root)?;
    database.write(OPERATION, Sync::Now, |connection| {
        connection.execute_batch(TABLES)?;
        connection.execute_batch(&format!(
            "PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION};"
        ))?;
        Ok(())
    })?;
    if durability == Durability::Durable {
        for directory in [layout.oci(), root.to_owned(), root.join("..")] {
            sync_directory(&directory).map_err(io)?;
        }
    }
    drop(lock);
    Ok(database)
}

/// Makes what was made and renamed in a directory survive a power loss.
pub(crate) fn sync_directory(path: &Path) -> std::io::Result<()> {
    fs_err::File::open(path)?.sync_all()
}

fn make_directory(path: &Path) -> std::io::Result<()> {
    match fs_err::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// Only an empty directory, or one in which a store was being made, becomes a store.
fn refuse_filled(layout: &Layout) -> Result<()> {
    const OPERATION: &str = "make store";
    let root = layout.root();
    let io = |error| Error::io(OPERATION, error).with("root", root.display());
    for entry in fs_err::read_dir(root).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        let name = name.to_string_lossy();
        let own = ["oci", "fetch", "journals", "layers", HOLDERS, "lost+found"];
        if own.contains(&&*name)
            || name.starts_with("store.db")
            || name.starts_with(strata_driver::probe::SCRATCH_PREFIX)
        {
            continue;
        }
        let refused = Error::new(ErrorKind::InvalidInput, OPERATION)
            .with("root", root.display())
            .with("found", &name);
        return Err(if name == "catalog.db" {
            refused
                .because("it is the root of a driver, not of a store")
                .hint("choose another root; `strata snapshot` works on this one")
        } else {
            refused
                .because("the directory is neither empty nor a store")
                .hint("choose an empty or a new directory")
        });
    }
    Ok(())
}

fn is_ours(database: &Database, path: &Path) -> Result<bool> {
    const OPERATION: &str = "open store";
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
    let refused =
        || Error::new(ErrorKind::InvalidInput, OPERATION).with("database", path.display());
    match (application, version) {
        (0, 0) if tables == 0 => Ok(false),
        (APPLICATION, VERSION) => Ok(true),
        (APPLICATION, other) => Err(refused()
            .because(format!(
                "it has version {other}, and this program knows version {VERSION}"
            ))
            .hint("use the program that wrote it, or a later one")),
        _ => Err(refused()
            .because("it is a database of another program")
            .hint("choose an empty or a new directory")),
    }
}
