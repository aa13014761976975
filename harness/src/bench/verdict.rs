//! What an interval of ratios allows to be said: four verdicts, with Holm's correction.

use crate::bench::stats::Interval;
use std::fmt;

/// Half-width of the band within which two things count as equal.
pub const EQUIVALENT_WITHIN: f64 = 0.05;

/// Chance of any false claim among all comparisons that are printed together.
pub const FAMILY_ALPHA: f64 = 0.05;

/// What may be said of a ratio of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Below 1, beyond chance and beyond the band.
    Faster,
    /// Above 1, beyond chance and beyond the band.
    Slower,
    /// The whole interval lies within the band.
    Equivalent,
    /// None of these.
    Inconclusive,
}

impl Verdict {
    /// The word for output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Faster => "faster",
            Self::Slower => "slower",
            Self::Equivalent => "equivalent",
            Self::Inconclusive => "inconclusive",
        }
    }

    /// One character for a narrow table.
    pub fn mark(self) -> char {
        match self {
            Self::Faster => '-',
            Self::Slower => '+',
            Self::Equivalent => '=',
            Self::Inconclusive => '?',
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Whether a difference stood up against Holm's correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Chance alone is ruled out at the family's level.
    Shown,
    /// It is not.
    NotShown,
}

/// Holm's step-down procedure: which of the comparisons with these p values are shown, so that
/// the chance of any false one among them stays at [`FAMILY_ALPHA`].
pub fn holm(p_values: &[f64]) -> Vec<Difference> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut outcome = vec![Difference::NotShown; p_values.len()];
    for (rank, index) in order.into_iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        if p_values[index] > FAMILY_ALPHA / remaining {
            break;
        }
        outcome[index] = Difference::Shown;
    }
    outcome
}

/// The verdict on a ratio whose 95 % interval is `ratio`.
pub fn verdict(ratio: &Interval, difference: Difference) -> Verdict {
    let band = 1.0 - EQUIVALENT_WITHIN..=1.0 + EQUIVALENT_WITHIN;
    if band.contains(&ratio.low) && band.contains(&ratio.high) {
        return Verdict::Equivalent;
    }
    if difference == Difference::NotShown || band.contains(&ratio.median) {
        return Verdict::Inconclusive;
    }
    if ratio.high < 1.0 {
        Verdict::Faster
    } else if ratio.low > 1.0 {
        Verdict::Slower
    } else {
        Verdict::Inconclusive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(low: f64, median: f64, high: f64) -> Interval {
        Interval { low, median, high }
    }

    #[test]
    fn holm_steps_down_and_stops_at_the_first_that_fails() {
        use Difference::{NotShown, Shown};
        assert_eq!(holm(&[0.04, 0.001, 0.2]), [NotShown, Shown, NotShown]);
        assert_eq!(holm(&[0.01, 0.02, 0.03]), [Shown, Shown, Shown]);
        assert_eq!(holm(&[0.03, 0.03]), [NotShown, NotShown]);
        assert_eq!(holm(&[]), []);
    }

    #[test]
    fn four_verdicts() {
        let shown = Difference::Shown;
        assert_eq!(verdict(&interval(0.4, 0.5, 0.6), shown), Verdict::Faster);
        assert_eq!(verdict(&interval(1.2, 1.5, 1.9), shown), Verdict::Slower);
        assert_eq!(
            verdict(&interval(0.96, 1.0, 1.04), shown),
            Verdict::Equivalent
        );
        assert_eq!(
            verdict(&interval(0.9, 1.0, 1.2), Difference::NotShown),
            Verdict::Inconclusive
        );
        // Real but too small to matter, and too wide to be called equal.
        assert_eq!(
            verdict(&interval(1.01, 1.03, 1.08), shown),
            Verdict::Inconclusive
        );
        // Large but not beyond chance once all comparisons count.
        assert_eq!(
            verdict(&interval(1.2, 1.5, 1.9), Difference::NotShown),
            Verdict::Inconclusive
        );
    }
}
