//! A blob on its way: appended to, hashed as it comes, moved to its place when it is right.

use super::reader::{BlobReader, Growth};
use crate::facts::schema::sync_directory;
use crate::ids::Digest;
use crate::layout::Layout;
use crate::phase::{Entered, Phase};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use strata_driver::{Bytes, Durability, Error, ErrorKind, Result};
use strata_sys::lock::FileLock;

const OPERATION: &str = "fetch blob";
const BLOCK: usize = 256 << 10;

/// How a fetch began.
#[derive(Debug)]
pub(crate) enum Started {
    /// This caller writes it.
    Here(Fetch),
    /// Somebody else is writing it right now.
    Elsewhere,
}

/// The one writer of a blob on its way.
///
/// Dropped before [`finish`](Fetch::finish), it leaves what came for the next one, and its readers
/// fail.
#[derive(Debug)]
pub struct Fetch {
    layout: Layout,
    digest: Digest,
    size: Bytes,
    file: Arc<File>,
    position: u64,
    hash: Sha256,
    growth: Arc<Growth>,
    was_taken_up: bool,
    _phase: Entered,
    /// Released last.
    _lock: FileLock,
}

impl Fetch {
    /// Starts where an earlier one was cut off, whose bytes are hashed first. Blocking.
    pub(crate) fn start(layout: &Layout, digest: Digest, size: Bytes) -> Result<Started> {
        let path = layout.fetch(&digest);
        let io = |error| Error::io(OPERATION, error).with("blob", digest);
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)
                .map_err(io)?;
            let descriptor = OwnedFd::from(file.try_clone().map_err(io)?);
            let Some(lock) = FileLock::try_exclusive_on(descriptor)? else {
                return Ok(Started::Elsewhere);
            };
            // Between opening and locking somebody may have finished it, or pruned it away.
            let is_there =
                strata_sys::file::statx(rustix::fs::CWD, &path, rustix::fs::StatxFlags::INO)
                    .is_ok_and(|found| {
                        rustix::fs::fstat(&file).is_ok_and(|own| own.st_ino == found.ino)
                    });
            if !is_there {
                continue;
            }
            let mut fetch = Self {
                layout: layout.clone(),
                digest,
                size,
                file: Arc::new(file),
                position: 0,
                hash: Sha256::new(),
                growth: Arc::default(),
                was_taken_up: false,
                _phase: Phase::Fetch.enter(),
                _lock: lock,
            };
            fetch.take_up().map_err(io)?;
            return Ok(Started::Here(fetch));
        }
    }

    /// Hashes what is there.
    fn take_up(&mut self) -> std::io::Result<()> {
        let length = self.file.metadata()?.len();
        if length > self.size.0 {
            return self.file.set_len(0);
        }
        let mut block = vec![0; BLOCK];
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(0))?;
        loop {
            let read = file.read(&mut block)?;
            if read == 0 {
                break;
            }
            self.hash.update(&block[..read]);
            self.position += read as u64;
        }
        self.growth.reach(self.position);
        self.was_taken_up = self.position > 0;
        Ok(())
    }

    /// Whether an earlier fetch had left something.
    pub fn was_taken_up(&self) -> bool {
        self.was_taken_up
    }

    /// Whether what has come is the blob.
    pub fn is_right(&self) -> bool {
        let found: [u8; 32] = self.hash.clone().finalize().into();
        self.position == self.size.0 && Digest::from_sha256(found) == self.digest
    }

    /// The blob that is expected.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size.
    pub fn size(&self) -> Bytes {
        self.size
    }

    /// Bytes that are there.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// A reader that follows the writer.
    pub fn reader(&self) -> BlobReader {
        BlobReader::growing(Arc::clone(&self.file), Arc::clone(&self.growth))
    }

    /// Appends. More than the blob's size is refused.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.position + bytes.len() as u64 > self.size.0 {
            return Err(self.wrong("more bytes came than its size says"));
        }
        self.file
            .write_all_at(bytes, self.position)
            .map_err(|error| Error::io(OPERATION, error).with("blob", self.digest))?;
        self.hash.update(bytes);
        self.position += bytes.len() as u64;
        self.growth.reach(self.position);
        Ok(())
    }

    /// Begins anew: the source cannot go on from the middle.
    pub fn restart(&mut self) -> Result<()> {
        // Readers keep what they have read: these bytes come again, or the digest tells.
        self.position = 0;
        self.hash = Sha256::new();
        Ok(())
    }

    /// Verifies it and moves it to its place. A wrong one is deleted.
    ///
    /// Readers see the end only if this succeeds.
    pub fn finish(mut self, durability: Durability) -> Result<()> {
        let outcome = self.verify().and_then(|()| self.publish(durability));
        match &outcome {
            Ok(()) => self.growth.is_whole(),
            Err(error) => self.growth.has_failed(&error.chain()),
        }
        outcome
    }

    fn verify(&mut self) -> Result<()> {
        if self.position < self.size.0 {
            return Err(self.wrong("it ended before its size"));
        }
        let found: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
        let found = Digest::from_sha256(found);
        if found == self.digest {
            return Ok(());
        }
        // Nothing of it can be used again.
        if let Err(error) = fs_err::remove_file(self.layout.fetch(&self.digest)) {
            tracing::warn!(%error, "a wrong blob is left for the next fetch");
        }
        Err(self.wrong("its digest is another").with("found", found))
    }

    fn publish(&self, durability: Durability) -> Result<()> {
        let io = |error| Error::io(OPERATION, error).with("blob", self.digest);
        if durability == Durability::Durable {
            self.file.sync_data().map_err(io)?;
        }
        fs_err::rename(
            self.layout.fetch(&self.digest),
            self.layout.blob(&self.digest),
        )
        .map_err(io)?;
        if durability == Durability::Durable {
            sync_directory(&self.layout.blobs()).map_err(io)?;
        }
        Ok(())
    }

    fn wrong(&self, why: &str) -> Error {
        Error::new(ErrorKind::Corrupt, OPERATION)
            .because(why)
            .with("blob", self.digest)
            .with("size", self.size.0)
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        self.growth.has_failed("the fetch was cut off");
    }
}
