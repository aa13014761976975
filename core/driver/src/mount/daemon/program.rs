//! Where the program of a file system type is.

use crate::error::{Error, ErrorKind, Result};
use rustix::fs::Access;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// Where mount(8) looks for its helpers, and administrators put programs.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The program that serves `fuse.SUBTYPE`: the first of
/// 1. the variable that is called as the subtype is, in capitals with `_` (`my-fs`: `MY_FS`);
/// 2. `SUBTYPE` beside the running program, and in the directory above (as cargo has it);
/// 3. `SUBTYPE` in `PATH`;
/// 4. `mount.fuse.SUBTYPE` in `/usr/local/sbin`, `/usr/sbin`, `/sbin`.
pub(super) fn find(subtype: &str) -> Result<PathBuf> {
    if subtype.is_empty() || subtype.contains('/') {
        return Err(Error::new(ErrorKind::InvalidInput, "mount")
            .because("the file system type names no program")
            .with("type", format!("fuse.{subtype}")));
    }
    let variable = variable(subtype);
    let place = Place {
        named: std::env::var_os(&variable),
        own: std::env::current_exe().ok(),
        path: std::env::var_os("PATH").unwrap_or_default(),
    };
    place.find(subtype).ok_or_else(|| {
        let known = match &place.named {
            Some(named) => format!("`{variable}` is `{}`, no program", named.display()),
            None => format!("no program `{subtype}` serves this type of file system"),
        };
        Error::new(ErrorKind::Unavailable, "mount")
            .because(known)
            .with("type", format!("fuse.{subtype}"))
            .hint(format!(
                "install `{subtype}` beside this program, in PATH or as \
                 `/sbin/mount.fuse.{subtype}`, or name it in `{variable}`"
            ))
    })
}

fn variable(subtype: &str) -> String {
    subtype.to_uppercase().replace(['-', '.'], "_")
}

/// What the search begins with.
struct Place {
    named: Option<OsString>,
    own: Option<PathBuf>,
    path: OsString,
}

impl Place {
    fn find(&self, subtype: &str) -> Option<PathBuf> {
        if let Some(named) = &self.named {
            return Some(PathBuf::from(named)).filter(|named| is_program(named));
        }
        let beside = self
            .own
            .iter()
            .flat_map(|own| own.ancestors().skip(1).take(2));
        let path = std::env::split_paths(OsStr::new(&self.path)).filter(|directory| {
            // Whoever fills a working directory must not choose what runs.
            directory.is_absolute()
        });
        let helper = format!("mount.fuse.{subtype}");
        beside
            .map(Path::to_owned)
            .chain(path)
            .map(|directory| directory.join(subtype))
            .chain(SYSTEM_DIRECTORIES.map(|directory| Path::new(directory).join(&helper)))
            .find(|candidate| is_program(candidate))
    }
}

fn is_program(path: &Path) -> bool {
    path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_search_goes_from_near_to_far() {
        let base = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = base.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(&path, "").unwrap();
            fs_err::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
            path
        };
        let in_path = make("path/some-fs");
        let mut place = Place {
            named: None,
            own: Some(base.path().join("debug/deps/test")),
            path: std::env::join_paths([Path::new("relative"), in_path.parent().unwrap()]).unwrap(),
        };
        assert_eq!(place.find("some-fs"), Some(in_path));
        let above = make("debug/some-fs");
        assert_eq!(place.find("some-fs"), Some(above));
        let beside = make("debug/deps/some-fs");
        assert_eq!(place.find("some-fs"), Some(beside));
        place.named = Some("/no/such/program".into());
        assert_eq!(place.find("some-fs"), None);
        assert_eq!(variable("some-fs"), "SOME_FS");
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = find("strata-no-such-fs").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let hint = error.hint_text().unwrap();
        assert!(
            hint.contains("STRATA_NO_SUCH_FS") && hint.contains("/sbin/mount.fuse."),
            "{hint}"
        );
        assert_eq!(find("../sh").unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
