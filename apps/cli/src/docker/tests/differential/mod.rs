//! Ours beside the real command: both are given the same random data, and must print the same.
//!
//! What is compared is Docker 20.10, whose tables these are: the one that `STRATA_DOCKER` names, or
//! that of the tree of tools, or the `docker` in the path.

mod data;
mod engine;
mod templates;

use crate::docker::history::{self, HistoryOptions};
use crate::docker::images::{self, ImageOptions};
use crate::docker::units::Clock;
use crate::docker::{df, search};
use data::DataSet;
use engine::StandIn;
use jiff::{Timestamp, tz::TimeZone};
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use strata_harness::images::Peers;
use strata_harness::seed::{self, Seed};

const SEED: Seed = Seed(20);
const ZONES: &[&str] = &[
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",
    "Asia/Kathmandu",
    "Pacific/Auckland",
];

const JSON_ROWS: &str = "{{json .}}";
const FIELDS: &str = "{{.ID}}\\t{{upper .Repository}}:{{.Tag}} {{.CreatedAt}}|{{.UniqueSize}} \
    {{.SharedSize}} {{.VirtualSize}} {{json .Digest}}{{if eq .Tag \"latest\"}} {{title .Tag}}\
    {{else}} other{{end}} {{len .Repository}} {{json (split .Repository \"/\")}}";

/// Every command that is compared, as it is typed.
const COMMANDS: &[&[&str]] = &[
    &["images"],
    &["images", "-q", "--no-trunc"],
    &["images", "--digests"],
    &["images", "--format", JSON_ROWS],
    &["images", "--format", FIELDS],
    &[
        "images",
        "--digests",
        "--format",
        "table {{.ID}}\\t{{lower .Tag}}\\t{{.Containers}}",
    ],
    &["images", "--format", "{{.Tag}} {{.Digest}}"],
    &["images", "--format", "raw"],
    &["search", "x"],
    &["search", "--no-trunc", "x"],
    &["search", "--format", JSON_ROWS, "x"],
    &["system", "df"],
    &["system", "df", "-v"],
    &[
        "system",
        "df",
        "--format",
        "{{.Type}} {{.Active}}/{{.TotalCount}}\\n{{.Reclaimable}}",
    ],
    &["system", "df", "--format", "raw"],
    &["system", "df", "--format", JSON_ROWS],
    &["system", "df", "-v", "--format", JSON_ROWS],
    &["system", "df", "-v", "--format", "raw"],
    &["history", "x"],
    &["history", "--no-trunc", "x"],
    &["history", "-q", "x"],
    &["history", "-H=false", "x"],
    &["history", "--format", JSON_ROWS, "x"],
];
const COMMANDS_A_SET: usize = 2;

#[test]
fn docker_prints_the_same() {
    let docker = match docker(20..=20) {
        Ok(docker) => docker,
        Err(reason) => {
            eprintln!("skipped: {reason}");
            return;
        }
    };
    let place = tempfile::tempdir().unwrap();
    let engine = StandIn::start(&place.path().join("socket"));
    let mut turn = 0;
    for number in 0..seed::rounds(150, 1000) {
        let mut generator = SEED.generator(&format!("docker {number}"));
        let zone = *generator.pick(ZONES);
        // Without a database of zones on this host only UTC can be had.
        let zone = TimeZone::get(zone).map_or(("UTC", TimeZone::UTC), |found| (zone, found));
        let clock = Clock {
            now: Timestamp::now(),
            zone: zone.1,
        };
        let data = DataSet::random(&mut generator, clock.now.as_second());
        engine.answer_with(&data);
        for _ in 0..COMMANDS_A_SET {
            let command = COMMANDS[turn % COMMANDS.len()];
            turn += 1;
            let theirs = run(&docker, command, zone.0, place.path());
            let ours = ours(command, &data, &clock);
            assert!(
                ours == theirs,
                "set {number} of seed {SEED}, TZ={}, `docker {}`:\n--- docker ---\n{theirs}\n\
                 --- ours ---\n{ours}\n--- data ---\n{data}",
                zone.0,
                command.join(" ")
            );
        }
    }
}

/// The command to compare with: a program, and what comes before the arguments.
struct Docker(OsString, Vec<OsString>);

impl Docker {
    fn command(&self) -> Command {
        let mut command = Command::new(&self.0);
        command.args(&self.1);
        command
    }
}

/// The command to compare with, if it is one of these major versions, or why there is none.
fn docker(wanted: RangeInclusive<u32>) -> Result<Docker, String> {
    let of_tree = || {
        let command = Peers::find()
            .and_then(|peers| peers.direct("docker"))
            .ok()?;
        let arguments = command.get_args().map(OsString::from).collect();
        Some(Docker(command.get_program().to_owned(), arguments))
    };
    let docker = match std::env::var_os("STRATA_DOCKER") {
        Some(named) => Docker(named, Vec::new()),
        None => of_tree().unwrap_or_else(|| Docker("docker".into(), Vec::new())),
    };
    let (first, last) = (wanted.start(), wanted.end());
    let needs = format!(
        "needs Docker of major version {first} to {last}: that of the tree of tools, which \
         `cargo xtask test` makes, or STRATA_DOCKER"
    );
    let output = docker
        .command()
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{needs}: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let major = text.strip_prefix("Docker version ");
    let major = major.and_then(|version| version.split('.').next()?.parse().ok());
    if major.is_some_and(|major| wanted.contains(&major)) {
        Ok(docker)
    } else {
        Err(format!("{needs}, not `{}`", text.trim()))
    }
}

fn run(docker: &Docker, command: &[&str], zone: &str, place: &Path) -> String {
    let output = output(docker, command, zone, place);
    assert!(
        output.status.success(),
        "docker {command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn output(docker: &Docker, command: &[&str], zone: &str, place: &Path) -> Output {
    let socket = place.join("socket");
    docker
        .command()
        .args(command)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .env("DOCKER_CONFIG", place)
        .env("HOME", place)
        .env("TZ", zone)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn ours(command: &[&str], data: &DataSet, clock: &Clock) -> String {
    let format = command.iter().position(|word| *word == "--format");
    let format = format.map(|at| command[at + 1].to_owned());
    let has = |flag: &str| command.contains(&flag);
    let written = match command[0] {
        "images" => {
            let options = ImageOptions {
                is_quiet: has("-q"),
                shows_digests: has("--digests"),
                is_full: has("--no-trunc"),
                format,
            };
            images::write(&data.images(), &options, clock)
        }
        "search" => search::write(&data.search(), has("--no-trunc"), format.as_deref()),
        "system" => df::write(&data.usage(), has("-v"), format.as_deref(), clock),
        _ => {
            let options = HistoryOptions {
                is_human: !has("-H=false"),
                is_quiet: has("-q"),
                is_full: has("--no-trunc"),
                format,
            };
            history::write(&data.history(), &options, clock)
        }
    };
    written.unwrap()
}
