//! A file system that is full. Law 12.

use crate::fixture::FileSystemKind;
use crate::prelude::*;
use std::io::Read;

const MIB: u64 = 1 << 20;

/// A changeset that is made while it is read: files of a megabyte that are no holes.
struct Endless {
    files: u64,
    block: Vec<u8>,
    position: usize,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.position == self.block.len() {
            if self.files == 0 {
                return Ok(0);
            }
            self.files -= 1;
            self.block.clear();
            Entry::file(format!("f{}", self.files), vec![b'x'; MIB as usize])
                .write(&mut self.block);
            self.position = 0;
        }
        let length = buffer.len().min(self.block.len() - self.position);
        buffer[..length].copy_from_slice(&self.block[self.position..self.position + length]);
        self.position += length;
        Ok(length)
    }
}

/// Takes all but `left` bytes of the file system at `path` by a file called `ballast`.
fn fill(path: &std::path::Path, left: u64) -> Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    let file = fs_err::File::create(path.join("ballast"))?;
    let mut offset = 0;
    loop {
        let stat = rustix::fs::statvfs(path)?;
        let free = stat.f_bavail * stat.f_frsize;
        let step = free.saturating_sub(left).min(32 * MIB) / 2;
        if step < MIB / 4 {
            return Ok(file.sync_all()?);
        }
        match fallocate(&file, FallocateFlags::empty(), offset, step) {
            Ok(()) => offset += step,
            Err(rustix::io::Errno::NOSPC) => return Ok(file.sync_all()?),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes all that is left, down to single blocks.
fn fill_up(path: &std::path::Path) -> Result<()> {
    fill(path, 0)?;
    let mut rest = fs_err::File::create(path.join("rest"))?;
    for block in [4096, 512] {
        loop {
            match std::io::Write::write(&mut rest, &vec![1; block]) {
                Ok(0) => break,
                Ok(_) => rest.sync_all().or_else(ignore_full)?,
                Err(error) => break ignore_full(error)?,
            }
        }
    }
    Ok(())
}

fn ignore_full(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Ok(()),
        _ => Err(error),
    }
}

pub(crate) const REMOVAL_ON_A_FULL_DISK: Case = Case {
    name: "removal_on_a_full_disk",
    group: Group::Space,
    needs: &[],
    run: |context| {
        let fixture = context.tiny_file_system()?;
        let mut tiny = context.on(&fixture)?;
        let base = tiny.layer(None, |dir| dir.file("kept", "1").map(drop))?;
        let expected = tiny.tree(&base)?;
        let keys = (0..8)
            .map(|_| {
                let key = tiny.active(Some(&base))?;
                tiny.edit(&key, |dir| {
                    dir.file("file", vec![b'x'; MIB as usize]).map(drop)
                })?;
                Ok(key)
            })
            .collect::<Result<Vec<_>>>()?;
        tiny.reopen()?;
        fill_up(fixture.path())?;
        // ext4 overwrites what is there. xfs and btrfs may have no room for one more file or name;
        // then all is as it was until a file that is no layer goes.
        let must = matches!(
            fixture.kind(),
            Some(FileSystemKind::Ext4 | FileSystemKind::Tmpfs)
        );
        for key in &keys {
            match tiny.remove(key) {
                Err(error) if !must && error.kind() == ErrorKind::NoSpace => {
                    ensure!(tiny.stat(key).is_ok(), "a refused removal took the name");
                    fs_err::remove_file(fixture.path().join("rest"))?;
                    rustix::fs::syncfs(fs_err::File::open(fixture.path())?)?;
                    tiny.remove(key)
                        .context("remove after a little room was made")?;
                }
                outcome => outcome.context("remove on a full disk")?,
            }
        }
        tiny.reclaim().context("reclaim on a full disk")?;
        // btrfs gives freed space back with the next transaction only.
        rustix::fs::syncfs(fs_err::File::open(fixture.path())?)?;
        let stat = rustix::fs::statvfs(fixture.path())?;
        let free = stat.f_bavail * stat.f_frsize;
        ensure!(free >= 4 * MIB, "only {free} bytes came back");
        tiny.tree(&base)?.expect_equal(&expected, "the parent")?;
        tiny.reopen()?;
        ensure!(tiny.list()?.len() == 1, "{:?}", tiny.listed()?);
        tiny.shut()?;
        drop(tiny);
        fixture.close()
    },
};

pub(crate) const FULL_DISK_LEAVES_NO_LAYER: Case = Case {
    name: "full_disk_leaves_no_layer",
    group: Group::Space,
    needs: &[],
    run: |context| {
        let fixture = context.tiny_file_system()?;
        let mut tiny = context.on(&fixture)?;
        let base = tiny.layer(None, |dir| dir.file("kept", "1").map(drop))?;
        let expected = tiny.tree(&base)?;
        fill(fixture.path(), 8 * MIB)?;
        let key = tiny.active(Some(&base))?;
        // More than a tiny file system holds, whatever the driver's root took of it.
        let endless = Endless {
            files: 4096,
            block: Vec::new(),
            position: 0,
        };
        let source = strata_driver::ChangesetSource::from_read(endless);
        let options = strata_driver::ApplyOptions::default();
        let outcome = tiny.wait(tiny.driver().apply(&key, source, &options));
        expect_kind(outcome, ErrorKind::NoSpace, "apply on a full disk")?;
        let frozen = name("frozen");
        let committed = tiny.commit(&key, &frozen);
        expect_kind(
            committed,
            ErrorKind::InvalidState,
            "commit of what is half applied",
        )?;
        expect_kind(tiny.stat(&frozen), ErrorKind::NotFound, "its name")?;
        tiny.remove(&key).context("remove on a full disk")?;
        tiny.reclaim().context("reclaim on a full disk")?;
        // The space is there again, for something that fits.
        let again = tiny.applied_layer(
            Some(&base),
            &archive(&[Entry::file("f", vec![b'x'; 2 << 20])]),
        );
        let again = again.context("apply after the space came back")?;
        ensure!(
            tiny.tree(&again)?.node("f")?.size == 2 << 20,
            "the next layer is short"
        );
        tiny.tree(&base)?.expect_equal(&expected, "the parent")?;
        tiny.reopen()?;
        ensure!(tiny.list()?.len() == 2, "{:?}", tiny.listed()?);
        tiny.shut()?;
        drop(tiny);
        fixture.close()
    },
};
