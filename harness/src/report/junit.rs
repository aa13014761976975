//! The suite's results as `JUnit` XML, as CI servers read it.

use crate::case::Verdict;
use crate::conformance::{DriverSummary, Summary};
use std::fmt::Write as _;

/// The whole summary as one document: a test suite per driver.
pub fn render(summary: &Summary) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for driver in &summary.drivers {
        suite(&mut out, driver);
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(out: &mut String, driver: &DriverSummary) {
    let counts = driver.counts();
    let seconds: f64 = driver
        .outcomes
        .iter()
        .map(|outcome| outcome.elapsed.as_secs_f64())
        .sum();
    let total = counts.passed + counts.failed + counts.skipped;
    let mut line = |text: std::fmt::Arguments<'_>| {
        out.write_fmt(text)
            .expect("writing into a string cannot fail");
        out.push('\n');
    };
    line(format_args!(
        "  <testsuite name=\"{} on {}\" tests=\"{total}\" failures=\"{}\" skipped=\"{}\" time=\"{seconds:.3}\">",
        escape(&driver.driver),
        escape(&driver.backing),
        counts.failed,
        counts.skipped
    ));
    for outcome in &driver.outcomes {
        let head = format!(
            "    <testcase classname=\"{}.{}\" name=\"{}\" time=\"{:.3}\"",
            escape(&driver.driver),
            outcome.group,
            outcome.case,
            outcome.elapsed.as_secs_f64()
        );
        match &outcome.verdict {
            Verdict::Passed => line(format_args!("{head}/>")),
            Verdict::Skipped(reason) => line(format_args!(
                "{head}><skipped message=\"{}\"/></testcase>",
                escape(reason)
            )),
            Verdict::Failed(reason) => line(format_args!(
                "{head}><failure message=\"{}\"/></testcase>",
                escape(reason)
            )),
        }
    }
    line(format_args!("  </testsuite>"));
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' => out.push_str("&#10;"),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Group;
    use crate::runner::Outcome;
    use std::time::Duration;

    #[test]
    fn reasons_are_escaped_and_counted() {
        let outcome = Outcome {
            case: "a_case".into(),
            group: Group::Diff,
            verdict: Verdict::Failed("a < b & \"c\"".into()),
            inverted: None,
            elapsed: Duration::from_millis(1),
        };
        let summary = Summary {
            drivers: vec![DriverSummary {
                driver: "vfs".into(),
                backing: "ext4".into(),
                outcomes: vec![outcome],
            }],
            ..Summary::default()
        };
        let text = render(&summary);
        assert!(text.contains("failures=\"1\""), "{text}");
        assert!(text.contains("a &lt; b &amp; &quot;c&quot;"), "{text}");
    }
}
