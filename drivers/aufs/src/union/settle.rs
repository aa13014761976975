//! Making a branch stand for itself: what only the union knows of it is written into it.

use super::listing::names_of;
use super::lookup::top;
use super::node::Node;
use super::options::UnionOptions;
use super::place::{errno, file_type, is_directory};
use super::serve::UnionError;
use super::state::Union;
use super::xino::Numbers;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;
use std::path::Path;
use std::sync::Arc;
use strata_sys::dir::DirectoryReader;

/// Whether a branch whose numbers are kept in `xino` lacks names of files that it holds: the
/// branch alone then does not tell what its union shows.
///
/// # Errors
/// If the file is there and cannot be read.
pub fn lacks_names(xino: &Path) -> Result<bool, UnionError> {
    Ok(numbers(xino)?.pending() > 0)
}

fn numbers(xino: &Path) -> Result<Numbers, UnionError> {
    Numbers::open(Some(xino)).map_err(|errno| UnionError::Branch {
        path: xino.to_owned(),
        errno,
    })
}

/// Makes the names of hard links that do not stand in the written branch of a union yet, and
/// removes its pseudo-links. The union must not be mounted.
///
/// Without such names, which is nearly always, nothing is looked at but the directory of
/// pseudo-links; with some, the directories of all branches.
///
/// # Errors
/// What the kernel refuses.
pub fn settle(options: UnionOptions) -> Result<(), UnionError> {
    let union = Union::open(options).map_err(|(path, errno)| UnionError::Branch { path, errno })?;
    for branch in union.branches() {
        let Some(writable) = &branch.writable else {
            continue;
        };
        let failed = |errno| UnionError::Branch {
            path: branch.path.clone(),
            errno,
        };
        if branch.numbers().map_err(failed)?.pending() > 0 {
            make_names(&union, &union.root).map_err(failed)?;
        }
        if let Ok(links) = writable.pseudo_links() {
            clear(links).map_err(failed)?;
        }
    }
    Ok(())
}

/// Looks at each name that a branch below gives, and makes it if its file was copied up by another.
fn make_names(union: &Union, node: &Arc<Node>) -> Result<(), Errno> {
    let mut inside = Vec::new();
    {
        let directory = node.directory()?;
        for name in names_of(&directory)? {
            let Some(top) = top(&directory, 0, &name)? else {
                continue;
            };
            let written = directory.parts[top.part].branch.is_writable();
            let several = file_type(&top.stat) != FileType::Directory && top.stat.stx_nlink > 1;
            if is_directory(&top.stat) || (several && !written) {
                inside.push(union.node_of(node, &directory, &name, &top)?);
            }
        }
    }
    for found in inside {
        let made = if found.is_directory() {
            make_names(union, &found)
        } else {
            union.materialize(&found)
        };
        union.table.forget(found.id, 1);
        made?;
    }
    Ok(())
}

/// Empties a directory of files.
fn clear(directory: &std::os::fd::OwnedFd) -> Result<(), Errno> {
    let open = super::listing::open_to_read(directory)?;
    let mut names = Vec::new();
    DirectoryReader::new()
        .read(&open, |entry| -> Result<(), super::branch::SysErrorOnly> {
            names.push(entry.name.to_owned());
            Ok(())
        })
        .map_err(|error| errno(&error.0))?;
    for name in names {
        rustix::fs::unlinkat(directory, &*name, AtFlags::empty())?;
    }
    Ok(())
}
