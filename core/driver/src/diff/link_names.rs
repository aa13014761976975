//! The further names of files that have several: which inodes to ask for.

use super::marks::look_up;
use super::names::ChangedNames;
use super::same::open;
use crate::error::Result;
use crate::tree::inode::errno;
use crate::tree::names::Names;
use crate::tree::trail::Trail;
use rustix::fs::{FileType, OFlags, Stat};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use strata_sys::dir::DirectoryReader;

/// One of two trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tree {
    /// The older one.
    Lower,
    /// The newer one.
    Upper,
}

impl ChangedNames {
    /// Adds all names of each file that has several and is looked at under one of them.
    /// `names_of` gives the paths of an inode in one of the trees, from its root; what it leaves
    /// out makes the comparison ask for whole trees, never wrong.
    ///
    /// Once is enough if these are all names that differ: a further name of a looked-at inode is
    /// either among them, or unchanged, and then the inode of the other tree that has it is the
    /// first one's copy, whose names are the same but for those that differ.
    ///
    /// # Errors
    /// What the kernel or `names_of` refuses.
    pub fn add_links(
        &mut self,
        lower: BorrowedFd<'_>,
        upper: BorrowedFd<'_>,
        names_of: &mut dyn FnMut(Tree, u64) -> Result<Vec<Vec<u8>>>,
    ) -> Result<()> {
        let mut search = Search::new(lower, upper)?;
        search.walk(self)?;
        for (tree, inode) in search.linked {
            for path in names_of(tree, inode)? {
                self.add_link(&path)?;
            }
        }
        Ok(())
    }
}

/// A directory that is looked at, in one tree or both.
#[derive(Clone)]
struct Place {
    trail: Arc<Trail>,
    lower: Option<Rc<OwnedFd>>,
    upper: Option<Rc<OwnedFd>>,
}

struct Job {
    above: Place,
    name: CString,
    /// Which trees have the directory.
    trees: (bool, bool),
    /// The names to look at; all of them if there is none.
    node: Option<u32>,
}

/// Looks at the names that a comparison will look at.
struct Search {
    root: Place,
    devices: (u64, u64),
    jobs: Vec<Job>,
    reader: DirectoryReader,
    /// Inodes with several names.
    linked: HashSet<(Tree, u64)>,
}

impl Search {
    fn new(lower: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> Result<Self> {
        let trail = Trail::root("diff");
        let blame = |errno| trail.error("open the directory", c"", errno);
        let reopen = |root| open(root, c".", OFlags::DIRECTORY).map_err(blame);
        let device = |root| rustix::fs::fstat(root).map_err(blame);
        Ok(Self {
            devices: (device(lower)?.st_dev, device(upper)?.st_dev),
            root: Place {
                lower: Some(Rc::new(reopen(lower)?)),
                upper: Some(Rc::new(reopen(upper)?)),
                trail,
            },
            jobs: Vec::new(),
            reader: DirectoryReader::new(),
            linked: HashSet::new(),
        })
    }

    fn walk(&mut self, names: &ChangedNames) -> Result<()> {
        let root = self.root.clone();
        let node = (!names.is_whole(0)).then_some(0);
        self.look_in(&root, node, names)?;
        while let Some(job) = self.jobs.pop() {
            let trail = job.above.trail.below(&job.name);
            let enter = |above: &Option<Rc<OwnedFd>>, there| match above {
                Some(above) if there => open(above.as_fd(), &job.name, OFlags::DIRECTORY)
                    .map(|found| Some(Rc::new(found)))
                    .map_err(|errno| trail.error("open the directory", c"", errno)),
                _ => Ok(None),
            };
            let place = Place {
                lower: enter(&job.above.lower, job.trees.0)?,
                upper: enter(&job.above.upper, job.trees.1)?,
                trail: Arc::clone(&trail),
            };
            drop(job.above);
            self.look_in(&place, job.node, names)?;
        }
        Ok(())
    }

    fn look_in(&mut self, place: &Place, node: Option<u32>, names: &ChangedNames) -> Result<()> {
        if let Some(node) = node {
            for (name, node) in names.below(node) {
                let all = names.is_whole(node);
                self.look_at(place, name, (!all).then_some(node), names)?;
            }
            return Ok(());
        }
        let mut all = HashSet::new();
        let mut listed = Names::default();
        for directory in [&place.lower, &place.upper].into_iter().flatten() {
            let fresh = open(directory.as_fd(), c".", OFlags::DIRECTORY)
                .map_err(|errno| place.trail.error("open the directory", c"", errno))?;
            listed
                .read(&mut self.reader, fresh.as_fd())
                .map_err(|error| {
                    let errno = errno(&error);
                    place.trail.error("read the directory", c"", errno)
                })?;
            all.extend(listed.iter().map(|name| name.text.to_owned()));
        }
        for name in all {
            self.look_at(place, &name, None, names)?;
        }
        Ok(())
    }

    fn look_at(
        &mut self,
        place: &Place,
        name: &CStr,
        node: Option<u32>,
        names: &ChangedNames,
    ) -> Result<()> {
        let look = |directory: &Option<Rc<OwnedFd>>| match directory {
            Some(directory) => look_up(directory.as_fd(), name)
                .map_err(|(step, errno)| place.trail.error(step, name, errno)),
            None => Ok(None),
        };
        let (lower, upper) = (look(&place.lower)?, look(&place.upper)?);
        let below = self.note(Tree::Lower, lower.as_ref());
        let above = self.note(Tree::Upper, upper.as_ref());
        // As in the comparison: a directory that is gone is not entered, a new one wholly.
        let node = match (below, above) {
            (_, false) => return Ok(()),
            (true, true) if node.is_some_and(|node| names.ends_at(node)) => return Ok(()),
            (true, true) => node,
            (false, true) => None,
        };
        self.jobs.push(Job {
            above: place.clone(),
            name: name.to_owned(),
            trees: (below, above),
            node,
        });
        Ok(())
    }

    /// Keeps the inode if it has several names. True for a directory.
    fn note(&mut self, tree: Tree, stat: Option<&Stat>) -> bool {
        let Some(stat) = stat else {
            return false;
        };
        let device = match tree {
            Tree::Lower => self.devices.0,
            Tree::Upper => self.devices.1,
        };
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !directory && stat.st_nlink > 1 && stat.st_dev == device {
            self.linked.insert((tree, stat.st_ino));
        }
        directory
    }
}
