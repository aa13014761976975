//! Moments as `until` takes them: a duration before now, a date with or without a time and a zone,
//! or seconds since 1970.

use super::FilterError;
use crate::docker::units::Clock;
use jiff::civil::DateTime;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

pub(super) fn parse(text: &str, clock: &Clock) -> Result<Timestamp, FilterError> {
    // A bare 0 is a moment, not a duration.
    let ago = duration(text).filter(|_| text != "0");
    ago.and_then(|ago| clock.now.checked_sub(ago).ok())
        .or_else(|| date(text, clock))
        .or_else(|| seconds(text))
        .ok_or_else(|| {
            FilterError(format!(
                "failed to parse value as time or duration: {text:?}"
            ))
        })
}

/// Go's durations: `1h30m`, `1.5h`, `300ms`, with a sign before it or not.
fn duration(text: &str) -> Option<SignedDuration> {
    let (is_negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter(|end| *end > 0)?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let scale = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        nanoseconds += number * scale;
        rest = &rest[unit..];
    }
    if nanoseconds >= i64::MAX as f64 {
        return None;
    }
    let nanoseconds = nanoseconds as i64;
    Some(SignedDuration::from_nanos(if is_negative {
        -nanoseconds
    } else {
        nanoseconds
    }))
}

/// A date, a `T` and as much of a time as there is, and a zone; without one it is local.
fn date(text: &str, clock: &Clock) -> Option<Timestamp> {
    let (text, zone) = split_zone(text, clock)?;
    let text = match text.split_once('T') {
        None => format!("{text}T00:00:00"),
        Some((_, time)) if time.len() == 2 => format!("{text}:00:00"),
        Some((_, time)) if time.len() == 5 => format!("{text}:00"),
        Some(_) => text.to_owned(),
    };
    let civil: DateTime = text.parse().ok()?;
    civil
        .to_zoned_datetime(zone)
        .ok()
        .map(|zoned| zoned.timestamp())
}

fn split_zone<'a>(text: &'a str, clock: &Clock) -> Option<(&'a str, TimeZone)> {
    if let Some(rest) = text.strip_suffix(['Z', 'z']) {
        return Some((rest, TimeZone::UTC));
    }
    let sign = text.get(10..)?.rfind(['+', '-']);
    let Some(at) = sign.map(|at| at + 10) else {
        return Some((text, clock.zone.clone()));
    };
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    let seconds = if text[at..].starts_with('-') {
        -seconds
    } else {
        seconds
    };
    let offset = jiff::tz::Offset::from_seconds(seconds).ok()?;
    Some((&text[..at], TimeZone::fixed(offset)))
}

/// Seconds since 1970, with a fraction or without.
fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: i32 = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(whole.parse().ok()?, nanoseconds).ok()
}
