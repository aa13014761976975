//! What a sample left behind, and whether it is right.

use crate::tree::{Facet, Tree};
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::path::Path;

/// Whether modification times of a tree were set on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Times {
    /// They were, and count.
    Set,
    /// They are those of the run, and do not.
    Natural,
}

/// What came out of a sample.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// A tree.
    Tree {
        /// The tree as read back.
        tree: Box<Tree>,
        /// Whether its times count.
        times: Times,
    },
    /// A stream of this digest.
    Stream(String),
    /// Nothing that could be compared.
    Nothing,
}

impl Outcome {
    /// Reads the tree at `path`.
    pub(crate) fn of_tree(path: &Path, times: Times) -> Result<Self> {
        Ok(Self::Tree {
            tree: Box::new(Tree::read(path)?),
            times,
        })
    }

    /// The digest of all that counts.
    pub(crate) fn digest(&self) -> String {
        match self {
            Self::Tree {
                tree,
                times: Times::Set,
            } => tree.digest_text(),
            Self::Tree { tree, .. } => digest_without_times(tree),
            Self::Stream(digest) => digest.clone(),
            Self::Nothing => String::new(),
        }
    }

    /// How this differs from `expected`, in one line; none if it does not.
    pub(crate) fn fault(&self, expected: &Self) -> Option<String> {
        match (self, expected) {
            (Self::Nothing, _) | (_, Self::Nothing) => None,
            (Self::Stream(one), Self::Stream(two)) => {
                (one != two).then(|| format!("the stream has the digest {one}, others gave {two}"))
            }
            (Self::Tree { tree, times }, Self::Tree { tree: other, .. }) => {
                if self.digest() == expected.digest() {
                    return None;
                }
                let mut facets = vec![Facet::LinkGroups, Facet::Owner];
                if *times == Times::Set {
                    facets.push(Facet::ModificationTime);
                }
                let differences = tree.compare_by(other, &facets);
                Some(format!(
                    "{} differences to the plain directory: {}",
                    differences.len(),
                    differences
                        .first()
                        .map_or("order of link groups", String::as_str)
                ))
            }
            _ => Some("the result is of another kind".to_owned()),
        }
    }
}

fn digest_without_times(tree: &Tree) -> String {
    let mut hash = Sha256::new();
    for (path, node) in tree.nodes() {
        hash.update((path.as_bytes().len() as u64).to_le_bytes());
        hash.update(path.as_bytes());
        hash.update(format!(
            "{:?} {:o} {} {} {} {:?}",
            node.kind, node.mode, node.uid, node.gid, node.size, node.device
        ));
        hash.update(node.content_digest.unwrap_or_default());
        hash.update((node.target.len() as u64).to_le_bytes());
        hash.update(&node.target);
        hash.update(format!("{:?} {:?}", node.xattrs, node.link_leader));
    }
    hex::encode(hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_file_is_a_fault_and_a_new_time_is_one_only_where_times_count() {
        let directory = tempfile::tempdir().unwrap();
        fs_err::write(directory.path().join("a"), "1").unwrap();
        fs_err::write(directory.path().join("b"), "2").unwrap();
        let read = |times| Outcome::of_tree(directory.path(), times).unwrap();
        let (set, natural) = (read(Times::Set), read(Times::Natural));
        assert_eq!(read(Times::Set).fault(&set), None);
        let file = fs_err::File::options()
            .write(true)
            .open(directory.path().join("a"))
            .unwrap();
        let epoch = std::time::SystemTime::UNIX_EPOCH;
        file.file().set_modified(epoch).unwrap();
        assert!(read(Times::Set).fault(&set).unwrap().contains("`a`"));
        assert_eq!(read(Times::Natural).fault(&natural), None);
        fs_err::remove_file(directory.path().join("b")).unwrap();
        assert!(
            read(Times::Natural)
                .fault(&natural)
                .unwrap()
                .contains("`b`")
        );
    }

    #[test]
    fn streams_of_other_digests_are_faults() {
        let one = Outcome::Stream("1".into());
        assert!(one.fault(&Outcome::Stream("2".into())).is_some());
        assert_eq!(one.fault(&one), None);
        assert_eq!(one.fault(&Outcome::Nothing), None);
    }
}
