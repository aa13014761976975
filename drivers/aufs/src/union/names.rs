//! Names with a meaning; aufs's `include/uapi/linux/aufs_type.h`.

use rustix::io::Errno;
use std::ffi::{CStr, CString};

/// Before a name: it is deleted here, and in all branches below.
pub(crate) const WHITEOUT: &[u8] = b".wh.";
/// In a directory: branches below do not show through.
pub(crate) const OPAQUE: &CStr = c".wh..wh..opq";
/// The file whose links are all whiteouts of a branch.
pub(crate) const BASE: &CStr = c".wh..wh.aufs";
/// Pseudo-links: files with several names, by number.
pub(crate) const PSEUDO_LINKS: &CStr = c".wh..wh.plnk";
/// Files under way, and such as have no name any more.
pub(crate) const ORPHANS: &CStr = c".wh..wh.orph";
/// What stands in no listing: all of the above, and directories that are being removed.
const RESERVED: &[u8] = b".wh..wh.";
/// Longest name: what is left of 255 bytes beside the two prefixes and a suffix of aufs's own.
pub(crate) const LONGEST: usize = 242;

/// Refuses names that a union cannot hold, before any branch is asked.
pub(crate) fn check(name: &CStr) -> Result<(), Errno> {
    let bytes = name.to_bytes();
    if bytes.len() > LONGEST {
        Err(Errno::NAMETOOLONG)
    } else if bytes.starts_with(WHITEOUT) {
        Err(Errno::PERM)
    } else {
        Ok(())
    }
}

/// What a name in a branch's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// Itself.
    Name,
    /// The whiteout of another.
    Whiteout(&'a [u8]),
    /// The opaque mark.
    Opaque,
    /// Nothing that is ever seen.
    Reserved,
}

/// Reads a name found in a branch. Names too long to be looked up are nothing.
pub(crate) fn meaning(name: &CStr) -> Meaning<'_> {
    let bytes = name.to_bytes();
    if name == OPAQUE {
        Meaning::Opaque
    } else if bytes.starts_with(RESERVED) {
        Meaning::Reserved
    } else if let Some(hidden) = bytes.strip_prefix(WHITEOUT) {
        if hidden.is_empty() {
            Meaning::Reserved
        } else {
            Meaning::Whiteout(hidden)
        }
    } else if bytes.len() > LONGEST {
        Meaning::Reserved
    } else {
        Meaning::Name
    }
}

/// The whiteout of `name`.
pub(crate) fn whiteout(name: &CStr) -> CString {
    let mut bytes = Vec::with_capacity(WHITEOUT.len() + name.to_bytes().len());
    bytes.extend_from_slice(WHITEOUT);
    bytes.extend_from_slice(name.to_bytes());
    CString::new(bytes).expect("a name has no NUL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_apart() {
        assert_eq!(meaning(c".wh"), Meaning::Name);
        assert_eq!(meaning(c".wh.a"), Meaning::Whiteout(b"a"));
        assert_eq!(meaning(c".wh."), Meaning::Reserved);
        assert_eq!(meaning(OPAQUE), Meaning::Opaque);
        assert_eq!(meaning(BASE), Meaning::Reserved);
        assert_eq!(whiteout(c"a").as_c_str(), c".wh.a");
        assert_eq!(check(c".wh."), Err(Errno::PERM));
        assert_eq!(check(c".wh"), Ok(()));
    }
}
