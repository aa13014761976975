//! The text of `-o`, word by word.

use super::branches::{path, split};
use super::{
    Access, BranchOption, Coherence, CopyUpPolicy, CreatePolicy, OptionError, Udba, UnionOptions,
    Xino,
};
use std::path::PathBuf;
use std::time::Duration;
use strata_sys::mount::MountAttributes;

const KNOWN: &str = "br, add, append, prepend, lowerdir, lowerdir+, upperdir, workdir, create, \
                     cpup, udba, diropq, xino, noxino, plink, noplink, dirperm1, acl, noacl, sum, nosum, \
                     coherence, threads, log, ro, rw, and those of mount(8)";

/// Words that mount(8) and fstab(5) have for everybody, and that say nothing to a union.
const FOR_EVERYBODY: &[&str] = &[
    "defaults",
    "dev",
    "suid",
    "exec",
    "atime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "async",
    "sync",
    "dirsync",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "silent",
    "loud",
    "mand",
    "nomand",
    "iversion",
    "noiversion",
    "allow_other",
    "default_permissions",
];

/// Seconds between two looks at the free space, `mfs` without a number; aufs(5).
const MOST_FREE_SECONDS: u64 = 30;
const MOST_THREADS: usize = 256;

/// What the words said so far.
#[derive(Default)]
struct Said {
    branches: Vec<BranchOption>,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
    lowers: Vec<PathBuf>,
    xino: Option<Xino>,
}

impl UnionOptions {
    /// Reads the text that mount(8) has after `-o`: aufs's words (aufs(5)), or overlay's for the
    /// branches, and those of every mount. A backslash takes what follows it for itself: `\,` in
    /// every value, `\:` and `\=` in branches, `\\`.
    ///
    /// # Errors
    /// The first word that is unknown or wrong, by name.
    pub fn parse(text: impl AsRef<[u8]>, source: &str) -> Result<Self, OptionError> {
        let mut options = Self {
            branches: Vec::new(),
            coherence: Coherence::default(),
            udba: Udba::default(),
            create: CreatePolicy::default(),
            copy_up: CopyUpPolicy::default(),
            plink: true,
            acl: false,
            always_opaque: false,
            xino: Xino::default(),
            read_only: false,
            sum: false,
            threads: None,
            source: source.to_owned(),
            attributes: MountAttributes::empty(),
            log: None,
        };
        let mut said = Said::default();
        let words = split(text.as_ref(), b',');
        for word in words.into_iter().filter(|word| !word.is_empty()) {
            options.take(&mut said, word)?;
        }
        options.conclude(said)?;
        Ok(options)
    }

    fn take(&mut self, said: &mut Said, word: &[u8]) -> Result<(), OptionError> {
        let end = word.iter().position(|byte| matches!(byte, b'=' | b':'));
        let key = String::from_utf8_lossy(&word[..end.unwrap_or(word.len())]).into_owned();
        let Some(end) = end else {
            return self.flag(said, &key);
        };
        let value = &word[end + 1..];
        let text = String::from_utf8_lossy(value);
        match (&*key, word[end]) {
            ("br" | "dirs", _) => {
                for branch in split(value, b':') {
                    let first = said.branches.is_empty();
                    said.branches
                        .push(BranchOption::parse(&key, branch, first)?);
                }
            }
            ("append" | "prepend" | "add" | "ins", _) => said.insert(&key, value)?,
            ("del" | "mod", _) => {
                return Err(
                    OptionError::new(format!("`{key}` changes a mount that is there"))
                        .hint("`strata-union control TARGET del:PATH` does"),
                );
            }
            ("lowerdir", b'=') => {
                let layers = split(value, b':');
                if layers.iter().any(|layer| layer.is_empty()) {
                    let reason = "`lowerdir` has a layer without a path";
                    return Err(OptionError::new(reason)
                        .hint("data-only layers (`::`) are overlay's alone"));
                }
                for layer in layers {
                    said.lowers.push(path(&key, layer)?);
                }
            }
            ("lowerdir+", b'=') => said.lowers.push(path(&key, value)?),
            ("upperdir", b'=') => said.upper = Some(path(&key, value)?),
            ("workdir", b'=') => said.work = Some(path(&key, value)?),
            ("xino", b'=') => said.xino = Some(Xino::At(path(&key, value)?)),
            ("log", b'=') => self.log = Some(path(&key, value)?),
            ("create", b'=') => self.create = create(&text)?,
            ("cpup" | "copyup", b'=') => {
                self.copy_up = match &*text {
                    "tdp" | "top-down-parent" => CopyUpPolicy::TopDownParent,
                    "bup" | "bottom-up-parent" => CopyUpPolicy::BottomUpParent,
                    "bu" | "bottom-up" => CopyUpPolicy::BottomUp,
                    _ => return Err(wrong(&key, &text, "tdp, bup, bu")),
                };
            }
            ("udba", b'=') => {
                self.udba = match &*text {
                    "none" => Udba::None,
                    "reval" => Udba::Reval,
                    "notify" => {
                        return Err(wrong(&key, &text, "none, reval").hint(
                            "`udba=reval` looks again at each use, and misses nothing either",
                        ));
                    }
                    _ => return Err(wrong(&key, &text, "none, reval")),
                };
            }
            ("diropq", b'=') => {
                self.always_opaque = match &*text {
                    "a" | "always" => true,
                    "w" | "whiteouted" => false,
                    _ => return Err(wrong(&key, &text, "a, w")),
                };
            }
            ("coherence", b'=') => {
                self.coherence = match &*text {
                    "strict" => Coherence::Strict,
                    "fast" => Coherence::Fast,
                    _ => return Err(wrong(&key, &text, "strict, fast")),
                };
            }
            ("threads", b'=') => {
                let number = text.parse().ok();
                let threads = number.filter(|number| (1..=MOST_THREADS).contains(number));
                let known = format!("1 to {MOST_THREADS}");
                self.threads = Some(threads.ok_or_else(|| wrong(&key, &text, &known))?);
            }
            ("comment", b'=') => {}
            (key, _) if key.starts_with("x-") || key.starts_with("X-") => {}
            _ => return Err(unknown(&String::from_utf8_lossy(word))),
        }
        Ok(())
    }

    fn flag(&mut self, said: &mut Said, word: &str) -> Result<(), OptionError> {
        match word {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "noxino" => said.xino = Some(Xino::None),
            "plink" => self.plink = true,
            "noplink" => self.plink = false,
            "sum" => self.sum = true,
            "nosum" => self.sum = false,
            "acl" => self.acl = true,
            "noacl" => self.acl = false,
            "dirperm1" => {}
            "nodirperm1" => {
                return Err(OptionError::new(
                    "`nodirperm1` asks for the permissions of hidden directories too, which this \
                     union never looks at",
                )
                .hint("leave it out: the topmost directory decides (`dirperm1`)"));
            }
            "remount" => {
                return Err(OptionError::new("`remount` is not done through options")
                    .hint("`strata-union control TARGET REQUEST` changes branches"));
            }
            _ if word.starts_with("x-") || word.starts_with("X-") => {}
            _ => {
                let (word, set) = match word.strip_prefix("no") {
                    Some(rest) if attribute(rest).is_some() => (rest, true),
                    _ => (word, false),
                };
                match attribute(word) {
                    Some(attribute) => self.attributes.set(attribute, set),
                    None if FOR_EVERYBODY.contains(&word) => {}
                    None => return Err(unknown(word)),
                }
            }
        }
        Ok(())
    }

    /// Joins what was said of branches in either way.
    fn conclude(&mut self, said: Said) -> Result<(), OptionError> {
        let in_overlays_words = said.upper.is_some() || !said.lowers.is_empty();
        if in_overlays_words && !said.branches.is_empty() {
            return Err(OptionError::new(
                "branches are given both by `br` and by `lowerdir` or `upperdir`",
            )
            .hint("say all of them one way"));
        }
        if said.work.is_some() && said.upper.is_none() {
            return Err(OptionError::new(
                "`workdir` is of no use without `upperdir`",
            ));
        }
        self.branches = said.branches;
        let lowers = said.lowers.into_iter();
        self.branches.extend(said.upper.map(BranchOption::writable));
        self.branches
            .extend(lowers.map(|lower| BranchOption::lower(lower, true)));
        if self.branches.is_empty() {
            return Err(OptionError::new("no branch is given")
                .hint("`br=UPPER=rw:LOWER=ro`, or `lowerdir=LOWER,upperdir=UPPER,workdir=WORK`"));
        }
        let writes = |branch: &BranchOption| branch.access == Access::ReadWrite;
        let beside = said.work.map(|work| Xino::At(work.join("xino")));
        self.xino = match said.xino.or(beside) {
            Some(xino) => xino,
            // Nothing is copied up, and so every file keeps the number that it has.
            None if !self.branches.iter().any(writes) => Xino::None,
            None => Xino::Beside,
        };
        Ok(())
    }
}

impl Said {
    /// `append:BRANCH`, `prepend:BRANCH`, `add:INDEX:BRANCH`.
    fn insert(&mut self, key: &str, value: &[u8]) -> Result<(), OptionError> {
        let (at, branch) = match key {
            "append" => (self.branches.len(), value),
            "prepend" => (0, value),
            _ => {
                let end = value.iter().position(|byte| *byte == b':').unwrap_or(0);
                let (number, branch) = value.split_at(end);
                let at = std::str::from_utf8(number)
                    .ok()
                    .and_then(|number| number.parse().ok());
                let at = at.filter(|at| *at <= self.branches.len());
                let refused = || {
                    let reason = format!("`{key}` takes a place among the branches before it");
                    OptionError::new(reason).hint("`add:INDEX:PATH=PERMISSION`, from 0 for the top")
                };
                (at.ok_or_else(refused)?, branch.get(1..).unwrap_or_default())
            }
        };
        let branch = BranchOption::parse(key, branch, at == 0)?;
        self.branches.insert(at, branch);
        Ok(())
    }
}

fn attribute(word: &str) -> Option<MountAttributes> {
    Some(match word {
        "suid" => MountAttributes::NOSUID,
        "dev" => MountAttributes::NODEV,
        "exec" => MountAttributes::NOEXEC,
        "atime" => MountAttributes::NOATIME,
        _ => return None,
    })
}

fn create(text: &str) -> Result<CreatePolicy, OptionError> {
    let (name, seconds) = match text.split_once(':') {
        Some((name, seconds)) => (name, seconds.parse().ok()),
        None => (text, Some(MOST_FREE_SECONDS)),
    };
    match (name, seconds) {
        ("mfs" | "most-free-space", Some(seconds)) => {
            Ok(CreatePolicy::MostFree(Duration::from_secs(seconds)))
        }
        ("tdp" | "top-down-parent", _) if name == text => Ok(CreatePolicy::TopDownParent),
        ("rr" | "round-robin", _) if name == text => Ok(CreatePolicy::RoundRobin),
        _ => Err(wrong("create", text, "tdp, rr, mfs, mfs:SECONDS")),
    }
}

fn wrong(key: &str, value: &str, known: &str) -> OptionError {
    OptionError::new(format!("`{key}={value}` is not known; it takes {known}"))
}

fn unknown(word: &str) -> OptionError {
    OptionError::new(format!("unknown option `{word}`")).hint(format!("known are {KNOWN}"))
}
