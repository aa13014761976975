//! Files that are there whole or not at all.

use anyhow::Context as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What is written before it gets its name.
#[derive(Debug)]
pub(crate) struct Part(fs_err::File);

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes `path` through `write`; after an error nothing of it is there.
pub(crate) fn written_whole(
    path: &Path,
    write: impl FnOnce(Part) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    // What is no regular file (`/dev/null`, a pipe) is written to, not replaced.
    let target = match path.metadata() {
        Ok(found) if !found.is_file() => {
            return write(Part(fs_err::OpenOptions::new().write(true).open(path)?));
        }
        Ok(_) => fs_err::canonicalize(path)?,
        Err(_) => path.to_owned(),
    };
    // A half-written file must not pass for a whole one, and is nobody else's.
    let mut part = target.clone().into_os_string();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let file = fs_err::File::create_new(&part)?;
    let written = write(Part(file));
    match written.and_then(|()| Ok(fs_err::rename(&part, &target)?)) {
        Ok(()) => Ok(()),
        Err(error) => {
            fs_err::remove_file(&part).context("the part that was written stays")?;
            Err(error)
        }
    }
}
