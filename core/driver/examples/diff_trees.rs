//! Compares two trees and says how long it took:
//! `diff_trees LOWER|- UPPER [--threads N] [--record FILE] [--overlay] [-o FILE]`.
//!
//! With `--overlay` UPPER is the upper directory of an overlay mount over LOWER. Without `-o` the
//! trees are only compared.
#![expect(clippy::print_stdout, reason = "a measuring command")]

use rustix::fs::FileType;
use std::error::Error;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use strata_driver::diff::{CompareOptions, Mark, Marks, Outcome, Upper, UpperEntry, compare};
use strata_driver::tree::CopyRecord;
use strata_driver::{Counters, DiffOptions};

struct Overlay;

impl Marks for Overlay {
    fn classify(&self, entry: &UpperEntry<'_>) -> strata_driver::Result<Mark> {
        Ok(match entry.file_type() {
            FileType::CharacterDevice if entry.device() == (0, 0) => Mark::Whiteout,
            FileType::Directory
                if entry.xattr(c"trusted.overlay.opaque")?.as_deref() == Some(b"y") =>
            {
                Mark::OpaqueDirectory
            }
            _ => Mark::Plain,
        })
    }
}

fn run(mut arguments: pico_args::Arguments) -> Result<(), Box<dyn Error>> {
    let mut options = CompareOptions::default();
    if let Some(threads) = arguments.opt_value_from_str("--threads")? {
        options = options.with_threads(threads);
    }
    let record: Option<String> = arguments.opt_value_from_str("--record")?;
    let record = record
        .map(|path| {
            CopyRecord::read_from(fs_err::File::open(path)?).map_err(Box::<dyn Error>::from)
        })
        .transpose()?;
    if let Some(record) = &record {
        options = options.with_record(record);
    }
    let partial = arguments.contains("--overlay");
    let output: Option<String> = arguments.opt_value_from_str("-o")?;
    let lower: String = arguments.free_from_str()?;
    let lower = (lower != "-")
        .then(|| fs_err::File::open(lower))
        .transpose()?;
    let upper = fs_err::File::open(arguments.free_from_str::<String>()?)?;
    let (start, spent) = (Instant::now(), processor_time());
    let counters = Counters::default();
    let root = upper.as_fd();
    let upper = if partial {
        Upper::Partial {
            root,
            marks: &Overlay,
        }
    } else {
        Upper::Whole(root)
    };
    let lower = lower.as_ref().map(|lower| lower.as_fd());
    let Outcome::Compared(found) = compare(lower, upper, &options, &counters)? else {
        return Err("the upper directory does not tell: give whole trees".into());
    };
    let compared = start.elapsed();
    let compared_cpu = processor_time().saturating_sub(spent);
    let mut size = 0;
    if let Some(output) = output {
        let mut output = fs_err::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(output)?;
        size = found.write(&mut output, &DiffOptions::default())?.size.0;
    }
    println!(
        "compare wall {:.1} ms, cpu {:.1} ms; all wall {:.1} ms; {} changes, {size} bytes, {} names walked",
        compared.as_secs_f64() * 1e3,
        compared_cpu.as_secs_f64() * 1e3,
        start.elapsed().as_secs_f64() * 1e3,
        found.len(),
        counters.entries_walked()
    );
    Ok(())
}

/// User and system time of this process so far.
fn processor_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    usage.map_or(Duration::ZERO, |usage| {
        let time = |value: nix::sys::time::TimeVal| {
            Duration::from_secs(value.tv_sec() as u64)
                + Duration::from_micros(value.tv_usec() as u64)
        };
        time(usage.user_time()) + time(usage.system_time())
    })
}

fn main() -> ExitCode {
    match run(pico_args::Arguments::from_env()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:?}");
            ExitCode::FAILURE
        }
    }
}
