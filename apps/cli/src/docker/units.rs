//! How Docker writes sizes, durations, moments and digests.
//!
//! Source: github.com/docker/go-units (`HumanSizeWithPrecision`, `HumanDuration`), Go's
//! `fmt` for `%.*g`, and Go's `time.Time.String`.

use jiff::{Timestamp, tz::TimeZone};

const SIZE_UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// What `images`, `history` and containers show: three significant digits.
pub(crate) fn size(bytes: i64) -> String {
    size_with_precision(bytes, 3)
}

/// What `system df`, shared and unique sizes and progress show: four significant digits.
pub(crate) fn fine_size(bytes: i64) -> String {
    size_with_precision(bytes, 4)
}

/// A size in powers of a thousand. A negative one is never divided, as in Docker.
pub(crate) fn size_with_precision(bytes: i64, precision: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < SIZE_UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{}{}", general(value, precision), SIZE_UNITS[unit])
}

/// Go's `%.*g`: so many significant digits, without trailing zeros, and the form with an exponent
/// once rounding has reached as many digits before the point.
fn general(value: f64, precision: usize) -> String {
    let scientific = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = scientific
        .split_once('e')
        .expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a number after `e`");
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs())
    } else {
        let decimals = (precision as i32 - 1 - exponent) as usize;
        trimmed(&format!("{value:.decimals$}")).to_owned()
    }
}

fn trimmed(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

/// A duration in its largest unit, without "ago".
pub(crate) fn duration(nanoseconds: i64) -> String {
    let nanoseconds = i128::from(nanoseconds);
    let seconds = nanoseconds / NANOS_PER_SECOND;
    let minutes = seconds / 60;
    let hour = 3600 * NANOS_PER_SECOND;
    let rounded_hours = (nanoseconds + hour / 2) / hour;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if rounded_hours == 1 => "About an hour".to_owned(),
        () if rounded_hours < 48 => format!("{rounded_hours} hours"),
        () if rounded_hours < 24 * 7 * 2 => format!("{} days", rounded_hours / 24),
        () if rounded_hours < 24 * 30 * 2 => format!("{} weeks", rounded_hours / 24 / 7),
        () if rounded_hours < 24 * 365 * 2 => format!("{} months", rounded_hours / 24 / 30),
        () => format!("{} years", nanoseconds / hour / 24 / 365),
    }
}

/// The twelve characters of a digest or an id that people are shown.
pub(crate) fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.char_indices()
        .nth(12)
        .map_or(hex, |(end, _)| &hex[..end])
}

/// Now, and where: all that relative and local times depend on.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    /// The moment that "ago" is counted from.
    pub(crate) now: Timestamp,
    /// The zone that moments are written in.
    pub(crate) zone: TimeZone,
}

impl Clock {
    /// The clock of this host, in the zone of `TZ` or `/etc/localtime`.
    pub(crate) fn of_host() -> Self {
        Self {
            now: Timestamp::now(),
            zone: TimeZone::try_system().unwrap_or(TimeZone::UTC),
        }
    }

    /// `13 days ago`, for seconds since 1970.
    pub(crate) fn since(&self, seconds: i64) -> String {
        self.since_nanoseconds(i128::from(seconds) * NANOS_PER_SECOND)
    }

    /// `13 days ago`.
    pub(crate) fn since_moment(&self, moment: Timestamp) -> String {
        self.since_nanoseconds(moment.as_nanosecond())
    }

    fn since_nanoseconds(&self, moment: i128) -> String {
        // Go's durations are 64 bits wide and stop at their ends.
        let passed = (self.now.as_nanosecond() - moment)
            .clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
        format!("{} ago", duration(passed))
    }

    /// `2026-11-11 04:13:30 +0000 UTC`, for seconds since 1970.
    pub(crate) fn moment(&self, seconds: i64) -> String {
        go_string(in_range(seconds), &self.zone, None)
    }

    /// The same in RFC 3339: `2026-11-11T04:13:30Z`.
    pub(crate) fn moment_rfc3339(&self, seconds: i64) -> String {
        let zoned = in_range(seconds).to_zoned_datetime(self.zone.clone());
        let local = zoned.strftime("%Y-%m-%dT%H:%M:%S");
        if zoned.offset().seconds() == 0 {
            format!("{local}Z")
        } else {
            format!("{local}{}", zoned.strftime("%:z"))
        }
    }

    /// A moment that came as RFC 3339 text: Go keeps the offset it was written with. Without
    /// a name for that offset it writes the offset twice, unless it is also the local one.
    pub(crate) fn moment_of_text(&self, text: &str) -> Option<String> {
        let moment: Timestamp = text.parse().ok()?;
        if text.ends_with(['Z', 'z']) {
            return Some(go_string(moment, &TimeZone::UTC, None));
        }
        let pieces = jiff::fmt::temporal::Pieces::parse(text).ok()?;
        let offset = pieces.to_numeric_offset()?;
        if self.zone.to_offset(moment) == offset {
            return Some(go_string(moment, &self.zone, None));
        }
        Some(go_string(moment, &TimeZone::fixed(offset), Some("%z")))
    }
}

/// Docker's years have no end, those of the calendar here do.
fn in_range(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// `name` is how the zone is written where it is not by its own name.
fn go_string(moment: Timestamp, zone: &TimeZone, name: Option<&str>) -> String {
    // `%.f` writes no point where there is no fraction.
    let format = format!("%Y-%m-%d %H:%M:%S%.f %z {}", name.unwrap_or("%Z"));
    moment
        .to_zoned_datetime(zone.clone())
        .strftime(&format)
        .to_string()
}
