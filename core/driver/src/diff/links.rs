//! Link groups: which unchanged names must be written all the same.

use super::node::{Key, LinkRow, NONE, Node, State};
use std::collections::HashMap;

/// Marks whole groups as entries in `written`, and leads further names of a group to its first.
///
/// `rows` hold every name of the upper tree whose inode, or whose counterpart's, has several
/// links; their nodes are numbered in canonical order. Returns the lower inodes of which some names
/// survive unwritten: whether those need writing was decided from the names in `rows`.
pub(super) fn resolve(rows: &mut [LinkRow], nodes: &mut [Node], written: &mut [bool]) -> Vec<Key> {
    rows.sort_unstable_by_key(|row| (row.upper, row.node));
    for group in rows.chunk_by(|one, other| one.upper == other.upper) {
        let first = group[0].node;
        for row in &group[1..] {
            nodes[row.node as usize].below = first;
        }
        // A group is written whole if a name was changed or gained, or if it was pieced together.
        let home = group[0].lower;
        let whole = group
            .iter()
            .any(|row| nodes[row.node as usize].state != State::Same || row.lower != home);
        if whole {
            for row in group {
                written[row.node as usize] = true;
            }
        }
    }
    // Of a lower group that survives in several pieces, the one with the least name stays.
    let mut left: Vec<LinkRow> = rows
        .iter()
        .filter(|row| !written[row.node as usize])
        .copied()
        .collect();
    left.sort_unstable_by_key(|row| (row.lower, row.node));
    let mut surviving = Vec::new();
    for pieces in left.chunk_by(|one, other| one.lower == other.lower) {
        let keeper = pieces[0].upper;
        for row in pieces.iter().filter(|row| row.upper != keeper) {
            written[row.node as usize] = true;
        }
        surviving.extend(pieces[0].lower);
    }
    surviving
}

/// Whether every name of each of these inodes was looked at; `seen` has an inode once for
/// each such name, with the number of its names.
pub(super) fn all_seen(inodes: impl IntoIterator<Item = Key>, seen: &[(Key, u32)]) -> bool {
    let mut counts: HashMap<Key, (u32, u32)> = HashMap::new();
    for (key, links) in seen {
        let count = counts.entry(*key).or_insert((0, *links));
        count.0 += 1;
    }
    inodes
        .into_iter()
        .all(|key| counts.get(&key).is_none_or(|(names, links)| names >= links))
}

/// The node of a group's first name, for one of its further names.
pub(super) fn leader(node: &Node) -> Option<u32> {
    let further = node.link != NONE && node.below != NONE;
    further.then_some(node.below)
}
