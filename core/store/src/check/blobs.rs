//! Blobs: their files, their sizes, and their bytes.

use super::finding::{CheckReport, Severity, Subject, mend};
use super::{AT_ONCE, State, Work};
use crate::ids::Digest;
use crate::layers::Layers;
use crate::store::Store;
use sha2::{Digest as _, Sha256};
use std::io::Read;
use std::sync::Arc;
use strata_driver::{Bytes, Error, Result, blocking};
use tokio::task::JoinSet;

const BLOCK: usize = 256 << 10;

/// What is wrong with a blob.
enum Wrong {
    Missing,
    Size(u64),
    Bytes(Digest),
}

pub(super) async fn check(
    layers: &Layers,
    state: &State,
    work: &mut Work<'_>,
    report: &mut CheckReport,
) -> Result<()> {
    let is_full = work.is_full();
    let mut waiting = state.blobs.iter();
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((digest, size)) = waiting.next().copied()
        {
            let store = Arc::clone(layers.store());
            running.spawn(blocking(move || {
                Ok((digest, size, look(&store, &digest, size, is_full)?))
            }));
        }
        let Some(looked) = running.join_next().await else {
            return Ok(());
        };
        let (digest, size, wrong) = looked.map_err(|torn| {
            Error::new(strata_driver::ErrorKind::Other, "check blobs").caused_by(torn)
        })??;
        let subject = Subject::Blob(digest);
        work.did(&subject);
        report.checked.blobs += 1;
        match wrong {
            None if is_full => report.checked.hashed.0 += size.0,
            None => {}
            Some(Wrong::Missing) => {
                report.find(Severity::Missing, subject, "its file is gone", mend::PULL);
            }
            Some(Wrong::Size(found)) => {
                let why = format!("it has {found} bytes instead of {}", size.0);
                report.find(Severity::Corrupt, subject, why, mend::PULL);
            }
            Some(Wrong::Bytes(found)) => {
                let why = format!("its bytes have the digest {found}");
                report.find(Severity::Corrupt, subject, why, mend::PULL);
            }
        }
    }
}

fn look(store: &Store, digest: &Digest, size: Bytes, is_full: bool) -> Result<Option<Wrong>> {
    let io = |error| Error::io("check blob", error).with("blob", digest);
    let found = match fs_err::metadata(store.layout().blob(digest)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Some(Wrong::Missing));
        }
        other => other.map_err(io)?.len(),
    };
    if found != size.0 {
        return Ok(Some(Wrong::Size(found)));
    }
    if !is_full {
        return Ok(None);
    }
    let found = hash(&mut store.open_blob(digest)?).map_err(io)?;
    Ok((found != *digest).then_some(Wrong::Bytes(found)))
}

/// The digest of all that comes.
pub(super) fn hash(from: &mut impl Read) -> std::io::Result<Digest> {
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK];
    loop {
        let read = from.read(&mut block)?;
        if read == 0 {
            return Ok(Digest::from_sha256(hash.finalize().into()));
        }
        hash.update(&block[..read]);
    }
}

/// Whether a blob is there and right.
pub(super) fn is_right(store: &Store, digest: &Digest) -> bool {
    let hashed = store.open_blob(digest).map(|mut blob| hash(&mut blob));
    matches!(hashed, Ok(Ok(found)) if found == *digest)
}
