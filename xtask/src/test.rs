//! `cargo xtask test`: everything that this host can prove, in stages.

use crate::btrfs;
use crate::clean::Clean;
use crate::exit::Stop;
use crate::fresh::Fresh;
use crate::images;
use crate::setup::{self, Purpose};
use crate::smoke;
use crate::tally::{self, Tally};
use crate::tidy::Tidy;
use crate::tools;
use std::time::{Duration, Instant};
use xshell::{Shell, cmd};

/// Where the stages run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this checkout, on this host.
    Here,
    /// In a new chroot, from a clean clone.
    Fresh,
    /// The same without the cached root file system of this host.
    FreshAndCold,
}

/// What happens to the stages that follow a failed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    Stop,
    GoOn,
}

#[derive(Debug)]
pub(crate) struct Test {
    pub(crate) place: Place,
    pub(crate) after_failure: AfterFailure,
}

struct Stage {
    name: &'static str,
    run: fn(&Shell) -> anyhow::Result<Tally>,
}

/// In the order of what fails fastest.
const STAGES: &[Stage] = &[
    Stage {
        name: "set-up",
        run: set_up,
    },
    Stage {
        name: "clean",
        run: clean,
    },
    Stage {
        name: "tidy",
        run: tidy,
    },
    Stage {
        name: "fmt",
        run: fmt,
    },
    Stage {
        name: "clippy",
        run: clippy,
    },
    // Unit, integration and documentation tests of all crates, and with them the conformance
    // suite on every driver that this host has: each driver crate's `tests/conformance.rs`.
    Stage {
        name: "tests",
        run: tests,
    },
    // Counts of the bench against the committed baseline, at most a minute.
    Stage {
        name: "smoke",
        run: smoke::stage,
    },
    // What somebody copies who writes a driver, by its own manifest: it is no member.
    Stage {
        name: "example",
        run: example,
    },
];

struct Ended {
    name: &'static str,
    took: Duration,
    tally: Tally,
}

impl Test {
    pub(crate) fn run(&self, sh: &Shell) -> anyhow::Result<()> {
        if self.place != Place::Here {
            let mut command = vec!["test".into()];
            if self.after_failure == AfterFailure::GoOn {
                command.push("--keep-going".into());
            }
            return Fresh {
                place: self.place,
                command,
            }
            .run(sh);
        }
        let mut ended = Vec::new();
        let mut total = Tally::NOTHING;
        for stage in STAGES {
            eprintln!("==> {}", stage.name);
            let start = Instant::now();
            let tally = (stage.run)(sh).unwrap_or_else(|error| {
                eprintln!("error: {error:#}");
                Tally::ONE_FAILED
            });
            ended.push(Ended {
                name: stage.name,
                took: start.elapsed(),
                tally,
            });
            total.add(tally);
            if tally.failed > 0 && self.after_failure == AfterFailure::Stop {
                break;
            }
        }
        print_table(&ended);
        println!("{total}");
        if total.failed > 0 {
            Err(Stop::Reported.into())
        } else {
            Ok(())
        }
    }
}

fn print_table(ended: &[Ended]) {
    println!(
        "\n{:<10} {:>8} {:>7} {:>7} {:>8}",
        "stage", "seconds", "passed", "failed", "skipped"
    );
    for stage in STAGES {
        match ended.iter().find(|ended| ended.name == stage.name) {
            Some(Ended {
                name,
                took,
                tally:
                    Tally {
                        passed,
                        failed,
                        skipped,
                    },
            }) => println!(
                "{name:<10} {:>8.1} {passed:>7} {failed:>7} {skipped:>8}",
                took.as_secs_f64()
            ),
            None => println!("{:<10} {:>8}", stage.name, "not run"),
        }
    }
    println!();
}

fn set_up(sh: &Shell) -> anyhow::Result<Tally> {
    let purposes = [Purpose::Fixtures, Purpose::Rootless, Purpose::BtrfsDriver];
    setup::ensure(sh, &purposes)?;
    tools::ensure(sh)?;
    images::prepare(sh)?;
    if !setup::is_root() {
        eprintln!("not root: what mounts or makes devices is skipped, and counted as skipped");
    }
    Ok(Tally::NOTHING)
}

/// A killed run's mounts and loop devices are in the way of this one's.
fn clean(sh: &Shell) -> anyhow::Result<Tally> {
    Clean::everywhere().run(sh)?;
    Ok(Tally::NOTHING)
}

fn tidy(sh: &Shell) -> anyhow::Result<Tally> {
    Tidy.run(sh)?;
    Ok(Tally::ONE_PASSED)
}

fn fmt(sh: &Shell) -> anyhow::Result<Tally> {
    cmd!(sh, "cargo fmt --all --check").quiet().run()?;
    Ok(Tally::ONE_PASSED)
}

fn clippy(sh: &Shell) -> anyhow::Result<Tally> {
    let crates = crates(sh);
    cmd!(
        sh,
        "cargo clippy --quiet --locked {crates...} --all-targets -- --deny warnings"
    )
    .quiet()
    .run()?;
    Ok(Tally::ONE_PASSED)
}

/// All crates that can be built here.
fn crates(sh: &Shell) -> Vec<&'static str> {
    if btrfs::is_buildable(sh) {
        vec!["--workspace", "--features", btrfs::FEATURES]
    } else {
        vec!["--workspace", "--exclude", btrfs::CRATE]
    }
}

fn tests(sh: &Shell) -> anyhow::Result<Tally> {
    let crates = crates(sh);
    tally::stream(
        cmd!(
            sh,
            "cargo test --locked {crates...} --no-fail-fast -- --show-output"
        )
        .into(),
    )
}

fn example(sh: &Shell) -> anyhow::Result<Tally> {
    // The workspace's directory holds most of what it is made of.
    let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    tally::stream(
        cmd!(
            sh,
            "cargo test --locked --no-fail-fast --manifest-path docs/examples/driver/Cargo.toml
             --target-dir {target} -- --show-output"
        )
        .into(),
    )
}
