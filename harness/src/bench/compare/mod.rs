//! Two runs side by side: what got worse, what got better, and whether a gate stays shut.
//!
//! [`Recorded`] reads a run or a baseline, [`compare`] holds two against each other, [`show`]
//! renders what came out, [`Baseline`] keeps of a run what does not depend on the machine.
//! Counts are compared by [`rules`]; times are judged only if both versions took turns in one job.

pub mod baseline;
pub mod read;
pub mod rules;
pub mod show;
mod times;

pub use baseline::Baseline;
pub use read::{Recorded, RecordedCell};
pub use times::TimeChange;

use rules::{CALLS, Judged, RULES};

/// What a comparison fails on, beside wrong results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    /// Counts that got worse.
    #[default]
    Counts,
    /// Times that got worse beyond chance.
    Times,
    /// Nothing: what changed is shown.
    None,
}

impl Gate {
    /// The word on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counts => "counts",
            Self::Times => "times",
            Self::None => "none",
        }
    }
}

impl std::str::FromStr for Gate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match text {
            "counts" => Ok(Self::Counts),
            "times" => Ok(Self::Times),
            "none" => Ok(Self::None),
            other => anyhow::bail!("no gate `{other}`; there are `counts`, `times` and `none`"),
        }
    }
}

/// What to do about two runs that were not made alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unlike {
    /// They are not compared.
    #[default]
    Refuse,
    /// They are compared, and the differences are shown.
    Force,
}

/// A count that is not what it was.
#[derive(Clone, Debug, PartialEq)]
pub struct CountChange {
    /// Row of the bench.
    pub row: String,
    /// Cell of the bench.
    pub cell: String,
    /// Name of the count, see [`crate::bench::Counts`].
    pub count: &'static str,
    /// What it was.
    pub old: u64,
    /// What it is.
    pub new: u64,
}

/// Two runs held against each other.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// What the first is called.
    pub old: String,
    /// What the second is called.
    pub new: String,
    /// What was asked to fail on.
    pub gate: Gate,
    /// Whether unlike runs were to be compared all the same.
    pub unlike: Unlike,
    /// In what the runs are not alike: `FACT: OLD, now NEW`.
    pub differences: Vec<String>,
    /// Results that were wrong, in either run.
    pub incorrect: Vec<String>,
    /// Counts that got worse beyond their limit.
    pub worse: Vec<CountChange>,
    /// Counts that got better beyond their limit.
    pub better: Vec<CountChange>,
    /// Counts that stayed within their limits.
    pub unchanged: usize,
    /// Counts of the first run that the second has not, with reasons.
    pub missing: Vec<String>,
    /// Times of both runs.
    pub times: Vec<TimeChange>,
    /// Why times are not judged, unless they are.
    pub not_judged: Option<String>,
}

/// Holds `new` against `old`.
pub fn compare(old: &Recorded, new: &Recorded, gate: Gate, unlike: Unlike) -> Comparison {
    let mut found = Comparison {
        old: old.name.clone(),
        new: new.name.clone(),
        gate,
        unlike,
        differences: old.differences(new),
        ..Comparison::default()
    };
    for run in [old, new] {
        found.incorrect.extend(run.incorrect.iter().cloned());
    }
    if found.is_refused() {
        return found;
    }
    for ((row, cell), before) in &old.cells {
        let place = format!("{row} on {cell}");
        match new.cells.get(&(row.clone(), cell.clone())) {
            Some(now) if now.sizes == before.sizes => {
                found.counts((row, cell), before, now);
            }
            Some(_) => found
                .missing
                .push(format!("{place}: its sizes are others now")),
            None => found.missing.push(match new.skipped.get(cell) {
                Some(reason) => format!("{place}: skipped: {reason}"),
                None => format!("{place}: the second run has no such row"),
            }),
        }
    }
    found.not_judged = times::why_not(old, new);
    found.times = times::changes(old, new, found.not_judged.is_none());
    found
}

impl Comparison {
    fn counts(&mut self, (row, cell): (&str, &str), old: &RecordedCell, new: &RecordedCell) {
        // Or a first run without tools, or a slip in a baseline, would let all pass.
        if new.counts.contains_key(CALLS) && !old.counts.contains_key(CALLS) {
            self.missing
                .push(format!("{row} on {cell}: the first run counted no calls"));
        }
        for name in old.counts.keys() {
            if RULES.iter().all(|rule| rule.name != name) {
                self.missing
                    .push(format!("{row} on {cell}: no count is called `{name}`"));
            }
        }
        for rule in RULES {
            let Some(before) = old.counts.get(rule.name) else {
                continue;
            };
            let Some(now) = new.counts.get(rule.name) else {
                self.missing
                    .push(format!("{row} on {cell}: {} is not counted", rule.name));
                continue;
            };
            let change = CountChange {
                row: row.to_owned(),
                cell: cell.to_owned(),
                count: rule.name,
                old: *before,
                new: *now,
            };
            match rule.judge(&new.fs, *before, *now) {
                Judged::Worse => self.worse.push(change),
                Judged::Better => self.better.push(change),
                Judged::Unchanged => self.unchanged += 1,
            }
        }
    }

    /// The runs are not alike, and nobody insisted.
    pub fn is_refused(&self) -> bool {
        self.unlike == Unlike::Refuse && !self.differences.is_empty()
    }

    /// Times that are slower beyond chance; none unless times are judged.
    pub fn slower(&self) -> impl Iterator<Item = &TimeChange> {
        self.times.iter().filter(|change| change.is_slower())
    }

    /// Why no verdict can be given, if so.
    pub fn unfit(&self) -> Option<String> {
        if self.is_refused() {
            return Some(format!(
                "the runs were not made alike ({}); repeat one of them, or insist with --force",
                self.differences.join("; ")
            ));
        }
        match self.gate {
            Gate::Times => self.not_judged.clone(),
            Gate::Counts if self.compared() == 0 => {
                Some("the runs have no count in common".to_owned())
            }
            Gate::Counts if self.unlike == Unlike::Refuse && !self.missing.is_empty() => {
                Some(format!(
                    "{} of the first run cannot be compared ({}); mend that, or insist with --force",
                    self.missing.len(),
                    self.missing[0]
                ))
            }
            Gate::Counts | Gate::None => None,
        }
    }

    /// How many counts were compared.
    pub fn compared(&self) -> usize {
        self.worse.len() + self.better.len() + self.unchanged
    }

    /// Whether the gate shut.
    pub fn is_regression(&self) -> bool {
        match self.gate {
            Gate::Counts => !self.worse.is_empty(),
            Gate::Times => self.slower().next().is_some(),
            Gate::None => false,
        }
    }

    /// 0 fine, 1 a run was incorrect, 2 a regression, 3 no verdict can be given.
    pub fn exit_code(&self) -> u8 {
        if !self.incorrect.is_empty() {
            1
        } else if self.is_regression() {
            2
        } else if self.unfit().is_some() {
            3
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests;
