//! In which branch a name would show: where several are written, what stands in a branch above
//! can hide it.

use super::branch::Branch;
use super::node::{Directory, Node};
use super::place::find_at;
use super::state::{Union, part_in};
use rustix::io::Errno;
use std::ffi::CStr;
use std::os::fd::AsFd as _;
use std::sync::Arc;

impl Union {
    /// The branch for `name` in `parent`: `branch`, unless the name would be hidden there; then
    /// the nearest one above that is written and where it shows.
    pub(crate) fn branch_to_show(
        &self,
        parent: &Arc<Node>,
        name: &CStr,
        branch: Arc<Branch>,
    ) -> Result<Arc<Branch>, Errno> {
        if self.rank(&branch) == Some(0) {
            return Ok(branch);
        }
        let branch = self.branch_to_merge(parent, branch)?;
        let directory = parent.directory()?;
        for part in self.above(&directory, &branch) {
            let hidden = part.branch.whiteouts && part.marks.hides(&part.directory, name)?;
            if hidden || find_at(part.directory.as_fd(), name)?.is_some() {
                return self.nearest_above(&part.branch);
            }
        }
        Ok(branch)
    }

    /// Likewise, for the directory itself.
    fn branch_to_merge(&self, node: &Arc<Node>, branch: Arc<Branch>) -> Result<Arc<Branch>, Errno> {
        let home = {
            let directory = node.directory()?;
            if part_in(&directory, &branch).is_some() {
                return Ok(branch);
            }
            for part in self.above(&directory, &branch) {
                if part.branch.whiteouts && part.marks.opaque(&part.directory)? {
                    return self.nearest_above(&part.branch);
                }
            }
            directory.home.clone()
        };
        let Some((parent, name)) = home else {
            return Ok(branch);
        };
        let branch = self.branch_to_merge(&parent, branch)?;
        let directory = parent.directory()?;
        for part in self.above(&directory, &branch) {
            if part.branch.whiteouts && part.marks.hides(&part.directory, &name)? {
                return self.nearest_above(&part.branch);
            }
        }
        Ok(branch)
    }

    /// The parts above a branch, top first.
    fn above<'a>(
        &self,
        directory: &'a Directory,
        branch: &Arc<Branch>,
    ) -> impl Iterator<Item = &'a super::node::Part> {
        let own = self.rank(branch);
        let is_above = move |part: &&super::node::Part| self.rank(&part.branch) < own;
        directory.parts.iter().take_while(is_above)
    }

    /// The higher one of two branches.
    pub(crate) fn higher(&self, one: Arc<Branch>, two: Arc<Branch>) -> Arc<Branch> {
        if self.rank(&two) < self.rank(&one) {
            two
        } else {
            one
        }
    }
}
