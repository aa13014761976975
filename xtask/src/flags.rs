//! The command line of `cargo xtask`.

use crate::bench::{Against, Bench};
use crate::clean::Clean;
use crate::exit::Stop;
use crate::images::Images;
use crate::peers::{Comparison, Peers};
use crate::rootfs::Rootfs;
use crate::smoke::Smoke;
use crate::soak::Soak;
use crate::test::{AfterFailure, Place, Test};
use crate::tidy::Tidy;
use crate::unions::Unions;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

pub(crate) const USAGE: &str = "\
cargo xtask COMMAND

  bench [--fresh [--cold]] [ARGUMENTS...]
                compare the drivers on a Debian root file system; the arguments go to `strata bench`,
                `--baseline FILE --gate counts|times|none` among them
  bench --against REVISION [--gate times|counts|none] [ARGUMENTS...]
                build that revision too, run both by turns, block by block, and compare
  test  [--fresh [--cold]] [--keep-going]
                everything this host can prove: tidy, fmt, clippy, tests, conformance
  smoke [--bless]
                the counts of the bench against benches/smoke-baseline.json, or make it anew
  soak  [--keep-going]
                the same with the long versions of the tests
  docs          write what is observed here into docs/semantics.md
  tidy          the house rules that the compiler does not check
  clean         remove mounts, loop devices and directories that a killed run left behind
  rootfs        make the cached root file system that `bench` uses, and print where it is
  images        make the cached test images (an OCI image layout), and print where they are
  peers [--rounds N] [--image NAME] [--only NAME,...] [--strata PATH [--driver NAME,...]]
                pull a test image by turns with other people's tools, by hand (the floor), and with
                a `strata` that was built before; a table of times and CPU
  peers --tree  make the cached tree of those tools, and print where it is
  unions [--rounds N] [--case NAME,...] [--only NAME,...]
                `strata-union` by turns with the kernel's overlay, with other people's unions and
                with a plain directory; tables of CPU, and whether each goal is met

  --fresh       in a new Debian chroot that holds only gcc, git and Rust, from a clean clone of HEAD
  --cold        there without the cached root file system of this host
  --keep-going  do not stop at the first stage that fails

Exit codes: 0 done, 1 something failed, 2 wrong usage or a regression, 3 impossible on this host
or for this user, or no verdict.
";

/// What the user asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Bench(Bench),
    Test(Test),
    Tidy(Tidy),
    Docs,
    Clean(Clean),
    Smoke(Smoke),
    Soak(Soak),
    Rootfs(Rootfs),
    Images(Images),
    Peers(Peers),
    Unions(Unions),
}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(arguments: Vec<OsString>) -> anyhow::Result<Command> {
    let mut arguments = pico_args::Arguments::from_vec(arguments);
    let name = arguments
        .subcommand()
        .map_err(|error| Stop::Usage(error.to_string()))?;
    let command = match name.as_deref() {
        Some("bench") => {
            let place = place(&mut arguments)?;
            let against: Option<String> = optional(&mut arguments, "--against")?;
            // Without another version the gate is the bench's own.
            let gate = match &against {
                Some(_) => optional(&mut arguments, "--gate")?,
                None => None,
            };
            return Ok(Command::Bench(Bench {
                place,
                against: against.map(|revision| Against {
                    revision,
                    gate: gate.unwrap_or_else(|| "times".to_owned()),
                }),
                arguments: arguments.finish(),
            }));
        }
        Some("test") => Command::Test(Test {
            place: place(&mut arguments)?,
            after_failure: after_failure(&mut arguments),
        }),
        Some("smoke") => Command::Smoke(if arguments.contains("--bless") {
            Smoke::Bless
        } else {
            Smoke::Compare
        }),
        Some("soak") => Command::Soak(Soak {
            after_failure: after_failure(&mut arguments),
        }),
        Some("tidy") => Command::Tidy(Tidy),
        Some("docs") => Command::Docs,
        Some("clean") => Command::Clean(Clean::everywhere()),
        Some("rootfs") => Command::Rootfs(Rootfs {
            build: directory(&mut arguments)?,
        }),
        Some("images") => Command::Images(Images {
            build: directory(&mut arguments)?,
        }),
        Some("peers") => Command::Peers(peers(&mut arguments)?),
        Some("unions") => Command::Unions(unions(&mut arguments)?),
        None => Command::Help,
        Some(other) => {
            return Err(Stop::Usage(format!("unknown command `{other}`\n\n{USAGE}")).into());
        }
    };
    if arguments.contains(["-h", "--help"]) {
        return Ok(Command::Help);
    }
    match arguments.finish().first() {
        None => Ok(command),
        Some(extra) => {
            Err(Stop::Usage(format!("unexpected argument `{}`", extra.display())).into())
        }
    }
}

fn optional(
    arguments: &mut pico_args::Arguments,
    flag: &'static str,
) -> Result<Option<String>, Stop> {
    arguments
        .opt_value_from_str(flag)
        .map_err(|error| Stop::Usage(error.to_string()))
}

/// Where a process that we start ourselves is to build something.
fn directory(arguments: &mut pico_args::Arguments) -> Result<Option<PathBuf>, Stop> {
    path(arguments, "--build")
}

fn path(arguments: &mut pico_args::Arguments, flag: &'static str) -> Result<Option<PathBuf>, Stop> {
    arguments
        .opt_value_from_os_str(flag, |value| {
            Ok::<_, std::convert::Infallible>(value.into())
        })
        .map_err(|error| Stop::Usage(error.to_string()))
}

fn peers(arguments: &mut pico_args::Arguments) -> Result<Peers, Stop> {
    if let Some(tree) = directory(arguments)? {
        return Ok(Peers::Build(tree));
    }
    if arguments.contains("--tree") {
        return Ok(Peers::Tree);
    }
    let drivers = optional(arguments, "--driver")?.unwrap_or_else(|| "overlay".to_owned());
    Ok(Peers::Compare(Comparison {
        rounds: rounds(arguments)?,
        image: optional(arguments, "--image")?.unwrap_or_else(|| "app".to_owned()),
        only: list(optional(arguments, "--only")?),
        strata: path(arguments, "--strata")?,
        drivers: list(Some(drivers)),
        inside: path(arguments, "--inside")?,
    }))
}

fn unions(arguments: &mut pico_args::Arguments) -> Result<Unions, Stop> {
    Ok(Unions {
        rounds: rounds(arguments)?,
        cases: list(optional(arguments, "--case")?),
        only: list(optional(arguments, "--only")?),
        inside: path(arguments, "--inside")?,
    })
}

/// Five, if nothing else is said.
fn rounds(arguments: &mut pico_args::Arguments) -> Result<usize, Stop> {
    optional(arguments, "--rounds")?.map_or(Ok(5), |text| {
        text.parse::<NonZeroUsize>()
            .map(NonZeroUsize::get)
            .map_err(|error| Stop::Usage(format!("`--rounds {text}`: {error}")))
    })
}

/// The words between commas.
fn list(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split(',')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn place(arguments: &mut pico_args::Arguments) -> Result<Place, Stop> {
    match (arguments.contains("--fresh"), arguments.contains("--cold")) {
        (false, false) => Ok(Place::Here),
        (true, false) => Ok(Place::Fresh),
        (true, true) => Ok(Place::FreshAndCold),
        (false, true) => Err(Stop::Usage("`--cold` needs `--fresh`".to_owned())),
    }
}

fn after_failure(arguments: &mut pico_args::Arguments) -> AfterFailure {
    if arguments.contains("--keep-going") {
        AfterFailure::GoOn
    } else {
        AfterFailure::Stop
    }
}
