//! `index=on`: what only the kernel's index keeps together makes no layer.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use strata_driver::{DriverFactory, ErrorKind, Host, OpenOptions};
use strata_harness::fixture::{FileSystemKind, Fixture};
use strata_harness::seed::Seed;
use strata_harness::{Context, Setting};

fn context(fixture: &Fixture) -> Context {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let open = OpenOptions::new(fixture.path().join("root")).with_setting("index", "on");
    let setting = Setting {
        factory: Arc::new(strata_overlay::OverlayFactory),
        host: Host::probe(),
        runtime: Arc::new(runtime),
        place: fixture.path().to_owned(),
        kind: fixture.kind(),
        seed: Seed(1),
        child: None,
        open,
    };
    Context::new(&setting, fixture.path().join("place")).unwrap()
}

#[test]
fn a_group_that_a_layer_would_part_is_not_committed() {
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return;
    }
    let fixture = Fixture::file_system(FileSystemKind::Ext4, 1 << 30).unwrap();
    let mut context = context(&fixture);
    let group =
        |dir: &strata_harness::edit::Dir| dir.file("f", "old")?.hard_link("f", "g").map(drop);
    let base = context.layer(None, group).unwrap();
    let key = context.active(Some(&base)).unwrap();
    context
        .edit(&key, |dir| dir.append("f", "new").map(drop))
        .unwrap();
    let refused = [
        context.commit_fresh(&key).unwrap_err().downcast().unwrap(),
        context.changes(Some(&base), &key).unwrap_err(),
    ];
    for error in refused {
        let error: strata_driver::Error = error;
        assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    }
    // The way out that the error names.
    let replace =
        |dir: &strata_harness::edit::Dir| dir.unlink("f")?.unlink("g")?.file("f", "new").map(drop);
    context.edit(&key, replace).unwrap();
    context.commit_fresh(&key).unwrap();
    context.shut().unwrap();
    drop(context);
    fixture.close().unwrap();
}

#[test]
fn metadata_only_copies_want_redirects() {
    let open = OpenOptions::new("/nowhere").with_setting("metacopy", "on");
    let error = strata_overlay::OverlayFactory.open(&open, &Host::probe());
    let error = error.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(error.to_string().contains("redirect_dir=on"), "{error}");
}
