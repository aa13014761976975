//! The mounts that join branches, for either engine.

use crate::config::{Coherence, Config, Switch, Udba};
use std::path::{Path, PathBuf};
use strata_driver::{Error, ErrorKind, MountFlags, MountOption, MountStep, Result};

/// Most lower branches of one mount; aufs's own limit is set when a kernel is built, and 127 at
/// least.
pub(crate) const MAX_LAYERS: usize = 500;

/// Who joins branches on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The kernel's aufs.
    ByKernel,
    /// Strata's own union.
    ByFuse,
}

/// What is joined.
#[derive(Clone, Debug)]
pub(crate) struct Branches {
    /// Top first; at least one, unless there is a writable branch.
    pub(crate) lowers: Vec<PathBuf>,
    /// The writable branch, and where it keeps numbers.
    pub(crate) upper: Option<(PathBuf, PathBuf)>,
    /// Where the topmost lower branch kept them, if it is written elsewhere and only looked at
    /// here.
    pub(crate) looked_at: Option<PathBuf>,
}

impl Joined {
    /// The steps that mount them.
    pub(crate) fn steps(self, branches: &Branches, config: Config) -> Result<Vec<MountStep>> {
        match self {
            Self::ByKernel => kernel(branches, config),
            Self::ByFuse => Ok(vec![fuse(branches, config)?]),
        }
    }
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| {
        Error::new(ErrorKind::InvalidInput, "mounts").because("the root is not UTF-8")
    })
}

fn udba(config: Config) -> MountOption {
    let value = match config.udba {
        Udba::None => "none",
        Udba::Reval => "reval",
    };
    MountOption::pair("udba", value)
}

fn plink(config: Config) -> MountOption {
    MountOption::flag(match config.plink {
        Switch::On => "plink",
        Switch::Off => "noplink",
    })
}

fn fuse(branches: &Branches, config: Config) -> Result<MountStep> {
    let mut options = Vec::with_capacity(branches.lowers.len() + 8);
    for lower in &branches.lowers {
        options.push(MountOption::pair("lowerdir+", text(lower)?));
    }
    if let Some((upper, xino)) = &branches.upper {
        options.push(MountOption::pair("upperdir", text(upper)?));
        options.push(MountOption::pair("xino", text(xino)?));
        options.push(plink(config));
    }
    if let Some(xino) = &branches.looked_at {
        options.push(MountOption::pair("xino", text(xino)?));
    }
    let coherence = match config.coherence {
        Coherence::Strict => "strict",
        Coherence::Fast => "fast",
    };
    options.push(MountOption::pair("coherence", coherence));
    options.push(udba(config));
    options.push(MountOption::flag("acl"));
    Ok(MountStep {
        fs_type: "fuse.strata-union".into(),
        source: "strata".into(),
        options,
        flags: MountFlags {
            read_only: branches.upper.is_none(),
        },
    })
}

/// Bytes that the branches of one call of mount(2) may take of its page; the rest is for the other
/// options.
const BRANCH_BYTES: usize = 3000;

/// mount(2) takes a page of options: what does not fit is appended by remounts.
fn kernel(branches: &Branches, config: Config) -> Result<Vec<MountStep>> {
    let mut words = Vec::new();
    if let Some((upper, _)) = &branches.upper {
        words.push(format!("{}=rw", text(upper)?));
    }
    for lower in &branches.lowers {
        words.push(format!("{}=ro+wh", text(lower)?));
    }
    if let Some(word) = words.iter().find(|word| word.contains([',', ':'])) {
        return Err(Error::new(ErrorKind::InvalidInput, "mounts")
            .because("aufs takes no path with a comma or a colon")
            .with("branch", word)
            .hint("choose another root, or `engine=fuse`"));
    }
    let mut groups: Vec<Vec<String>> = Vec::new();
    let mut room = 0;
    for word in words {
        let length = word.len() + "append:,".len();
        match groups.last_mut() {
            Some(group) if length <= room => group.push(word),
            _ => {
                groups.push(vec![word]);
                room = BRANCH_BYTES;
            }
        }
        room = room.saturating_sub(length);
    }
    let mut groups = groups.into_iter();
    let mut options = vec![MountOption::pair(
        "br",
        groups.next().unwrap_or_default().join(":"),
    )];
    options.push(MountOption::flag("dirperm1"));
    options.push(MountOption::flag("acl"));
    options.push(udba(config));
    options.push(plink(config));
    options.push(match &branches.upper {
        Some((_, xino)) => MountOption::pair("xino", text(xino)?),
        None => MountOption::flag("noxino"),
    });
    let flags = MountFlags {
        read_only: branches.upper.is_none(),
    };
    let step = |options| MountStep {
        fs_type: "aufs".into(),
        source: "none".into(),
        options,
        flags,
    };
    let mut steps = vec![step(options)];
    for group in groups {
        let mut options = vec![MountOption::flag("remount")];
        let appended = group
            .into_iter()
            .map(|branch| MountOption::pair("append", branch));
        options.extend(appended);
        steps.push(step(options));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branches(lowers: usize, writable: bool) -> Branches {
        Branches {
            lowers: (1..=lowers)
                .map(|id| format!("/r/snapshots/{id}/fs").into())
                .collect(),
            upper: writable.then(|| ("/r/snapshots/0/fs".into(), "/r/snapshots/0/xino".into())),
            looked_at: None,
        }
    }

    fn texts(engine: Joined, branches: &Branches) -> Vec<String> {
        let steps = engine.steps(branches, Config::default()).unwrap();
        steps
            .iter()
            .map(|step| step.to_classic().option_text())
            .collect()
    }

    #[test]
    fn fuse_takes_all_in_one_step() {
        assert_eq!(
            texts(Joined::ByFuse, &branches(2, true)),
            [
                "lowerdir=/r/snapshots/1/fs:/r/snapshots/2/fs,upperdir=/r/snapshots/0/fs,\
              xino=/r/snapshots/0/xino,plink,coherence=strict,udba=none,acl"
            ]
        );
        assert_eq!(texts(Joined::ByFuse, &branches(500, true)).len(), 1);
    }

    #[test]
    fn what_the_plan_says_the_union_reads() {
        use crate::union::{Access, UnionOptions};
        let text = &texts(Joined::ByFuse, &branches(3, true))[0];
        let options = UnionOptions::parse(text, "strata").unwrap();
        assert_eq!(options.branches[0].access, Access::ReadWrite);
        assert!(options.branches[1..].iter().all(|branch| branch.whiteouts));
        assert_eq!(options.branches.len(), 4);
        let text = &texts(Joined::ByFuse, &branches(1, false))[0];
        assert!(UnionOptions::parse(text, "strata").unwrap().read_only);
    }

    #[test]
    fn the_kernel_takes_a_page_and_remounts() {
        assert_eq!(
            texts(Joined::ByKernel, &branches(2, true)),
            [
                "br=/r/snapshots/0/fs=rw:/r/snapshots/1/fs=ro+wh:/r/snapshots/2/fs=ro+wh,dirperm1,acl,\
              udba=none,plink,xino=/r/snapshots/0/xino"
            ]
        );
        let steps = texts(Joined::ByKernel, &branches(120, true));
        assert_eq!(steps.len(), 2);
        assert!(steps.iter().all(|step| step.len() < 4096));
        assert!(
            steps[1].starts_with("remount,append=/r/snapshots/"),
            "{}",
            steps[1]
        );
        let named: usize = steps
            .iter()
            .map(|step| step.matches("=ro+wh").count())
            .sum();
        assert_eq!(named, 120);
        let view = texts(Joined::ByKernel, &branches(1, false));
        assert_eq!(
            view,
            ["ro,br=/r/snapshots/1/fs=ro+wh,dirperm1,acl,udba=none,plink,noxino"]
        );
    }

    #[test]
    fn the_kernel_has_no_escapes() {
        let mut odd = branches(1, false);
        odd.lowers.push("/a,b".into());
        let error = Joined::ByKernel.steps(&odd, Config::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
