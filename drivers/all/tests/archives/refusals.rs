//! Archives that nobody should have made: one error each, and nothing of them afterwards.

use crate::bed::{Bed, can_run, gzip, run, zstd};
use crate::forge::{
    Forged, Layout, OCI_INDEX, OCI_MANIFEST, config, descriptor, docker_archive, layers,
};
use serde_json::{Value, json};
use strata_harness::tar::Entry;
use strata_store::Digest;

struct Case {
    what: &'static str,
    archive: Vec<u8>,
    told: &'static str,
}

fn case(what: &'static str, archive: Vec<u8>, told: &'static str) -> Case {
    Case {
        what,
        archive,
        told,
    }
}

/// An archive with one more member.
fn with(archive: &[u8], member: impl FnOnce(Forged) -> Forged) -> Vec<u8> {
    let mut bytes = member(Forged::new()).end();
    bytes.truncate(bytes.len() - 1024);
    bytes.extend_from_slice(archive);
    bytes
}

fn names_and_members(good: &[u8]) -> Vec<Case> {
    let raw = |entry: Entry| with(good, |forged| forged.raw(entry));
    let named = |name: &'static [u8]| raw(Entry::file(name, b""));
    let looped = |link: fn(&str, &str) -> Entry| {
        let config = config(&layers()[..1], "loop");
        let items = json!([{ "Config": "c", "RepoTags": [], "Layers": ["a"] }]);
        Forged::new()
            .raw(link("a", "b"))
            .raw(link("b", "a"))
            .file("c", &config)
            .file("manifest.json", items.to_string().as_bytes())
            .end()
    };
    let symlink = |name: &str, target: &str| raw(Entry::symlink(name, target));
    let whiteout = raw(Entry::whiteout("x"));
    let mut sparse = Entry::file("x", [0; 512]);
    sparse.pax = vec![
        (b"GNU.sparse.size".to_vec(), b"4096".to_vec()),
        (b"GNU.sparse.numblocks".to_vec(), b"1".to_vec()),
        (b"GNU.sparse.map".to_vec(), b"512,512".to_vec()),
    ];
    vec![
        case("parent", named(b"../x"), "`..`"),
        case("parent inside", named(b"a/../x"), "`..`"),
        // A name from the root is one in the archive.
        case("absolute", named(b"/manifest.json"), "is in it twice"),
        case(
            "another spelling",
            named(b".//manifest.json"),
            "is in it twice",
        ),
        case("twice", named(b"manifest.json"), "is in it twice"),
        case("absolute link", symlink("x", "/etc/passwd"), "leads out"),
        case("link out", symlink("d/x", "../../x"), "leads out"),
        case("hard link out", raw(Entry::hard_link("x", "../x")), "`..`"),
        case("root", named(b"./"), "its tar is refused"),
        case("other bytes", named(b"\xff\xfe"), "is no name"),
        case(
            "long name",
            named(&[b'x'; 200].repeat(6).leak()[..]),
            "its tar is refused",
        ),
        case(
            "device",
            raw(Entry::new("x", b'3').device(1, 3)),
            "neither a file nor a link",
        ),
        case("whiteout", whiteout, "only layers have"),
        case("sparse", raw(sparse), "sparse"),
        case(
            "loop",
            looped(|name, to| Entry::symlink(name, to)),
            "loop of links",
        ),
        case(
            "loop of hard links",
            looped(|name, to| Entry::hard_link(name, to)),
            "loop of links",
        ),
    ]
}

fn containers(good: &[u8]) -> Vec<Case> {
    let packed = gzip(good);
    let mut wrong_sum = packed.clone();
    let at = wrong_sum.len() - 6;
    wrong_sum[at] ^= 1;
    let huge = Forged::new()
        .file("manifest.json", &vec![b' '; (4 << 20) + 1])
        .end();
    let mut extended = Entry::new("x", b'x');
    extended.content = vec![b'0'; 2 << 20];
    let extended = Forged::new().raw(extended).end();
    let many = (0..70_000).map(|number| Entry::file(number.to_string(), b""));
    let many = strata_harness::tar::archive(&many.collect::<Vec<_>>());
    vec![
        case("empty", Vec::new(), "holds no image"),
        case("no tar", vec![b'x'; 5000], "its tar is refused"),
        case(
            "nothing in it",
            Forged::new().file("x", b"").end(),
            "holds no image",
        ),
        case(
            "no images",
            Forged::new().file("manifest.json", b"[]").end(),
            "holds no image",
        ),
        case(
            "no json",
            Forged::new().file("manifest.json", b"{").end(),
            "damaged",
        ),
        case("huge document", huge, "more than 4194304"),
        case("huge headers", extended, "its tar is refused"),
        case("many members", many, "its tar is refused"),
        case("xz", b"\xfd7zXZ\0rest".to_vec(), "packed with xz"),
        case("bzip2", b"BZh91AY".to_vec(), "packed with bzip2"),
        case(
            "gzip, cut off",
            packed[..packed.len() - 20].to_vec(),
            "read archive",
        ),
        case("gzip, wrong sum", wrong_sum, "read archive"),
        case("zstd, cut off", zstd(good)[..900].to_vec(), "read archive"),
    ]
}

fn docker_documents() -> Vec<Case> {
    let tars = layers();
    let config = config(&tars[..1], "docker");
    let archive = |item: Value, config: &[u8]| {
        Forged::new()
            .file("c", config)
            .file("0", &tars[0])
            .file("1", &tars[1])
            .file("x", b"\xfd7zXZ\0rest")
            .file("manifest.json", json!([item]).to_string().as_bytes())
            .end()
    };
    let item =
        |name: &str, layers: Value| json!({ "Config": "c", "RepoTags": [name], "Layers": layers });
    let zeros = "0".repeat(64);
    let named = Forged::new()
        .file(&format!("{zeros}.json"), &config)
        .file("0", &tars[0])
        .file(
            "manifest.json",
            json!([{ "Config": format!("{zeros}.json"), "Layers": ["0"] }])
                .to_string()
                .as_bytes(),
        )
        .end();
    let parent = json!({ "Config": "c", "Layers": ["0"], "Parent": "sha512:1" });
    vec![
        case(
            "missing layer",
            archive(item("x:1", json!(["2"])), &config),
            "`2` is missing",
        ),
        case(
            "missing config",
            archive(json!({ "Config": "d" }), &config),
            "`d` is missing",
        ),
        case(
            "too many layers",
            archive(item("x:1", json!(["0", "1"])), &config),
            "1 layers",
        ),
        case(
            "too few layers",
            archive(item("x:1", json!([])), &config),
            "1 layers",
        ),
        case(
            "another layer",
            archive(item("x:1", json!(["1"])), &config),
            "not the one",
        ),
        case(
            "layer in xz",
            archive(item("x:1", json!(["x"])), &config),
            "packed with xz",
        ),
        case(
            "name",
            archive(item("UPPER:1", json!(["0"])), &config),
            "lowercase",
        ),
        case(
            "name with digest",
            {
                let name = format!("x@sha256:{zeros}");
                archive(item(&name, json!(["0"])), &config)
            },
            "digest reference",
        ),
        case(
            "no config",
            archive(item("x:1", json!(["0"])), b"{}"),
            "rootfs",
        ),
        case("parent that is none", archive(parent, &config), "sha512"),
        case("config of another name", named, "does not match its digest"),
        case(
            "layer out of it",
            archive(item("x:1", json!(["../0"])), &config),
            "leads out",
        ),
    ]
}

fn layouts() -> Vec<Case> {
    let tars = layers();
    let config = config(&tars[..1], "oci");
    let good = || Layout::new(&config, &[("+gzip", gzip(&tars[0]))]);
    let changed = |change: &dyn Fn(&mut Layout)| {
        let mut layout = good();
        change(&mut layout);
        layout.archive("x:1")
    };
    let size = |by: i64| {
        changed(&|layout| {
            let size = layout.manifest["layers"][0]["size"].as_i64().unwrap();
            layout.manifest["layers"][0]["size"] = json!(size + by);
        })
    };
    let index = |descriptor: Value| {
        changed(&|layout| {
            layout.index = json!({ "schemaVersion": 2, "manifests": [descriptor.clone()] });
        })
    };
    let manifest = good().manifest.to_string().into_bytes();
    let mut wrong_size = descriptor(OCI_MANIFEST, &manifest);
    wrong_size["size"] = json!(manifest.len() + 1);
    let nowhere = descriptor(OCI_MANIFEST, b"nowhere");
    let mut other_kind = descriptor(OCI_INDEX, &manifest);
    other_kind["annotations"] = json!({});
    let wrong_bytes = changed(&|layout| {
        let last = layout.blobs.last_mut().unwrap();
        last.1[40] ^= 1;
    });
    let wrong_config = changed(&|layout| layout.blobs[0].1[30] ^= 1);
    let other_tar = Layout::new(&config, &[("+gzip", gzip(&tars[1]))]).archive("x:1");
    let plain = Layout::new(&config, &[("", tars[1].clone())]).archive("x:1");
    let lying = Layout::new(&config, &[("+zstd", gzip(&tars[0]))]).archive("x:1");
    let both = changed(&|layout| {
        layout.manifest["manifests"] = json!([]);
    });
    let unknown = changed(&|layout| {
        layout.manifest["layers"][0]["digest"] = json!("sha512:00");
    });
    let missing = changed(&|layout| drop(layout.blobs.pop()));
    let big = changed(&|layout| layout.manifest["config"]["size"] = json!((4 << 20) + 1));
    let more = changed(&|layout| {
        let again = layout.manifest["layers"][0].clone();
        layout.manifest["layers"]
            .as_array_mut()
            .unwrap()
            .push(again);
    });
    vec![
        case("both kinds", both, "both `manifests` and `layers`"),
        case("one byte more", size(1), "shorter"),
        case("one byte less", size(-1), "longer"),
        case("manifest's size", index(wrong_size), "shorter"),
        case("manifest nowhere", index(nowhere), "is missing"),
        case("manifest as index", index(other_kind), "one thing"),
        case("other bytes", wrong_bytes, "digest"),
        case("other config", wrong_config, "does not match its digest"),
        case("blob of another layer", other_tar, "not the one"),
        case("tar of another layer", plain, "does not match its digest"),
        case("another packing", lying, "media type says zstd"),
        case("unknown digest", unknown, "no sha256 digest"),
        case("missing blob", missing, "is missing"),
        case("config's size", big, "more than 4194304"),
        case("more layers", more, "1 layers"),
    ]
}

#[test]
fn bad_archives_leave_nothing() {
    if !can_run() {
        return;
    }
    let tars = layers();
    let good = docker_archive("good:1", &tars, &config(&tars, "good"));
    let mut cases = names_and_members(&good);
    cases.extend(containers(&good));
    cases.extend(docker_documents());
    cases.extend(layouts());
    // Cut off anywhere but in the end mark and what pads the last member.
    for (length, told) in [
        (600, "its tar is refused"),
        (good.len() / 2, "it is cut off in"),
        (good.len() - 2500, ""),
    ] {
        cases.push(case("cut off", good[..length].to_vec(), told));
    }
    run(async {
        for driver in ["overlay", "vfs"] {
            let bed = Bed::new(driver);
            for Case {
                what,
                archive,
                told,
            } in &cases
            {
                let error = match bed.load(archive).await {
                    Ok(loaded) => panic!("{what}: {loaded:?}"),
                    Err(error) => error,
                };
                let text = match &error {
                    strata_image::ImageError::Local(error) => error.chain(),
                    error => error.to_string(),
                };
                assert!(text.contains(told), "{what}: {text}");
                assert!(bed.store().facts().images().unwrap().is_empty(), "{what}");
                assert!(
                    bed.store().facts().references().unwrap().is_empty(),
                    "{what}"
                );
                bed.is_clean().await;
            }
            // The store is none the worse.
            bed.load(&good).await.unwrap();
        }
    });
}

/// A blob may not be smuggled in as that of a layer which is there already.
#[test]
fn blobs_of_layers_that_are_there_are_checked() {
    if !can_run() {
        return;
    }
    let tars = layers();
    let config = config(&tars[..1], "smuggled");
    run(async {
        let bed = Bed::new("overlay");
        let plain = docker_archive("good:1", &tars[..1], &config);
        bed.load(&plain).await.unwrap();
        let wrong = Layout::new(&config, &[("+gzip", gzip(&tars[1]))]);
        let error = bed.load(&wrong.archive("good:1")).await.unwrap_err();
        assert!(error.to_string().contains("not the one"), "{error}");
        let blob = &wrong.blobs[1].0;
        assert!(bed.store().facts().blob(blob).unwrap().is_none());
        let right = Layout::new(&config, &[("+gzip", gzip(&tars[0]))]);
        bed.load(&right.archive("good:1")).await.unwrap();
        let blob = &right.blobs[1].0;
        assert!(bed.store().facts().blob(blob).unwrap().is_some());
        assert_eq!(Digest::of(&right.blobs[1].1), *blob);
    });
}
