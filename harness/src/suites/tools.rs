//! Where the programs of the suites are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strata_driver::process::Tool;

/// Directories, divided as in `PATH`, that are looked in before it; `cargo xtask test` sets it.
const VARIABLE: &str = "STRATA_TOOLS";

/// Nothing hangs for ever; the long versions take minutes.
const PATIENCE: Duration = Duration::from_hours(1);

/// The program called `name`; a text is why it cannot be had.
pub(super) fn find(name: &str) -> Result<Tool, String> {
    let directories = [VARIABLE, "PATH"].map(std::env::var_os);
    let directories = directories.iter().flatten().map(|value| &**value);
    let file = look(directories, name).ok_or_else(|| {
        format!(
            "no program `{name}`: `cargo xtask test` installs it from the crate registry, which \
             takes network"
        )
    })?;
    // A backtrace is of the suite's own code, and long.
    let tool = Tool::at(file).with_variable("RUST_BACKTRACE", "0");
    Ok(tool.with_time_limit(PATIENCE))
}

fn look<'a>(paths: impl Iterator<Item = &'a OsStr>, name: &str) -> Option<PathBuf> {
    paths
        .flat_map(std::env::split_paths)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_directory_that_has_the_program_wins() {
        let paths = ["/no/such:/bin", "/usr/bin"].map(OsStr::new);
        let found = look(paths.into_iter(), "sh");
        assert_eq!(found.as_deref(), Some(Path::new("/bin/sh")));
        assert_eq!(look(paths.into_iter(), "strata-no-such-tool"), None);
        let relative = ["bin", ""].map(OsStr::new);
        assert_eq!(look(relative.into_iter(), "sh"), None);
    }
}
