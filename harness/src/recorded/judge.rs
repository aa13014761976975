//! What was seen, held against what was recorded.

use super::data::{Recording, Scenario};
use super::listing::Listing;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What came of a scenario here.
#[derive(Debug, Default)]
pub(super) struct Observed {
    pub errno: Vec<Value>,
    pub ret: Vec<Value>,
    pub merged: Listing,
    pub merged_remount: Listing,
    /// The writable branch after the unmount.
    pub upper: Listing,
    /// What is new or different in each lower branch.
    pub lower_changed: Vec<Listing>,
    pub index_entries: u64,
}

/// One thing that is otherwise than recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// What differs.
    pub field: String,
    /// What it is here.
    pub ours: String,
    /// What was recorded.
    pub recorded: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}, recorded {}",
            self.field, self.ours, self.recorded
        )
    }
}

fn differs(field: String, ours: &impl ToString, recorded: &impl ToString) -> Difference {
    Difference {
        field,
        ours: ours.to_string(),
        recorded: recorded.to_string(),
    }
}

impl Observed {
    /// What differs.
    pub(super) fn differences(&self, scenario: &Scenario, recorded: &Recording) -> Vec<Difference> {
        let mut found = Vec::new();
        for (number, operation) in scenario.ops.iter().enumerate() {
            let at = |values: &[Value]| values.get(number).cloned().unwrap_or(Value::Null);
            for (what, given, wanted) in [
                ("errno", at(&self.errno), at(&recorded.errno)),
                ("answer", at(&self.ret), at(&recorded.ret)),
            ] {
                if given != wanted {
                    let verb = &operation.verb;
                    let field = format!("operation {}, {verb:?}: {what}", number + 1);
                    found.push(differs(field, &given, &wanted));
                }
            }
        }
        compare("merged", &self.merged, &recorded.merged, &mut found);
        let remounted = recorded.merged_remount();
        compare("remounted", &self.merged_remount, remounted, &mut found);
        compare("upper", &self.upper, &recorded.upper, &mut found);
        let (given, wanted) = (self.index_entries, recorded.index_entries);
        if given != wanted {
            found.push(differs("index: entries".into(), &given, &wanted));
        }
        for (number, lower) in self.lower_changed.iter().enumerate() {
            let wanted = recorded
                .lower_changed
                .get(number)
                .map_or(&[][..], Vec::as_slice);
            compare(
                &format!("changed in L{}", number + 1),
                lower,
                wanted,
                &mut found,
            );
        }
        found
    }
}

fn compare(what: &str, given: &[Value], wanted: &[Value], found: &mut Vec<Difference>) {
    let (given, wanted) = (by_path(given), by_path(wanted));
    let paths: BTreeSet<_> = given.keys().chain(wanted.keys()).collect();
    for path in paths {
        match (given.get(path), wanted.get(path)) {
            (Some(given), Some(wanted)) if given.len() == 1 && wanted.len() == 1 => {
                compare_nodes(&format!("{what} `{path}`"), given[0], wanted[0], found);
            }
            (given, wanted) => {
                let count = |nodes: Option<&Vec<_>>| nodes.map_or(0, Vec::len);
                let (given, wanted) = (count(given), count(wanted));
                if given != wanted {
                    found.push(differs(format!("{what} `{path}`: there"), &given, &wanted));
                }
            }
        }
    }
}

type Node = Map<String, Value>;

/// Pseudo-links share one path.
fn by_path(listing: &[Value]) -> BTreeMap<&str, Vec<&Node>> {
    let mut nodes: BTreeMap<&str, Vec<&Node>> = BTreeMap::new();
    for node in listing.iter().filter_map(Value::as_object) {
        let path = node.get("path").and_then(Value::as_str).unwrap_or_default();
        nodes.entry(path).or_default().push(node);
    }
    nodes
}

fn compare_nodes(what: &str, given: &Node, wanted: &Node, found: &mut Vec<Difference>) {
    let keys: BTreeSet<_> = given.keys().chain(wanted.keys()).collect();
    for key in keys {
        let shown = |node: &Node| {
            node.get(key)
                .map_or_else(|| "none".into(), Value::to_string)
        };
        if given.get(key) != wanted.get(key) {
            let (given, wanted) = (shown(given), shown(wanted));
            found.push(differs(format!("{what}: {key}"), &given, &wanted));
        }
    }
}

/// Whether the differences are exactly the expected ones; else what to say of it.
pub(super) fn judge(found: &[Difference], expected: &[&Difference]) -> Result<(), String> {
    let lines = |all: Vec<&Difference>| {
        let lines: Vec<_> = all.into_iter().map(ToString::to_string).collect();
        lines.join("\n  ")
    };
    let is_new = |one: &&Difference| !expected.contains(one);
    let new: Vec<_> = found.iter().filter(is_new).collect();
    if !new.is_empty() {
        return Err(lines(new));
    }
    let is_gone = |one: &&Difference| !found.contains(one);
    let gone: Vec<_> = expected.iter().copied().filter(is_gone).collect();
    if !gone.is_empty() {
        return Err(format!(
            "expected to differ, and does not any more (take it out of the table): {}",
            lines(gone)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded::data::{Column, load};

    type Change = fn(&mut Observed);

    /// A scenario, and what it would be if all were as recorded.
    fn as_recorded(name: &str) -> (Scenario, Observed) {
        let scenarios = load().unwrap();
        let scenario = scenarios.into_iter().find(|one| one.name == name).unwrap();
        let (_, recorded) = scenario.recordings(Column::OverlayDefault, (6, 18))[0];
        let observed = Observed {
            errno: recorded.errno.clone(),
            ret: recorded.ret.clone(),
            merged: recorded.merged.clone(),
            merged_remount: recorded.merged_remount().to_vec(),
            upper: recorded.upper.clone(),
            lower_changed: recorded.lower_changed.clone(),
            index_entries: recorded.index_entries,
        };
        (scenario, observed)
    }

    fn differences(scenario: &Scenario, observed: &Observed) -> Vec<String> {
        let (_, recorded) = scenario.recordings(Column::OverlayDefault, (6, 18))[0];
        let found = observed.differences(scenario, recorded);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_as_recorded_does_not_differ() {
        let (scenario, observed) = as_recorded("udba-create-on-lower");
        assert_eq!(differences(&scenario, &observed), [""; 0]);
    }

    #[test]
    fn each_part_is_compared() {
        let changes: [(Change, &str); 7] = [
            (|one| one.errno[1] = "EIO".into(), "operation 2, "),
            (|one| one.ret = vec![1.into()], "operation 1, "),
            (
                |one| one.merged[1]["mode"] = "0600".into(),
                "merged `f`: mode ",
            ),
            (|one| drop(one.merged_remount.pop()), "remounted `n`: "),
            (|one| one.upper[0]["uid"] = 7.into(), "upper `.`: uid "),
            (|one| one.lower_changed[0].clear(), "changed in L1 `.`: "),
            (|one| one.index_entries = 1, "index: entries 1"),
        ];
        for (change, named) in changes {
            let (scenario, mut observed) = as_recorded("udba-create-on-lower");
            change(&mut observed);
            let found = differences(&scenario, &observed);
            assert!(found[0].starts_with(named), "{named}: {found:?}");
        }
    }

    #[test]
    fn judge_demands_exactly_the_expected() {
        let [one, two] = ["one", "two"].map(|field| differs(field.into(), &1, &2));
        assert_eq!(judge(&[], &[]), Ok(()));
        assert_eq!(judge(std::slice::from_ref(&one), &[&one]), Ok(()));
        let new = Err("one 1, recorded 2".to_owned());
        assert_eq!(judge(std::slice::from_ref(&one), &[]), new);
        let more = judge(&[one.clone(), two], &[&one]);
        assert_eq!(more, Err("two 1, recorded 2".to_owned()));
        let fewer = judge(&[], &[&one]).unwrap_err();
        assert!(fewer.contains("does not any more"), "{fewer}");
    }
}
