//! Registries that fail and documents that lie.

mod connections;
mod documents;

use super::ground::{complaint, is_clean, names_in, run, shows_no_image};
use super::image::{Image, Packed, serve_manifest};
use crate::support::{Cell, Store, cells, stderr};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Output;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use strata_image::document::media_type;
use strata_image::testing::{FakeRegistry, Fault};
use strata_store::{Digest, Layout};

/// Room for some hundred layers of a few kilobytes.
const ROOM: u64 = 2 << 30;
const ALWAYS: usize = usize::MAX;
/// Attempts in all.
const ATTEMPTS: usize = 2;
const PATIENT: &str = "registries: {attempts: 2}\n";
/// Where the registry falls silent, a second is too long.
const IMPATIENT: &str = "registries: {attempts: 2, timeout: 1}\n";
/// Pulls of one store at once: most of them wait for a registry that does not answer.
const AT_ONCE: usize = 6;

/// What is fetched for an image beside its manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Config,
    First,
    Second,
}
use Part::{Config, First, Second};

/// One way to go wrong.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    /// What the registry serves and does.
    serve: fn(&Served<'_>),
    /// What the error's line says, among other things.
    told: &'static str,
    /// What need not be fetched again when the image is mended.
    kept: &'static [Part],
    /// How often a request that contains this is made.
    asked: Option<(&'static str, usize)>,
}

impl Case {
    const fn new(name: &'static str, serve: fn(&Served<'_>), told: &'static str) -> Self {
        Self {
            name,
            serve,
            told,
            kept: &[],
            asked: None,
        }
    }

    const fn keeps(mut self, kept: &'static [Part]) -> Self {
        self.kept = kept;
        self
    }

    const fn asks(mut self, what: &'static str, times: usize) -> Self {
        self.asked = Some((what, times));
        self
    }
}

/// What a case works with: the good image, to be spoilt, and the registry.
struct Served<'a> {
    registry: &'a FakeRegistry,
    name: &'a str,
    image: Image,
    layout: Layout,
}

impl Served<'_> {
    /// Lets a fault happen to every request for a blob.
    fn spoil(&self, blob: Digest, fault: Fault) {
        self.registry.fail(&format!("/blobs/{blob}"), fault, ALWAYS);
    }

    /// Spoils the second layer, once the first has come whole. So it is known what is kept.
    fn spoil_second(&self, fault: Fault) {
        let fault = Fault::After(self.first(), Some(Box::new(fault)));
        self.spoil(self.image.layers[1].descriptor().digest, fault);
    }

    fn first(&self) -> PathBuf {
        let first = self.image.layers[0].descriptor();
        self.layout.blob(&first.digest)
    }

    fn spoil_manifest(&self, fault: Fault) {
        let path = format!("/v2/{}/manifests/", self.name);
        self.registry.fail(&path, fault, ALWAYS);
    }

    /// Serves the image as it is.
    fn whole(&self) {
        self.image.serve(self.registry, self.name);
    }

    /// Serves the image with another manifest, its second layer after its first.
    fn with_manifest(&self, change: impl FnOnce(&mut Value)) {
        let mut manifest = self.image.manifest();
        change(&mut manifest);
        self.image.serve_blobs(self.registry);
        serve_manifest(self.registry, self.name, &manifest);
        let second = self.image.layers[1].descriptor().digest;
        self.spoil(second, Fault::After(self.first(), None));
    }

    /// Serves the image with another configuration.
    fn with_config(&self, config: impl Into<Vec<u8>>) {
        let mut image = self.image.clone();
        image.config = config.into();
        image.serve(self.registry, self.name);
        let second = image.layers[1].descriptor().digest;
        self.spoil(second, Fault::After(self.first(), None));
    }

    /// Serves the image with another second layer.
    fn with_second(&self, second: Packed) {
        let mut image = self.image.clone();
        let blob = second.descriptor().digest;
        image.layers[1] = second;
        image.serve(self.registry, self.name);
        self.spoil(blob, Fault::After(self.first(), None));
    }

    /// Serves an index with these entries, and the image's own manifest below it.
    fn with_index(&self, entries: impl FnOnce(Value) -> Vec<Value>) {
        self.whole();
        let manifest = self.image.manifest().to_string();
        let entry = json!({
            "mediaType": media_type::OCI_MANIFEST,
            "digest": Digest::of(manifest.as_bytes()),
            "size": manifest.len(),
        });
        let index = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_INDEX,
            "manifests": entries(entry),
        });
        serve_manifest(self.registry, self.name, &index);
    }
}

fn status(status: u16, code: &str, message: &str) -> Fault {
    let body = json!({"errors": [{"code": code, "message": message}]});
    Fault::Status(status, Vec::new(), body.to_string())
}

fn resized(at: &'static str, change: i64) -> impl FnOnce(&mut Value) {
    move |manifest| {
        let size = manifest.pointer_mut(at).unwrap();
        *size = json!(size.as_i64().unwrap() + change);
    }
}

#[test]
fn what_goes_wrong_is_told_in_one_line_and_leaves_nothing() {
    let mut before: Option<(Cell, Vec<String>)> = None;
    let cases = [documents::CASES, connections::CASES].concat();
    for cell in cells() {
        let told = all(cell, &cases);
        if let Some((first, expected)) = &before {
            assert_eq!(&told, expected, "{cell:?} differs from {first:?}");
        } else {
            before = Some((cell, told));
        }
    }
}

/// Runs the cases on one driver; what each told, which must not depend on the driver.
fn all(cell: Cell, cases: &[Case]) -> Vec<String> {
    let registry = FakeRegistry::start().unwrap();
    let store = Store::on(cell, ROOM).with(&["--durability", "volatile"]);
    fs_err::write(store.home().join("patient"), PATIENT).unwrap();
    fs_err::write(store.home().join("impatient"), IMPATIENT).unwrap();
    for case in cases {
        (case.serve)(&Served {
            registry: &registry,
            name: case.name,
            image: Image::named(case.name),
            layout: Layout::new(store.root()),
        });
    }
    let outputs = at_once(cases, |case| pull(&store, &registry, case));
    let mut wrong = Vec::new();
    let told = cases.iter().zip(&outputs).map(|(case, output)| {
        let (error, hint) = complaint(output);
        let line = format!("{}: {error} [{}]", case.name, hint.unwrap_or_default());
        println!("{line}");
        if !line.contains(case.told) {
            wrong.push(format!("no `{}` in {line}", case.told));
        }
        if let Some((what, times)) = case.asked {
            assert_eq!(registry.count(&request(case, what)), times, "{line}");
        }
        let driver = format!("driver=`{}`", cell.driver);
        line.replace(&registry.host(), "REGISTRY")
            .replace(&driver, "driver=`any`")
    });
    let told: Vec<String> = told.collect();
    assert!(wrong.is_empty(), "{cell:?}: {wrong:#?}");
    shows_no_image(&store);
    is_clean(&store);
    mended(&store, &registry, cases);
    told
}

/// The images of all cases are right at last, and come without what was kept.
fn mended(store: &Store, registry: &FakeRegistry, cases: &[Case]) {
    registry.heal();
    let parts = [(Config, "config"), (First, "first"), (Second, "second")];
    let asked = |case: &Case| parts.map(|(_, part)| registry.count(&request(case, part)));
    let before: Vec<_> = cases.iter().map(asked).collect();
    for case in cases {
        Image::named(case.name).serve(registry, case.name);
    }
    let outputs = at_once(cases, |case| pull(store, registry, case));
    let mut wrong = Vec::new();
    for ((case, output), before) in cases.iter().zip(&outputs).zip(before) {
        assert!(output.status.success(), "{}: {}", case.name, stderr(output));
        let after = asked(case);
        let kept = parts
            .iter()
            .enumerate()
            .filter(|(at, _)| before[*at] == after[*at]);
        let kept: Vec<Part> = kept.map(|(_, (part, _))| *part).collect();
        if kept != case.kept {
            wrong.push(format!(
                "{}: {kept:?} was kept, not {:?}",
                case.name, case.kept
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let images = store.good(&["images", "-q"]);
    assert_eq!(images.lines().count(), cases.len());
    is_clean(store);
}

fn pull(store: &Store, registry: &FakeRegistry, case: &Case) -> Output {
    // Elsewhere the machine may be busy, and one second be short.
    let is_silent = case.told.contains("no byte");
    let config = if is_silent { "impatient" } else { "patient" };
    let name = format!("{}/{}", registry.host(), case.name);
    run(store, &["--config", config, "pull", "-q", &name])
}

/// What a request for a part of a case's good image contains.
fn request(case: &Case, what: &str) -> String {
    let image = Image::named(case.name);
    match what {
        "manifest" => format!("/v2/{}/manifests/", case.name),
        "config" => format!("/blobs/{}", image.config().digest),
        "first" => format!("/blobs/{}", image.layers[0].descriptor().digest),
        _ => format!("/blobs/{}", image.layers[1].descriptor().digest),
    }
}

/// Runs all cases, some at once, and gives what came of each in their order.
fn at_once(cases: &[Case], run: impl Fn(&Case) -> Output + Sync) -> Vec<Output> {
    let next = AtomicUsize::new(0);
    let one = || {
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else {
                return done;
            };
            done.push((at, run(case)));
        }
    };
    let mut outputs: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(one)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    outputs.sort_by_key(|(at, _)| *at);
    outputs.into_iter().map(|(_, output)| output).collect()
}

/// Whatever unpacks waits for first bytes, and those who bring them must not wait for it. Which
/// thread waits is chance: so there are several pulls.
#[test]
fn layers_that_come_late_come() {
    const PULLS: usize = 12;
    for cell in cells() {
        let registry = FakeRegistry::start().unwrap();
        let store = Store::on(cell, ROOM).with(&["--durability", "volatile"]);
        let gate = store.home().join("gate");
        let names: Vec<String> = (0..PULLS).map(|at| format!("late-{at}")).collect();
        for name in &names {
            let image = Image::named(name);
            image.serve(&registry, name);
            for layer in &image.layers {
                let blob = format!("/blobs/{}", layer.descriptor().digest);
                registry.fail(&blob, Fault::After(gate.clone(), None), ALWAYS);
            }
        }
        let fetches = Layout::new(store.root()).fetches();
        std::thread::scope(|scope| {
            let pull = |name: &String| {
                let name = format!("{}/{name}", registry.host());
                let store = &store;
                scope.spawn(move || run(store, &["pull", "-q", &name]))
            };
            let pulls: Vec<_> = names.iter().map(pull).collect();
            let begun = || {
                let names = names_in(&fetches).into_iter();
                names.filter(|name| name.starts_with("extract.")).count()
            };
            while begun() < PULLS && !pulls.iter().any(|pull| pull.is_finished()) {
                std::thread::sleep(Duration::from_millis(5));
            }
            fs_err::write(&gate, "").unwrap();
            for pull in pulls {
                let output = pull.join().unwrap();
                assert!(output.status.success(), "{cell:?}: {}", stderr(&output));
            }
        });
        is_clean(&store);
    }
}

/// What passes is waited for, and what came before is not fetched again.
#[test]
fn what_goes_wrong_once_is_made_good() {
    let registry = FakeRegistry::start().unwrap();
    let Some(cell) = cells().into_iter().next() else {
        return;
    };
    let store = Store::on(cell, ROOM).with(&["--durability", "volatile"]);
    let retry_after = vec![("Retry-After", "1".to_owned())];
    let faults = [
        ("closes", Fault::CloseAfter(1000)),
        ("ends", Fault::NoLength(1000)),
        ("busy", Fault::Status(429, retry_after, String::new())),
        ("ill", Fault::Status(503, Vec::new(), String::new())),
    ];
    for (name, fault) in faults {
        let image = Image::named(name);
        image.serve(&registry, name);
        let blob = image.layers[1].descriptor().digest;
        let path = format!("/blobs/{blob}");
        let is_cut = matches!(fault, Fault::CloseAfter(_) | Fault::NoLength(_));
        registry.fail(&path, fault, 1);
        let pulled = run(&store, &["pull", &format!("{}/{name}", registry.host())]);
        assert!(pulled.status.success(), "{name}: {}", stderr(&pulled));
        assert_eq!(stderr(&pulled), "", "{name}");
        let told = String::from_utf8(pulled.stdout).unwrap();
        assert!(told.contains(": Retrying in 1 second\n"), "{name}: {told}");
        let asked = registry.requests().into_iter();
        let ranges: Vec<_> = asked
            .filter(|seen| seen.target.ends_with(&path))
            .map(|seen| seen.range)
            .collect();
        let second = is_cut.then(|| "bytes=1000-".to_owned());
        assert_eq!(ranges, [None, second], "{name}");
    }
    is_clean(&store);
}

/// An image without an index is taken whatever it is for, and that is told as Docker tells it.
#[test]
fn an_image_of_another_platform_is_taken_with_a_warning() {
    let registry = FakeRegistry::start().unwrap();
    let Some(cell) = cells().into_iter().next() else {
        return;
    };
    let store = Store::on(cell, ROOM).with(&["--durability", "volatile"]);
    Image::named("other").serve(&registry, "other");
    let name = format!("{}/other", registry.host());
    let pulled = run(&store, &["pull", "-q", "--platform", "linux/s390x", &name]);
    assert!(pulled.status.success());
    let ours = strata_image::document::Platform::host().architecture;
    assert_eq!(
        stderr(&pulled),
        format!(
            "WARNING: image with reference {name}:latest was found but its platform \
             (linux/{ours}) does not match the specified platform (linux/s390x)\n"
        )
    );
    let (error, _) = complaint(&run(&store, &["pull", "--platform", "a/b/c/d", &name]));
    assert!(error.contains("a/b/c/d"), "{error}");
    is_clean(&store);
}
