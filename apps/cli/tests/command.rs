//! The command as a person meets it: what it prints, what it refuses, and with which exit code.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::path::Path;
use std::process::{Command, Output, Stdio};
use strata_harness::tar::{Entry, archive};

struct Strata {
    root: tempfile::TempDir,
}

impl Strata {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir_in(place()).unwrap(),
        }
    }

    fn root(&self) -> std::path::PathBuf {
        self.root.path().join("root")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_strata"))
            .arg("--root")
            .arg(self.root())
            .args(arguments)
            .current_dir(self.root.path())
            .env_remove("STRATA_CONFIG")
            .env_remove("STRATA_DRIVER")
            .env_remove("STRATA_ROOT")
            .env_remove("STRATA_DURABILITY")
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn snapshot(&self, driver: &str, arguments: &[&str]) -> Output {
        let mut all = vec!["--driver", driver, "snapshot"];
        all.extend(arguments);
        self.run(&all)
    }

    #[track_caller]
    fn good(&self, driver: &str, arguments: &[&str]) -> serde_json::Value {
        let output = self.snapshot(driver, arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            stderr(&output)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    fn refused(&self, driver: &str, arguments: &[&str], says: &str) {
        let output = self.snapshot(driver, arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = stderr(&output);
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with("error: ") && first.contains(says),
            "{arguments:?}: {text}"
        );
        assert!(
            output.stdout.is_empty(),
            "{arguments:?} printed something as well"
        );
    }
}

fn place() -> std::path::PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// The block of `docs/configuration.md` that begins with `key`.
fn documented(key: &str) -> String {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs_err::read_to_string(manifest.join("../../docs/configuration.md")).unwrap();
    let mut blocks = text
        .split("```yaml\n")
        .filter_map(|rest| rest.split("```").next());
    blocks
        .find(|block| block.starts_with(key))
        .unwrap()
        .to_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

#[test]
fn an_output_replaces_no_more_than_the_file_named() {
    if !is_root() {
        return;
    }
    let strata = Strata::new();
    strata.good("vfs", &["prepare", "a"]);
    let file = |name: &str| strata.root.path().join(name);
    fs_err::write(file("layer.part"), "mine").unwrap();
    fs_err::write(file("layer.tar"), "old").unwrap();
    std::os::unix::fs::symlink("layer.tar", file("link")).unwrap();
    let null = rustix::fs::makedev(1, 3);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, file("null"), kind, mode, null).unwrap();
    for output in ["layer.tar", "link", "null"] {
        let path = file(output);
        let diff = ["diff", "a", "--output", path.to_str().unwrap()];
        let output = strata.snapshot("vfs", &diff);
        assert!(output.status.success(), "{diff:?}: {}", stderr(&output));
    }
    let kind = |name: &str| fs_err::symlink_metadata(file(name)).unwrap().file_type();
    assert!(!kind("null").is_file(), "the device was replaced");
    assert!(kind("link").is_symlink());
    assert_eq!(fs_err::read(file("layer.part")).unwrap(), b"mine");
    assert_eq!(fs_err::metadata(file("layer.tar")).unwrap().len(), 1024);
    assert_eq!(fs_err::read_dir(strata.root.path()).unwrap().count(), 5);
}

#[test]
fn a_snapshot_whose_directories_a_power_loss_took_is_made_again_or_removed() {
    if !is_root() {
        return;
    }
    for driver in ["vfs", "overlay"] {
        let strata = Strata::new();
        let lost = |id: u32, below: &str| {
            let path = strata.root().join("snapshots").join(id.to_string());
            fs_err::remove_dir_all(path.join(below)).unwrap();
        };
        let target = strata.root.path().join("target");
        fs_err::create_dir(&target).unwrap();
        let target = target.to_str().unwrap();
        strata.good(driver, &["prepare", "a"]);
        lost(1, "fs");
        strata.good(driver, &["ls"]);
        strata.good(driver, &["prepare", "b"]);
        lost(2, "");
        strata.good(driver, &["view", "c"]);
        lost(3, "");
        for key in ["a", "b", "c"] {
            strata.good(driver, &["mount", key, target]);
            strata.good(driver, &["unmount", target]);
        }
        strata.good(driver, &["commit", "a", "layer"]);
        lost(1, "");
        for name in ["layer", "b", "c"] {
            strata.good(driver, &["rm", name]);
        }
        let left = fs_err::read_dir(strata.root().join("snapshots")).unwrap();
        assert_eq!(left.count(), 0, "{driver}");
    }
}

#[test]
fn a_probe_that_was_killed_or_runs_is_in_nobodys_way() {
    if !is_root() {
        return;
    }
    for driver in ["vfs", "overlay"] {
        let strata = Strata::new();
        let left = strata.root().join(".strata-probe-1-0");
        fs_err::create_dir_all(left.join("upper")).unwrap();
        strata.good(driver, &["prepare", "key"]);
        assert!(!left.exists(), "{driver}");
    }
}

#[test]
fn unknown_things_are_refused_with_what_there_is() {
    let strata = Strata::new();
    let output = strata.run(&["--driver", "ovrlay", "snapshot", "ls"]);
    assert_eq!(output.status.code(), Some(1));
    let known = if cfg!(feature = "btrfs") {
        "hint: known drivers: overlay, btrfs, vfs"
    } else {
        "hint: known drivers: overlay, vfs"
    };
    assert!(stderr(&output).contains(known), "{}", stderr(&output));
    for (arguments, says) in [
        (
            &["--durability", "eternal", "config", "show"][..],
            "no durability class `eternal`",
        ),
        (
            &["--option", "index=on", "config", "show"],
            "`--option` needs `--driver`",
        ),
        (
            &["--config", "/no/such/file", "config", "show"],
            "cannot be read",
        ),
        (&["bench", "--cell", "overlay"], "is no cell"),
        (
            &["--driver", "vfs", "bench"],
            "`--driver` means nothing to a bench",
        ),
        (&["verify", "--filter", "nosuch"], "no case's name holds"),
        (&["snapshot", "ls"], "no driver's root"),
        (&["bench", "--cell", "nosuch:ext4"], "no such driver"),
        (
            &["bench", "--cell", "vfs:ext4", "--cell", "overlay:zfs2"],
            "`overlay:zfs2` is no cell: no such file system: `zfs2` (ext4, xfs, btrfs)",
        ),
        (&["bench", "--blocks", "3"], "too few"),
        (&["bench", "--profile", "huge"], "no profile `huge`"),
        (&["bench", "--rootfs", "/no/such/tar"], "cannot be read"),
    ] {
        let output = strata.run(arguments);
        assert_ne!(output.status.code(), Some(0), "{arguments:?}");
        assert!(
            stderr(&output).contains(says),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
    assert!(
        !strata.root().exists(),
        "something was made for a refused command"
    );
}

#[test]
fn compare_tells_the_gate_by_its_exit_code() {
    let strata = Strata::new();
    let file = |name: &str, text: &str| {
        let path = strata.root.path().join(name);
        fs_err::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let baseline = |name: &str, syncs: u64| {
        let text = format!(
            r#"{{"schema": "strata-baseline/1", "profile": "smoke", "input": "i", "seed": "1",
                "rows": {{"fork": {{}}}}, "cells": {{"a:ext4": {{"fork": {{"syncs": {syncs}}}}}}}}}"#
        );
        file(name, &text)
    };
    let (two, three) = (baseline("two", 2), baseline("three", 3));
    let old = file("old", r#"{"schema": "strata-bench/1"}"#);
    let summary = strata.root.path().join("summary.md");
    let write = summary.to_str().unwrap();
    for (arguments, code) in [
        (&["compare", &two, &two][..], 0),
        (&["compare", &two, &three, "--summary", write], 2),
        (&["compare", &two, &three, "--gate", "none"], 0),
        (&["compare", &two, &two, "--gate", "times"], 3),
        (&["compare", &two, &old], 3),
        (&["compare", &two, "/no/such/file"], 3),
    ] {
        let output = strata.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    let summary = fs_err::read_to_string(summary).unwrap();
    assert!(summary.contains("| **worse** | fork | a:ext4 | syncs | 2 | 3 |"));
}

#[test]
fn configuration_tells_where_each_value_came_from() {
    let strata = Strata::new();
    let file = strata.root.path().join("config.yaml");
    fs_err::write(&file, "driver: vfs\ndrivers:\n  vfs:\n    threads: 3\n").unwrap();
    let output = strata.run(&["--config", file.to_str().unwrap(), "config", "show"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("root: ") && text.contains("# flag --root"),
        "{text}"
    );
    assert!(text.contains("driver: vfs  # file "), "{text}");
    assert!(text.contains("drivers.vfs.threads: 3  # file "), "{text}");
    assert!(
        text.contains("drivers.vfs.reflink: auto  # default"),
        "{text}"
    );
    for line in [
        "bench.profile: quick  # default",
        "bench.blocks: 10  # default",
        "bench.seed: 1  # default",
        "bench.cells: [\"vfs:ext4\", ",
        "bench.output: strata-bench  # default",
    ] {
        assert!(text.contains(line), "`{line}` in {text}");
    }
    fs_err::write(&file, "driver: vfs\nderivers: {}\n").unwrap();
    let output = strata.run(&["--config", file.to_str().unwrap(), "config", "show"]);
    assert!(stderr(&output).contains("derivers") && stderr(&output).contains("line 2"));
}

#[test]
fn the_documented_configuration_is_accepted_as_written() {
    let strata = Strata::new();
    let file = strata.root.path().join("config.yaml");
    let show = |text: String| {
        fs_err::write(&file, text).unwrap();
        let output = strata.run(&["--config", file.to_str().unwrap(), "config", "show"]);
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = show(documented("root:"));
    for line in [
        "driver: overlay  # file ",
        "durability: durable  # file ",
        "drivers.overlay.xino: on  # file ",
        "bench.profile: quick  # file ",
        "bench.blocks: 12  # file ",
        "bench.seed: 1  # file ",
        "bench.cells: [\"overlay:ext4\", \"vfs:xfs\"]  # file ",
        "bench.output: strata-bench  # default",
    ] {
        assert!(text.contains(line), "`{line}` in {text}");
    }
    let text = show(documented("workloads:"));
    let names = "workloads: logs-grow, move-what-is-below  # ";
    assert!(text.contains(names), "{text}");
    // What one build lacks another has: the bench skips it with its reason.
    let text = show("bench: {profile: smoke, blocks: 3, cells: [\"btrfs:btrfs\"]}".into());
    assert!(text.contains("bench.cells: [\"btrfs:btrfs\"]  # file "));
}

#[test]
fn wrong_defaults_of_a_bench_are_refused_with_file_and_key() {
    let strata = Strata::new();
    let file = strata.root.path().join("config.yaml");
    for (key, value, says) in [
        ("blocks", "3", "at least 10"),
        ("profile", "fast", "no profile `fast`"),
        ("seed", "many", "invalid type"),
        ("cells", "[overlay]", "`overlay` is no cell"),
        ("cells", "[\"overlay:zfs2\"]", "no such file system: `zfs2`"),
        (
            "cells",
            "[\"nosuch:ext4\"]",
            "no such driver (driver=`nosuch`)",
        ),
        ("cells", "[\"vfs:ext4\", \"vfs:ext4\"]", "named twice"),
        ("cells", "[]", "no cell"),
    ] {
        fs_err::write(&file, format!("bench:\n  {key}: {value}\n")).unwrap();
        for command in [&["config", "show"][..], &["bench"]] {
            let config = ["--config", file.to_str().unwrap()];
            let output = strata.run(&[&config[..], command].concat());
            assert_eq!(output.status.code(), Some(1), "{key}: {value}");
            let text = stderr(&output);
            let begin = format!("error: configuration `{}`: bench.{key}: ", file.display());
            assert!(text.starts_with(&begin) && text.contains(says), "{text}");
            assert!(output.stdout.is_empty(), "{key}: {value}: printed as well");
        }
    }
}

#[test]
fn users_workloads_are_cases_of_verify_on_every_driver() {
    let strata = Strata::new();
    let file = strata.root.path().join("config.yaml");
    fs_err::write(&file, documented("workloads:")).unwrap();
    let verify = |flags: &[&str]| {
        let config = ["--config", file.to_str().unwrap(), "verify"];
        let output = strata.run(&[&config, flags].concat());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", stderr(&output));
        text
    };
    let listed = verify(&["--list"]);
    assert!(
        listed.ends_with("\nworkload_logs-grow\nworkload_move-what-is-below\n"),
        "{listed}"
    );
    if !is_root() {
        return;
    }
    let place = strata.root.path().to_str().unwrap();
    let text = verify(&["--filter", "workload_", "--directory", place]);
    // What the btrfs driver gives depends on the host, if this build has it.
    assert!(text.contains(" passed, 0 failed, "), "{text}");
    for line in [
        "overlay:",
        "vfs:",
        "skipped overlay: layer 1, operation 0, {\"rename\":{\"from\":\"srv\",\"to\":\"opt\"}}, meets the \
         declared quirk directory_rename_exdev: 1 (workload_move-what-is-below)",
    ] {
        assert!(text.contains(line), "`{line}` in {text}");
    }
}

#[test]
fn a_user_namespace_reads_the_configuration_too() {
    use strata_harness::fixture::FileSystemKind;
    if !is_root() {
        return;
    }
    if strata_sys::namespace::is_chrooted() {
        eprintln!("skipped: the kernel makes no user namespace in a chroot");
        return;
    }
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return;
    }
    let strata = Strata::new();
    let file = strata.root.path().join("config.yaml");
    fs_err::write(&file, documented("workloads:")).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let verify = ["verify", "--rootless", "--filter", "workload_", "--quiet"];
    let output = strata.run(&[&config[..], &verify].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let expected = if cfg!(feature = "btrfs") {
        // In a user namespace there is no btrfs in a file.
        "3 passed, 0 failed, 3 skipped\n"
    } else {
        "3 passed, 0 failed, 1 skipped\n"
    };
    assert!(text.ends_with(expected), "{text}{}", stderr(&output));
}

#[test]
fn a_layer_goes_once_around() {
    if !is_root() {
        return;
    }
    for driver in ["vfs", "overlay"] {
        let strata = Strata::new();
        let target = strata.root.path().join("target");
        fs_err::create_dir(&target).unwrap();
        let target = target.to_str().unwrap();
        strata.good(driver, &["prepare", "work", "--label", "a=b"]);
        strata.good(driver, &["mount", "work", target]);
        fs_err::write(Path::new(target).join("file"), "content").unwrap();
        strata.refused(driver, &["commit", "work", "base"], "in use");
        strata.refused(driver, &["rm", "work"], "in use");
        strata.good(driver, &["unmount", target]);
        assert!(!Path::new(target).join("file").exists());
        strata.good(driver, &["commit", "work", "base"]);
        strata.refused(driver, &["commit", "work", "other"], "not found");
        strata.good(driver, &["prepare", "child", "--parent", "base"]);
        strata.refused(driver, &["rm", "base"], "in use");
        let changes = strata.good(driver, &["changes", "base"]);
        assert_eq!(changes[0]["path"], "file");
        let layer = strata.root.path().join("layer.tar");
        let written = strata.snapshot(
            driver,
            &["diff", "base", "--output", layer.to_str().unwrap()],
        );
        assert!(written.status.success(), "{}", stderr(&written));
        strata.good(driver, &["prepare", "copy"]);
        let applied = strata.good(driver, &["apply", "copy", layer.to_str().unwrap()]);
        assert!(applied["diff_id"].as_str().unwrap().starts_with("sha256:"));
        let names: Vec<_> = strata
            .good(driver, &["ls"])
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(names, ["base", "child", "copy"]);
        for name in ["child", "copy", "base"] {
            strata.good(driver, &["rm", name]);
        }
    }
}

#[test]
fn bad_names_and_states_are_one_clear_error() {
    if !is_root() {
        return;
    }
    let strata = Strata::new();
    strata.good("vfs", &["prepare", "active"]);
    let long = "x".repeat(256);
    for (name, says) in [
        ("", "empty"),
        ("..", "`.` or `..`"),
        ("a/b", "`/` in a name"),
        ("a\nb", "control character"),
        (long.as_str(), "longer than 255 bytes"),
    ] {
        strata.refused("vfs", &["prepare", name], says);
    }
    strata.refused("vfs", &["prepare", "active"], "already exists");
    strata.refused(
        "vfs",
        &["prepare", "child", "--parent", "active"],
        "wrong state",
    );
    strata.refused(
        "vfs",
        &["prepare", "child", "--parent", "nobody"],
        "not found",
    );
    strata.refused(
        "vfs",
        &["prepare", "small", "--size-limit", "1000"],
        "not supported",
    );
    strata.refused("vfs", &["stat", "nobody"], "not found");
    strata.refused("overlay", &["ls"], "belongs to driver `vfs`");
    let junk = strata.root.path().join("junk.tar");
    fs_err::write(&junk, vec![b'x'; 2000]).unwrap();
    strata.refused(
        "vfs",
        &["apply", "active", junk.to_str().unwrap()],
        "no tar archive",
    );
    // Nothing was touched; only an archive that goes wrong later leaves half a layer.
    let cut = strata.root.path().join("cut.tar");
    let mut bytes = archive(&[Entry::file("f", "1")]);
    bytes.truncate(600);
    fs_err::write(&cut, bytes).unwrap();
    strata.refused(
        "vfs",
        &["apply", "active", cut.to_str().unwrap()],
        "refused",
    );
    strata.refused("vfs", &["commit", "active", "layer"], "half a layer");
    let rows = strata.good("vfs", &["ls"]);
    assert_eq!(
        rows.as_array().unwrap().len(),
        1,
        "something half made stays: {rows}"
    );
    strata.good("vfs", &["rm", "active"]);
}

/// Not of the calls of the contract, or of the catalogue, that it is made of; and each with the
/// way out.
#[test]
fn errors_tell_of_the_sub_command_that_was_given() {
    if !is_root() {
        return;
    }
    let strata = Strata::new();
    let target = strata.root.path().to_str().unwrap();
    strata.refused("vfs", &["unmount", target], "no driver's root is at");
    strata.good("vfs", &["prepare", "layer"]);
    strata.good("vfs", &["commit", "layer", "base"]);
    strata.good("vfs", &["prepare", "active", "--parent", "base"]);
    strata.good("vfs", &["view", "view", "--parent", "base"]);
    let unknown = "not found: there is no such snapshot (name=`nobody`, ";
    let orphan = "not found: no such parent (parent=`nobody`, ";
    let taken = "already exists: a snapshot is called so (";
    let above = "wrong state: the parent's kind is `active`, not `committed` (parent=`active`, ";
    for (arguments, says) in [
        (&["stat", "nobody"][..], unknown),
        (&["usage", "nobody"], unknown),
        (&["changes", "nobody"], unknown),
        (&["changes", "active", "--lower", "nobody"], unknown),
        (&["diff", "nobody"], unknown),
        (&["diff", "nobody", "--whole"], unknown),
        (&["mounts", "nobody"], unknown),
        (&["mount", "nobody", target], unknown),
        (&["rm", "nobody"], unknown),
        (&["label", "nobody", "a=b"], unknown),
        (&["commit", "nobody", "layer"], unknown),
        (&["apply", "nobody"], unknown),
        (&["prepare", "new", "--parent", "nobody"], orphan),
        (&["view", "new", "--parent", "nobody"], orphan),
        (&["prepare", "new", "--parent", "active"], above),
        (&["view", "new", "--parent", "active"], above),
        (&["prepare", "active"], taken),
        (&["prepare", "base"], taken),
        (&["view", "view"], taken),
        (&["commit", "active", "base"], taken),
        (&["commit", "base", "new"], "kind is `committed`"),
        (&["commit", "view", "new"], "kind is `view`"),
        (&["apply", "base"], "kind is `committed`"),
        (&["mount", "base", target], "a committed snapshot"),
        (&["rm", "base"], "another snapshot stands on it"),
        (&["stat", ""], "refused: the name is empty"),
        (
            &["commit", "active", "new", "--late-parent", "base"],
            "not supported by this driver",
        ),
    ] {
        let begin = format!("error: {}: ", arguments[0]);
        strata.refused("vfs", arguments, &begin);
        strata.refused("vfs", arguments, says);
        let text = stderr(&strata.snapshot("vfs", arguments));
        assert!(text.contains("\nhint: "), "{arguments:?}: {text}");
        assert!(!text.contains("catalogue"), "{arguments:?}: {text}");
        assert!(
            !text.contains("key=`nobody`"),
            "twice: {arguments:?}: {text}"
        );
    }
}
