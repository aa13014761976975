//! pjdfstest: what each system call about files must do and refuse, after POSIX.

use super::expected::{Cause, FAMILIES, Facts, Family};
use super::{Evidence, Ran, Subject, ground};
use crate::tree::report;
use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::{Group, User};
use std::collections::BTreeMap;
use std::path::Path;
use strata_driver::process::Tool;

/// Seconds between two changes of which the later must bear a later time: kernels before 6.13
/// count in ticks, of a hundredth at most.
const NAP: f64 = 0.02;

/// Bytes of a path below which pjdfstest can make sockets: 108, less the end, two temporary
/// directories and a directory of a random name with a short one below it.
const LONGEST_PATH: usize = 107 - 2 * "/.tmpXXXXXX".len() - 33 - "/file".len();

/// Users that every distribution has, of whom two are played.
const USERS: &[&str] = &["nobody", "daemon", "bin", "mail"];

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Passed,
    Failed,
    Skipped,
}

/// One test's end, and the line that says why.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    end: End,
    why: String,
}

type Outcomes = BTreeMap<String, Outcome>;

/// Runs all tests in `subject`, and demands that they end as listed.
pub(super) fn run(tool: &Tool, subject: &Subject<'_>) -> Result<Ran> {
    let configuration = subject.scratch.join("pjdfstest.toml");
    let elsewhere = subject.scratch.join("elsewhere");
    fs_err::create_dir_all(&elsewhere)?;
    fs_err::write(&configuration, configured(&elsewhere, &users()?))?;
    let place = subject.dir.at(ground::WORK);
    ensure!(
        place.as_os_str().len() <= LONGEST_PATH,
        "sockets below `{}` would have too long a path; set STRATA_SCRATCH to a directory of a \
         shorter name",
        place.display()
    );
    let arguments = ["-c".as_ref(), configuration.as_os_str(), "-p".as_ref()];
    let tool = tool.clone().with_variable("NO_COLOR", "1");
    let (status, output) = tool.run_to_end(arguments.into_iter().chain([place.as_os_str()]))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let outcomes = parse(output.text()?)
        .with_context(|| format!("it ended with {status}: {}", complaint.trim()))?;
    let count = |end| outcomes.values().filter(|one| one.end == end).count();
    let (passed, failed, skipped) = (count(End::Passed), count(End::Failed), count(End::Skipped));
    // It fails exactly if a test does; a crash after the last test is one too.
    let wanted = i32::from(failed > 0);
    ensure!(
        status.code() == Some(wanted),
        "{failed} tests failed, and it ended with {status}: {}",
        complaint.trim()
    );
    let left: Vec<_> = fs_err::read_dir(&elsewhere)?.collect();
    ensure!(left.is_empty(), "it left {left:?} on the other file system");
    let wrong = judge(&outcomes, FAMILIES, &subject.facts);
    report("tests that end otherwise than listed", &wrong)?;
    let total = outcomes.len();
    Ok(Ran {
        text: format!(
            "{total} tests: {passed} passed, {failed} failed as listed, {skipped} skipped as listed"
        ),
        evidence: Evidence::Tests(outcomes.into_keys().collect()),
    })
}

/// Two users, each with the name of the group that is its own.
fn users() -> Result<[(String, String); 2]> {
    let mut found = Vec::new();
    for name in USERS {
        if let Some(user) = User::from_name(name)?
            && let Some(group) = Group::from_gid(user.gid)?
        {
            found.push((user.name, group.name));
        }
    }
    let mut found = found.into_iter();
    let two = found.next().zip(found.next());
    let (one, other) = two.with_context(|| format!("this host lacks two of {USERS:?}"))?;
    Ok([one, other])
}

fn configured(elsewhere: &Path, users: &[(String, String); 2]) -> String {
    let entries = users
        .iter()
        .map(|(user, group)| format!("[{user:?}, {group:?}]"));
    let entries = entries.collect::<Vec<_>>().join(", ");
    format!(
        "[features]\n\
         posix_fallocate = {{}}\n\
         rename_ctime = {{}}\n\
         utime_now = {{}}\n\
         utimensat = {{}}\n\
         secondary_fs = {:?}\n\
         [settings]\n\
         naptime = {NAP}\n\
         allow_remount = false\n\
         [dummy_auth]\n\
         entries = [{entries}]\n",
        elsewhere.as_os_str().to_string_lossy()
    )
}

/// Reads `NAME ok`, `NAME skipped` and `NAME FAILED`, each followed by indented reasons, and holds
/// them against the counts of the last line.
fn parse(text: &str) -> Result<Outcomes> {
    let mut outcomes = Outcomes::new();
    let mut summary = None;
    let mut last: Option<&mut Outcome> = None;
    for line in text.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let Some(counts) = line.strip_prefix("Summary: ") {
            summary = Some(counts);
        } else if let Some(reason) = line.strip_prefix('\t') {
            if let Some(outcome) = last.as_mut().filter(|outcome| outcome.why.is_empty()) {
                reason.trim().clone_into(&mut outcome.why);
            }
        } else if let [name, end] = words[..]
            && let Some(end) = read_end(end)
        {
            let outcome = Outcome {
                end,
                why: String::new(),
            };
            let twice = outcomes.insert(name.to_owned(), outcome);
            ensure!(twice.is_none(), "`{name}` ran twice");
            last = outcomes.get_mut(name);
        }
    }
    let summary = summary.context("it ended without a summary")?;
    let count = |end| outcomes.values().filter(|one| one.end == end).count();
    let read = format!(
        "{} failed, {} skipped, {} passed, 0 expected failures, {} total",
        count(End::Failed),
        count(End::Skipped),
        count(End::Passed),
        outcomes.len()
    );
    ensure!(
        summary == read,
        "its summary is `{summary}`, its lines come to `{read}`"
    );
    if count(End::Passed) == 0 {
        bail!("no test passed: {read}");
    }
    Ok(outcomes)
}

fn read_end(word: &str) -> Option<End> {
    match word {
        "ok" => Some(End::Passed),
        "FAILED" => Some(End::Failed),
        "skipped" => Some(End::Skipped),
        _ => None,
    }
}

/// What ended otherwise than listed, in both directions.
fn judge(outcomes: &Outcomes, families: &[Family], facts: &Facts<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut listed: BTreeMap<&str, &Family> = BTreeMap::new();
    for family in families {
        let holds = family.cause.holds(facts);
        for name in family.names {
            if !outcomes.contains_key(*name) {
                wrong.push(format!("`{name}` is listed, and there is no such test"));
            } else if holds && let Some(other) = listed.insert(name, family) {
                wrong.push(format!("`{name}` is listed for `{}` too", other.reason));
            }
        }
    }
    for (name, outcome) in outcomes {
        let family = listed.get(&**name);
        let wanted = family.map_or(End::Passed, |family| family.end);
        if outcome.end != wanted {
            let because = family.map_or("it is not listed", |family| family.reason);
            let cause = family.map(|family| family.cause);
            wrong.push(format!(
                "`{name}`: {}, expected {wanted:?} ({because}{})",
                told(outcome),
                cause.map(shown).unwrap_or_default(),
            ));
        }
    }
    wrong
}

fn told(outcome: &Outcome) -> String {
    let Outcome { end, why } = outcome;
    if why.is_empty() {
        format!("{end:?}")
    } else {
        format!("{end:?}, {why}")
    }
}

fn shown(cause: Cause) -> String {
    match cause {
        Cause::Quirk(quirk) => format!("; declared: `{}`", quirk.as_str()),
        Cause::On(kind) => format!("; on {kind}"),
        Cause::NotOn(kind) => format!("; not on {kind}"),
        Cause::AsRun => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::FileSystemKind;
    use strata_driver::{Quirk, QuirkSet};

    const OUTPUT: &str = "\
open::a::char                          FAILED
\tcalled `Result::unwrap()` on an `Err` value: EPERM
open::b                                ok
open::c                                FAILED
\tassertion `left == right` failed
  left: 1
 right: 3
open::d                                skipped
\tRemounts (allow_remount) are not allowed in the configuration file

Summary: 2 failed, 1 skipped, 1 passed, 0 expected failures, 4 total
";

    const LISTED: &[Family] = &[
        Family {
            end: End::Failed,
            cause: Cause::Quirk(Quirk::DeviceZeroRefused),
            reason: "devices",
            names: &["open::a::char"],
        },
        Family {
            end: End::Failed,
            cause: Cause::On(FileSystemKind::Btrfs),
            reason: "links",
            names: &["open::c"],
        },
        Family {
            end: End::Skipped,
            cause: Cause::AsRun,
            reason: "remounts",
            names: &["open::d"],
        },
    ];

    fn judged(families: &[Family], quirks: &QuirkSet, below: &str) -> Vec<String> {
        let facts = Facts {
            quirks,
            mounted: "some".into(),
            below: below.into(),
        };
        judge(&parse(OUTPUT).unwrap(), families, &facts)
    }

    #[test]
    fn listed_ends_are_accepted_where_their_causes_are() {
        let quirks = QuirkSet::from([Quirk::DeviceZeroRefused]);
        assert_eq!(judged(LISTED, &quirks, "btrfs"), Vec::<String>::new());
    }

    #[test]
    fn failure_without_its_cause_is_told() {
        let told = judged(LISTED, &QuirkSet::new(), "btrfs");
        let [one] = &told[..] else { panic!("{told:?}") };
        assert!(
            one.contains("open::a::char") && one.contains("EPERM"),
            "{one}"
        );
        let quirks = QuirkSet::from([Quirk::DeviceZeroRefused]);
        let told = judged(LISTED, &quirks, "ext4");
        let [one] = &told[..] else { panic!("{told:?}") };
        assert!(
            one.contains("open::c") && one.contains("assertion"),
            "{one}"
        );
    }

    #[test]
    fn listed_test_that_passes_is_told() {
        let bogus = Family {
            names: &["open::b", "open::gone"],
            ..LISTED[2]
        };
        let quirks = QuirkSet::from([Quirk::DeviceZeroRefused]);
        let families = [LISTED, &[bogus]].concat();
        let told = judged(&families, &quirks, "btrfs");
        assert!(told[0].contains("`open::gone` is listed, and there is no such test"));
        assert!(told[1].contains("`open::b`: Passed, expected Skipped"));
        assert_eq!(told.len(), 2);
    }

    #[test]
    fn output_that_was_cut_or_counts_otherwise_is_refused() {
        let (cut, _) = OUTPUT.split_once("Summary").unwrap();
        assert!(parse(cut).is_err());
        let (_, nothing_ran) = OUTPUT.split_once("configuration file").unwrap();
        assert!(parse(nothing_ran).is_err());
        let none = "Summary: 0 failed, 0 skipped, 0 passed, 0 expected failures, 0 total\n";
        let error = parse(none).unwrap_err().to_string();
        assert!(error.contains("no test passed"), "{error}");
    }

    #[test]
    fn shipped_list_names_no_test_twice_for_one_end() {
        let mut names: Vec<_> = FAMILIES.iter().flat_map(|one| one.names).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
