//! `cargo xtask peers`: pulling an image, beside other people's tools and beside the floor.
//!
//! Every peer works on a fresh file system in a file, and all take turns: a round is everybody once,
//! so that ratios are of the same minute.

mod measure;
mod registry;
mod subject;
mod table;
pub(crate) mod tree;

use crate::exit::Stop;
use crate::ground::{self, Ground};
use crate::setup::{self, Purpose};
use crate::{images, namespace, rootfs};
use anyhow::{Context, ensure};
use measure::Cost;
use registry::Registry;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use subject::{Round, Strata, Subject};
use xshell::{Shell, cmd};

/// Bytes of a peer's file system.
const SIZE: u64 = 8 << 30;

/// For what the largest peer writes.
const MEMORY: u64 = 4 << 30;

/// `cargo xtask peers`.
#[derive(Debug)]
pub(crate) enum Peers {
    /// Print where the tree of tools is.
    Tree,
    /// Install the tools into this tree. Given only to the process that [`tree::ensure`] starts in
    /// a mount namespace of its own.
    Build(PathBuf),
    /// Compare.
    Compare(Comparison),
}

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct Comparison {
    pub(crate) rounds: usize,
    /// One of the test images.
    pub(crate) image: String,
    /// Only peers whose name holds one of these; all if there are none.
    pub(crate) only: Vec<String>,
    /// Our own command.
    pub(crate) strata: Option<PathBuf>,
    /// The drivers that it is run with.
    pub(crate) drivers: Vec<String>,
    /// Given only to the process that [`Comparison::run`] starts in namespaces of its own: where to
    /// work.
    pub(crate) inside: Option<PathBuf>,
}

impl Peers {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        match self {
            Self::Build(tree) => tree::build(sh, tree),
            Self::Tree => {
                obtain(sh)?;
                println!("{}", tree::ensure(sh)?.display());
                Ok(())
            }
            Self::Compare(comparison) => comparison.run(sh),
        }
    }
}

/// Installs what it takes to make the tree of tools and the images.
pub(crate) fn obtain(sh: &Shell) -> anyhow::Result<()> {
    if !setup::is_root() {
        let message = "this needs root: tools run in namespaces of their own and write owners";
        return Err(Stop::Impossible(message.to_owned()).into());
    }
    let mut purposes = vec![Purpose::Fixtures];
    if rootfs::cached().is_none() {
        purposes.push(Purpose::RootFileSystem);
    }
    setup::ensure(sh, &purposes)
}

impl Comparison {
    fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        if let Some(directory) = &self.inside {
            return self.compare(sh, directory);
        }
        obtain(sh)?;
        images::ensure(sh)?;
        tree::ensure(sh)?;
        namespace::run_inside(sh, &ground::place(MEMORY), "peers")
    }

    fn compare(&self, sh: &Shell, directory: &Path) -> anyhow::Result<()> {
        // Processes are looked up by the ids that they have in this namespace.
        cmd!(sh, "mount -t proc proc /proc").quiet().run()?;
        let tools = tree::cached().context("the tree of tools is gone")?;
        let layout = images::cached().context("the test images are gone")?;
        let storage = directory.join("registry");
        fs_err::create_dir(&storage)?;
        let registry = Registry::start(&tools, &storage)?;
        registry.fill(&layout, &self.image)?;
        let target = directory.join("mount");
        fs_err::create_dir(&target)?;
        let layers = registry::layers(&layout, &self.image)?;
        let round = Round {
            tools: &tools,
            host: registry.host(),
            image: &self.image,
            layers: &layers,
            directory: &target,
            strata: None,
        };

        let subjects = self.subjects();
        ensure!(!subjects.is_empty(), "no peer's name holds what was given");
        let mut costs: BTreeMap<String, Vec<Option<Cost>>> = BTreeMap::new();
        for number in 0..self.rounds {
            for (subject, strata) in &subjects {
                let name = strata.as_ref().map_or_else(
                    || subject.name.to_owned(),
                    |strata| format!("{} {}", subject.name, strata.driver),
                );
                let round = Round {
                    strata: strata.clone(),
                    ..round.clone()
                };
                let cost = one(sh, &round, subject);
                let cost = cost
                    .inspect_err(|error| eprintln!("{name}: {error:#}"))
                    .ok();
                if let Some(cost) = &cost {
                    eprintln!("round {}: {name}: {cost}", number + 1);
                }
                costs.entry(name).or_default().push(cost);
            }
        }
        registry.stop()?;
        println!("{}", table::facts(sh, &tools, &self.image, &layers)?);
        println!("{}", table::markdown(&subjects, &costs));
        Ok(())
    }

    /// In the order of a round; the floor is always among them.
    fn subjects(&self) -> Vec<(&'static Subject, Option<Strata>)> {
        let is_wanted = |name: &str| {
            self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
        };
        let mut subjects: Vec<_> = subject::SUBJECTS
            .iter()
            .filter(|subject| {
                [subject::FLOOR, subject::STORED].contains(&subject.name) || is_wanted(subject.name)
            })
            .map(|subject| (subject, None))
            .collect();
        if let Some(command) = &self.strata {
            subjects.extend(self.drivers.iter().map(|driver| {
                let strata = Strata {
                    command: command.clone(),
                    driver: driver.clone(),
                };
                (subject::of_driver(driver), Some(strata))
            }));
        }
        subjects
    }
}

/// One peer on a fresh file system.
fn one(sh: &Shell, round: &Round<'_>, subject: &Subject) -> anyhow::Result<Cost> {
    let ground = Ground::make(sh, subject.ground, SIZE, round.directory)?;
    let cost = (subject.run)(round);
    let taken = ground.taken(sh);
    ground.remove(sh)?;
    let mut cost = cost?;
    cost.mebibytes = taken?;
    Ok(cost)
}
