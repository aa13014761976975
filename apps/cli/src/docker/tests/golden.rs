//! The output of Docker 20.10, recorded with an engine that always answers with the same data.

use super::clock;
use crate::docker::images::ImageOptions;
use crate::docker::rows::{DeletedItem, DiskUsage, ImageSummary, SearchResult};
use crate::docker::{df, images, progress, prune, search};
use serde::Deserialize;

const RECORDED: &str = include_str!("../../../tests/data/docker-20.10.txt");
const DATA: &str = include_str!("../../../tests/data/docker-20.10.json");

#[derive(Deserialize)]
struct Data {
    now: i64,
    images: Vec<ImageSummary>,
    search: Vec<SearchResult>,
    df: DiskUsage,
    removed: Vec<DeletedItem>,
}

/// Commands and what they printed.
fn recorded() -> Vec<(Vec<String>, String)> {
    let mut commands = Vec::new();
    for block in RECORDED.split("[exit 0]\n") {
        let Some(start) = block.find("$ docker ") else {
            continue;
        };
        let (line, output) = block[start..].split_once('\n').unwrap();
        commands.push((words(&line["$ docker ".len()..]), output.to_owned()));
    }
    commands
}

/// A command line in words, as a shell takes single quotes.
fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    quoted
        .flat_map(|(at, part)| match at % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect(),
            _ => vec![part.to_owned()],
        })
        .collect()
}

fn ours(words: &[&str], data: &Data) -> String {
    let format = words.iter().position(|word| *word == "--format");
    let format = format.map(|at| words[at + 1].to_owned());
    // The command ran a second after its data was made, the last ones two.
    let clock = clock(data.now + 1);
    match words {
        ["images", flags @ ..] => {
            let options = ImageOptions {
                is_quiet: flags.contains(&"-q"),
                shows_digests: flags.contains(&"--digests"),
                is_full: flags.contains(&"--no-trunc"),
                format,
            };
            images::write(&data.images, &options, &clock).unwrap()
        }
        ["search", flags @ ..] => {
            let is_full = flags.contains(&"--no-trunc");
            search::write(&data.search, is_full, format.as_deref()).unwrap()
        }
        ["system", "df", "-v"] => {
            df::write(&data.df, true, None, &super::clock(data.now + 2)).unwrap()
        }
        ["system", "df", ..] => df::write(&data.df, false, format.as_deref(), &clock).unwrap(),
        ["rmi", _] => prune::removed(&data.removed),
        ["pull", "-q", _] => "docker.io/library/ubuntu:16.04\n".to_owned(),
        ["pull", _] => pull(),
        other => panic!("{other:?} is not among what was recorded"),
    }
}

fn pull() -> String {
    let mut out = Vec::new();
    let printer = progress::Printer::new(&mut out, None);
    let (first, second) = ("58690f9b18fc", "b51569e7c507");
    let counted = |current, total| progress::Count { current, total };
    printer.line("16.04: Pulling from library/ubuntu").unwrap();
    printer.state(first, "Pulling fs layer").unwrap();
    printer.state(second, "Pulling fs layer").unwrap();
    printer.state(second, "Waiting").unwrap();
    let count = counted(4_800_000, 46_500_000);
    printer.advance(first, "Downloading", count).unwrap();
    printer.state(first, "Verifying Checksum").unwrap();
    printer.state(first, "Download complete").unwrap();
    let count = counted(46_500_000, 46_500_000);
    printer.advance(first, "Extracting", count).unwrap();
    printer.state(first, "Pull complete").unwrap();
    printer.state(second, "Download complete").unwrap();
    printer.state(second, "Pull complete").unwrap();
    printer
        .line(&format!("Digest: sha256:{}", "9".repeat(64)))
        .unwrap();
    printer
        .line("Status: Downloaded newer image for ubuntu:16.04")
        .unwrap();
    printer.line("docker.io/library/ubuntu:16.04").unwrap();
    drop(printer);
    String::from_utf8(out).unwrap()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn recorded_output_is_printed_again() {
    let data: Data = serde_json::from_str(DATA).unwrap();
    let commands = recorded();
    assert_eq!(commands.len(), 17, "the recording was not read whole");
    for (words, theirs) in commands {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ours = ours(&words, &data);
        match words.as_slice() {
            // 20.10 printed the word; since 23 the word asks for the rows as JSON.
            ["images", "--format", "json"] => {
                assert_eq!(sorted(&theirs), ["json"; 6]);
                let rows = ours.lines().map(serde_json::from_str::<serde_json::Value>);
                assert_eq!(rows.map(Result::unwrap).count(), 6);
            }
            // Docker shows the repositories of one image in any order.
            ["images", ..] => assert_eq!(sorted(&ours), sorted(&theirs), "{words:?}"),
            _ => assert_eq!(ours, theirs, "{words:?}"),
        }
    }
}
