//! Somebody swaps a directory and a link out of the root while a layer is applied.

use crate::is_root;
use crate::layer::Layer;
use crate::tree::tree;
use rustix::fs::{CWD, RenameFlags};
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::tempdir;

#[test]
fn a_swapped_directory_never_leads_out() {
    if !is_root() {
        return;
    }
    let directory = tempdir().unwrap();
    let (root, outside) = (
        directory.path().join("root"),
        directory.path().join("outside"),
    );
    fs_err::create_dir_all(outside.join("sub")).unwrap();
    fs_err::write(outside.join("f1"), "canary").unwrap();
    fs_err::write(outside.join("sub/f1"), "canary").unwrap();
    fs_err::create_dir_all(root.join("d/sub")).unwrap();
    symlink(&outside, root.join("link")).unwrap();
    let before = tree(&outside);
    let mut layer = Layer::new();
    for n in 0..40 {
        // Other directories in between, so that those in question are opened again and again.
        for other in 0..70 {
            layer = layer.file(&format!("o{other}/f{n}"), b"");
        }
        layer = layer
            .directory("d")
            .directory("d/sub")
            .file(&format!("d/f{n}"), b"evil")
            .mark(&format!("d/.wh.f{n}"))
            .file(&format!("d/sub/f{n}"), b"evil")
            .mark("d/sub/.wh..wh..opq")
            .mark("d/.wh.sub");
    }
    let (done, swaps) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (d, link) = (root.join("d"), root.join("link"));
            while !done.load(Ordering::Relaxed) {
                let swapped = rustix::fs::renameat_with(CWD, &d, CWD, &link, RenameFlags::EXCHANGE);
                swaps.fetch_add(u64::from(swapped.is_ok()), Ordering::Relaxed);
            }
        });
        while swaps.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        for _ in 0..5 {
            // What is swapped away under its feet may well fail it.
            drop(layer.apply(&root));
            fs_err::create_dir_all(root.join("o0")).unwrap();
            drop(symlink(&outside, root.join("link"))); // there already, unless it was replaced
            drop(fs_err::create_dir(root.join("d"))); // likewise
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(swaps.load(Ordering::Relaxed) > 0);
    assert_eq!(tree(&outside), before);
}
