//! Trees as short lines.

use std::fmt::Write as _;
use strata_harness::tree::{Kind, Node, Tree};

/// A line for each path: `d a`, `f a/b=content`, `l a/c->target`, `h z=a/b`, `p fifo`,
/// `c null 1:3`; then the permission bits and the owner where they are not the usual ones, and
/// attributes. The root has a line if it is not 0755.
pub fn lines(tree: &Tree) -> Vec<String> {
    let nodes = tree.nodes().iter();
    let lines = nodes.filter_map(|(path, node)| {
        let path = if path.is_root() {
            if (node.mode, node.uid) == (0o755, 0) {
                return None;
            }
            "/".to_owned()
        } else {
            path.as_bytes().escape_ascii().to_string()
        };
        Some(line(&path, node))
    });
    lines.collect()
}

fn line(path: &str, node: &Node) -> String {
    if let Some(leader) = &node.link_leader
        && leader.as_bytes().escape_ascii().to_string() != path
    {
        return format!("h {path}={}", leader.as_bytes().escape_ascii());
    }
    let (mut line, usual) = match node.kind {
        Kind::Directory => (format!("d {path}"), 0o755),
        Kind::File => {
            let content = node.content.as_deref().unwrap_or_default();
            let shown = if content.len() > 40 {
                format!("{} bytes", content.len())
            } else {
                content.escape_ascii().to_string()
            };
            (format!("f {path}={shown}"), 0o644)
        }
        Kind::Symlink => (format!("l {path}->{}", node.target.escape_ascii()), 0o777),
        Kind::Fifo => (format!("p {path}"), 0o644),
        Kind::Socket => (format!("s {path}"), 0o644),
        Kind::BlockDevice => (
            format!("b {path} {}:{}", node.device.0, node.device.1),
            0o644,
        ),
        Kind::CharacterDevice => (
            format!("c {path} {}:{}", node.device.0, node.device.1),
            0o644,
        ),
    };
    if node.mode != usual {
        write!(line, " {:o}", node.mode).unwrap();
    }
    if (node.uid, node.gid) != (0, 0) {
        write!(line, " {}:{}", node.uid, node.gid).unwrap();
    }
    for (key, value) in &node.xattrs {
        write!(line, " {}={}", key.escape_ascii(), value.escape_ascii()).unwrap();
    }
    line
}
