//! Layers from anybody: each as an image that is pulled and as one that is loaded, on every
//! driver. All of them give the same tree, or refuse it for the same reason; and nothing outside
//! the layer's root is read, changed or deleted.

mod changes;
mod foreign;
mod headers;
mod links;
mod names;
mod nodes;
mod packing;
mod show;

use super::ground::{complaint, is_clean, run, trees};
use super::image::{Image, Packed};
use crate::support::{Cell, Store, cells};
use show::lines;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use strata_harness::tar::{self, Entry};
use strata_harness::tree::Tree;
use strata_image::testing::FakeRegistry;

const ROOM: u64 = 4 << 30;
/// Commands on one store at once.
const AT_ONCE: usize = 4;
/// What stands in every file outside.
const SECRET: &[u8] = b"canary";

/// An image of hostile or odd layers, and what becomes of it.
pub struct Case {
    name: String,
    layers: Vec<Packed>,
    verdict: Verdict,
}

pub enum Verdict {
    /// It is taken, and shows this; see [`lines`].
    Tree(Vec<String>),
    /// It is taken, and shows this and something else.
    Has(Vec<String>),
    /// It is not, and the error says this.
    Refused(&'static str),
}

impl Case {
    fn new(name: impl Into<String>, layers: &[&[Entry]], verdict: Verdict) -> Self {
        let tars = layers.iter().map(|entries| tar::archive(entries));
        Self::of_tars(name, tars.collect(), verdict)
    }

    fn of_tars(name: impl Into<String>, tars: Vec<Vec<u8>>, verdict: Verdict) -> Self {
        let layers = tars.iter().map(|tar| Packed::gzip(tar)).collect();
        Self::packed(name, layers, verdict)
    }

    fn packed(name: impl Into<String>, layers: Vec<Packed>, verdict: Verdict) -> Self {
        let name = name.into();
        Self {
            name,
            layers,
            verdict,
        }
    }
}

fn tree(lines: &[&str]) -> Verdict {
    Verdict::Tree(lines.iter().map(ToString::to_string).collect())
}

fn has(lines: &[&str]) -> Verdict {
    Verdict::Has(lines.iter().map(ToString::to_string).collect())
}

/// The table.
fn cases(outside: &str) -> Vec<Case> {
    let groups = [
        names::cases(),
        links::cases(outside),
        headers::cases(),
        packing::cases(),
        nodes::cases(),
        changes::cases(),
        foreign::cases(),
    ];
    groups.into_iter().flatten().collect()
}

/// What became of a case.
enum Outcome {
    Taken(Tree),
    Refused(String),
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Pull,
    Load,
}

#[test]
fn every_driver_gives_the_same_verdict_on_every_layer() {
    let place = tempfile::tempdir().unwrap();
    let outside = place.path().join("outside");
    fs_err::create_dir_all(outside.join("sub")).unwrap();
    for name in ["passwd", "sub/x"] {
        fs_err::write(outside.join(name), SECRET).unwrap();
    }
    let before = Tree::read_with_contents(&outside).unwrap();
    let cases = cases(outside.to_str().unwrap());
    let mut first: Option<Vec<Outcome>> = None;
    for cell in cells() {
        for (way, outcomes) in all(cell, &cases) {
            let outside = Tree::read_with_contents(&outside).unwrap();
            assert_eq!(outside.compare(&before), Vec::<String>::new());
            assert_eq!(fs_err::read_dir(place.path()).unwrap().count(), 1);
            let mut wrong = Vec::new();
            for (at, (case, outcome)) in cases.iter().zip(&outcomes).enumerate() {
                let first = first.as_ref().map(|first| &first[at]);
                let differs = first.and_then(|first| difference(first, outcome));
                for what in judge(case, outcome).into_iter().chain(differs) {
                    wrong.push(format!("{}: {what}", case.name));
                }
            }
            assert!(wrong.is_empty(), "{cell:?} {way:?}: {wrong:#?}");
            if first.is_none() {
                let refused = |outcome: &&Outcome| matches!(outcome, Outcome::Refused(_));
                let refused = outcomes.iter().filter(refused).count();
                println!("{} taken, {refused} refused", cases.len() - refused);
                first = Some(outcomes);
            }
        }
    }
}

/// What is wrong with what became of a case, by the table.
fn judge(case: &Case, outcome: &Outcome) -> Option<String> {
    let wrong = match (&case.verdict, outcome) {
        (Verdict::Refused(expected), Outcome::Refused(told)) => {
            (!told.contains(expected)).then(|| format!("no `{expected}` in {told}"))
        }
        (Verdict::Tree(expected), Outcome::Taken(tree)) => {
            let found = lines(tree);
            (found != *expected).then(|| format!("{found:?}, not {expected:?}"))
        }
        (Verdict::Has(expected), Outcome::Taken(tree)) => {
            let found = lines(tree);
            let missing = expected.iter().find(|line| !found.contains(line));
            missing.map(|line| format!("no {line} in {found:?}"))
        }
        (Verdict::Refused(expected), Outcome::Taken(tree)) => {
            Some(format!("taken, not `{expected}`: {:?}", lines(tree)))
        }
        (_, Outcome::Refused(told)) => Some(format!("refused: {told}")),
    };
    wrong.or_else(|| secret_in(outcome))
}

/// A file that holds what stands outside.
fn secret_in(outcome: &Outcome) -> Option<String> {
    let Outcome::Taken(tree) = outcome else {
        return None;
    };
    let mut nodes = tree.nodes().iter();
    let (path, _) = nodes.find(|(_, node)| node.content.as_deref() == Some(SECRET))?;
    Some(format!("{path} was read outside"))
}

/// What differs between two drivers, or two ways.
fn difference(one: &Outcome, other: &Outcome) -> Option<String> {
    match (one, other) {
        (Outcome::Taken(one), Outcome::Taken(other)) => {
            let differences = one.compare(other);
            (!differences.is_empty()).then(|| format!("{differences:?}"))
        }
        (Outcome::Refused(one), Outcome::Refused(other)) => {
            let of_driver = |line: &str| {
                let drivers = ["overlay", "vfs", "btrfs"];
                let line = line.to_owned();
                drivers.iter().fold(line, |line, name| {
                    line.replace(&format!("driver=`{name}`"), "driver=`any`")
                })
            };
            let (one, other) = (of_driver(one), of_driver(other));
            (one != other).then(|| format!("`{one}` and `{other}`"))
        }
        _ => Some("taken by one and refused by the other".into()),
    }
}

/// Pulls and loads all cases on one driver.
fn all(cell: Cell, cases: &[Case]) -> Vec<(Way, Vec<Outcome>)> {
    let registry = FakeRegistry::start().unwrap();
    let place = tempfile::tempdir().unwrap();
    let pulled = Store::on(cell, ROOM).with(&["--durability", "volatile"]);
    let loaded = pulled.beside("loaded");
    let images: Vec<Image> = cases
        .iter()
        .map(|case| Image::of(case.layers.clone()))
        .collect();
    for (at, image) in images.iter().enumerate() {
        image.serve(&registry, &format!("case-{at}"));
        let archive = place.path().join(at.to_string());
        fs_err::write(archive, image.archive(&format!("127.0.0.1/case-{at}"))).unwrap();
    }
    let pull = |at: usize| {
        let name = format!("{}/case-{at}", registry.host());
        run(&pulled, &["pull", "-q", &name])
    };
    let load = |at: usize| {
        let archive = place.path().join(at.to_string());
        run(&loaded, &["load", "-q", "-i", archive.to_str().unwrap()])
    };
    let pulls = at_once(cases.len(), pull);
    let pulls = outcomes(&pulled, &images, &pulls);
    let loads = at_once(cases.len(), load);
    let loads = outcomes(&loaded, &images, &loads);
    vec![(Way::Pull, pulls), (Way::Load, loads)]
}

/// What came of the commands, and that they left nothing.
fn outcomes(store: &Store, images: &[Image], outputs: &[Output]) -> Vec<Outcome> {
    is_clean(store);
    let taken: Vec<_> = images
        .iter()
        .zip(outputs)
        .filter(|(_, output)| output.status.success())
        .map(|(image, _)| image.top())
        .collect();
    let shown = store.good(&["images", "-q", "--no-trunc"]);
    assert!(shown.lines().count() <= taken.len());
    let mut trees = trees(store, &taken).into_iter();
    outputs
        .iter()
        .map(|output| {
            if output.status.success() {
                return Outcome::Taken(trees.next().unwrap());
            }
            let (error, hint) = complaint(output);
            Outcome::Refused(format!("{error} [{}]", hint.unwrap_or_default()))
        })
        .collect()
}

/// Runs a command for each number, some at once.
fn at_once(count: usize, command: impl Fn(usize) -> Output + Sync) -> Vec<Output> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return done;
            }
            done.push((at, command(at)));
        }
    };
    let mut outputs: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(some)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    outputs.sort_by_key(|(at, _)| *at);
    outputs.into_iter().map(|(_, output)| output).collect()
}
