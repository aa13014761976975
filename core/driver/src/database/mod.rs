//! A SQLite file that several processes share: the catalogue of a driver, the facts of a store.
//!
//! One connection: transactions with a level of syncing, waiting for other processes, and
//! what SQLite's answers mean to a caller.

mod in_place;

use crate::error::{Error, ErrorKind, Result};
use crate::options::Durability;
use rusqlite::config::DbConfig;
use rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Pages in the log at which it is folded into the database, about 4 MiB: a checkpoint's two
/// syncs vanish in the operations that make so many.
const LOG_LIMIT: u32 = 4000;

/// A log of at most this many pages is left to the next opener, which reads it in a millisecond;
/// folding it into the database would cost a short command two syncs.
const LOG_LEFT_AT_CLOSE: u32 = 1000;

/// A page in the log with its header, in bytes.
const FRAME: u64 = PAGE + 24;

/// Bytes of a page: small, since an operation writes a few bytes on several of them.
const PAGE: u64 = 1024;

/// How far ahead the log is filled with zeros, in bytes. A sync of what was only overwritten need
/// not write the file system's journal, in which by then the directories of the snapshot wait;
/// and on a full disk there is room left to record removals.
const LOG_AHEAD: u64 = 1 << 20;

/// How often a busy database is asked again: about ten seconds in all.
const BUSY_TRIES: i32 = 10_100;

/// What must be on disk when a transaction has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Everything up to it: the commit point of an operation.
    Now,
    /// Nothing: an intent or a clean-up. It is never seen without what came before it.
    Later,
}

/// SQLite's own levels. Not `OFF`: that leaves out the syncs that order a checkpoint and the
/// reuse of the log, and an instance of any class may be the one that does these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Normal,
    Full,
}

impl Level {
    fn pragma(self) -> &'static str {
        match self {
            Self::Normal => "PRAGMA synchronous=NORMAL",
            Self::Full => "PRAGMA synchronous=FULL",
        }
    }
}

/// The database file of a root, open.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    durability: Durability,
    link: Mutex<Link>,
}

#[derive(Debug)]
struct Link {
    connection: Connection,
    level: Level,
    /// Pages in the log after the last commit of this connection.
    pages: Arc<AtomicU32>,
    /// Pages at which the next checkpoint is due.
    due: u32,
    log: Log,
}

/// The log's file, beside SQLite's own descriptor of it.
#[derive(Debug)]
struct Log {
    path: PathBuf,
    file: Option<File>,
    size: u64,
}

/// Whether the file may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Make it.
    Create,
    /// Fail.
    Refuse,
}

impl Database {
    /// Opens the file; reads nothing of it yet.
    pub fn open(path: &Path, durability: Durability, missing: Missing) -> Result<Self> {
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags.set(OpenFlags::SQLITE_OPEN_CREATE, missing == Missing::Create);
        if missing == Missing::Create {
            in_place::make(path);
        }
        in_place::make(&beside(path, "-shm"));
        let pages = Arc::new(AtomicU32::new(0));
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
            connection.execute_batch(Level::Normal.pragma())?;
            let counter = Arc::clone(&pages);
            connection.wal_hook(Some(move |_: &mut Wal, pages| {
                counter.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
                Ok(())
            }))?;
            Ok(connection)
        };
        Ok(Self {
            path: path.to_owned(),
            durability,
            link: Mutex::new(Link {
                connection: connect().map_err(|error| explain("open root", path, error))?,
                level: Level::Normal,
                pages,
                due: LOG_LIMIT,
                log: Log::beside(path),
            }),
        })
    }

    /// Makes a new database, of which nothing is written yet, one that processes share. `root` is
    /// named where its file system cannot do that.
    pub fn begin(&self, operation: &'static str, root: &Path) -> Result<()> {
        self.query(operation, |connection| {
            connection.execute_batch(&format!("PRAGMA page_size={PAGE}"))?;
            let mode: String =
                connection.query_row("PRAGMA journal_mode=WAL", [], |row| row.get(0))?;
            if mode == "wal" {
                return Ok(());
            }
            Err(Fault::Refused(
                Error::new(ErrorKind::Unavailable, operation)
                    .because("the file system cannot share memory between processes")
                    .with("root", root.display())
                    .hint("put the root on a local file system"),
            ))
        })?;
        // `SQLite` deletes the log of an empty database, which this one is no more.
        in_place::make(&self.link().log.path);
        Ok(())
    }

    /// Runs `work` in one write transaction.
    pub fn write<T>(
        &self,
        operation: &'static str,
        sync: Sync,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T> {
        let mut link = self.link();
        let level = match (self.durability, sync) {
            (Durability::Durable, Sync::Now) => Level::Full,
            (Durability::Volatile, _) | (_, Sync::Later) => Level::Normal,
        };
        let outcome = link
            .at(level)
            .map_err(Fault::from)
            .and_then(|()| link.transaction(work));
        let value = outcome.map_err(|fault| fault.explain(operation, &self.path))?;
        if link.pages() >= link.due {
            // The operation is done and its row is safe in the log.
            link.checkpoint_or_warn(&self.path);
        }
        Ok(value)
    }

    /// Runs `work`, one or more queries, on one state of the database.
    pub fn read<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T> {
        let link = self.link();
        enclosed(&link.connection, "BEGIN", work)
            .map_err(|fault| fault.explain(operation, &self.path))
    }

    /// Runs a single query.
    pub fn query<T>(
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
        let mut link = self.link();
        if link.pages() > LOG_LEFT_AT_CLOSE {
            link.checkpoint_or_warn(&self.path);
        }
    }
}

/// The file of `SQLite`'s with this suffix.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.to_owned().into_os_string();
    path.push(suffix);
    path.into()
}

impl Log {
    fn beside(database: &Path) -> Self {
        Self {
            path: beside(database, "-wal"),
            file: None,
            size: 0,
        }
    }

    /// Fills the log so that it has room for `used` bytes and more. Whoever calls this holds the
    /// write lock, so that nobody else appends. Zeros are no page to SQLite: their checksum is
    /// wrong.
    ///
    /// SQLite gives its own descriptor to nobody, so the file is opened by its name. Should somebody
    /// have replaced the log of an open database, zeros are appended to the new one, which mean
    /// nothing there either.
    fn fill(&mut self, used: u64) -> std::io::Result<()> {
        if used + LOG_AHEAD / 4 < self.size {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::options().write(true).open(&self.path)?),
        };
        self.size = file.metadata()?.len();
        let wanted = ((used + LOG_AHEAD / 4) / LOG_AHEAD + 1) * LOG_AHEAD;
        // Page by page: a long write makes large folios in the page cache, and each small write
        // into one passes over all its blocks.
        let zeros = [0; 4096];
        while self.size < wanted {
            let step = (4096 - self.size % 4096).min(wanted - self.size);
            file.write_all_at(&zeros[..step as usize], self.size)?;
            self.size += step;
        }
        Ok(())
    }
}

impl Link {
    /// The level cannot be changed inside a transaction, and changing it costs a parse.
    fn at(&mut self, level: Level) -> rusqlite::Result<()> {
        if self.level != level {
            roll_back(&self.connection);
            self.connection.execute_batch(level.pragma())?;
            self.level = level;
        }
        Ok(())
    }

    fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let used = u64::from(self.pages()) * FRAME;
        let Self {
            connection, log, ..
        } = self;
        enclosed(connection, "BEGIN IMMEDIATE", |connection| {
            // Without it a sync takes longer, no more.
            if let Err(error) = log.fill(used) {
                tracing::debug!(%error, "catalogue log not filled ahead");
            }
            work(connection)
        })
    }

    fn pages(&self) -> u32 {
        self.pages.load(Ordering::Relaxed)
    }

    /// Folds the log into the database, with syncs even in a volatile instance: rows of earlier,
    /// durable ones pass through here as well. The next transaction then begins at the log's
    /// start. The file keeps its length, so that it is overwritten from then on.
    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        let (pages, folded): (i64, i64) =
            self.connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
                    Ok((row.get(1)?, row.get(2)?))
                })?;
        // Readers of other processes may be in the way; then the rest is done another time.
        self.due = if folded == pages {
            LOG_LIMIT
        } else {
            self.pages().max(LOG_LIMIT) + LOG_LIMIT / 4
        };
        Ok(())
    }

    fn checkpoint_or_warn(&mut self, path: &Path) {
        if let Err(error) = self.checkpoint() {
            let error = explain("checkpoint catalogue", path, error);
            tracing::warn!(error = %error.chain(), "catalogue log not folded in");
        }
    }
}

fn enclosed<T>(
    connection: &Connection,
    begin: &str,
    work: impl FnOnce(&Connection) -> Result<T, Fault>,
) -> Result<T, Fault> {
    roll_back(connection);
    run(connection, begin)?;
    let outcome = work(connection).and_then(|value| {
        run(connection, "COMMIT")?;
        Ok(value)
    });
    if outcome.is_err() {
        roll_back(connection);
    }
    outcome
}

fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// SQLite itself ends a transaction on some errors, a full disk for one.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = run(connection, "ROLLBACK")
    {
        tracing::warn!(%error, "catalogue transaction not rolled back");
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
pub enum Fault {
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
pub fn explain(operation: &'static str, path: &Path, error: rusqlite::Error) -> Error {
    // What is mapped into memory cannot be given room: the file system is full.
    let extended = error.sqlite_error().map(|error| error.extended_code);
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ErrorKind::Busy,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ErrorKind::Corrupt,
        Some(ErrorCode::DiskFull) => ErrorKind::NoSpace,
        _ if extended == Some(SQLITE_IOERR_SHMSIZE) => ErrorKind::NoSpace,
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
pub const CORRUPT_HINT: &str = "put `catalog.db` and `catalog.db-wal` back from one backup, \
                                       after removing those that are there, or move the whole \
                                       root away and fill a new one; the snapshots' files are \
                                       untouched";
