//! Other people's tools read what we write, and we read what they write.

use crate::bed::{Bed, can_run, gzip, run};
use crate::forge::{Layout, config, docker_archive, layers, simple_layers};
use std::path::Path;
use strata_harness::images::Peers;
use strata_image::archive::{Input, SaveOptions};
use strata_store::Digest;

/// A tool at work in `place`; what it says.
fn tool(peers: &Peers, place: &Path, program: &str, arguments: &[&str]) -> String {
    let mut command = peers.entered(program, &[place]).unwrap();
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn skopeo_and_podman_understand_us() {
    let peers = match Peers::find() {
        Ok(peers) if can_run() => peers,
        Ok(_) => return,
        Err(skip) => return eprintln!("skipped: {skip}"),
    };
    run(async {
        let tars = simple_layers();
        let config = config(&tars, "others");
        let id = Digest::of(&config);
        // Skopeo makes no Docker image of what is packed with zstd.
        let kinds: Vec<_> = tars.iter().map(|tar| ("+gzip", gzip(tar))).collect();
        let layout = Layout::new(&config, &kinds);
        let name = "docker.io/library/ours:1";
        let bed = Bed::new("overlay");
        bed.load(&layout.archive(name)).await.unwrap();
        let place = bed.path().to_owned();
        let at = |file: &str| place.join(file).display().to_string();
        let skopeo = |from: &str, to: &str| {
            let policy = "--insecure-policy";
            tool(&peers, &place, "skopeo", &["copy", "-q", policy, from, to])
        };

        // The store's blobs as they are.
        let oci = bed.store().layout().oci();
        skopeo(
            &format!("oci:{}:{name}", oci.display()),
            &format!("oci:{}:x", at("copy")),
        );
        let blobs = bed.path().join("copy/blobs/sha256");
        for (digest, _) in &layout.blobs {
            assert!(blobs.join(digest.hex()).exists(), "{digest}");
        }

        let plain = SaveOptions::default().with_uncompressed(true);
        for (file, options) in [("kept", SaveOptions::default()), ("plain", plain)] {
            let saved = bed.save_with(&["ours:1"], &options).await.unwrap();
            let archive = at(&format!("{file}.tar"));
            fs_err::write(&archive, saved).unwrap();
            for from in [
                format!("oci-archive:{archive}"),
                format!("oci-archive:{archive}:{name}"),
                format!("docker-archive:{archive}"),
                format!("docker-archive:{archive}:{name}"),
            ] {
                let inspected = tool(&peers, &place, "skopeo", &["inspect", "--config", &from]);
                assert!(inspected.contains("made.for"), "{from}: {inspected}");
                for (kind, to) in [("docker-archive", ":back:2"), ("oci-archive", ":back:2")] {
                    let written = at("back.tar");
                    skopeo(&from, &format!("{kind}:{written}{to}"));
                    let other = Bed::new("vfs");
                    let input = Input::open(Path::new(&written)).unwrap();
                    let loaded = other.load_from(input).await.unwrap();
                    // From Docker's form to OCI's it writes the configuration anew.
                    let is_anew = from.starts_with("docker") && kind.starts_with("oci");
                    assert!(is_anew || loaded[0].id == id, "{from} by {kind}");
                    assert_eq!(other.facts("back:2")[1..], bed.facts("ours:1")[1..]);
                    assert_eq!(loaded[0].names, ["back:2"], "{from} by {kind}");
                    fs_err::remove_file(written).unwrap();
                }
            }
            let (root, run) = (at("podman"), at("podman-run"));
            let storage = [
                "--root",
                &root,
                "--runroot",
                &run,
                "--storage-driver",
                "vfs",
            ];
            let podman = |arguments: &[&str]| {
                tool(
                    &peers,
                    &place,
                    "podman",
                    &[&storage[..], arguments].concat(),
                )
            };
            let said = podman(&["load", "-q", "-i", &archive]);
            assert!(said.contains(name), "{said}");
            let said = podman(&["images", "--no-trunc", "--format", "{{.Id}}"]);
            assert!(said.contains(&id.hex()), "{said}");
            for format in ["docker-archive", "oci-archive"] {
                let written = at("podman.tar");
                podman(&["save", "-q", "--format", format, "-o", &written, name]);
                let other = Bed::new("overlay");
                let input = Input::open(Path::new(&written)).unwrap();
                let loaded = other.load_from(input).await.unwrap();
                assert_eq!(loaded[0].id, id, "{format}");
                assert_eq!(loaded[0].names, ["ours:1"], "{format}");
                fs_err::remove_file(written).unwrap();
            }
            fs_err::remove_dir_all(root).unwrap();
        }
        // Docker's old form, and several layers of one diff.
        let mut tars = layers();
        tars.push(tars[0].clone());
        let archive = docker_archive("old:1", &tars, &crate::forge::config(&tars, "old"));
        bed.load(&archive).await.unwrap();
        fs_err::write(at("old.tar"), bed.save(&["old:1"]).await).unwrap();
        skopeo(
            &format!("docker-archive:{}", at("old.tar")),
            &format!("oci:{}:x", at("old")),
        );
    });
}

/// Docker as a daemon for as long as the script runs.
const DOCKER: &str = r#"
cd "$1"
dockerd --data-root "$1/docker" --storage-driver vfs --bridge none --iptables=false \
    --ip6tables=false >log 2>&1 &
tries=0
until docker version >/dev/null 2>&1; do
    tries=$((tries + 1))
    if [ $tries -gt 300 ] || ! kill -0 $!; then
        tail -n 5 log >&2
        exit 9
    fi
    sleep 0.1
done
for file in kept plain; do
    docker load -i $file.tar
    docker images --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}'
    docker save -o $file-back.tar ours:1
    docker rmi ours:1 >&2
done
"#;

#[test]
fn docker_understands_us() {
    let peers = match Peers::find() {
        Ok(peers) if can_run() => peers,
        Ok(_) => return,
        Err(skip) => return eprintln!("skipped: {skip}"),
    };
    run(async {
        let tars = simple_layers();
        let config = config(&tars, "others");
        let id = Digest::of(&config);
        let kinds: Vec<_> = tars.iter().map(|tar| ("+gzip", gzip(tar))).collect();
        let bed = Bed::new("vfs");
        let archive = Layout::new(&config, &kinds).archive("docker.io/library/ours:1");
        bed.load(&archive).await.unwrap();
        let plain = SaveOptions::default().with_uncompressed(true);
        for (file, options) in [("kept", SaveOptions::default()), ("plain", plain)] {
            let saved = bed.save_with(&["ours:1"], &options).await.unwrap();
            fs_err::write(bed.path().join(format!("{file}.tar")), saved).unwrap();
        }
        let place = bed.path();
        let mut command = peers.entered("sh", &[place]).unwrap();
        let place = place.display().to_string();
        let output = command
            .args(["-euc", DOCKER, "docker", &place])
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        if output.status.code() == Some(9) {
            return eprintln!("skipped: Docker does not start here: {told}");
        }
        assert!(output.status.success(), "{told}");
        let said = String::from_utf8(output.stdout).unwrap();
        let once = format!("Loaded image: ours:1\n{id} ours:1\n");
        assert_eq!(said, once.repeat(2));
        for file in ["kept", "plain"] {
            let other = Bed::new("overlay");
            let path = bed.path().join(format!("{file}-back.tar"));
            let loaded = other.load_from(Input::open(&path).unwrap()).await.unwrap();
            assert_eq!(
                (loaded[0].id, &*loaded[0].names),
                (id, &["ours:1".to_owned()][..])
            );
        }
    });
}
