//! Many scripts on one driver: for a time, or so many of them.

use super::laws::Law;
use super::run::{Report, run as run_script};
use super::shrink::shrink;
use super::tally::Tally;
use super::{Failure, script};
use crate::context::Setting;
use crate::interrupt;
use crate::model::operation::Operation;
use crate::model::quirks::Bent;
use crate::seed::Seed;
use anyhow::Result;
use sha2::{Digest as _, Sha256};
use std::time::{Duration, Instant};

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many scripts.
    Cases(u64),
    /// Scripts until the time is over; the one that runs is finished.
    Time(Duration),
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// Where scripts come from.
    pub seed: Seed,
    /// How many.
    pub extent: Extent,
    /// The quirks that the model has.
    pub bent: Bent,
    /// How long a failure is made smaller.
    pub patience: Duration,
}

/// A script that fails, made small.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its number.
    pub case: u64,
    /// What is left of it.
    pub script: Vec<Operation>,
    /// How that fails.
    pub failure: Failure,
    /// Time until it was found, before it was made smaller.
    pub after: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Scripts that ran.
    pub cases: u64,
    /// What was done and looked at.
    pub tally: Tally,
    /// Digest over all operations and diffs, by which two runs are compared.
    pub digest: String,
    /// The failure at which it ended, if any.
    pub found: Option<Found>,
    /// Wall time.
    pub elapsed: Duration,
}

/// Runs scripts on the driver of `setting` until the extent is reached or one fails.
pub fn run(
    campaign: &Campaign,
    setting: &Setting,
    progress: impl FnMut(u64, &Tally, Duration),
) -> Result<Outcome> {
    let place = setting.place.join("trial");
    run_by(
        campaign,
        |operations| run_script(operations, setting, &campaign.bent, &place),
        progress,
    )
}

/// Runs scripts by `attempt`, whatever it runs them on.
pub(super) fn run_by(
    campaign: &Campaign,
    mut attempt: impl FnMut(&[Operation]) -> Result<Report>,
    mut progress: impl FnMut(u64, &Tally, Duration),
) -> Result<Outcome> {
    let started = Instant::now();
    let mut tally = Tally::default();
    let mut digest = Sha256::new();
    let mut case = 0;
    let mut found = None;
    loop {
        let over = match campaign.extent {
            Extent::Cases(cases) => case >= cases,
            Extent::Time(time) => started.elapsed() >= time,
        };
        if over || interrupt::interrupted() {
            break;
        }
        let operations = script(campaign.seed, case, &campaign.bent)?;
        let report = match attempt(&operations) {
            Err(_) if interrupt::interrupted() => break,
            report => report?,
        };
        tally.add(&report.tally);
        record(&mut digest, &operations, &report);
        if let Some(failure) = report.failure {
            let after = started.elapsed();
            let small = shrink(
                operations.clone(),
                failure.law,
                campaign.patience,
                &mut attempt,
            );
            let again = small.and_then(|small| Ok((attempt(&small)?.failure, small)));
            let (script, failure) = match again {
                Ok((Some(again), small)) => (small, again),
                // It does not fail each time, or there was no time to make it smaller.
                Ok((None, _)) => (operations[..=failure.line].to_vec(), failure),
                Err(_) if interrupt::interrupted() => {
                    (operations[..=failure.line].to_vec(), failure)
                }
                Err(error) => return Err(error),
            };
            found = Some(Found {
                case,
                script,
                failure,
                after,
            });
            case += 1;
            break;
        }
        case += 1;
        progress(case, &tally, started.elapsed());
    }
    Ok(Outcome {
        cases: case,
        tally,
        digest: hex::encode(&digest.finalize()[..8]),
        found,
        elapsed: started.elapsed(),
    })
}

fn record(digest: &mut Sha256, operations: &[Operation], report: &Report) {
    for operation in operations {
        digest.update(format!("{operation}\n"));
    }
    for diff in &report.diffs {
        digest.update(format!("{diff:?}\n"));
    }
    if let Some(failure) = &report.failure {
        let law: Law = failure.law;
        digest.update(format!("{}:{}\n", failure.line, law.as_str()));
    }
}
