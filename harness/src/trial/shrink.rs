//! Takes lines out of a script that fails, as long as it fails in the same way.
//!
//! Every line is valid in every state, so that any of them can go.

use super::laws::Law;
use super::run::Report;
use crate::model::operation::{Data, FileOperation, Operation};
use anyhow::Result;
use std::time::{Duration, Instant};

/// The least script found within `patience` that breaks the law that `script` breaks.
pub(super) fn shrink(
    mut script: Vec<Operation>,
    law: Law,
    patience: Duration,
    mut run: impl FnMut(&[Operation]) -> Result<Report>,
) -> Result<Vec<Operation>> {
    let until = Instant::now() + patience;
    let mut fails = |script: &[Operation]| -> Result<Option<usize>> {
        let failure = run(script)?.failure;
        Ok(failure
            .filter(|failure| failure.law == law)
            .map(|failure| failure.line))
    };
    // What follows the failing line has no part in it.
    if let Some(line) = fails(&script)? {
        script.truncate(line + 1);
    }
    let mut piece = script.len().div_ceil(2);
    while piece > 0 {
        let mut end = script.len();
        let mut shorter = false;
        while end > 0 {
            if Instant::now() > until {
                return Ok(script);
            }
            let start = end.saturating_sub(piece);
            let mut without = script.clone();
            without.drain(start..end);
            if fails(&without)?.is_some() {
                script = without;
                shorter = true;
            }
            end = start;
        }
        if !(piece == 1 && shorter) {
            piece /= 2;
        }
    }
    for line in 0..script.len() {
        for simpler in simpler(&script[line]) {
            if Instant::now() > until {
                return Ok(script);
            }
            let mut changed = script.clone();
            changed[line] = simpler;
            if fails(&changed)?.is_some() {
                script = changed;
                break;
            }
        }
    }
    Ok(script)
}

/// The same operation with plainer arguments, the plainest first.
fn simpler(operation: &Operation) -> Vec<Operation> {
    let Operation::File(operation) = operation else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut offer = |change: &dyn Fn(&mut FileOperation)| {
        let mut changed = operation.clone();
        change(&mut changed);
        if changed != *operation {
            found.push(Operation::File(changed));
        }
    };
    let plain = Data { seed: 1, length: 1 };
    offer(&|operation| {
        use FileOperation as Op;
        match operation {
            Op::Write { at, data, .. } | Op::MapWrite { at, data, .. } => {
                (*at, *data) = (0, plain);
            }
            Op::HeldWrite { at, data, .. } => (*at, *data) = (0, plain),
            Op::Append { data, .. } | Op::Rewrite { data, .. } | Op::Tmpfile { data, .. } => {
                *data = plain;
            }
            Op::Mkdir { mode, .. } => *mode = 0o755,
            Op::Create { mode, .. } | Op::Mknod { mode, .. } => *mode = 0o644,
            _ => {}
        }
    });
    offer(&|operation| {
        use FileOperation as Op;
        match operation {
            Op::Write { at, .. } => *at = 0,
            Op::Tmpfile { mode, .. } => *mode = 0o644,
            Op::SetXattr { key, value, .. } if key.starts_with("user.") => *value = b"v".to_vec(),
            _ => {}
        }
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::{parse_script, render_script};
    use crate::trial::Failure;

    #[test]
    fn only_the_lines_that_matter_stay() {
        let lines = ["a", "b", "c", "d", "e", "f"]
            .map(|name| format!("create {name} 0600\nchmod {name} 0644\n"));
        let script = parse_script(&lines.concat()).unwrap();
        // Fails at the first look at `f` after `b` was made.
        let run = |script: &[Operation]| -> Result<Report> {
            let lines: Vec<_> = script.iter().map(ToString::to_string).collect();
            let made = lines.iter().any(|line| line.starts_with("create b"));
            let at = lines.iter().position(|line| line.starts_with("chmod f"));
            let failure = at.filter(|_| made).map(|line| Failure {
                line,
                law: Law::Look,
                text: String::new(),
            });
            Ok(Report {
                failure,
                ..Report::default()
            })
        };
        let least = shrink(script, Law::Look, Duration::from_mins(1), run).unwrap();
        assert_eq!(render_script(&least), "create b 0644\nchmod f 0644\n");
    }
}
