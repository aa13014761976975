//! Applies a tar file to a directory: `apply_tar FILE.tar DIRECTORY`. For measuring.

use std::os::fd::AsFd as _;
use strata_driver::apply::{ApplyTarget, PlainPlacement};
use strata_driver::{ApplyOptions, Error, Result};

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [archive, directory] = arguments.as_slice() else {
        eprintln!("usage: apply_tar FILE.tar DIRECTORY");
        std::process::exit(2);
    };
    let open = |path| fs_err::File::open(path).map_err(|error| Error::io("open", error));
    let root = open(directory)?;
    let target = ApplyTarget {
        root: root.file().as_fd(),
        placement: &mut PlainPlacement,
    };
    let stream = Box::new(open(archive)?);
    let applied = strata_driver::apply(target, stream, &ApplyOptions::default())?;
    eprintln!(
        "{} {} bytes, {} entries",
        applied.diff_id, applied.size.0, applied.entries
    );
    Ok(())
}
