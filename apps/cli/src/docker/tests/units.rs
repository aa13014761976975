//! Sizes, durations and moments.

use super::clock;
use crate::docker::units::{Clock, duration, fine_size, short_id, size};
use jiff::{Timestamp, tz::TimeZone};

#[test]
fn sizes_have_three_or_four_digits() {
    for (bytes, three, four) in [
        (0, "0B", "0B"),
        (1, "1B", "1B"),
        (100, "100B", "100B"),
        (999, "999B", "999B"),
        (1000, "1kB", "1kB"),
        (1024, "1.02kB", "1.024kB"),
        (13256, "13.3kB", "13.26kB"),
        (99_950, "100kB", "99.95kB"),
        (999_499, "999kB", "999.5kB"),
        (999_949, "1e+03kB", "999.9kB"),
        (999_950, "1e+03kB", "1000kB"),
        (1_048_576, "1.05MB", "1.049MB"),
        (118_154_444, "118MB", "118.2MB"),
        (1_234_567_890, "1.23GB", "1.235GB"),
        (1_500_000_000_000, "1.5TB", "1.5TB"),
        (i64::MAX, "9.22EB", "9.223EB"),
        (-1, "-1B", "-1B"),
        (-999, "-999B", "-999B"),
        (-1000, "-1e+03B", "-1000B"),
        (-123_456, "-1.23e+05B", "-1.235e+05B"),
    ] {
        assert_eq!(size(bytes), three, "{bytes}");
        assert_eq!(fine_size(bytes), four, "{bytes}");
    }
}

#[test]
fn durations_are_told_in_their_largest_unit() {
    let (minute, hour, day) = (60.0, 3600.0, 86400.0);
    for (seconds, shown) in [
        (-5.0, "Less than a second"),
        (0.0, "Less than a second"),
        (0.999, "Less than a second"),
        (1.0, "1 second"),
        (1.999, "1 second"),
        (2.0, "2 seconds"),
        (59.999, "59 seconds"),
        (minute, "About a minute"),
        (119.9, "About a minute"),
        (2.0 * minute, "2 minutes"),
        (59.5 * minute, "59 minutes"),
        (hour, "About an hour"),
        (1.499 * hour, "About an hour"),
        (1.5 * hour, "2 hours"),
        (47.49 * hour, "47 hours"),
        (47.5 * hour, "2 days"),
        (13.99 * day, "2 weeks"),
        (13.97 * day, "13 days"),
        (59.9 * day, "8 weeks"),
        (60.0 * day, "2 months"),
        (729.9 * day, "24 months"),
        (730.0 * day, "2 years"),
        (800.0 * day, "2 years"),
        (56.0 * 365.0 * day, "56 years"),
    ] {
        assert_eq!(duration((seconds * 1e9) as i64), shown, "{seconds} s");
    }
}

#[test]
fn times_are_told_from_the_clock() {
    let clock = clock(1_795_494_606);
    assert_eq!(clock.since(1_795_494_606 - 13 * 86400), "13 days ago");
    assert_eq!(clock.since(0), "56 years ago");
    // As far as 64 bits of nanoseconds reach.
    assert_eq!(clock.since(i64::MIN), "292 years ago");
    assert_eq!(clock.since(i64::MAX), "Less than a second ago");
}

#[test]
fn moments_are_written_as_go_writes_them() {
    let utc = clock(0);
    assert_eq!(utc.moment(1_795_494_606), "2026-11-24 04:30:06 +0000 UTC");
    assert_eq!(utc.moment_rfc3339(1_795_494_606), "2026-11-24T04:30:06Z");
    let of_text = |clock: &Clock, text| clock.moment_of_text(text).unwrap();
    assert_eq!(
        of_text(&utc, "2026-11-24T04:30:06.1200Z"),
        "2026-11-24 04:30:06.12 +0000 UTC"
    );
    assert_eq!(
        of_text(&utc, "2026-11-24T04:30:06+02:00"),
        "2026-11-24 04:30:06 +0200 +0200"
    );
    assert_eq!(utc.moment_of_text("yesterday"), None);
    let berlin = Clock {
        now: Timestamp::UNIX_EPOCH,
        zone: TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap(),
    };
    assert_eq!(
        berlin.moment(1_795_494_606),
        "2026-11-24 05:30:06 +0100 CET"
    );
    assert_eq!(
        berlin.moment_rfc3339(1_795_494_606),
        "2026-11-24T05:30:06+01:00"
    );
    assert_eq!(
        of_text(&berlin, "2026-07-01T10:00:00+02:00"),
        "2026-07-01 10:00:00 +0200 CEST"
    );
    assert_eq!(
        of_text(&berlin, "2026-07-01T10:00:00Z"),
        "2026-07-01 10:00:00 +0000 UTC"
    );
}

#[test]
fn short_ids_are_twelve_characters_without_the_algorithm() {
    assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    assert_eq!(short_id("0123456789abcdef"), "0123456789ab");
    assert_eq!(short_id("sha256:01"), "01");
    assert_eq!(short_id("<missing>"), "<missing>");
    assert_eq!(short_id(""), "");
}
