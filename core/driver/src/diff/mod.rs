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
//!
//! # Named trees
//! Both trees are whole, the upper one U began as a copy of the lower one L, and every name that
//! differs is in a tree of names. Only those are looked at, in both trees; a directory is listed
//! only where the names below it are not known, or where just one tree has it. A name that is not
//! looked at is in both trees, the same in all that counts, and in U the copy of the very inode
//! that it is in L: that of L's inode `i` is called `copy(i)`. So it is no entry by itself, and a
//! name too many costs a look. What is not looked at is not refused either: a name that begins
//! with `.wh.` and did not change passes.
//!
//! *Link groups.* The answer is [`Outcome::NeedsWholeTrees`] unless every name was looked at of
//! (a) each inode of U that has several names and of which one was looked at, and (b) each inode
//! of L of which looked-at names survive unwritten. (Names of L below a directory that is gone
//! count if they are among [`ChangedNames::add_links`].) Then the groups are exact. Take a group of U
//! with a name that was not looked at. By (a) none of its names was, so it is `copy(i)` for one
//! inode `i` of L, all of its names are the same, and it is not written for its own sake. It would
//! be for the sake of the rule of split groups if a name of `i` survived unwritten in another
//! group. That name was looked at, as it is not in `copy(i)`; but by (b) all names of `i` were then
//! looked at, and the first one was not. Groups of which all names were looked at are known in U by
//! (a), and what shares their inode of L by (b).

mod compare;
mod link_names;
mod links;
mod marks;
mod named;
mod names;
mod node;
mod same;
mod walk;
mod write;
mod xattrs;

pub use compare::{CompareOptions, Comparison, Outcome, Upper, compare};
pub use link_names::Tree;
pub use marks::{Mark, Marks, UpperEntry};
pub use names::ChangedNames;
pub use write::Written;
