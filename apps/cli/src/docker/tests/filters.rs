//! Filters and what they let through.

use super::clock;
use crate::docker::filters::{
    FilterError, Filters, ImageFilter, OF_IMAGES, OF_SEARCH, SearchFilter,
};
use crate::docker::rows::{ImageSummary, SearchResult};
use jiff::Timestamp;
use std::collections::BTreeMap;
use strata_harness::seed::{self, Seed};

const NOW: i64 = 1_795_494_606;

fn image(tags: &[&str]) -> ImageSummary {
    ImageSummary {
        repo_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        ..ImageSummary::default()
    }
}

fn filter(given: &[&str]) -> Result<ImageFilter, FilterError> {
    let filters = Filters::parse(given, OF_IMAGES)?;
    ImageFilter::new(&filters, &clock(NOW), |name| {
        // Images here are named after the moment they were made at.
        Ok(Timestamp::from_second(name.parse().unwrap()).unwrap())
    })
}

/// The names that are left of an image that was made at `created`.
fn left(given: &[&str], tags: &[&str], created: i64) -> Option<Vec<String>> {
    let created = Timestamp::from_second(created).unwrap();
    let image = filter(given).unwrap().apply(&image(tags), created);
    image.unwrap().map(|image| image.repo_tags)
}

fn passes(given: &[&str], created: i64) -> bool {
    left(given, &["a:1"], created).is_some()
}

#[test]
fn keys_come_from_a_closed_list() {
    let error = |given: &[&str]| filter(given).unwrap_err().to_string();
    assert_eq!(error(&["bogus=1"]), "invalid filter 'bogus'");
    assert_eq!(error(&["x"]), "bad format of filter (expected name=value)");
    assert_eq!(
        error(&["dangling=maybe"]),
        "invalid filter 'dangling=[maybe]'"
    );
    assert_eq!(
        error(&["until=soon"]),
        "failed to parse value as time or duration: \"soon\""
    );
    let filters = Filters::parse(&[" Label = a=b ", "", "label=a=b", "until=1h"], OF_IMAGES);
    assert_eq!(filters.unwrap().shown(), ["label=a=b", "until=1h"]);
}

#[test]
fn images_are_filtered_by_name_label_and_time() {
    assert!(left(&["dangling=true"], &[], 0).is_some());
    assert!(left(&["dangling=1"], &["a:1"], 0).is_none());
    assert!(left(&["dangling=false"], &[], 0).is_none());
    assert!(passes(&["label=k"], 0) && passes(&["label=k=v"], 0));
    assert!(!passes(&["label=k=w"], 0) && !passes(&["label=k", "label=l"], 0));
    assert!(passes(&["label!=l"], 0) && !passes(&["label!=k=v"], 0));
    assert!(passes(&["before=100"], 99) && !passes(&["before=100"], 100));
    assert!(passes(&["since=100"], 101) && !passes(&["since=100"], 100));
    assert!(!passes(&["since=100", "since=200"], 150));
    assert!(!passes(&["before=100", "before=200"], 150));
}

#[test]
fn references_keep_the_names_that_fit() {
    let tags = [
        "foo:1",
        "foo:2",
        "docker.io/library/bar:1",
        "localhost:5000/q/w:v1",
    ];
    let names = |pattern: &str| left(&[&format!("reference={pattern}")], &tags, 0);
    let some = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(names("foo"), some(&["foo:1", "foo:2"]));
    assert_eq!(names("foo:2"), some(&["foo:2"]));
    assert_eq!(names("f?o*"), some(&["foo:1", "foo:2"]));
    assert_eq!(names("ba[a-r]:1"), some(&["docker.io/library/bar:1"]));
    assert_eq!(names("ba[^a-q]"), some(&["docker.io/library/bar:1"]));
    assert_eq!(names("*/*/w"), some(&["localhost:5000/q/w:v1"]));
    assert_eq!(names("*/w"), None);
    assert_eq!(names("\\foo"), some(&["foo:1", "foo:2"]));
    assert_eq!(names("*:1"), some(&["foo:1", "docker.io/library/bar:1"]));
    let bad = filter(&["reference=foo[a-"]).unwrap();
    let error = bad.apply(&image(&tags), Timestamp::UNIX_EPOCH).unwrap_err();
    assert_eq!(error.to_string(), "syntax error in pattern");
}

#[test]
fn until_takes_durations_dates_and_seconds() {
    for (text, moment) in [
        ("10m", NOW - 600),
        ("1h30m", NOW - 5400),
        ("1.5h", NOW - 5400),
        ("0", 0),
        ("-1h", NOW + 3600),
        ("1700000000", 1_700_000_000),
        ("1700000000.000000000", 1_700_000_000),
        ("2026-11-24", 1_795_478_400),
        ("2026-11-24Z", 1_795_478_400),
        ("2026-11-24+01:00", 1_795_474_800),
        ("2026-11-24T04", 1_795_492_800),
        ("2026-11-24T04:30", 1_795_494_600),
        ("2026-11-24T04:30:06", NOW),
        ("2026-11-24T04:30:06Z", NOW),
        ("2026-11-24T05:30:06+01:00", NOW),
        ("2026-11-24T03:30:06-01:00", NOW),
        ("2026-11-24T04:30:06.000", NOW),
    ] {
        let until = format!("until={text}");
        assert!(passes(&[&until], moment - 1), "{text} is too early");
        assert!(!passes(&[&until], moment), "{text} is too late");
    }
    for text in [
        "",
        "1y",
        "h",
        "2026-13-01",
        "2026-11-24T04:30:06+1",
        "1.2.3",
    ] {
        assert!(filter(&[&format!("until={text}")]).is_err(), "{text}");
    }
}

#[test]
fn no_filter_makes_us_panic() {
    const PIECES: &[&str] = &[
        "1",
        "9",
        "99999999999999999999",
        "h",
        "ms",
        ".",
        "-",
        "+",
        ":",
        "T",
        "Z",
        "2026-11-24",
        "04:30",
        "[",
        "]",
        "^",
        "\\",
        "*",
        "?",
        "a",
        "é",
        "/",
        "@",
        "sha256:",
        " ",
        "=",
    ];
    for number in 0..seed::rounds(20_000, 1_000_000) {
        let mut generator = Seed(6).generator(&format!("filter {number}"));
        let key = *generator.pick(&["until", "reference", "label", "dangling"]);
        let pieces = (0..generator.below(8)).map(|_| *generator.pick::<&str>(PIECES));
        let given = format!("{key}={}", pieces.collect::<String>());
        if let Ok(filter) = filter(&[&given]) {
            drop(filter.apply(&image(&["foo:1", &given]), Timestamp::UNIX_EPOCH));
        }
    }
}

#[test]
fn hits_are_filtered_by_stars_and_kind() {
    let hit = SearchResult {
        star_count: 3,
        is_official: true,
        ..SearchResult::default()
    };
    let shows = |given: &[&str]| {
        let filters = Filters::parse(given, OF_SEARCH)?;
        SearchFilter::new(&filters).map(|filter| filter.lets_through(&hit))
    };
    assert_eq!(shows(&["stars=3"]), Ok(true));
    assert_eq!(shows(&["stars=4"]), Ok(false));
    assert_eq!(shows(&["is-official=true", "is-automated=0"]), Ok(true));
    assert_eq!(shows(&["is-official=false"]), Ok(false));
    let error = shows(&["stars=many"]).unwrap_err().to_string();
    assert_eq!(error, "invalid filter 'stars=[many]'");
}
