//! Copies a tree and says how long it took:
//! `copy_tree SOURCE TARGET [--threads N] [--no-reflink] [--record FILE]`.
#![expect(clippy::print_stdout, reason = "a measuring command")]

use std::error::Error;
use std::os::fd::AsFd as _;
use std::process::ExitCode;
use std::time::Instant;
use strata_driver::tree::{CopyOptions, Reflink, Witness, copy};

fn run(mut arguments: pico_args::Arguments) -> Result<(), Box<dyn Error>> {
    let mut options = CopyOptions::default();
    if let Some(threads) = arguments.opt_value_from_str("--threads")? {
        options = options.with_threads(threads);
    }
    if arguments.contains("--no-reflink") {
        options = options.with_reflink(Reflink::Never);
    }
    let record: Option<String> = arguments.opt_value_from_str("--record")?;
    if record.is_some() {
        options = options.with_witness(Witness::Record);
    }
    let source = fs_err::File::open(arguments.free_from_str::<String>()?)?;
    let target: String = arguments.free_from_str()?;
    fs_err::create_dir(&target)?;
    let target = fs_err::File::open(target)?;
    let start = Instant::now();
    let copied = copy(source.as_fd(), target.as_fd(), &options)?;
    println!(
        "wall {:.1} ms: {} entries, {} bytes, {} reflinked, {} links",
        start.elapsed().as_secs_f64() * 1e3,
        copied.entries,
        copied.bytes,
        copied.reflinked,
        copied.links
    );
    if let (Some(path), Some(record)) = (record, copied.record) {
        record.write_to(fs_err::File::create(path)?)?;
    }
    Ok(())
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
