//! A file system without room.

use super::account::Kept;
use super::little::{TINY, WIDE};
use super::scene::{Scene, Shop};
use crate::support::cells;
use strata_harness::fixture::FileSystemKind;

const MIB: u64 = 1 << 20;

/// Room of the file system, and steps by which it is filled until `WIDE` has too little.
fn room(kind: FileSystemKind) -> u64 {
    match kind {
        FileSystemKind::Btrfs => 256 * MIB,
        FileSystemKind::Xfs => 320 * MIB,
        FileSystemKind::Ext4 | FileSystemKind::Tmpfs => 64 * MIB,
    }
}

#[test]
fn pull_into_a_full_file_system_says_so_and_can_be_pruned() {
    let Some(shop) = Shop::open() else { return };
    for cell in cells() {
        // From hardly any room to room for the blobs and no layers.
        for left in [2, 6, 11, 15] {
            let scene = Scene::with_room(&shop, cell, room(cell.kind));
            let filler = scene.store.fixture.path().join("filler");
            fill(&filler, scene.store.fixture.path(), left * MIB);
            let why = format!("{cell:?} with {left} MiB left");
            let output = scene.store.run(&["pull", "-q", &shop.name(WIDE)]);
            let said = crate::support::stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{why}: {said}");
            let errors: Vec<_> = said
                .lines()
                .filter(|line| !line.starts_with("hint: "))
                .collect();
            assert_eq!(errors.len(), 1, "{why}: {said}");
            assert!(errors[0].starts_with("error: "), "{why}: {said}");
            assert!(
                errors[0].to_lowercase().contains("no space left"),
                "{why}: {said}"
            );
            scene.nothing_visible(&why);
            // Looked at closely where there is room for it again.
            let before = Kept::look(&scene.store);
            fs_err::remove_file(&filler).unwrap();
            let kept = scene.recover(&why);
            assert_eq!(kept, before, "{why}");
            scene.pull_rest(WIDE, &kept, &why);
            scene.clear(&why);

            let why = format!("{why}, pruned without any more room");
            fill(&filler, scene.store.fixture.path(), left * MIB);
            scene.store.bad(&["pull", "-q", &shop.name(WIDE)]);
            scene.clear(&why);
            scene.pull(TINY);
            scene.recover(&why);
        }
    }
}

/// Takes all room but so many bytes.
fn fill(file: &std::path::Path, place: &std::path::Path, left: u64) {
    let file = fs_err::File::create(file).unwrap();
    let free = || {
        let room = rustix::fs::statvfs(place).unwrap();
        room.f_bfree * room.f_frsize
    };
    // Some file systems tell how much is free only afterwards, and some of it is for themselves.
    let none = rustix::fs::FallocateFlags::empty();
    let (mut length, mut most) = (0, u64::MAX);
    while let Some(more) = free().checked_sub(left).map(|more| more.min(most))
        && more >= 64 << 10
    {
        match rustix::fs::fallocate(&file, none, length, more) {
            Ok(()) => length += more,
            Err(_) => most = more / 2,
        }
        file.sync_all().unwrap();
    }
    // Where nothing more is given although more is free, what was asked for is given back.
    if most < 64 << 10 {
        file.set_len(length.saturating_sub(left)).unwrap();
        file.sync_all().unwrap();
    }
}
