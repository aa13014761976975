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

use super::ground::{complaint, is_clean, trees};
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
            for (case, outcome) in cases.iter().zip(&outcomes) {
                judge(case, outcome, &format!("{} {cell:?} {way:?}", case.name));
            }
            if let Some(first) = &first {
                for ((case, one), other) in cases.iter().zip(first).zip(&outcomes) {
                    same(one, other, &format!("{} {cell:?} {way:?}", case.name));
                }
            } else {
                let refused = |outcome: &&Outcome| matches!(outcome, Outcome::Refused(_));
                let refused = outcomes.iter().filter(refused).count();
                println!("{} taken, {refused} refused", cases.len() - refused);
                first = Some(outcomes);
            }
        }
    }
}

/// Holds what became of a case against the table.
fn judge(case: &Case, outcome: &Outcome, place: &str) {
    match (&case.verdict, outcome) {
        (Verdict::Refused(expected), Outcome::Refused(told)) => {
            assert!(told.contains(expected), "{place}: {told}");
        }
        (Verdict::Tree(expected), Outcome::Taken(tree)) => {
            assert_eq!(lines(tree), *expected, "{place}");
        }
        (Verdict::Has(expected), Outcome::Taken(tree)) => {
            let found = lines(tree);
            for line in expected {
                assert!(found.contains(line), "{place}: no {line} in {found:?}");
            }
        }
        (Verdict::Refused(expected), Outcome::Taken(tree)) => {
            panic!("{place}: taken, not refused by {expected}: {:?}", lines(tree));
        }
        (_, Outcome::Refused(told)) => panic!("{place}: {told}"),
    }
    if let Outcome::Taken(tree) = outcome {
        for (path, node) in tree.nodes() {
            let is_secret = node.content.as_deref() == Some(SECRET);
            assert!(!is_secret, "{place}: {path} was read outside");
        }
    }
}

fn same(one: &Outcome, other: &Outcome, place: &str) {
    match (one, other) {
        (Outcome::Taken(one), Outcome::Taken(other)) => {
            assert_eq!(one.compare(other), Vec::<String>::new(), "{place}");
        }
        (Outcome::Refused(one), Outcome::Refused(other)) => assert_eq!(one, other, "{place}"),
        _ => panic!("{place}: taken here and refused there"),
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
        pulled.run(&["pull", "-q", &name])
    };
    let load = |at: usize| {
        let archive = place.path().join(at.to_string());
        loaded.run(&["load", "-q", "-i", archive.to_str().unwrap()])
    };
    let pulls = at_once(cases.len(), pull);
    let pulls = outcomes(&pulled, cases, &images, &pulls);
    let loads = at_once(cases.len(), load);
    let loads = outcomes(&loaded, cases, &images, &loads);
    vec![(Way::Pull, pulls), (Way::Load, loads)]
}

/// What came of the commands, and that they left nothing.
fn outcomes(store: &Store, cases: &[Case], images: &[Image], outputs: &[Output]) -> Vec<Outcome> {
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
    cases
        .iter()
        .zip(outputs)
        .map(|(case, output)| {
            if output.status.success() {
                return Outcome::Taken(trees.next().unwrap());
            }
            let (error, hint) = complaint(output);
            println!("{}: {error} [{hint:?}]", case.name);
            Outcome::Refused(error)
        })
        .collect()
}

/// Runs a command for each number, some at once.
fn at_once(count: usize, run: impl Fn(usize) -> Output + Sync) -> Vec<Output> {
    let next = AtomicUsize::new(0);
    let some = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return done;
            }
            done.push((at, run(at)));
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
