//! Counts for people.

use super::laws::Law;
use super::session::Line;
use super::tally::Tally;
use std::fmt::Write as _;
use std::time::Duration;

/// One line while a driver is run.
pub(super) fn progress(driver: &str, cases: u64, tally: &Tally, elapsed: Duration) -> String {
    format!(
        "{driver}: {cases} scripts, {} operations, {} full checks, {} s\n",
        tally.total(),
        tally.full_checks,
        elapsed.as_secs()
    )
}

/// Laws by driver, then what was done.
pub(super) fn render(lines: &[Line]) -> String {
    let mut out = String::new();
    let mut put = |text: String| out.push_str(&(text + "\n"));
    put(String::new());
    let heads: Vec<_> = lines
        .iter()
        .map(|line| format!("{:>18}", line.driver))
        .collect();
    put(format!("{:<22}{}", "law, times held", heads.concat()));
    for law in Law::ALL {
        let mut row = format!("{:<22}", law.as_str());
        for line in lines {
            let cell = match (line.failures.contains_key(law), &line.skipped) {
                (_, Some(_)) => "skipped".to_owned(),
                (true, _) => "BROKEN".to_owned(),
                _ => line.tally.laws.get(law).copied().unwrap_or(0).to_string(),
            };
            write!(row, "{cell:>18}").expect("writing into a string cannot fail");
        }
        put(row);
    }
    let mut row = |name: &str, cell: &dyn Fn(&Line) -> String| {
        let cells: Vec<_> = lines
            .iter()
            .map(|line| format!("{:>18}", cell(line)))
            .collect();
        put(format!("{name:<22}{}", cells.concat()));
    };
    row("scripts", &|line| line.cases.to_string());
    row("operations", &|line| line.tally.total().to_string());
    row("full checks", &|line| line.tally.full_checks.to_string());
    row("layers not carried", &|line| {
        line.tally.not_carried.to_string()
    });
    row("left out for quirks", &|line| {
        line.tally.left_out.values().sum::<u64>().to_string()
    });
    row("least kind, percent", &|line| least(&line.tally));
    row("seconds", &|line| format!("{:.1}", line.seconds));
    row("digest", &|line| line.digest.clone());
    for line in lines {
        for (quirk, count) in &line.tally.left_out {
            let percent = *count as f64 * 100.0 / line.tally.total().max(1) as f64;
            put(format!(
                "{}: {count} operations ({percent:.2} %) left out for {}",
                line.driver,
                quirk.as_str()
            ));
        }
    }
    out
}

/// The kind that came least, with its share.
fn least(tally: &Tally) -> String {
    let total = tally.total().max(1);
    let share = |count: u64| count as f64 * 100.0 / total as f64;
    tally.least().map_or_else(String::new, |(kind, count)| {
        format!("{kind} {:.2}", share(count))
    })
}
