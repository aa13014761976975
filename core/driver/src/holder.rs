//! Instances as locked files: whoever can take the lock knows that the instance is gone.

use crate::error::{Error, Result};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use strata_sys::lock::FileLock;

/// Directory of the instances' locks in a root.
pub const HOLDERS: &str = "holders";

/// This instance's name and lock. Dropping it ends the instance.
#[derive(Debug)]
pub struct Holder {
    name: String,
    file: PathBuf,
    is_left: bool,
    _lock: FileLock,
}

impl Holder {
    /// Registers a new instance in `root`.
    pub fn register(root: &Path) -> Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        const OPERATION: &str = "register instance";
        let directory = root.join(HOLDERS);
        // Keeps a sweep from taking the file between its creation and its lock.
        let registering =
            FileLock::shared(&directory).map_err(|error| Error::from(error).during(OPERATION))?;
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        // Process ids come again, after a boot or in another namespace; the time tells them apart.
        let name = format!(
            "{}-{:x}-{}",
            std::process::id(),
            now.as_nanos(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let file = directory.join(&name);
        fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&file)
            .map_err(|error| Error::io(OPERATION, error))?;
        let lock =
            FileLock::exclusive(&file).map_err(|error| Error::from(error).during(OPERATION))?;
        drop(registering);
        Ok(Self {
            name,
            file,
            is_left: false,
            _lock: lock,
        })
    }

    /// The name that rows bear.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Ends the instance as if it had died: its file stays and asks for a recovery.
    pub fn leave(mut self) {
        self.is_left = true;
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if !self.is_left
            && let Err(error) = fs_err::remove_file(&self.file)
        {
            tracing::debug!(%error, "instance file left to the next sweep");
        }
    }
}

/// Whether the instance `name` is gone.
pub fn is_gone(root: &Path, name: &str) -> Result<bool> {
    is_unlocked(&root.join(HOLDERS).join(name))
}

/// Shared, so that two who ask at once do not take each other for the instance.
fn is_unlocked(file: &Path) -> Result<bool> {
    match FileLock::try_shared(file) {
        Ok(lock) => Ok(lock.is_some()),
        Err(error) if error.is(Errno::NOENT) => Ok(true),
        Err(error) => Err(Error::from(error).during("ask for instance")),
    }
}

/// Removes the files of instances that are gone. A row whose holder has no file is as good as one
/// whose holder can be locked.
pub fn sweep(root: &Path) -> Result<()> {
    forget(root, &gone(root)?)
}

/// Instances that died without ending themselves.
pub fn gone(root: &Path) -> Result<Vec<String>> {
    let io = |error| Error::io("look for instances", error);
    let entries = match fs_err::read_dir(root.join(HOLDERS)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(io)?,
    };
    let mut gone = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io)?;
        if is_unlocked(&entry.path())? {
            gone.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(gone)
}

/// [`sweep`] of these alone: who dies while somebody recovers is left to the next who does.
pub fn forget(root: &Path, names: &[String]) -> Result<()> {
    const OPERATION: &str = "sweep instances";
    let directory = root.join(HOLDERS);
    if names.is_empty() {
        return Ok(());
    }
    let alone = FileLock::try_exclusive(&directory)
        .map_err(|error| Error::from(error).during(OPERATION))?;
    if alone.is_none() {
        return Ok(());
    }
    for name in names {
        let file = directory.join(name);
        if is_unlocked(&file)?
            && let Err(error) = fs_err::remove_file(&file)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::debug!(%error, "instance file left to the next sweep");
        }
    }
    Ok(())
}

/// Whether some instance died without ending itself.
pub fn any_gone(root: &Path) -> Result<bool> {
    Ok(!gone(root)?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instance_that_is_left_asks_for_a_recovery_until_it_is_forgotten() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs_err::create_dir(root.join(HOLDERS)).unwrap();
        let first = Holder::register(root).unwrap();
        assert!(!any_gone(root).unwrap());
        let name = first.name().to_owned();
        first.leave();
        let seen = gone(root).unwrap();
        assert_eq!(seen, [name]);
        // Dies while what the first left is mended.
        let second = Holder::register(root).unwrap();
        let late = second.name().to_owned();
        second.leave();
        forget(root, &seen).unwrap();
        assert_eq!(gone(root).unwrap(), [late]);
        sweep(root).unwrap();
        assert!(!any_gone(root).unwrap());
        drop(Holder::register(root).unwrap());
        assert!(!any_gone(root).unwrap());
    }
}
