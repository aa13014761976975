//! One SQLite connection: transactions with a level of syncing, waiting for other processes, and
//! what SQLite's answers mean to a caller.

use crate::error::{Error, ErrorKind, Result};
use crate::options::Durability;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Write transactions between two checkpoints of one instance. The log stays below about 10 MiB,
/// and a checkpoint's two syncs vanish in this many operations.
const TRANSACTIONS_PER_CHECKPOINT: u32 = 2000;

/// A log of at most this many bytes is left to the next opener, which reads it in a millisecond;
/// folding it into the database would cost a short command two syncs.
const LOG_LEFT_AT_CLOSE: u64 = 1 << 20;

/// How often a busy database is asked again: about ten seconds in all.
const BUSY_TRIES: i32 = 10_100;

/// What must be on disk when a transaction has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sync {
    /// Everything up to it: the commit point of an operation.
    Now,
    /// Nothing: an intent or a clean-up. It is never seen without what came before it.
    Later,
}

/// SQLite's own levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Off,
    Normal,
    Full,
}

impl Level {
    fn pragma(self) -> &'static str {
        match self {
            Self::Off => "PRAGMA synchronous=OFF",
            Self::Normal => "PRAGMA synchronous=NORMAL",
            Self::Full => "PRAGMA synchronous=FULL",
        }
    }
}

/// The database file of a root, open.
#[derive(Debug)]
pub(super) struct Database {
    path: PathBuf,
    durability: Durability,
    link: Mutex<Link>,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    level: Level,
    writes: u32,
}

/// Whether the file may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// Make it.
    Create,
    /// Fail.
    Refuse,
}

impl Database {
    /// Opens the file; reads nothing of it yet.
    pub(super) fn open(path: &Path, durability: Durability, missing: Missing) -> Result<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, missing == Missing::Create);
        let level = match durability {
            Durability::Volatile => Level::Off,
            Durability::Durable => Level::Normal,
        };
        let connect = || -> rusqlite::Result<Connection> {
            let mut connection = Connection::open_with_flags(path, flags)?;
            connection.busy_handler(Some(wait))?;
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
            // Without this promise SQLite plans a statement anew for each bound value.
            connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
            connection.set_prepared_statement_cache_capacity(64);
            // Checkpoints are taken by `checkpoint`, which syncs whatever the class.
            connection.execute_batch(
                "PRAGMA wal_autocheckpoint=0; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-16384;",
            )?;
            connection.execute_batch(level.pragma())?;
            Ok(connection)
        };
        Ok(Self {
            path: path.to_owned(),
            durability,
            link: Mutex::new(Link {
                connection: connect().map_err(|error| explain("open catalogue", path, error))?,
                level,
                writes: 0,
            }),
        })
    }

    /// Runs `work` in one write transaction. It may run again when another process was in the
    /// way, so it must have no effect outside the database.
    pub(super) fn write<T>(
        &self,
        operation: &'static str,
        sync: Sync,
        work: impl Fn(&Connection) -> Result<T, Fault>,
    ) -> Result<T> {
        let mut link = self.link();
        let level = match (self.durability, sync) {
            (Durability::Volatile, _) => Level::Off,
            (Durability::Durable, Sync::Now) => Level::Full,
            // Not `Off`: that would also leave out the syncs that order a checkpoint.
            (Durability::Durable, Sync::Later) => Level::Normal,
        };
        let outcome = link
            .at(level)
            .map_err(Fault::from)
            .and_then(|()| link.transaction(&work));
        let value = outcome.map_err(|fault| fault.explain(operation, &self.path))?;
        link.writes += 1;
        if link.writes >= TRANSACTIONS_PER_CHECKPOINT {
            link.writes = 0;
            // The operation is done and its row is safe in the log.
            if let Err(error) = link.checkpoint() {
                let error = explain("checkpoint catalogue", &self.path, error);
                tracing::warn!(error = %error.chain(), "catalogue log not folded in");
            }
        }
        Ok(value)
    }

    /// Runs `work`, one or more queries, on one state of the database.
    pub(super) fn read<T>(
        &self,
        operation: &'static str,
        work: impl Fn(&Connection) -> Result<T, Fault>,
    ) -> Result<T> {
        let link = self.link();
        link.enclosed("BEGIN", &work)
            .map_err(|fault| fault.explain(operation, &self.path))
    }

    /// Runs a single query.
    pub(super) fn query<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T> {
        work(&self.link().connection).map_err(|fault| fault.explain(operation, &self.path))
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        // A panic inside a transaction leaves it open; `begin` rolls it back.
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let mut wal = self.path.clone().into_os_string();
        wal.push("-wal");
        let long = rustix::fs::stat(Path::new(&wal))
            .is_ok_and(|stat| stat.st_size.unsigned_abs() > LOG_LEFT_AT_CLOSE);
        if long && let Err(error) = self.link().checkpoint() {
            let error = explain("checkpoint catalogue", &self.path, error);
            tracing::warn!(error = %error.chain(), "catalogue log not folded in");
        }
    }
}

impl Link {
    /// The level cannot be changed inside a transaction, and changing it costs a parse.
    fn at(&mut self, level: Level) -> rusqlite::Result<()> {
        if self.level != level {
            self.roll_back();
            self.connection.execute_batch(level.pragma())?;
            self.level = level;
        }
        Ok(())
    }

    fn transaction<T>(&self, work: &impl Fn(&Connection) -> Result<T, Fault>) -> Result<T, Fault> {
        self.enclosed("BEGIN IMMEDIATE", work)
    }

    fn enclosed<T>(
        &self,
        begin: &str,
        work: &impl Fn(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.roll_back();
        self.run(begin)?;
        let outcome = work(&self.connection).and_then(|value| {
            self.run("COMMIT")?;
            Ok(value)
        });
        if outcome.is_err() {
            self.roll_back();
        }
        outcome
    }

    fn run(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection
            .prepare_cached(statement)?
            .execute([])
            .map(drop)
    }

    /// SQLite itself ends a transaction on some errors, a full disk for one.
    fn roll_back(&self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.run("ROLLBACK")
        {
            tracing::warn!(%error, "catalogue transaction not rolled back");
        }
    }

    /// Folds the log into the database and empties it, with syncs even in a volatile instance:
    /// rows of earlier, durable ones pass through here as well. Without the truncation a later
    /// log written unsynced over the old one could be replayed in part after a power loss.
    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        self.at(Level::Normal)?;
        // The answer says whether readers of other processes were in the way; then it is done
        // another time.
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// Waits for other processes: their transactions take microseconds, so the first naps are short.
fn wait(tries: i32) -> bool {
    let micros = match tries {
        0..20 => 50,
        20..100 => 200,
        _ => 1000,
    };
    std::thread::sleep(Duration::from_micros(micros));
    tries < BUSY_TRIES
}

/// Why work inside a transaction stopped: by SQLite, or by what the rows say.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite failed.
    Sql(rusqlite::Error),
    /// The rows forbid it.
    Refused(Error),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    fn explain(self, operation: &'static str, path: &Path) -> Error {
        match self {
            Self::Refused(error) => error.during(operation),
            Self::Sql(error) => explain(operation, path, error),
        }
    }
}

/// An error of SQLite as one of the contract.
pub(super) fn explain(operation: &'static str, path: &Path, error: rusqlite::Error) -> Error {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => ErrorKind::PermissionDenied,
        _ => match &error {
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => ErrorKind::Corrupt,
            _ => ErrorKind::Other,
        },
    };
    let told = Error::new(kind, operation)
        .with("catalogue", path.display())
        .caused_by(error);
    match kind {
        ErrorKind::Corrupt => told.because("the catalogue is damaged").hint(CORRUPT_HINT),
        ErrorKind::Busy => told.because("another process keeps the catalogue locked"),
        _ => told,
    }
}

/// The way out of a damaged catalogue.
pub(super) const CORRUPT_HINT: &str = "put `catalog.db` back from a backup, or move the whole root \
                                       away and fill a new one; the snapshots' files are untouched";
