//! What is made once and kept outside the checkout: where, by one run at a time, and whole or not
//! at all.

use anyhow::Context;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// `$XDG_CACHE_HOME/strata`, or `~/.cache/strata`.
pub(crate) fn home() -> anyhow::Result<PathBuf> {
    let set = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    set("XDG_CACHE_HOME")
        .or_else(|| set("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("strata"))
        .context("neither XDG_CACHE_HOME nor HOME is set to an absolute path")
}

/// An entry of the cache while it is made: nobody else makes it, and what was made of it stands
/// in a directory of its own until it is put in its place.
#[derive(Debug)]
pub(crate) struct Making {
    /// For what is made; gone, with what is in it, when this value is.
    scratch: PathBuf,
    place: PathBuf,
    _lock: fs_err::File,
}

impl Making {
    /// Waits until no other run makes `name` in `directory`, and removes what a dead one left.
    pub(crate) fn begin(directory: &Path, name: &str) -> anyhow::Result<Self> {
        fs_err::create_dir_all(directory)?;
        let lock = lock(&directory.join(format!("{name}.lock")), name)?;
        let unfinished = format!(".{name}.");
        for entry in fs_err::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.as_bytes().starts_with(unfinished.as_bytes()) {
                // Whoever made it is dead, or it would hold the lock.
                fs_err::remove_dir_all(entry.path())?;
            }
        }
        let scratch = directory.join(format!("{unfinished}{}", std::process::id()));
        fs_err::create_dir(&scratch)?;
        Ok(Self {
            scratch,
            place: directory.join(name),
            _lock: lock,
        })
    }

    /// Where to make it.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Puts what was made below [`Making::scratch`] in its place.
    pub(crate) fn finish(self, made: &Path) -> anyhow::Result<PathBuf> {
        if self.place.exists() {
            // Incomplete or of no use, or it would have been taken before this was begun.
            fs_err::remove_dir_all(&self.place)?;
        }
        fs_err::rename(made, &self.place)?;
        Ok(self.place.clone())
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if let Err(error) = fs_err::remove_dir_all(&self.scratch) {
            eprintln!("left behind: {error}");
        }
    }
}

fn lock(path: &Path, name: &str) -> anyhow::Result<fs_err::File> {
    let file = fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    if file.file().try_lock().is_err() {
        eprintln!("waiting for another run that is making `{name}`");
        file.file()
            .lock()
            .with_context(|| format!("cannot lock `{}`", path.display()))?;
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::Making;
    use xshell::Shell;

    #[test]
    fn entry_is_whole_or_not_there() {
        let sh = Shell::new().unwrap();
        let cache = sh.create_temp_dir().unwrap();
        let cache = cache.path();
        // What a run left that was killed.
        sh.create_dir(cache.join(".thing.1/half")).unwrap();
        let making = Making::begin(cache, "thing").unwrap();
        assert!(!cache.join(".thing.1").exists());
        sh.write_file(making.scratch().join("made/file"), "1")
            .unwrap();
        drop(making);
        assert!(!cache.join("thing").exists(), "it was not finished");

        for content in ["1", "2"] {
            let making = Making::begin(cache, "thing").unwrap();
            let made = making.scratch().join("made");
            sh.write_file(made.join("file"), content).unwrap();
            let place = making.finish(&made).unwrap();
            assert_eq!(sh.read_file(place.join("file")).unwrap(), content);
        }
        let mut names: Vec<_> = sh.read_dir(cache).unwrap();
        names.sort();
        assert_eq!(names, [cache.join("thing"), cache.join("thing.lock")]);
    }
}
