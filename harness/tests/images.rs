//! The real parts of tests about images: a registry starts, is filled and goes without a trace,
//! and other people's tools read what is in it.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use serde_json::Value;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use strata_harness::images::{ImageLayout, Peers, RegistryServer, Skip};
use strata_harness::leaks::Belongings;

/// The processes of one test would be leaks to another.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The parts, or nothing where they cannot be had, which is said.
fn parts() -> Option<(Peers, ImageLayout, MutexGuard<'static, ()>)> {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let found = Peers::find().and_then(|peers| Ok((peers, ImageLayout::cached()?, alone)));
    found.map_err(|skip| eprintln!("skipped: {skip}")).ok()
}

fn entered(peers: &Peers, program: &str, visible: &[&Path]) -> Option<Command> {
    let command: Result<Command, Skip> = peers.entered(program, visible);
    command.map_err(|skip| eprintln!("skipped: {skip}")).ok()
}

/// Standard output of a command that must succeed.
fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn registry_serves_what_it_is_filled_with() {
    let Some((peers, layout, _alone)) = parts() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let storage = place.path().join("registry");
    fs_err::create_dir(&storage).unwrap();
    let server = RegistryServer::start(&peers, &storage).unwrap();
    let host = server.host().to_owned();

    assert_eq!(server.manifest("small", "latest").unwrap().status, 404);
    server.fill(&layout, &["small", "multi"]).unwrap();
    for name in ["small", "multi"] {
        let wanted = layout.image(name).unwrap();
        for reference in ["latest", wanted.digest.as_str()] {
            let got = server.manifest(name, reference).unwrap();
            assert_eq!(got.status, 200, "{name}: {reference}");
            let digest = got.header("docker-content-digest");
            assert_eq!(digest, Some(&*wanted.digest));
            assert_eq!(got.header("content-type"), Some(&*wanted.media_type));
            let file = fs_err::read(layout.blob(&wanted.digest)).unwrap();
            assert_eq!(got.body, file);
        }
    }
    let layers = layout.layers("small").unwrap();
    let last = layers.last().unwrap();
    let path = format!("/v2/small/blobs/{}", last.digest);
    let blob = server.get(&path, &[]).unwrap();
    assert_eq!(blob.body.len() as u64, last.size);
    let part = server.get(&path, &[("Range", "bytes=10-19")]).unwrap();
    assert_eq!(part.status, 206);
    assert_eq!(part.body, blob.body[10..20]);
    assert!(server.log().unwrap().contains(&path));

    server.stop().unwrap();
    assert!(std::net::TcpStream::connect(host).is_err());
}

#[test]
fn registry_goes_when_dropped() {
    let Some((peers, _, _alone)) = parts() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let server = RegistryServer::start(&peers, place.path()).unwrap();
    let host = server.host().to_owned();
    drop(server);
    assert!(std::net::TcpStream::connect(host).is_err());
}

#[test]
fn registry_that_cannot_start_says_why() {
    let Some((peers, _, _alone)) = parts() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    fs_err::create_dir(place.path().join("data")).unwrap();
    let error = RegistryServer::start(&peers, place.path()).unwrap_err();
    assert!(format!("{error:#}").contains("data"), "{error:#}");
}

#[test]
fn skopeo_reads_the_registry_and_writes_a_layout() {
    let Some((peers, layout, _alone)) = parts() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let [storage, target] = ["registry", "target"].map(|name| place.path().join(name));
    fs_err::create_dir(&storage).unwrap();
    fs_err::create_dir(&target).unwrap();
    let belongings = Belongings::take(place.path()).unwrap();
    let server = RegistryServer::start(&peers, &storage).unwrap();
    server.fill(&layout, &["small"]).unwrap();
    let reference = format!("docker://{}/small", server.host());

    let Some(mut inspect) = entered(&peers, "skopeo", &[]) else {
        return;
    };
    let said = output(inspect.args(["inspect", "--tls-verify=false", &reference]));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["Digest"], layout.image("small").unwrap().digest);
    assert_eq!(said["Layers"].as_array().unwrap().len(), 4);

    let written = target.join("layout");
    let address = format!("oci:{}:small", written.display());
    let mut copy = entered(&peers, "skopeo", &[&target]).unwrap();
    output(copy.args(["copy", "--src-tls-verify=false", &reference, &address]));
    let written = ImageLayout::at(written);
    assert_eq!(
        written.layers("small").unwrap(),
        layout.layers("small").unwrap()
    );
    server.stop().unwrap();
    belongings.expect_unchanged().unwrap();
}

#[test]
fn podman_pulls_and_leaves_nothing_running() {
    let Some((peers, layout, _alone)) = parts() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let [storage, store] = ["registry", "store"].map(|name| place.path().join(name));
    fs_err::create_dir(&storage).unwrap();
    fs_err::create_dir(&store).unwrap();
    let belongings = Belongings::take(place.path()).unwrap();
    let server = RegistryServer::start(&peers, &storage).unwrap();
    server.fill(&layout, &["multi"]).unwrap();
    let Some(mut podman) = entered(&peers, "podman", &[&store]) else {
        return;
    };
    // `vfs` runs on whatever the directory for temporary files is on.
    podman.arg("--root").arg(&store);
    podman.args(["--storage-driver", "vfs", "pull", "--quiet"]);
    podman.args(["--tls-verify=false", "--arch", "arm64"]);
    let id = output(podman.arg(format!("{}/multi", server.host())));
    assert_eq!(id.trim().len(), 64, "{id}");
    server.stop().unwrap();
    belongings.expect_unchanged().unwrap();
}

#[test]
fn entered_peer_sees_what_it_is_given_and_no_more() {
    let Some((peers, _, _alone)) = parts() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let [given, other] = ["given", "other"].map(|name| place.path().join(name));
    fs_err::create_dir(&given).unwrap();
    fs_err::create_dir(&other).unwrap();
    let Some(mut shell) = entered(&peers, "sh", &[&given]) else {
        return;
    };
    let script = "echo 1 >\"$1/file\"; touch /tmp/file /var/lib/file; ls \"$2\"; ls -A /dev/shm; \
                  touch /usr/file || echo read-only";
    shell
        .args(["-c", script, "sh"])
        .arg(&given)
        .arg(place.path());
    let said = output(&mut shell);
    // The directory itself, where it is below the host's shared memory.
    let said: Vec<_> = said
        .lines()
        .filter(|line| !place.path().ends_with(line))
        .collect();
    assert_eq!(said, ["given", "read-only"]);
    assert_eq!(fs_err::read_to_string(given.join("file")).unwrap(), "1\n");
}

#[test]
fn docker_client_runs_on_the_host() {
    let Some((peers, _, _alone)) = parts() else {
        return;
    };
    let mut docker = peers.direct("docker").unwrap();
    let said = output(docker.arg("--version"));
    assert!(said.starts_with("Docker version "), "{said}");
}

#[test]
fn killed_peer_takes_what_it_started_with_it() {
    let Some((peers, _, _alone)) = parts() else {
        return;
    };
    let place = tempfile::tempdir().unwrap();
    let belongings = Belongings::take(place.path()).unwrap();
    let Some(mut shell) = entered(&peers, "sh", &[place.path()]) else {
        return;
    };
    let pipe = place.path().join("pipe");
    output(Command::new("mkfifo").arg(&pipe));
    let mut child = shell
        .args(["-c", "sleep 1000 >\"$1\" & wait", "sh"])
        .arg(&pipe)
        .spawn()
        .unwrap();
    let mut sleeper = fs_err::File::open(&pipe).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // The end comes when nobody has the other end open any more.
    assert_eq!(sleeper.read_to_end(&mut Vec::new()).unwrap(), 0);
    drop(sleeper);
    fs_err::remove_file(&pipe).unwrap();
    belongings.expect_unchanged().unwrap();
}
