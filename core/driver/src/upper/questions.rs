//! What an apply would have asked the layers below, had there been any: answered by a parent that
//! comes late.

use crate::apply::Purpose;
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};

/// What is to be done at a path, if the parent has something there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Question {
    /// It is hidden, and a directory of the layer in its place shows nothing of it.
    pub(super) hide: bool,
    /// What is in its directory is hidden.
    pub(super) seal: bool,
    /// The directory that the layer has there, without saying more of it, is like it.
    pub(super) inherit: bool,
}

/// The questions of one snapshot, an ancestor before what is below it.
#[derive(Debug)]
pub(super) struct Questions {
    record: PathBuf,
    open: BTreeMap<Vec<u8>, Question>,
    /// The layer says itself what its root is like.
    root_is_described: bool,
}

const HIDE: u8 = 1;
const SEAL: u8 = 2;
const INHERIT: u8 = 4;
/// Of the root only, whose path is empty: nothing is to be asked.
const DESCRIBED: u8 = 8;

impl Questions {
    /// Those that earlier applies to the snapshot in directory `snapshot` left.
    pub(super) fn load(snapshot: &Path) -> Result<Self> {
        let record = snapshot.join("implied");
        let bytes = match fs_err::read(&record) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Error::io("read record of an apply", error)),
        };
        let mut open = BTreeMap::new();
        let mut root_is_described = false;
        for line in bytes
            .split(|byte| *byte == 0)
            .filter(|line| !line.is_empty())
        {
            let (&[flags], path) = line.split_at(1) else {
                return Err(Error::new(ErrorKind::Corrupt, "read record of an apply"));
            };
            if flags == DESCRIBED {
                root_is_described = true;
                continue;
            }
            let question = Question {
                hide: flags & HIDE != 0,
                seal: flags & SEAL != 0,
                inherit: flags & INHERIT != 0,
            };
            open.insert(path.to_vec(), question);
        }
        Ok(Self {
            record,
            open,
            root_is_described,
        })
    }

    /// Writes them beside the layer: per path a byte of flags, the path, a NUL.
    pub(super) fn save(&self) -> Result<()> {
        if self.open.is_empty() && !self.root_is_described && !self.record.exists() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        if self.root_is_described {
            bytes.extend([DESCRIBED, 0]);
        }
        for (path, question) in &self.open {
            let flag = |set, flag| if set { flag } else { 0 };
            bytes.push(
                flag(question.hide, HIDE)
                    | flag(question.seal, SEAL)
                    | flag(question.inherit, INHERIT),
            );
            bytes.extend_from_slice(path);
            bytes.push(0);
        }
        fs_err::write(&self.record, bytes).map_err(|error| Error::io("apply", error))
    }

    /// The paths and what is to be done there.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Question)> {
        self.open
            .iter()
            .map(|(path, question)| (path.as_slice(), *question))
    }

    /// Asks about `path`, where the layer has nothing.
    pub(super) fn ask(&mut self, path: &[u8], purpose: Purpose) {
        let ends = (0..path.len()).filter(|&at| path[at] == b'/');
        let cut_off = ends
            .filter_map(|end| self.open.get(&path[..end]))
            .any(|above| above.hide || above.seal);
        if cut_off {
            return;
        }
        if purpose == Purpose::Hide {
            // What lies below is hidden with it.
            let inside = |byte| Bound::Included([path, &[byte]].concat());
            let after = Bound::Excluded([path, b"0"].concat());
            let below: Vec<_> = self
                .open
                .range((inside(b'/'), after))
                .map(|(path, _)| path.clone())
                .collect();
            for path in below {
                self.open.remove(&path);
            }
        }
        let question = self.open.entry(path.to_vec()).or_default();
        match purpose {
            Purpose::Hide => {
                *question = Question {
                    hide: true,
                    ..Question::default()
                }
            }
            // What is hidden has no contents and no attributes.
            Purpose::Seal => question.seal = !question.hide,
            Purpose::Inherit => question.inherit = !question.hide,
        }
    }

    /// Whether an entry of the layer says what its root is like.
    pub(super) fn root_is_described(&self) -> bool {
        self.root_is_described
    }

    /// The layer says itself what the directory at `path` is like.
    pub(super) fn describe(&mut self, path: &[u8]) {
        self.root_is_described |= path.is_empty();
        let Some(question) = self.open.get_mut(path) else {
            return;
        };
        question.inherit = false;
        if *question == Question::default() {
            self.open.remove(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hiding_answers_what_lies_below() {
        let mut questions = Questions {
            record: PathBuf::new(),
            open: BTreeMap::new(),
            root_is_described: false,
        };
        for path in [&b"a/b"[..], b"a-b", b"a0", b"a"] {
            questions.ask(path, Purpose::Inherit);
        }
        questions.ask(b"a", Purpose::Hide);
        for purpose in [Purpose::Seal, Purpose::Inherit] {
            questions.ask(b"a", purpose);
            questions.ask(b"a/c", purpose);
        }
        questions.describe(b"a");
        questions.describe(b"a0");
        let left: Vec<_> = questions.iter().collect();
        let hidden = Question {
            hide: true,
            ..Question::default()
        };
        let implied = Question {
            inherit: true,
            ..Question::default()
        };
        assert_eq!(left, [(&b"a"[..], hidden), (b"a-b", implied)]);
    }
}
