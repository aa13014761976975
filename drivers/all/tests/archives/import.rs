//! A tar becomes an image of one layer.

use crate::bed::{Bed, can_run, gzip, members, run};
use crate::forge::layers;
use serde_json::json;
use std::io::Cursor;
use std::sync::Arc;
use strata_image::Reference;
use strata_image::archive::Input;
use strata_image::import::{Changes, ImportOptions, Importer};
use strata_image::install::Cancel;
use strata_image::progress::Silent;
use strata_store::Digest;

#[test]
fn tar_becomes_an_image() {
    if !can_run() {
        return;
    }
    run(async {
        let tar = layers().remove(0);
        let mut ids = Vec::new();
        for (driver, bytes) in [("overlay", tar.clone()), ("vfs", gzip(&tar))] {
            let bed = Bed::new(driver);
            let created = jiff::Timestamp::from_second(1_700_000_000).unwrap();
            let mut options = ImportOptions::new(created);
            options.changes = Changes::parse(["CMD [\"sh\"]", "ENV A=1"]).unwrap();
            options.platform = Some("linux/arm64".parse().unwrap());
            options.name = Some(Reference::parse("imported").unwrap());
            let importer = Importer {
                layers: bed.layers.clone(),
                options,
                progress: Arc::new(Silent),
                cancel: Cancel::default(),
            };
            let stream = Input::Stream(Box::new(Cursor::new(bytes)));
            let id = importer.import(stream).await.unwrap();
            let config = bed.store().document(&id).unwrap();
            let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
            let wanted = json!({
                "architecture": "arm64",
                "comment": "Imported from -",
                "config": { "Env": ["A=1"], "Cmd": ["sh"] },
                "created": "2023-11-14T22:13:20Z",
                "history": [{ "created": "2023-11-14T22:13:20Z", "comment": "Imported from -" }],
                "os": "linux",
                "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar).to_string()] },
            });
            assert_eq!(config, wanted);
            let inside = members(&bed.save(&["imported:latest"]).await);
            assert!(inside[&format!("blobs/sha256/{}", Digest::of(&tar).hex())] == tar);
            bed.is_clean().await;
            ids.push(id);
            let wrong = Input::Stream(Box::new(Cursor::new(vec![1; 2000])));
            assert!(importer.import(wrong).await.is_err());
            bed.is_clean().await;
        }
        assert_eq!(ids[0], ids[1]);
    });
}
