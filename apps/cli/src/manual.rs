//! Completions and manual pages, from the same definitions as the command line itself.

use crate::flags::Arguments;
use clap::CommandFactory as _;
use std::path::Path;
use std::process::ExitCode;

pub(crate) fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "strata", &mut text);
    std::io::Write::write_all(&mut std::io::stdout(), &text)?;
    Ok(ExitCode::SUCCESS)
}

/// `strata.1`, `strata-pull.1` and so on.
pub(crate) fn pages(directory: &Path) -> anyhow::Result<ExitCode> {
    if !directory.is_dir() {
        anyhow::bail!(
            "`{}` is not a directory; make it first",
            directory.display()
        );
    }
    clap_mangen::generate_to(Arguments::command(), directory)?;
    Ok(ExitCode::SUCCESS)
}
