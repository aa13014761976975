//! What is loaded, saved, loaded elsewhere and saved again is the same to the byte.

use crate::bed::{Bed, can_run, gzip, members, run, zstd};
use crate::forge::{Forged, Layout, config, docker_archive, layers};
use std::io::Cursor;
use std::process::{Command, Stdio};
use strata_image::archive::{Input, SaveOptions};
use strata_store::Digest;

const PAIRS: [(&str, &str); 2] = [("vfs", "overlay"), ("overlay", "vfs")];

#[test]
fn docker_archive_goes_through_two_drivers() {
    if !can_run() {
        return;
    }
    run(async {
        let mut tars = layers();
        tars.push(tars[0].clone());
        let config = config(&tars, "docker");
        let archive = docker_archive("example/image:1", &tars, &config);
        for (first, second) in PAIRS {
            let (first, second) = (Bed::new(first), Bed::new(second));
            let loaded = first.load(&archive).await.unwrap();
            assert_eq!(loaded.len(), 1);
            assert_eq!(loaded[0].id, Digest::of(&config));
            assert_eq!(loaded[0].names, ["example/image:1"]);
            let saved = first.save(&["example/image:1"]).await;
            let inside = members(&saved);
            for tar in &tars {
                let path = format!("blobs/sha256/{}", Digest::of(tar).hex());
                assert!(inside[&path] == *tar, "{path}");
            }
            second.load(&saved).await.unwrap();
            let again = second.save(&["example/image:1"]).await;
            assert!(again == saved, "{} and {}", first.driver, second.driver);
            assert_eq!(
                first.facts("example/image:1"),
                second.facts("example/image:1")
            );
            first.is_clean().await;
            second.is_clean().await;
        }
    });
}

#[test]
fn compressed_blobs_stay_as_they_are() {
    if !can_run() {
        return;
    }
    run(async {
        let tars = layers();
        let config = config(&tars, "oci");
        let kinds = [
            ("+gzip", gzip(&tars[0])),
            ("+zstd", zstd(&tars[1])),
            ("+gzip", gzip(&tars[2])),
        ];
        let layout = Layout::new(&config, &kinds);
        let archive = layout.archive("docker.io/library/oci:1");
        let manifest = Digest::of(layout.manifest.to_string().as_bytes()).hex();
        for (first, second) in PAIRS {
            let (first, second) = (Bed::new(first), Bed::new(second));
            let loaded = first.load(&archive).await.unwrap();
            assert_eq!(loaded[0].names, ["oci:1"]);
            let saved = first.save(&["oci"]).await;
            let inside = members(&saved);
            assert!(inside.contains_key(&format!("blobs/sha256/{manifest}")));
            for (digest, blob) in &layout.blobs {
                let path = format!("blobs/sha256/{}", digest.hex());
                assert!(inside[&path] == *blob, "{path}");
            }
            let plain = SaveOptions::default().with_uncompressed(true);
            let uncompressed = first.save_with(&["oci:1"], &plain).await.unwrap();
            let inside = members(&uncompressed);
            for tar in &tars {
                assert!(inside.contains_key(&format!("blobs/sha256/{}", Digest::of(tar).hex())));
            }
            second.load(&uncompressed).await.unwrap();
            assert!(second.save(&["oci:1"]).await == uncompressed);
            // The layers are there already; their blobs come after all.
            second.load(&saved).await.unwrap();
            assert!(second.save(&["oci:1"]).await == saved);
            assert!(second.save_with(&["oci:1"], &plain).await.unwrap() == uncompressed);
            assert_eq!(first.facts("oci:1"), second.facts("oci:1"));
            second.is_clean().await;
        }
    });
}

#[test]
fn archives_come_packed_and_from_pipes() {
    if !can_run() {
        return;
    }
    run(async {
        let tars = layers();
        let config = config(&tars, "packed");
        let archive = docker_archive("packed:1", &tars, &config);
        let bed = Bed::new("overlay");
        for packed in [archive.clone(), gzip(&archive), zstd(&archive)] {
            let loaded = bed.load(&packed).await.unwrap();
            assert_eq!(loaded[0].id, Digest::of(&config));
            let stream = Input::Stream(Box::new(Cursor::new(packed)));
            assert_eq!(bed.load_from(stream).await.unwrap(), loaded);
        }
        // Layers that are packed in Docker's form have no digest of their own to keep.
        let packed: Vec<_> = tars.iter().map(|tar| gzip(tar)).collect();
        let bed = Bed::new("vfs");
        let loaded = bed
            .load(&docker_archive("packed:2", &packed, &config))
            .await;
        assert_eq!(loaded.unwrap()[0].id, Digest::of(&config));
        bed.is_clean().await;
    });
}

/// Tars of other programs come back to the bit.
#[test]
fn tars_of_others_come_back() {
    if !can_run() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let tree = place.path().join("tree");
    fs_err::create_dir_all(tree.join("a/b")).unwrap();
    fs_err::write(tree.join("a/file"), vec![3; 5000]).unwrap();
    fs_err::hard_link(tree.join("a/file"), tree.join("a/b/link")).unwrap();
    fs_err::write(tree.join("a").join("l".repeat(180)), "long").unwrap();
    let hole = fs_err::File::create(tree.join("hole")).unwrap();
    hole.set_len(2 << 20).unwrap();
    let python = |format: &str| {
        let program = format!(
            "import sys, tarfile\n\
             with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.{format}) as t:\n\
             \x20   t.add(sys.argv[1], arcname='.')\n"
        );
        vec![
            "python3".to_owned(),
            "-c".to_owned(),
            program,
            tree.display().to_string(),
        ]
    };
    let gnu = |options: &[&str]| {
        let mut words = vec!["tar".to_owned(), "-c".to_owned()];
        words.extend(options.iter().map(|&option| option.to_owned()));
        words.extend(["-C".to_owned(), tree.display().to_string(), ".".to_owned()]);
        words
    };
    let commands = [
        python("PAX_FORMAT"),
        python("GNU_FORMAT"),
        gnu(&["--format=gnu", "--sparse"]),
        gnu(&["--format=pax"]),
        gnu(&["--format=pax", "--sparse"]),
        gnu(&["--format=ustar", "--exclude=lll*"]),
    ];
    let mut tars = Vec::new();
    for words in commands {
        let made = Command::new(&words[0])
            .args(&words[1..])
            .stderr(Stdio::inherit())
            .output();
        match made {
            Ok(made) if made.status.success() => tars.push(made.stdout),
            other => eprintln!("skipped: {words:?}: {:?}", other.map(|made| made.status)),
        }
    }
    run(async {
        let bed = Bed::new("overlay");
        let config = config(&tars, "others");
        bed.load(&docker_archive("others:1", &tars, &config))
            .await
            .unwrap();
        let inside = members(&bed.save(&["others:1"]).await);
        for tar in &tars {
            assert!(inside[&format!("blobs/sha256/{}", Digest::of(tar).hex())] == *tar);
        }
    });
}

#[test]
fn several_images_with_parents_and_names() {
    if !can_run() {
        return;
    }
    run(async {
        let tars = layers();
        let (below, above) = (config(&tars[..1], "below"), config(&tars[..2], "above"));
        let (below_id, above_id) = (Digest::of(&below), Digest::of(&above));
        let manifest = serde_json::json!([
            { "Config": "above", "RepoTags": ["x:2", "x:3"], "Layers": ["0", "1"],
              "Parent": below_id.to_string() },
            { "Config": "below", "RepoTags": null, "Layers": ["0"] },
        ]);
        let archive = Forged::new()
            .file("above", &above)
            .file("below", &below)
            .file("0", &tars[0])
            .file("1", &tars[1])
            .file("manifest.json", manifest.to_string().as_bytes())
            .end();
        let bed = Bed::new("overlay");
        let loaded = bed.load(&archive).await.unwrap();
        assert_eq!(loaded[0].id, below_id);
        assert!(loaded[0].names.is_empty());
        assert_eq!(loaded[1].names, ["x:2", "x:3"]);
        let row = bed.store().facts().image(&above_id).unwrap().unwrap();
        assert_eq!(row.parent, Some(below_id));

        let both = bed.save(&["x:2", &below_id.to_string()]).await;
        let inside = members(&both);
        let manifest: serde_json::Value = serde_json::from_slice(&inside["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["x:2"]));
        assert_eq!(manifest[0]["Parent"], below_id.to_string());
        assert_eq!(manifest[1]["RepoTags"], serde_json::Value::Null);
        // A repository stands for all its tags.
        let all = members(&bed.save(&["x"]).await);
        let manifest: serde_json::Value = serde_json::from_slice(&all["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["x:2", "x:3"]));
        assert!(manifest[0].get("Parent").is_none());

        let other = Bed::new("vfs");
        other.load(&both).await.unwrap();
        assert!(other.save(&["x:2", &below_id.to_string()]).await == both);

        // A name that meant something else is told.
        let moved = docker_archive("x:2", &tars[..1], &below);
        let loaded = bed.load(&moved).await.unwrap();
        assert_eq!(loaded[0].replaced, [("x:2".to_owned(), above_id)]);
    });
}
