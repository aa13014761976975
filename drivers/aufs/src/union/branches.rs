//! Branches that come and go while the union is mounted; aufs(5), "Branch Syntax".

use super::branch::Branch;
use super::control::BranchControl;
use super::lookup::top;
use super::node::{Body, Identity, Mode, Node};
use super::options::{Access, BranchOption, Xino};
use super::place::{Place, is_directory};
use super::state::{Union, beside, part_in, root_parts};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use strata_driver::{Error, ErrorKind, Result};
use strata_sys::mount::DetachedMount;

const OPERATION: &str = "control";

impl Union {
    fn new_branch(&self, option: &BranchOption, root: DetachedMount) -> Result<Arc<Branch>> {
        let written = self.options.writes(option);
        let keeps = written && self.options.xino != Xino::None;
        let xino = if keeps { beside(&option.path) } else { None };
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let branch = Branch::on(root, &self.options, option, xino.as_deref(), &mut devices);
        let branch = branch.map_err(|errno| {
            Error::io(OPERATION, errno.into()).with("branch", option.path.display())
        })?;
        Ok(Arc::new(branch))
    }

    fn find_branch(&self, path: &Path) -> Result<usize> {
        let branches = self.branches();
        let at = branches.iter().position(|branch| branch.path == path);
        at.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, OPERATION)
                .because("the union has no such branch")
                .with("branch", path.display())
                .hint("`branches` lists them")
        })
    }

    /// A branch of which a file is open stays.
    fn refuse_open(&self, branch: &Arc<Branch>) -> Result<()> {
        for node in self.table.all() {
            let Ok(other) = node.other() else {
                continue;
            };
            if Arc::ptr_eq(&other.branch, branch) && other.mode != Mode::Closed {
                let name = other.home.as_ref().map(|(_, name)| name.to_string_lossy());
                return Err(Error::new(ErrorKind::InUse, OPERATION)
                    .because("a file of the branch is open")
                    .with("branch", branch.path.display())
                    .with("file", name.as_deref().unwrap_or("one that is removed"))
                    .hint("end what uses it and try again"));
            }
        }
        Ok(())
    }

    /// All that is known of directories and files is found out again, from the root down.
    fn refresh(&self, branches: &[Arc<Branch>]) {
        self.replace_branches(branches.to_vec());
        if let Ok(mut root) = self.root.directory_mut() {
            root.parts = root_parts(branches, |branch| self.keeps_marks(branch));
        }
        let mut nodes: Vec<_> = self.table.all();
        nodes.sort_by_cached_key(depth);
        for node in &nodes {
            let kept = match &node.body {
                Body::Directory { .. } => self.refresh_directory(node),
                Body::Other(_) => Self::refresh_other(node, branches),
            };
            if kept.is_none() {
                self.table.disown(node);
            }
        }
        self.tell_all_changed(&nodes);
    }

    fn refresh_directory(&self, node: &Arc<Node>) -> Option<()> {
        if Arc::ptr_eq(node, &self.root) {
            return Some(());
        }
        let (parent, name) = node.directory().ok()?.home.clone()?;
        let above = parent.directory().ok()?;
        let top = top(&above, 0, &name).ok()??;
        if !is_directory(&top.stat) {
            return None;
        }
        let parts = self.merge(&above, &name, &top).ok()?;
        let identity = Identity::from(Branch::identity(&top.stat));
        node.directory_mut().ok()?.parts = parts;
        self.table.also(node, identity);
        Some(())
    }

    /// A file of a branch that was opened anew is reached through that.
    fn refresh_other(node: &Arc<Node>, branches: &[Arc<Branch>]) -> Option<()> {
        let (old, home) = {
            let other = node.other().ok()?;
            (other.branch.clone(), other.home.clone())
        };
        if branches.iter().any(|branch| Arc::ptr_eq(branch, &old)) {
            return Some(());
        }
        let branch = branches.iter().find(|branch| branch.path == old.path)?;
        let (parent, name) = home?;
        let directory = part_in(&*parent.directory().ok()?, branch)?
            .directory
            .clone();
        let mut other = node.other_mut().ok()?;
        if !Arc::ptr_eq(&other.branch, &old) {
            return Some(());
        }
        other.place = Place::named(directory, &name);
        other.branch = branch.clone();
        other.reader = None;
        other.writer = None;
        Some(())
    }

    fn tell_all_changed(&self, nodes: &[Arc<Node>]) {
        let Some(kernel) = self.kernel() else {
            return;
        };
        let notifier = &kernel.notifier;
        let whole = notifier.new_epoch();
        for node in nodes {
            let mut told = Ok(());
            if node.is_directory() {
                told = notifier.inval_inode(node.id, 0, 0);
            }
            if whole.is_err()
                && let Some((parent, name)) = home_of(node)
            {
                told = told.and(notifier.inval_entry(parent.id, &name));
            }
            if let Err(error) = told {
                tracing::debug!(%error, "the kernel was not told of a change");
            }
        }
        if whole.is_err() {
            tracing::info!("names that the kernel knows to be absent stay so for a day at most");
        }
    }
}

fn home_of(node: &Arc<Node>) -> Option<(Arc<Node>, std::ffi::CString)> {
    match &node.body {
        Body::Directory { .. } => node.directory().ok()?.home.clone(),
        Body::Other(_) => node.other().ok()?.home.clone(),
    }
}

fn depth(node: &Arc<Node>) -> usize {
    let mut depth = 0;
    let mut at = home_of(node);
    while let Some((parent, _)) = at {
        depth += 1;
        at = home_of(&parent);
    }
    depth
}

impl BranchControl for Arc<Union> {
    fn branches(&self) -> Vec<BranchOption> {
        let branches = Union::branches(self);
        branches.iter().map(|branch| branch.option()).collect()
    }

    fn add(&self, at: usize, branch: BranchOption, root: DetachedMount) -> Result<()> {
        let mut branches = Union::branches(self);
        if branches.iter().any(|one| one.path == branch.path) {
            return Err(Error::new(ErrorKind::AlreadyExists, OPERATION)
                .because("the union has this branch")
                .with("branch", branch.path.display()));
        }
        let added = self.new_branch(&branch, root)?;
        branches.insert(at.min(branches.len()), added);
        self.refresh(&branches);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let at = self.find_branch(path)?;
        let mut branches = Union::branches(self);
        if branches.len() == 1 {
            return Err(Error::new(ErrorKind::InvalidState, OPERATION)
                .because("it is the only branch")
                .hint("unmount the union"));
        }
        self.refuse_open(&branches[at])?;
        branches.remove(at);
        self.refresh(&branches);
        Ok(())
    }

    fn modify(&self, branch: BranchOption, root: DetachedMount) -> Result<()> {
        let at = self.find_branch(&branch.path)?;
        let mut branches = Union::branches(self);
        if branches[at].is_writable() && branch.access != Access::ReadWrite {
            self.refuse_open(&branches[at])?;
        }
        branches[at] = self.new_branch(&branch, root)?;
        self.refresh(&branches);
        Ok(())
    }
}
