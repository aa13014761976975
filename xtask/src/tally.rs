//! Counts of passed, failed and skipped, read from the output of test programs as it streams by.

use anyhow::Context;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// How many checks passed, failed and were skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl Tally {
    pub(crate) const NOTHING: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 0,
    };
    pub(crate) const ONE_PASSED: Self = Self {
        passed: 1,
        failed: 0,
        skipped: 0,
    };
    pub(crate) const ONE_SKIPPED: Self = Self {
        passed: 0,
        failed: 0,
        skipped: 1,
    };
    pub(crate) const ONE_FAILED: Self = Self {
        passed: 0,
        failed: 1,
        skipped: 0,
    };

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
        } = self;
        write!(
            formatter,
            "{passed} passed, {failed} failed, {skipped} skipped"
        )
    }
}

/// Runs `command`, passes its output through, and counts what it reports.
///
/// A command that ends badly without reporting a failure (a compile error, a crash) counts as
/// one failure.
pub(crate) fn stream(mut command: Command) -> anyhow::Result<Tally> {
    let program = command.get_program().display().to_string();
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{program}`"))?;
    let mut output = BufReader::new(child.stdout.take().expect("stdout was piped above"));
    let mut counter = Counter::default();
    let mut stdout = std::io::stdout().lock();
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line)? > 0 {
        if counter.read(&String::from_utf8_lossy(&line)) == Echo::Show {
            stdout.write_all(&line)?;
            stdout.flush()?;
        }
        line.clear();
    }
    let status = child
        .wait()
        .with_context(|| format!("cannot wait for `{program}`"))?;
    for (reason, count) in &counter.reasons {
        writeln!(stdout, "skipped {count}: {reason}")?;
    }
    let mut tally = counter.tally;
    if !status.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Whether a line is for the reader too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    Show,
    Hide,
}

/// Reads the closing lines of Rust's test programs and of the conformance suite.
///
/// A test that cannot run for want of privilege prints `skipped: REASON` and returns, which
/// Rust's test programs count as passed. They are run with `--show-output`, so that the lines
/// can be found in the section of captured output, which is hidden, and counted as skipped.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    pub(crate) tally: Tally,
    /// Reasons in order of appearance, with how often each was given.
    pub(crate) reasons: Vec<(String, u64)>,
    in_captured_output: bool,
    block_counted: bool,
    skipped_in_program: u64,
}

impl Counter {
    pub(crate) fn read(&mut self, line: &str) -> Echo {
        let line = line.trim_end();
        if let Some(mut tally) = libtest_result(line) {
            tally.passed = tally.passed.saturating_sub(self.skipped_in_program);
            tally.skipped += self.skipped_in_program;
            self.skipped_in_program = 0;
            self.in_captured_output = false;
            self.tally.add(tally);
            return Echo::Show;
        }
        if line == "failures:" {
            self.in_captured_output = false;
            return Echo::Show;
        }
        if line == "successes:" {
            self.in_captured_output = true;
            self.block_counted = false;
            return Echo::Hide;
        }
        if self.in_captured_output {
            self.read_captured(line);
            return Echo::Hide;
        }
        if let Some(tally) = conformance_result(line) {
            self.tally.add(tally);
        }
        Echo::Show
    }

    fn read_captured(&mut self, line: &str) {
        if line.starts_with("---- ") && line.ends_with(" ----") {
            self.block_counted = false;
        } else if let Some(reason) = line.strip_prefix("skipped: ")
            && !self.block_counted
        {
            self.block_counted = true;
            self.skipped_in_program += 1;
            match self.reasons.iter_mut().find(|(known, _)| known == reason) {
                Some((_, count)) => *count += 1,
                None => self.reasons.push((reason.to_owned(), 1)),
            }
        }
    }
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn libtest_result(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = counts.split("; ");
    Some(Tally {
        passed: number_before(counts.next()?, " passed")?,
        failed: number_before(counts.next()?, " failed")?,
        skipped: number_before(counts.next()?, " ignored")?,
    })
}

/// `61 passed, 0 failed, 2 skipped`
fn conformance_result(line: &str) -> Option<Tally> {
    let mut counts = line.split(", ");
    let tally = Tally {
        passed: number_before(counts.next()?, " passed")?,
        failed: number_before(counts.next()?, " failed")?,
        skipped: number_before(counts.next()?, " skipped")?,
    };
    counts.next().is_none().then_some(tally)
}

fn number_before(text: &str, word: &str) -> Option<u64> {
    text.strip_suffix(word)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Counter, Echo, Tally};

    fn count(output: &str) -> Counter {
        let mut counter = Counter::default();
        for line in output.lines() {
            counter.read(line);
        }
        counter
    }

    #[test]
    fn counter_sums_test_programs_and_suites() {
        let counter = count(
            "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; \
             finished in 0.00s\n61 passed, 0 failed, 4 skipped\n7 passed, 1 failed\n",
        );
        assert_eq!(
            counter.tally,
            Tally {
                passed: 64,
                failed: 1,
                skipped: 6
            }
        );
    }

    #[test]
    fn counter_takes_captured_skips_from_passed() {
        let counter = count(
            "successes:\n\n---- a stdout ----\nskipped: needs root\nskipped: needs root\n\n\
             ---- b stdout ----\n9 passed, 9 failed, 9 skipped\n\nsuccesses:\n    a\n    b\n\n\
             test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
        );
        assert_eq!(
            counter.tally,
            Tally {
                passed: 1,
                failed: 0,
                skipped: 1
            }
        );
        assert_eq!(counter.reasons, [("needs root".to_owned(), 1)]);
    }

    #[test]
    fn counter_shows_failures_and_hides_captured_successes() {
        let mut counter = Counter::default();
        let shown = ["successes:", "noise", "failures:", "---- c stdout ----"]
            .map(|line| counter.read(line) == Echo::Show);
        assert_eq!(shown, [false, false, true, true]);
    }
}
