//! Changes of a mounted union's branches, asked for on the daemon's socket.
//!
//! `branches` | `add:INDEX:PATH=PERMISSION` | `append:PATH=PERMISSION` | `prepend:PATH=PERMISSION` |
//! `del:PATH` | `mod:PATH=PERMISSION`, paths escaped as in the options of a mount. With a branch
//! that is added or modified comes a detached mount of it: the daemon lives in a mount namespace
//! of its own, where the client's paths mean nothing.

use super::{BranchOption, OptionError};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use strata_driver::mount::daemon::{Control, control};
use strata_driver::{Error, ErrorKind, Result};
use strata_sys::mount::{DetachedMount, MountAttributes};

const KNOWN: &str = "pid, branches, add:INDEX:PATH=PERMISSION, append:PATH=PERMISSION, \
                     prepend:PATH=PERMISSION, del:PATH, mod:PATH=PERMISSION";

/// What can be done with the branches of a mounted union; aufs(5), "Branch Syntax".
pub trait BranchControl: Send + Sync {
    /// All of them, top first.
    fn branches(&self) -> Vec<BranchOption>;
    /// Puts `branch` in at place `at`, 0 for the top. `root` is a mount of its directory.
    fn add(&self, at: usize, branch: BranchOption, root: DetachedMount) -> Result<()>;
    /// Takes the branch with this path out.
    fn remove(&self, path: &Path) -> Result<()>;
    /// Gives the branch with the path of `branch` the permission of that. `root` is a new mount of
    /// its directory, which may be written.
    fn modify(&self, branch: BranchOption, root: DetachedMount) -> Result<()>;
}

/// Branches that stay what they were mounted with.
#[derive(Clone, Debug)]
pub struct Fixed(pub Vec<BranchOption>);

impl Fixed {
    fn refusal() -> Error {
        Error::new(ErrorKind::Unsupported, "control")
            .because("the branches of a mounted union cannot be changed")
            .hint("unmount it, and mount it with other branches")
    }
}

impl BranchControl for Fixed {
    fn branches(&self) -> Vec<BranchOption> {
        self.0.clone()
    }

    fn add(&self, _at: usize, _branch: BranchOption, _root: DetachedMount) -> Result<()> {
        Err(Self::refusal())
    }

    fn remove(&self, _path: &Path) -> Result<()> {
        Err(Self::refusal())
    }

    fn modify(&self, _branch: BranchOption, _root: DetachedMount) -> Result<()> {
        Err(Self::refusal())
    }
}

/// Listens on a thread of its own for as long as the process lives. Where it cannot, the union is
/// served all the same: its branches cannot be changed, and an unmount does not wait for its end.
pub(super) fn listen(mount: &DetachedMount, branches: impl BranchControl + 'static) {
    let started = control::Device::of_file(mount)
        .and_then(Control::listen)
        .and_then(|socket| {
            std::thread::Builder::new()
                .name("control".to_owned())
                .spawn(move || socket.serve(|request, file| answer(&branches, request, file)))
                .map_err(|error| Error::io("listen", error))
        });
    if let Err(error) = started {
        tracing::warn!(error = %error.chain(), "nobody can ask this union anything");
    }
}

/// A request, taken apart.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Branches,
    /// Place from the top; none for the bottom.
    Add(Option<usize>, BranchOption),
    Remove(BranchOption),
    Modify(BranchOption),
}

impl Request {
    fn parse(text: &str) -> std::result::Result<Self, OptionError> {
        let unknown = || {
            OptionError::new(format!("unknown request `{text}`")).hint(format!("known are {KNOWN}"))
        };
        if text == "branches" {
            return Ok(Self::Branches);
        }
        let (word, rest) = text.split_once(':').ok_or_else(unknown)?;
        let branch = |text: &str, first| BranchOption::parse(word, text.as_bytes(), first);
        Ok(match word {
            "append" => Self::Add(None, branch(rest, false)?),
            "prepend" => Self::Add(Some(0), branch(rest, true)?),
            "add" => {
                let (at, rest) = rest.split_once(':').ok_or_else(unknown)?;
                let at = at.parse().map_err(|_| unknown())?;
                Self::Add(Some(at), branch(rest, at == 0)?)
            }
            "del" => Self::Remove(branch(rest, false)?),
            "mod" => Self::Modify(branch(rest, false)?),
            _ => return Err(unknown()),
        })
    }

    /// The branch of which a mount goes with the request.
    fn mounted(&self) -> Option<&BranchOption> {
        match self {
            Self::Add(_, branch) | Self::Modify(branch) => Some(branch),
            Self::Branches | Self::Remove(_) => None,
        }
    }

    fn text(&self) -> String {
        let shown = |branch: &BranchOption| format!("{}={}", escaped(branch), branch.permission());
        match self {
            Self::Branches => "branches".to_owned(),
            Self::Add(None, branch) => format!("append:{}", shown(branch)),
            Self::Add(Some(at), branch) => format!("add:{at}:{}", shown(branch)),
            Self::Remove(branch) => format!("del:{}", escaped(branch)),
            Self::Modify(branch) => format!("mod:{}", shown(branch)),
        }
    }
}

fn escaped(branch: &BranchOption) -> String {
    let mut text = String::new();
    for letter in branch.path.to_string_lossy().chars() {
        if matches!(letter, '\\' | ':' | ',' | '=') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// Sends `request` to the union mounted on `target`, and gives its answer. Relative paths begin at
/// the working directory.
///
/// # Errors
/// What the daemon answers; a request that is not known.
pub fn ask(target: &Path, request: &str) -> Result<String> {
    if request == "pid" {
        return control::request(target, request, None);
    }
    let request = Request::parse(request).map_err(|error| {
        let told = Error::new(ErrorKind::InvalidInput, "control").because(error.to_string());
        match error.hint_text() {
            Some(hint) => told.hint(hint),
            None => told,
        }
    })?;
    let mount = match request.mounted() {
        Some(branch) => Some(DetachedMount::bind(&branch.path, MountAttributes::empty())?),
        None => None,
    };
    let file = mount.as_ref().map(DetachedMount::as_fd);
    control::request(target, &request.text(), file)
}

/// The daemon's side.
fn answer(
    branches: &dyn BranchControl,
    request: &str,
    file: Option<OwnedFd>,
) -> std::result::Result<String, String> {
    let request = Request::parse(request).map_err(|error| error.to_string())?;
    let mount = |branch: &BranchOption| {
        let origin = branch.path.to_string_lossy();
        let mount = file.map(|file| DetachedMount::received(file, &origin));
        mount.ok_or_else(|| "a mount of the branch has to come with the request".to_owned())
    };
    let done = match request {
        Request::Branches => return Ok(list(&branches.branches())),
        Request::Add(at, branch) => {
            let count = branches.branches().len();
            let at = at.unwrap_or(count);
            if at > count {
                return Err(format!("there are {count} branches, and no place {at}"));
            }
            let root = mount(&branch)?;
            branches.add(at, branch, root)
        }
        Request::Remove(branch) => branches.remove(&branch.path),
        Request::Modify(branch) => {
            let root = mount(&branch)?;
            branches.modify(branch, root)
        }
    };
    done.map(|()| String::new()).map_err(|error| error.chain())
}

/// One line for each branch: place, path, permission.
fn list(branches: &[BranchOption]) -> String {
    let line = |(at, branch): (usize, &BranchOption)| {
        format!("{at} {}={}", escaped(branch), branch.permission())
    };
    branches
        .iter()
        .enumerate()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Recorded(Mutex<Vec<String>>);

    impl Recorded {
        fn note(&self, text: String) {
            self.0.lock().unwrap().push(text);
        }
    }

    impl BranchControl for Recorded {
        fn branches(&self) -> Vec<BranchOption> {
            let parse = |text: &str| BranchOption::parse("br", text.as_bytes(), false).unwrap();
            vec![parse("/u=rw"), parse(r"/l\:m=ro+wh")]
        }

        fn add(&self, at: usize, branch: BranchOption, _root: DetachedMount) -> Result<()> {
            self.note(format!(
                "add {at} {}={}",
                branch.path.display(),
                branch.permission()
            ));
            Ok(())
        }

        fn remove(&self, path: &Path) -> Result<()> {
            self.note(format!("remove {}", path.display()));
            Ok(())
        }

        fn modify(&self, branch: BranchOption, _root: DetachedMount) -> Result<()> {
            self.note(format!(
                "modify {}={}",
                branch.path.display(),
                branch.permission()
            ));
            Ok(())
        }
    }

    #[test]
    fn requests_become_calls() {
        let branches = Recorded::default();
        let file = || Some(fs_err::File::open("/").unwrap().into_parts().0.into());
        for request in [
            "append:/a",
            "prepend:/b",
            "add:1:/c=rr",
            "mod:/l\\:m=rw",
            "del:/l\\:m",
        ] {
            // As it comes from a client.
            let text = Request::parse(request).unwrap().text();
            assert_eq!(
                answer(&branches, &text, file()),
                Ok(String::new()),
                "{request}"
            );
        }
        assert_eq!(
            *branches.0.lock().unwrap(),
            [
                "add 2 /a=ro",
                "add 0 /b=rw",
                "add 1 /c=rr",
                "modify /l:m=rw",
                "remove /l:m"
            ]
        );
        let listed = answer(&branches, "branches", None).unwrap();
        assert_eq!(listed, "0 /u=rw\n1 /l\\:m=ro+wh");
    }

    #[test]
    fn what_cannot_be_done_is_told() {
        let branches = Recorded::default();
        for (request, said) in [
            ("quux", "unknown request `quux`"),
            ("add:x:/a", "unknown request"),
            ("add:3:/a", "no place 3"),
            ("append:/a=rx", "permission `rx`"),
            ("append:/a", "has to come with the request"),
        ] {
            let reason = answer(&branches, request, None).unwrap_err();
            assert!(reason.contains(said), "{request}: {reason}");
        }
        let fixed = Fixed(branches.branches());
        let reason = answer(&fixed, "del:/u", None).unwrap_err();
        assert!(reason.contains("cannot be changed"), "{reason}");
    }
}
