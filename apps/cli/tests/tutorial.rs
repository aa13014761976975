//! Runs every command of `docs/tutorial.md` and compares what it prints with the document.
//!
//! A ```` ```console ```` block is a list of commands, each a line that begins with `$ `, and of
//! what each prints. `[exit N]` ends the output of a command that ends with N and not with 0; a line
//! `...` stands for any lines. One bash runs them all, so that what a command sets the next one
//! sees. What may differ from the document, and nothing else may:
//!
//! - the registry's address, there `127.0.0.1:5000`,
//! - the directory of the session, there `/home/you/tutorial`,
//! - times that go on: `2 years ago`, and the `created_ms` of snapshots,
//! - what a file system allocates, in the column DRIVER of `strata usage`: it differs by a block,
//! - how many spaces, from two on, are between the columns of a table: they depend on the above.
//!
//! The images are made of Debian's packages, so a later mirror gives others. The document names the
//! ones that it was written with. With these, ids and sizes must be its own. With others, each id of
//! the document must stand for one id of the run and each size for one size, times of files may be
//! others, and rows may come in another order: images of one age are sorted by their ids.
//!
//! `STRATA_UPDATE=1` writes what differs into the document instead; a `...` in it is lost.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use strata_harness::fixture::{FileSystemKind, Fixture};
use strata_harness::images::{ImageLayout, Peers, RegistryServer};
use strata_store::Digest;

/// Room for all images twice, which is what `migrate` takes.
const ROOM: u64 = 12 << 30;

const REGISTRY: &str = "127.0.0.1:5000";
const DIRECTORY: &str = "/home/you/tutorial";
const IMAGES: &str = "<!-- images: ";

/// A command of the document.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// Of the command, from 1.
    line: usize,
    command: String,
    told: Vec<String>,
}

/// The steps of the document, and where the output of each is in its lines.
fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut is_inside = false;
    for (number, line) in document.lines().enumerate() {
        match line.strip_prefix("$ ") {
            _ if line.starts_with("```") => is_inside = line == "```console",
            Some(command) if is_inside => steps.push(Step {
                line: number + 1,
                command: command.to_owned(),
                told: Vec::new(),
            }),
            None if is_inside => {
                let step = steps.last_mut().unwrap_or_else(|| {
                    panic!("line {}: output before the first command", number + 1)
                });
                step.told.push(line.to_owned());
            }
            _ => {}
        }
    }
    steps
}

/// The document with other outputs.
fn rewritten(document: &str, steps: &[Step], outputs: &[Vec<String>], images: &str) -> String {
    let mut lines: Vec<String> = document.lines().map(ToOwned::to_owned).collect();
    for (step, output) in steps.iter().zip(outputs).rev() {
        let place = step.line..step.line + step.told.len();
        lines.splice(place, output.iter().cloned());
    }
    for line in &mut lines {
        if line.starts_with(IMAGES) {
            *line = format!("{IMAGES}{images} -->");
        }
    }
    lines.join("\n") + "\n"
}

/// What is compared of a line: its words, and in their order the values that may differ.
#[derive(Debug, Default, PartialEq, Eq)]
struct Line {
    words: String,
    ids: Vec<String>,
    sizes: Vec<String>,
}

fn read(line: &str, is_exact: bool) -> Line {
    let line = line.trim_end();
    let mut read = Line::default();
    let mut at = 0;
    let mut before = ' ';
    while let Some(next) = line[at..].chars().next() {
        let rest = &line[at..];
        let begins_word = !before.is_alphanumeric();
        let gap = rest.len() - rest.trim_start_matches(' ').len();
        let taken = if gap >= 2 && !read.words.is_empty() {
            read.words += "  ";
            gap
        } else if let Some(length) = moment(rest, &read.words).filter(|_| begins_word) {
            read.words += "<time>";
            length
        } else if let Some(length) = stamp(rest).filter(|_| begins_word && !is_exact) {
            read.words += "<time>";
            length
        } else if let Some(length) = id(rest).filter(|_| begins_word && !is_exact) {
            read.words += "<id>";
            read.ids.push(rest[..length].to_owned());
            length
        } else if let Some(length) = size(rest).filter(|_| begins_word && !is_exact) {
            read.words += "<size>";
            read.sizes.push(rest[..length].to_owned());
            length
        } else {
            read.words.push(next);
            next.len_utf8()
        };
        before = line[..at + taken].chars().next_back().unwrap_or(' ');
        at += taken;
    }
    read
}

/// The length of a time that `text` begins with: `2 years ago`, or the number in `"created_ms": 1`.
fn moment(text: &str, before: &str) -> Option<usize> {
    if before.ends_with("_ms\": ") {
        return Some(text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len());
    }
    let (time, _) = text.split_once(" ago")?;
    let (count, unit) = time.rsplit_once(' ')?;
    let is_count = count.bytes().all(|byte| byte.is_ascii_digit())
        || ["About a", "About an", "Less than a"].contains(&count);
    let units = ["second", "minute", "hour", "day", "week", "month", "year"];
    let is_unit = units.contains(&unit.strip_suffix('s').unwrap_or(unit));
    (is_count && is_unit).then_some(time.len() + " ago".len())
}

/// The length of a time like `2025-01-01T00:00:00Z` that `text` begins with.
fn stamp(text: &str) -> Option<usize> {
    let form = "0000-00-00T00:00:00Z";
    let is_digit = |byte: u8| byte.is_ascii_digit();
    let found = text.as_bytes().get(..form.len())?;
    let mut pairs = form.bytes().zip(found);
    pairs
        .all(|(form, found)| form == *found || (is_digit(form) && is_digit(*found)))
        .then_some(form.len())
}

/// The length of an id or digest that `text` begins with.
fn id(text: &str) -> Option<usize> {
    let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let length = text.len() - text.trim_start_matches(is_hex).len();
    let ends = !text[length..].starts_with(char::is_alphanumeric);
    (ends && (length == 12 || length == 64)).then_some(length)
}

/// The length of a size, a share, or a number of three digits and more that `text` begins with.
fn size(text: &str) -> Option<usize> {
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let digits = text.len() - text.trim_start_matches(is_number).len();
    let rest = &text[digits..];
    let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_alphabetic()).len();
    match &rest[..letters] {
        _ if digits == 0 => None,
        "B" | "kB" | "MB" | "GB" => Some(digits + letters),
        "" if rest.starts_with('%') => Some(digits + 1),
        "" => (digits >= 3 && !text[..digits].contains('.')).then_some(digits),
        _ => None,
    }
}

/// What stands for what so far.
#[derive(Clone, Debug, Default)]
struct Meant {
    ids: HashMap<String, String>,
    ids_back: HashMap<String, String>,
    sizes: HashMap<String, String>,
}

impl Meant {
    /// Takes a line as another's equal, if what it says goes with all before.
    fn takes(&mut self, told: &str, printed: &str, is_exact: bool) -> bool {
        let (told, printed) = (read(told, is_exact), read(printed, is_exact));
        let mut is_same = told.words == printed.words;
        for (told, printed) in told.ids.iter().zip(&printed.ids) {
            // A short id is the beginning of a long one.
            for length in [12, told.len()] {
                let Some(printed) = printed.get(..length) else {
                    return false;
                };
                is_same &= stands(&mut self.ids, &told[..length], printed)
                    && stands(&mut self.ids_back, printed, &told[..length]);
            }
        }
        for (told, printed) in told.sizes.iter().zip(&printed.sizes) {
            is_same &= stands(&mut self.sizes, told, printed);
        }
        is_same
    }

    /// Takes an output as another's equal.
    fn takes_all(&mut self, told: &[String], printed: &[String], is_exact: bool) -> bool {
        let before = self.clone();
        if self.take(told, printed, is_exact) {
            return true;
        }
        *self = before;
        !is_exact && self.take_rows(told, printed)
    }

    /// The same in any order of the lines.
    fn take_rows(&mut self, told: &[String], printed: &[String]) -> bool {
        let Some((first, rest)) = told.split_first() else {
            return printed.is_empty();
        };
        (0..printed.len()).any(|at| {
            let mut trial = self.clone();
            let mut others = printed.to_vec();
            let fits =
                trial.takes(first, &others.remove(at), false) && trial.take_rows(rest, &others);
            if fits {
                *self = trial;
            }
            fits
        })
    }

    /// The same in this order; `...` is any lines.
    fn take(&mut self, told: &[String], printed: &[String], is_exact: bool) -> bool {
        match (told.split_first(), printed.split_first()) {
            (None, None) => true,
            (Some((first, rest)), _) if first == "..." => (0..=printed.len()).any(|skipped| {
                let mut trial = self.clone();
                let fits = trial.take(rest, &printed[skipped..], is_exact);
                if fits {
                    *self = trial;
                }
                fits
            }),
            (Some((told, told_rest)), Some((printed, printed_rest))) => {
                self.takes(told, printed, is_exact) && self.take(told_rest, printed_rest, is_exact)
            }
            _ => false,
        }
    }
}

fn stands(meant: &mut HashMap<String, String>, told: &str, printed: &str) -> bool {
    meant
        .entry(told.to_owned())
        .or_insert_with(|| printed.to_owned())
        == printed
}

/// Where the commands run.
struct Session {
    fixture: Fixture,
    registry: RegistryServer,
    /// `bin` with the command, the home directory, and the registry's storage.
    place: tempfile::TempDir,
}

impl Session {
    fn start(peers: &Peers, layout: &ImageLayout) -> Self {
        let place = tempfile::tempdir().unwrap();
        for name in ["bin", "home", "registry"] {
            fs_err::create_dir(place.path().join(name)).unwrap();
        }
        let program = place.path().join("bin/strata");
        symlink(env!("CARGO_BIN_EXE_strata"), program).unwrap();
        let registry = RegistryServer::start(peers, &place.path().join("registry")).unwrap();
        registry
            .fill(layout, &["app", "small", "six", "zstd", "multi"])
            .unwrap();
        let fixture = Fixture::file_system(FileSystemKind::Ext4, ROOM).unwrap();
        let session = Self {
            fixture,
            registry,
            place,
        };
        fs_err::create_dir(session.directory()).unwrap();
        session
    }

    fn directory(&self) -> PathBuf {
        self.fixture.path().join("tutorial")
    }

    /// What each command prints, with the code that it ends with if that is not 0.
    fn run(&self, steps: &[Step]) -> Vec<Vec<String>> {
        let mut script = "exec 2>&1\n".to_owned();
        for step in steps {
            let command = step.command.replace(REGISTRY, self.registry.host());
            writeln!(script, "{{ {command}\n}} </dev/null").unwrap();
            script += "printf '\\0%d\\0' \"$?\"\n";
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-c", &script])
            .current_dir(self.directory())
            .env_clear()
            .env(
                "PATH",
                format!("{}/bin:{path}", self.place.path().display()),
            )
            .env("HOME", self.place.path().join("home"))
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        let printed = bash.output().unwrap();
        let printed = String::from_utf8(printed.stdout).unwrap();
        let pieces: Vec<&str> = printed.split('\0').collect();
        let outputs: Vec<_> = pieces
            .chunks_exact(2)
            .map(|pair| {
                let mut lines: Vec<_> = pair[0].lines().map(|line| self.familiar(line)).collect();
                if pair[1] != "0" {
                    lines.push(format!("[exit {}]", pair[1]));
                }
                lines
            })
            .collect();
        assert_eq!(outputs.len(), steps.len(), "bash ended early: {printed}");
        outputs
    }

    /// A line with the document's names for what has another name here. Columns stay where they are.
    fn familiar(&self, line: &str) -> String {
        let line = line.replace(&self.directory().display().to_string(), DIRECTORY);
        let mut out = String::new();
        let mut pieces = line.split(self.registry.host());
        out += pieces.next().unwrap_or_default();
        let missing = self.registry.host().len().saturating_sub(REGISTRY.len());
        for piece in pieces {
            out += REGISTRY;
            let end = piece.find("  ").filter(|end| !piece[..*end].contains(' '));
            let (name, rest) = piece.split_at(end.unwrap_or(piece.len()));
            out += name;
            if end.is_some() {
                out += &" ".repeat(missing);
            }
            out += rest;
        }
        out.truncate(out.trim_end().len());
        out
    }
}

#[test]
fn every_command_of_the_tutorial_prints_what_stands_there() {
    let found = Peers::find().and_then(|peers| Ok((peers, ImageLayout::cached()?)));
    let (peers, layout) = match found {
        Ok(found) => found,
        Err(skip) => return eprintln!("skipped: {skip}"),
    };
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: mounts and loop devices take root");
    }
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        return eprintln!("skipped: ext4: {missing}");
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/tutorial.md");
    let document = fs_err::read_to_string(&file).unwrap();
    let steps = steps(&document);
    assert!(!steps.is_empty(), "the tutorial has no commands");
    let index = fs_err::read(layout.directory().join("index.json")).unwrap();
    let images = Digest::of(&index).to_string();
    let is_update = std::env::var_os("STRATA_UPDATE").is_some();
    let is_exact = is_update || document.contains(&format!("{IMAGES}{images} -->"));
    if !is_exact {
        eprintln!("other images than the document's: ids and sizes are compared by their places");
    }

    let session = Session::start(&peers, &layout);
    let mut outputs = session.run(&steps);
    let mut meant = Meant::default();
    let mut differences = String::new();
    for (step, output) in steps.iter().zip(&mut outputs) {
        let [told, printed] = [&step.told, &*output].map(|lines| without_allocated(step, lines));
        if meant.takes_all(&told, &printed, is_exact) {
            output.clone_from(&step.told);
        } else {
            let Step {
                line,
                command,
                told,
            } = step;
            let (told, output) = (told.join("\n"), output.join("\n"));
            write!(
                differences,
                "\nline {line}: $ {command}\n--- the document\n{told}\n--- this run\n{output}\n"
            )
            .unwrap();
        }
    }
    if is_update {
        fs_err::write(&file, rewritten(&document, &steps, &outputs, &images)).unwrap();
    } else {
        assert!(
            differences.is_empty(),
            "docs/tutorial.md is not true any more (STRATA_UPDATE=1 rewrites it):\n{differences}"
        );
    }
}

/// The lines of a step without the numbers in the column DRIVER of `strata usage`.
fn without_allocated(step: &Step, lines: &[String]) -> Vec<String> {
    let blank = |line: &String| {
        let columns = line.trim().split("  ").map(str::trim);
        let mut columns: Vec<&str> = columns.filter(|column| !column.is_empty()).collect();
        if let Some(allocated) = columns.get_mut(3)
            && allocated.bytes().all(|byte| byte.is_ascii_digit())
        {
            *allocated = "<allocated>";
        }
        columns.join("  ")
    };
    if step.command.starts_with("strata usage") {
        lines.iter().map(blank).collect()
    } else {
        lines.to_vec()
    }
}

#[test]
fn allocated_bytes_alone_may_differ() {
    let step = |command: &str| Step {
        line: 1,
        command: command.to_owned(),
        told: Vec::new(),
    };
    let line = |allocated: &str| vec![format!("  shared   12  34   {allocated}    -   5")];
    let usage = step("strata usage x");
    let [one, other] =
        ["4096", "8192"].map(|allocated| without_allocated(&usage, &line(allocated)));
    assert_eq!(one, other);
    assert_eq!(one, ["shared  12  34  <allocated>  -  5"]);
    assert_eq!(without_allocated(&step("ls"), &line("4096")), line("4096"));
}

#[test]
fn steps_are_read_and_written_back() {
    let document = "a\n```console\n$ one\n1\n[exit 2]\n$ two\n```\n$ no\n```text\n$ no\n```\n\
                    <!-- images: x -->\n";
    let found = steps(document);
    assert_eq!(found.len(), 2);
    assert_eq!((found[0].line, &*found[0].command), (3, "one"));
    assert_eq!(found[0].told, ["1", "[exit 2]"]);
    assert_eq!(found[1].told, [""; 0]);
    let outputs = [vec!["3".to_owned()], vec!["4".to_owned(), "5".to_owned()]];
    assert_eq!(
        rewritten(document, &found, &outputs, "y"),
        "a\n```console\n$ one\n3\n$ two\n4\n5\n```\n$ no\n```text\n$ no\n```\n<!-- images: y -->\n"
    );
}

#[test]
fn only_what_may_differ_differs() {
    let takes = |told: &str, printed: &str| Meant::default().takes(told, printed, true);
    assert!(takes(
        "a   2 years ago   1MB",
        "a   About an hour ago   1MB"
    ));
    assert!(!takes("a   2 years ago   1MB", "a   2 years ago   2MB"));
    assert!(!takes("a b", "a  b"));
    assert!(!takes("  a", "    a"));
    assert!(!takes("0123456789ab", "0123456789ac"));
}

#[test]
fn other_images_have_other_ids_in_the_same_places() {
    let (a, b) = ("a".repeat(64), "b".repeat(64));
    let mut meant = Meant::default();
    assert!(meant.takes(
        "sha256:aaaaaaaaaaaa   7B",
        "sha256:bbbbbbbbbbbb   45.2MB",
        false
    ));
    assert!(meant.clone().takes(&a, &b, false));
    assert!(
        !meant.clone().takes(&a, &a, false),
        "the same id is another"
    );
    assert!(
        !meant.clone().takes(&"c".repeat(64), &b, false),
        "another id is the same"
    );
    assert!(
        !meant.clone().takes("7B", "8B", false),
        "the same size is another"
    );
    assert!(!meant.clone().takes("Pulled", "Pushed", false));
    assert!(!meant.clone().takes(&a, "bbbbbbbbbbbb", false));
    let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    let (one, two) = (
        lines("a cccccccccccc\nb aaaaaaaaaaaa"),
        lines("b bbbbbbbbbbbb\na dddddddddddd"),
    );
    assert!(meant.clone().takes_all(&one, &two, false));
    assert!(
        !meant.takes_all(&one, &two, true),
        "the same images in another order"
    );
}

#[test]
fn three_points_are_any_lines() {
    let lines = |text: &str| text.lines().map(ToOwned::to_owned).collect::<Vec<_>>();
    let take = |told: &str| Meant::default().take(&lines(told), &lines("1\n2\n3"), true);
    assert!(take("...") && take("1\n...") && take("...\n3") && take("1\n...\n2\n3"));
    assert!(!take("...\n2") && !take("1\n...\n1") && !take("1\n2"));
}
