//! Defects that are planted, each found by the level that is to find it.

use crate::stand::{Blob, DRIVERS, Stand, check, told};
use std::time::{Duration, SystemTime};
use strata_driver::{PrepareOptions, SnapshotName};
use strata_store::check::{Level, Severity, Subject};
use strata_store::name_of;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_store_has_no_findings() {
    if crate::stand::is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Gzip).await;
        let layers = stand.open();
        for level in [Level::Quick, Level::Full] {
            let report = check(&layers, level).await;
            assert_eq!(told(&report), "", "{driver}");
            let checked = report.checked;
            assert_eq!((checked.images, checked.references), (1, 1));
            assert_eq!(
                (checked.layers, checked.journals, checked.snapshots),
                (4, 4, 4)
            );
            assert_eq!((checked.blobs, checked.entries), (5, 24));
            assert_eq!(checked.hashed.0 > 0, level == Level::Full);
        }
        let left = layers.driver().list().await.unwrap().len();
        assert_eq!(left, 4, "no look is left");
    }
}

/// Spoils a store, and says what each level tells of it: a piece of the line, or nothing.
struct Planted {
    what: &'static str,
    spoil: fn(&Stand),
    quick: &'static str,
    full: &'static str,
    severity: Severity,
}

const BYTE: &str = "the content of a file is not what the layer brought (`srv/data`)";

const PLANTED: &[Planted] = &[
    Planted {
        what: "a byte of a file, its time kept",
        spoil: |stand| {
            let file = stand.in_tree("srv/data", "what the image is for");
            let time = fs_err::metadata(&file).unwrap().modified().unwrap();
            fs_err::write(&file, "what the image is fur").unwrap();
            touch(&file, time);
        },
        quick: "",
        full: BYTE,
        severity: Severity::Corrupt,
    },
    Planted {
        what: "a byte of a file",
        spoil: |stand| {
            let file = stand.in_tree("srv/data", "what the image is for");
            fs_err::write(&file, "what the image is fur").unwrap();
        },
        quick: "its time of modification is another (`srv/data`)",
        full: BYTE,
        severity: Severity::Corrupt,
    },
    Planted {
        what: "the time of a file",
        spoil: |stand| {
            let file = stand.in_tree("srv/data", "what the image is for");
            touch(&file, SystemTime::UNIX_EPOCH + Duration::from_secs(7));
        },
        quick: "its time of modification is another (`srv/data`)",
        full: "its time of modification is another (`srv/data`)",
        severity: Severity::Corrupt,
    },
    Planted {
        what: "the mode of a file",
        spoil: |stand| {
            let file = stand.in_tree("srv/data", "what the image is for");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o4644);
            fs_err::set_permissions(file, mode).unwrap();
        },
        quick: "its mode is 4644 instead of 0644 (`srv/data`)",
        full: "its mode is 4644 instead of 0644 (`srv/data`)",
        severity: Severity::Corrupt,
    },
    Planted {
        what: "a longer file",
        spoil: |stand| {
            let file = stand.in_tree("srv/data", "what the image is for");
            fs_err::write(file, "what the image is for, and more").unwrap();
        },
        quick: "it has 31 bytes instead of 21 (`srv/data`)",
        full: BYTE,
        severity: Severity::Corrupt,
    },
    Planted {
        what: "a file that is gone",
        spoil: |stand| {
            let file = stand.in_tree("srv/data", "what the image is for");
            fs_err::remove_file(file).unwrap();
        },
        quick: "it is gone (`srv/data`)",
        full: "a file of it is gone (`srv/data`)",
        severity: Severity::Corrupt,
    },
    Planted {
        what: "a journal that is cut off",
        spoil: |stand| {
            let journal = journal(stand, 3);
            let whole = fs_err::read(&journal).unwrap();
            fs_err::write(journal, &whole[..whole.len() - 9]).unwrap();
        },
        quick: "it cannot be read to its end",
        full: "it cannot be read to its end",
        severity: Severity::Corrupt,
    },
    Planted {
        what: "a journal that is another's",
        spoil: |stand| {
            fs_err::copy(journal(stand, 2), journal(stand, 3)).unwrap();
        },
        quick: "it is that of sha256:",
        full: "it is that of sha256:",
        severity: Severity::Corrupt,
    },
    Planted {
        what: "a journal that is gone",
        spoil: |stand| fs_err::remove_file(journal(stand, 3)).unwrap(),
        quick: "its file is gone",
        full: "its file is gone",
        severity: Severity::Missing,
    },
    Planted {
        what: "a blob of another length",
        spoil: |stand| {
            let path = blob(stand);
            let whole = fs_err::read(&path).unwrap();
            fs_err::write(path, &whole[1..]).unwrap();
        },
        quick: " bytes instead of ",
        full: " bytes instead of ",
        severity: Severity::Corrupt,
    },
    Planted {
        what: "a bit of a blob",
        spoil: |stand| {
            let path = blob(stand);
            let mut bytes = fs_err::read(&path).unwrap();
            bytes[40] ^= 1;
            fs_err::write(path, bytes).unwrap();
        },
        quick: "",
        full: "its bytes have the digest sha256:",
        severity: Severity::Corrupt,
    },
    Planted {
        what: "a blob that is gone",
        spoil: |stand| fs_err::remove_file(blob(stand)).unwrap(),
        quick: "its file is gone",
        full: "its file is gone",
        severity: Severity::Missing,
    },
    Planted {
        what: "a blob of nobody",
        spoil: |stand| {
            let path = stand.root().join("oci/blobs/sha256").join("ab".repeat(32));
            fs_err::write(path, "?").unwrap();
        },
        quick: "no row knows this blob",
        full: "no row knows this blob",
        severity: Severity::Stray,
    },
    Planted {
        what: "a journal of nobody",
        spoil: |stand| {
            fs_err::write(stand.root().join("journals").join("cd".repeat(32)), "?").unwrap();
        },
        quick: "it is the journal of no layer",
        full: "it is the journal of no layer",
        severity: Severity::Stray,
    },
    Planted {
        what: "what a migration left",
        spoil: |stand| fs_err::create_dir_all(stand.root().join("layers.next/a/b")).unwrap(),
        quick: "a migration left it",
        full: "a migration left it",
        severity: Severity::Stray,
    },
];

fn touch(path: &std::path::Path, time: SystemTime) {
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    file.into_parts().0.set_modified(time).unwrap();
}

fn journal(stand: &Stand, at: usize) -> std::path::PathBuf {
    stand.open().store().layout().journal(stand.diff(at))
}

/// The blob of the last layer: it comes uncompressed.
fn blob(stand: &Stand) -> std::path::PathBuf {
    let digest = strata_store::Digest::of(&stand.tars[3]);
    stand.open().store().layout().blob(&digest)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planted_is_found_and_mended() {
    if crate::stand::is_skipped() {
        return;
    }
    for driver in DRIVERS {
        for planted in PLANTED {
            let stand = Stand::filled(driver, Blob::Plain).await;
            (planted.spoil)(&stand);
            let layers = stand.open();
            for (level, expected) in [(Level::Quick, planted.quick), (Level::Full, planted.full)] {
                let report = check(&layers, level).await;
                let told = told(&report);
                let case = format!("{} on {driver}, {level:?}: {told}", planted.what);
                if expected.is_empty() {
                    assert_eq!(told, "", "{case}");
                    continue;
                }
                assert!(told.contains(expected), "{case}");
                let mut severities = report.findings.iter().map(|finding| finding.severity);
                assert!(
                    severities.all(|severity| severity == planted.severity),
                    "{case}"
                );
            }
            let report = crate::stand::repair(&layers).await;
            assert_eq!(
                told(&report),
                "",
                "{} on {driver}: {report:#?}",
                planted.what
            );
            assert!(!report.before.is_empty() && !report.repaired.is_empty());
            assert_eq!(told(&check(&layers, Level::Full).await), "");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_a_layer_has_of_what_is_below_is_looked_at_too() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::Plain).await;
    let copy = stand
        .in_trees("var/cache/new", "new")
        .pop()
        .expect("the top layer has one");
    fs_err::write(copy, "now").unwrap();
    let layers = stand.open();
    let report = check(&layers, Level::Full).await;
    let told = told(&report);
    assert!(
        told.contains("and the layer says nothing of it (`var/cache/new`)"),
        "{told}"
    );
    assert_eq!(report.findings[0].subject, Subject::Layer(stand.chain(3)));
    let report = crate::stand::repair(&layers).await;
    assert!(report.is_clean(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bit_of_a_journal_counts() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::Plain).await;
    let layers = stand.open();
    let path = journal(&stand, 3);
    let whole = fs_err::read(&path).unwrap();
    let mut found = 0;
    for at in (0..whole.len()).step_by(7) {
        let mut spoiled = whole.clone();
        spoiled[at] ^= 0x10;
        fs_err::write(&path, &spoiled).unwrap();
        let report = check(&layers, Level::Full).await;
        if report.is_clean() {
            // What zstd does not mind must not matter.
            let row = layers
                .store()
                .facts()
                .layer(&stand.chain(3))
                .unwrap()
                .unwrap();
            layers.export(&row, std::io::sink()).await.unwrap();
        } else {
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_and_rows_are_held_against_each_other() {
    if crate::stand::is_skipped() {
        return;
    }
    for driver in DRIVERS {
        let stand = Stand::filled(driver, Blob::Plain).await;
        let layers = stand.open();
        let top = name_of(&stand.chain(3));
        layers.driver().remove(&top).await.unwrap();
        let report = check(&layers, Level::Quick).await;
        assert!(
            told(&report).contains("the driver has no snapshot of it"),
            "{report:?}"
        );
        assert_eq!(report.findings[0].subject, Subject::Layer(stand.chain(3)));
        assert_eq!(report.findings[0].severity, Severity::Missing);
        assert_eq!(told(&crate::stand::repair(&layers).await), "");

        // A snapshot that is somebody's is told, and left alone.
        let foreign = SnapshotName::new("somebody").unwrap();
        let options = PrepareOptions::default();
        layers
            .driver()
            .prepare(&foreign, None, &options)
            .await
            .unwrap();
        let report = crate::stand::repair(&layers).await;
        assert!(
            told(&report).contains("stray: snapshot somebody"),
            "{report:?}"
        );
        layers.driver().stat(&foreign).await.unwrap();
        layers.driver().remove(&foreign).await.unwrap();

        // Other labels, another layer.
        let labels = strata_driver::Labels::new();
        layers.driver().relabel(&top, &labels).await.unwrap();
        let report = check(&layers, Level::Quick).await;
        assert!(
            told(&report).contains("the labels of its snapshot"),
            "{report:?}"
        );
        assert_eq!(told(&crate::stand::repair(&layers).await), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_counts_layers_and_blobs() {
    if crate::stand::is_skipped() {
        return;
    }
    let stand = Stand::filled("vfs", Blob::Gzip).await;
    let layers = stand.open();
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let also = heard.clone();
    let options = strata_store::check::CheckOptions::default().with_progress(std::sync::Arc::new(
        move |done, of, _: &Subject| also.lock().unwrap().push((done, of)),
    ));
    layers.check(&options).await.unwrap();
    let expected: Vec<_> = (1..=9).map(|done| (done, 9)).collect();
    assert_eq!(*heard.lock().unwrap(), expected);
}
