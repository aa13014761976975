//! The names of one directory, in one buffer that is used again for the next.

use rustix::fs::FileType;
use std::cmp::Ordering;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use strata_sys::SysError;
use strata_sys::dir::DirectoryReader;

/// The names of a directory.
#[derive(Debug, Default)]
pub(crate) struct Names {
    arena: Vec<u8>,
    rows: Vec<Row>,
}

/// Where one name stands in the arena, and what the directory says of it.
#[derive(Clone, Copy, Debug)]
struct Row {
    /// The first eight bytes of the name, so that most comparisons end here.
    key: u64,
    inode: u64,
    offset: u32,
    length: u16,
    file_type: FileType,
}

/// One name of a directory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    /// The name.
    pub(crate) text: &'a CStr,
    /// Its type as the directory tells it; may be unknown.
    pub(crate) file_type: FileType,
    /// Its inode as the directory tells it.
    pub(crate) inode: u64,
    key: u64,
}

impl Name<'_> {
    /// Bytewise order of the names.
    pub(crate) fn order(&self, other: &Name<'_>) -> Ordering {
        self.key
            .cmp(&other.key)
            .then_with(|| self.text.to_bytes().cmp(other.text.to_bytes()))
    }
}

impl Names {
    /// Replaces the names by those of `directory`, which stands at its start.
    pub(crate) fn read(
        &mut self,
        reader: &mut DirectoryReader,
        directory: BorrowedFd<'_>,
    ) -> Result<(), SysError> {
        self.clear();
        reader.read(directory, |entry| {
            self.push(entry.name, entry.file_type, entry.inode);
            Ok(())
        })
    }

    /// Forgets all names.
    pub(crate) fn clear(&mut self) {
        self.arena.clear();
        self.rows.clear();
    }

    /// Adds one name.
    pub(crate) fn push(&mut self, name: &CStr, file_type: FileType, inode: u64) {
        let bytes = name.to_bytes();
        let mut first = [0; 8];
        let known = bytes.len().min(8);
        first[..known].copy_from_slice(&bytes[..known]);
        self.rows.push(Row {
            key: u64::from_be_bytes(first),
            inode,
            offset: self.arena.len() as u32,
            length: bytes.len() as u16,
            file_type,
        });
        self.arena.extend_from_slice(name.to_bytes_with_nul());
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The name at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<Name<'_>> {
        let row = self.rows.get(index)?;
        let start = row.offset as usize;
        let bytes = &self.arena[start..=start + usize::from(row.length)];
        Some(Name {
            text: CStr::from_bytes_with_nul(bytes).expect("it was copied with its final NUL"),
            file_type: row.file_type,
            inode: row.inode,
            key: row.key,
        })
    }

    /// All of them, in the present order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Name<'_>> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    /// Sorts bytewise.
    pub(crate) fn sort_by_name(&mut self) {
        let arena = &self.arena;
        let bytes = |row: &Row| {
            let start = row.offset as usize;
            &arena[start..start + usize::from(row.length)]
        };
        self.rows.sort_unstable_by(|one, other| {
            one.key
                .cmp(&other.key)
                .then_with(|| bytes(one).cmp(bytes(other)))
        });
    }

    /// Sorts by inode number, which is near the order on disk.
    pub(crate) fn sort_by_inode(&mut self) {
        self.rows.sort_unstable_by_key(|row| row.inode);
    }
}
