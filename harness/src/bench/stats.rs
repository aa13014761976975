//! Statistics without a normal distribution: medians, their spread, bootstrap intervals.

use crate::seed::Seed;

/// Resamples of one bootstrap.
pub const RESAMPLES: usize = 2_000;

/// A median with the bounds of its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// Lower bound.
    pub low: f64,
    /// The median of the values themselves, not of the resamples.
    pub median: f64,
    /// Upper bound.
    pub high: f64,
}

impl Interval {
    /// Half the width as a share of the median; infinite for a median of zero.
    pub fn half_width(&self) -> f64 {
        if self.median == 0.0 {
            f64::INFINITY
        } else {
            (self.high - self.low) / 2.0 / self.median.abs()
        }
    }
}

/// The median; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The middle and the end of a distribution of single operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Quantiles {
    /// Operations.
    pub count: u64,
    /// Half of them took no longer.
    pub p50: u64,
    /// Of a hundred, ninety-nine took no longer.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

impl Quantiles {
    /// Of `values`, in any order; `None` of nothing.
    pub fn of(mut values: Vec<u64>) -> Option<Self> {
        values.sort_unstable();
        Some(Self {
            count: values.len() as u64,
            p50: nearest_rank(&values, 50)?,
            p99: nearest_rank(&values, 99)?,
            max: *values.last()?,
        })
    }
}

/// The smallest of the `sorted` values that `percent` per cent of them do not exceed: always one
/// that was measured, never one between two.
fn nearest_rank(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Median absolute deviation from the median; `None` of nothing.
pub fn median_absolute_deviation(values: &[f64]) -> Option<f64> {
    let centre = median(values)?;
    median(
        &values
            .iter()
            .map(|value| (value - centre).abs())
            .collect::<Vec<_>>(),
    )
}

/// Medians of resamples with replacement, sorted: the bootstrap distribution of the median.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    centre: f64,
    medians: Vec<f64>,
    values: Vec<f64>,
}

impl Bootstrap {
    /// Draws [`RESAMPLES`] resamples; `None` of nothing. The same seed gives the same answer.
    pub fn of_median(values: &[f64], seed: u64) -> Option<Self> {
        let centre = median(values)?;
        let mut random = Seed(seed).generator("bootstrap");
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let resample: Vec<f64> = (0..values.len())
                    .map(|_| values[random.below(values.len())])
                    .collect();
                median(&resample).unwrap_or(centre)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        Some(Self {
            centre,
            medians,
            values: values.to_vec(),
        })
    }

    /// The ratio of two medians whose values have nothing to do with each other: `over / under`.
    pub fn of_ratio(over: &[f64], under: &[f64], seed: u64) -> Option<Self> {
        let centre = median(over)? / median(under).filter(|base| *base > 0.0)?;
        let mut random = Seed(seed).generator("bootstrap of a ratio");
        let mut resample = |values: &[f64]| {
            let drawn: Vec<f64> = (0..values.len())
                .map(|_| values[random.below(values.len())])
                .collect();
            median(&drawn)
        };
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| Some(resample(over)? / resample(under)?))
            .collect();
        medians.sort_by(f64::total_cmp);
        Some(Self {
            centre,
            values: medians.clone(),
            medians,
        })
    }

    /// The percentile interval that leaves `alpha / 2` out on either side.
    pub fn interval(&self, alpha: f64) -> Interval {
        let at = |share: f64| {
            let last = (self.medians.len() - 1) as f64;
            self.medians[(share * last).round().clamp(0.0, last) as usize]
        };
        Interval {
            low: at(alpha / 2.0),
            median: self.centre,
            high: at(1.0 - alpha / 2.0),
        }
    }

    /// Twice the smaller share of the bootstrap distribution on one side of `null`: the level at
    /// which the interval begins to hold `null`.
    ///
    /// It is zero only where every value stands on one side, because then no resample can reach
    /// over; otherwise at least one resample counts.
    pub fn two_sided_p(&self, null: f64) -> f64 {
        let share = |count: usize, values: usize| match count {
            0 if values == 0 => 0.0,
            count => count.max(1) as f64 / self.medians.len() as f64,
        };
        let below = |list: &[f64]| list.iter().filter(|value| **value <= null).count();
        let above = |list: &[f64]| list.iter().filter(|value| **value >= null).count();
        let low = share(below(&self.medians), below(&self.values));
        let high = share(above(&self.medians), above(&self.values));
        (2.0 * low.min(high)).min(1.0)
    }
}

/// The chance of `successes` or more out of `trials` at `probability` each.
pub fn binomial_tail(trials: u32, successes: u32, probability: f64) -> f64 {
    let mut term = (1.0 - probability).powi(trials as i32); // exactly none
    let mut below = 0.0;
    for done in 0..successes.min(trials + 1) {
        below += term;
        term *= f64::from(trials - done.min(trials)) / f64::from(done + 1) * probability
            / (1.0 - probability);
    }
    (1.0 - below).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_even_and_odd() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median_absolute_deviation(&[1.0, 2.0, 9.0]), Some(1.0));
    }

    #[test]
    fn quantiles_are_values_that_were_measured() {
        assert_eq!(Quantiles::of(Vec::new()), None);
        let of = |values: Vec<u64>| {
            let found = Quantiles::of(values).unwrap();
            [found.count, found.p50, found.p99, found.max]
        };
        assert_eq!(of(vec![7]), [1, 7, 7, 7]);
        assert_eq!(of(vec![4, 1, 3, 2]), [4, 2, 4, 4]);
        assert_eq!(of((1..=100).rev().collect()), [100, 50, 99, 100]);
        assert_eq!(of((1..=1000).collect()), [1000, 500, 990, 1000]);
    }

    #[test]
    fn interval_holds_the_median_and_is_repeatable() {
        let values: Vec<f64> = (1..=21).map(f64::from).collect();
        let first = Bootstrap::of_median(&values, 7).unwrap().interval(0.05);
        assert!(first.low < 11.0 && first.high > 11.0 && first.low >= 5.0 && first.high <= 17.0);
        assert_eq!(
            first,
            Bootstrap::of_median(&values, 7).unwrap().interval(0.05)
        );
    }

    #[test]
    fn p_is_zero_only_when_all_values_are_on_one_side() {
        let apart = Bootstrap::of_median(&[2.0; 10], 1).unwrap();
        assert!(apart.two_sided_p(1.0) == 0.0);
        let mut values = vec![2.0; 40];
        values.push(0.5);
        let nearly = Bootstrap::of_median(&values, 1).unwrap();
        assert!(nearly.two_sided_p(1.0) > 0.0);
        let around = Bootstrap::of_median(&[0.9, 1.1, 0.95, 1.05, 1.0], 1).unwrap();
        assert!(around.two_sided_p(1.0) > 0.5);
    }

    /// Intervals of identical things must hold 1 about as often as they claim to.
    #[test]
    fn coverage_of_ten_blocks_is_near_its_level() {
        let mut random = Seed(3).generator("coverage");
        let mut missed = 0;
        for trial in 0..400 {
            let ratios: Vec<f64> = (0..10)
                .map(|_| ((random.below(2001) as f64 - 1000.0) / 3000.0).exp())
                .collect();
            let interval = Bootstrap::of_median(&ratios, trial).unwrap().interval(0.05);
            missed += usize::from(interval.low > 1.0 || interval.high < 1.0);
        }
        assert!(missed < 48, "{missed} of 400 intervals miss the truth");
    }

    #[test]
    fn binomial_tail_is_exact() {
        assert!((binomial_tail(11, 0, 0.05) - 1.0).abs() < 1e-12);
        assert!((binomial_tail(2, 2, 0.5) - 0.25).abs() < 1e-12);
        assert!((binomial_tail(11, 4, 0.05) - 0.001_6).abs() < 2e-4);
    }
}
