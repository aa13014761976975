//! The exact diff of two trees in canonical form (`docs/formats.md`, section 1).
//!
//! [`compare`] walks two trees and keeps a compact record of each name that may be part of the
//! difference; [`Comparison::write`] then reads contents in order and streams the changeset. Trees
//! hold no mounts, and nobody writes to them meanwhile.
//!
//! # Whole trees
//! Two directories are read, sorted and gone through side by side. A directory that only the lower
//! tree has is one whiteout and is not entered; one that only the upper tree has is entered alone.
//!
//! # Partial trees
//! A union's upper directory U over the lower tree L shows the merged tree M: names of U, and names
//! of L that no mark hides. Only U is walked, and each of its names looked up in L. That gives the
//! changeset from L to M, or says that it cannot:
//!
//! *Names.* A name of M that is not in U is the very inode of L: no entry by itself, and everything
//! below it neither, as a directory of M whose contents changed is in U. A name of L that is not in
//! M has a mark in U: a whiteout, or the mark of an opaque directory. A union shows as hidden also
//! what lies under a directory of U that is no directory in L, and below an opaque one; from there
//! on U shows all there is, so these directories are compared as whole ones, in which further marks
//! hide nothing that is visible.
//!
//! *Link groups* are sets of names of M with one inode. A group of names in U is known whole, since
//! U is walked whole; what its names were in L is known as each was looked up. So the rule "written
//! whole if a name is an entry or if the names were not one group" can be decided. A group of names
//! not in U is one lower inode: none of its names is an entry and they come from one group, so that
//! rule never applies. (No group has names of both kinds: a union shows an inode of U and one of L
//! as different inodes. Where it does not, with overlay's index or aufs's pseudo-links, the driver
//! says [`Mark::Elsewhere`].)
//!
//! The rule of split groups remains: of the names of one lower inode that survive unwritten, those
//! that share an inode with the least one stay unwritten, the others are written. If none of them
//! is in U, they share one inode and none is written. If one is in U (a file copied up without a
//! change), the names that are not in U matter, and they are unknown unless the number of names
//! looked at, hidden ones included, is the inode's link count. Else the answer is
//! [`Outcome::NeedsWholeTrees`], and the driver compares whole trees as the union shows them.

mod compare;
mod links;
mod marks;
mod node;
mod same;
mod walk;
mod write;
mod xattrs;

pub use compare::{CompareOptions, Comparison, Outcome, Upper, compare};
pub use marks::{Mark, Marks, UpperEntry};
pub use write::Written;
