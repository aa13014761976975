//! `cargo xtask unions`: our union file system, beside the kernel's overlay and other people's.
//!
//! All take turns: in a round everybody does every case once, on mounts of its own, so that ratios
//! are of the same minute.

mod bed;
mod callers;
mod case;
mod clocks;
mod content;
mod contestant;
mod measure;
mod seeded;
mod table;
mod view;

use crate::exit::Stop;
use crate::peers::{self, tree};
use crate::{ground, namespace};
use anyhow::Context;
use bed::Bed;
use case::{CASES, Case};
use contestant::{Contestant, NAMES};
use seeded::Seeded;
use std::path::{Path, PathBuf};
use table::{Figures, Host};
use xshell::{Shell, cmd};

/// The file systems, and as much again of page cache.
const MEMORY: u64 = 9 << 30;

/// Of the order within rounds.
const SEED: u64 = 42;

/// `cargo xtask unions`.
#[derive(Clone, Debug)]
pub(crate) struct Unions {
    pub(crate) rounds: usize,
    /// Only these cases; all if there are none.
    pub(crate) cases: Vec<String>,
    /// Only contestants whose name holds one of these; all if there are none.
    pub(crate) only: Vec<String>,
    /// Given only to the process that [`Unions::run`] starts in namespaces of its own: where to
    /// work.
    pub(crate) inside: Option<PathBuf>,
}

impl Unions {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        let cases = self.cases()?;
        let daemon = daemon(sh)?;
        if let Some(directory) = &self.inside {
            let tools = tree::cached().context("the tree of tools is gone")?;
            let contestants = contestant::wanted(sh, &tools, &daemon, &self.only);
            return self.compare(sh, directory, &cases, &contestants);
        }
        peers::obtain(sh)?;
        let tools = tree::ensure(sh)?;
        cmd!(
            sh,
            "cargo build --quiet --locked --release --package strata-union"
        )
        .quiet()
        .run()?;
        // Installs what is wanted of the crate registry.
        contestant::wanted(sh, &tools, &daemon, &self.only);
        namespace::run_inside(sh, &ground::place(MEMORY), "unions")
    }

    fn cases(&self) -> anyhow::Result<Vec<&'static Case>> {
        let all: Vec<_> = CASES.iter().map(|case| case.name).collect();
        let unknown = |name: &&String| !all.contains(&name.as_str());
        if let Some(name) = self.cases.iter().find(unknown) {
            let message = format!("there is no case `{name}`; there are {}", all.join(", "));
            return Err(Stop::Usage(message).into());
        }
        let fits_none = |part: &&String| !NAMES.iter().any(|name| name.contains(part.as_str()));
        if let Some(part) = self.only.iter().find(fits_none) {
            let all = NAMES.join(", ");
            let message = format!("no contestant's name holds `{part}`; there are {all}");
            return Err(Stop::Usage(message).into());
        }
        let is_wanted =
            |case: &&Case| self.cases.is_empty() || self.cases.iter().any(|name| name == case.name);
        Ok(CASES.iter().filter(is_wanted).collect())
    }

    fn compare(
        &self,
        sh: &Shell,
        directory: &Path,
        cases: &[&'static Case],
        contestants: &[Contestant],
    ) -> anyhow::Result<()> {
        let before = Host::now()?;
        let bed = Bed::whole(sh, &directory.join("ext4"))?;
        let of_reflinks = cases.iter().any(|case| case.reflinks);
        let of_reflinks = of_reflinks
            .then(|| Bed::of_reflinks(sh, &directory.join("xfs")))
            .transpose()?;
        let mut figures = Figures::new();
        let mut seeded = Seeded::new(SEED);
        let mut ours_failed = false;
        for round in 1..=self.rounds {
            for case in cases {
                let bed = of_reflinks
                    .as_ref()
                    .filter(|_| case.reflinks)
                    .unwrap_or(&bed);
                let mut order: Vec<&Contestant> = contestants.iter().collect();
                order.retain(|contestant| case.takes(contestant));
                seeded.shuffle(&mut order);
                for contestant in order {
                    let name = contestant.name;
                    let sample = case.run(bed, contestant);
                    match &sample {
                        Ok(sample) => eprintln!("{round} {}: {name}: {}", case.name, sample.told),
                        Err(error) => {
                            ours_failed |= contestant.is_ours();
                            eprintln!("{round} {}: {name} failed: {error:#}", case.name);
                        }
                    }
                    let figure = sample.ok().map(|sample| sample.figure);
                    figures.entry((case.name, name)).or_default().push(figure);
                }
            }
        }
        bed.remove()?;
        of_reflinks.map_or(Ok(()), Bed::remove)?;
        println!("{}", table::facts(sh, contestants, [before, Host::now()?])?);
        for case in cases {
            println!("- {}: {}", case.name, case.about);
        }
        println!("\n{}", table::figures(cases, contestants, &figures));
        println!("{}", table::goals(cases, contestants, &figures));
        if ours_failed {
            return Err(Stop::Reported.into());
        }
        Ok(())
    }
}

/// Where cargo puts our daemon.
fn daemon(sh: &Shell) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let target = sh.current_dir().join(target);
    Ok(std::path::absolute(target)?.join("release/strata-union"))
}
