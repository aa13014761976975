//! What was measured, as Markdown.

use super::case::{Case, Unit};
use super::contestant::{Contestant, OVERLAY};
use crate::rootfs;
use crate::spread::Spread;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use xshell::{Shell, cmd};

/// The figures of all rounds, by case and contestant; none where it failed.
pub(super) type Figures = BTreeMap<(&'static str, &'static str), Vec<Option<f64>>>;

/// What is warm takes so much, and what each mount caches of its own.
const MEMORY: u64 = 5 << 30;

/// What else there is on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// Processes that ran or would have, over the last minute.
    load: f64,
    memory: u64,
}

impl Host {
    pub(super) fn now() -> anyhow::Result<Self> {
        let said = fs_err::read_to_string("/proc/loadavg")?;
        Ok(Self {
            load: said.split(' ').next().unwrap_or_default().parse()?,
            memory: rootfs::memory_available(),
        })
    }
}

/// What the numbers are true of.
pub(super) fn facts(
    sh: &Shell,
    contestants: &[Contestant],
    hosts: [Host; 2],
) -> anyhow::Result<String> {
    let kernel = cmd!(sh, "uname -sr").quiet().read()?;
    let processors = std::thread::available_parallelism()?;
    let [before, after] = hosts;
    let mut text = format!(
        "{kernel}, {processors} processors, load {} before and {} after. CPU of callers \
         and daemon, mount and unmount apart; ratios to the {OVERLAY} of the same round: medians \
         [least-most].\n",
        before.load, after.load
    );
    if before.load > 0.5 {
        text.push_str("The machine was not quiet before: nothing here is to be judged.\n");
    }
    if before.memory.min(after.memory) < MEMORY {
        text.push_str("Memory was short: what was warm may not have stayed so.\n");
    }
    for contestant in contestants {
        let version = contestant.version()?;
        writeln!(text, "- {}: {version}", contestant.name).expect(INFALLIBLE);
    }
    Ok(text)
}

const INFALLIBLE: &str = "a string takes all that is written";

/// A line for each case, a column for each contestant.
pub(super) fn figures(cases: &[&Case], contestants: &[Contestant], figures: &Figures) -> String {
    let mut text = String::from("| case |");
    for contestant in contestants {
        write!(text, " {} |", contestant.name).expect(INFALLIBLE);
    }
    let rule = "---|".repeat(contestants.len() + 1);
    writeln!(text, "\n|{rule}").expect(INFALLIBLE);
    for case in cases {
        write!(text, "| {} |", case.name).expect(INFALLIBLE);
        for contestant in contestants {
            let cell = cell(case, contestant, figures);
            write!(text, " {cell} |").expect(INFALLIBLE);
        }
        text.push('\n');
    }
    text
}

fn cell(case: &Case, contestant: &Contestant, figures: &Figures) -> String {
    if !case.takes(contestant) {
        return String::new();
    }
    let Some(judged) = judged(case, contestant.name, figures) else {
        return "failed".to_owned();
    };
    let Spread {
        median,
        least,
        most,
    } = judged;
    let spread = format!("{median:.2} [{least:.2}-{most:.2}]");
    if contestant.name == OVERLAY && case.unit == Unit::Cpu {
        let own = figures.get(&(case.name, OVERLAY)).into_iter().flatten();
        let seconds = Spread::of(own.copied().flatten().collect());
        return seconds.map_or_else(String::new, |seconds| format!("{:.3} s", seconds.median));
    }
    spread
}

/// What goals are about: ratios in the same round, or the figures themselves.
fn judged(case: &Case, contestant: &'static str, figures: &Figures) -> Option<Spread> {
    let own = figures.get(&(case.name, contestant))?;
    let values = if case.unit == Unit::Cpu {
        let measure = figures.get(&(case.name, OVERLAY))?;
        let pairs = own.iter().zip(measure);
        let ratios = pairs.filter_map(|(own, measure)| Some((*own)? / (*measure)?));
        ratios.collect()
    } else {
        own.iter().copied().flatten().collect()
    };
    Spread::of(values)
}

/// What ours was to reach, and whether it did.
pub(super) fn goals(cases: &[&Case], contestants: &[Contestant], figures: &Figures) -> String {
    let mut text = String::from("| case | contestant | goal | median | |\n|---|---|---|---|---|\n");
    for case in cases {
        for contestant in contestants.iter().filter(|one| case.takes(one)) {
            let Some(goal) = case.goal(contestant) else {
                continue;
            };
            let name = contestant.name;
            let spread = judged(case, name, figures);
            let median = spread.map_or_else(String::new, |spread| format!("{:.2}", spread.median));
            let sign = match case.unit {
                Unit::SpeedUp => "at least",
                Unit::Cpu | Unit::Written => "at most",
            };
            let verdict = verdict(case.unit, goal, spread);
            writeln!(
                text,
                "| {} | {name} | {sign} {goal:.1} | {median} | {verdict} |",
                case.name
            )
            .expect(INFALLIBLE);
        }
    }
    text
}

fn verdict(unit: Unit, goal: f64, spread: Option<Spread>) -> &'static str {
    let Some(Spread {
        median,
        least,
        most,
    }) = spread
    else {
        return "failed";
    };
    // As it is shown.
    let shown = |value: f64| (value * 100.0).round() / 100.0;
    let reaches = |value: f64| match unit {
        Unit::SpeedUp => shown(value) >= goal,
        Unit::Cpu | Unit::Written => shown(value) <= goal,
    };
    match (
        reaches(median),
        reaches(least) && reaches(most),
        reaches(least) || reaches(most),
    ) {
        (true, true, _) => "met",
        (true, false, _) => "met, not in every round",
        (false, _, true) => "missed, not in every round",
        (false, _, false) => "missed",
    }
}

#[cfg(test)]
mod tests {
    use super::verdict;
    use crate::spread::Spread;
    use crate::unions::case::Unit;

    #[test]
    fn verdicts_tell_rounds_apart() {
        let of = |unit, goal, values: &[f64]| verdict(unit, goal, Spread::of(values.to_vec()));
        assert_eq!(of(Unit::Cpu, 2.0, &[1.0, 1.5, 2.0]), "met");
        assert_eq!(
            of(Unit::Cpu, 2.0, &[1.0, 1.5, 2.1]),
            "met, not in every round"
        );
        assert_eq!(
            of(Unit::Cpu, 2.0, &[1.0, 2.1, 2.2]),
            "missed, not in every round"
        );
        assert_eq!(of(Unit::Written, 2.0, &[2.1, 2.2, 2.3]), "missed");
        assert_eq!(of(Unit::SpeedUp, 1.6, &[1.6, 1.7, 1.8]), "met");
        assert_eq!(of(Unit::SpeedUp, 1.6, &[1.0, 1.1, 1.5]), "missed");
        assert_eq!(of(Unit::Cpu, 1.0, &[1.004]), "met");
        assert_eq!(of(Unit::Cpu, 1.0, &[1.006]), "missed");
        assert_eq!(of(Unit::Cpu, 2.0, &[]), "failed");
    }
}
