//! Scripts held against the model: those that once failed, and random ones.

use crate::model::quirks::Bent;
use crate::model::text::{parse_script, render_script};
use crate::prelude::*;
use crate::seed::rounds;
use crate::trial::{Campaign, Extent, run_campaign, run_script};
use std::time::Duration;

/// Scripts of `regressions/`, as they are now.
const REGRESSIONS: &[(&str, &str)] = &[
    (
        "model-exchange-directories",
        include_str!("../../regressions/model-exchange-directories.script"),
    ),
    (
        "model-link-fell-apart",
        include_str!("../../regressions/model-link-fell-apart.script"),
    ),
    (
        "model-parted-names",
        include_str!("../../regressions/model-parted-names.script"),
    ),
    (
        "model-punch-in-hole",
        include_str!("../../regressions/model-punch-in-hole.script"),
    ),
    (
        "model-socket-like-a-whiteout",
        include_str!("../../regressions/model-socket-like-a-whiteout.script"),
    ),
    (
        "overlay-late-root",
        include_str!("../../regressions/overlay-late-root.script"),
    ),
    (
        "overlay-listed-inode",
        include_str!("../../regressions/overlay-listed-inode.script"),
    ),
    (
        "overlay-refused-rename",
        include_str!("../../regressions/overlay-refused-rename.script"),
    ),
    (
        "overlay-small-holes",
        include_str!("../../regressions/overlay-small-holes.script"),
    ),
];

/// What the model cannot do without.
const NEEDS: &[Capability] = &[
    Capability::Ownership,
    Capability::Devices,
    Capability::TrustedXattrs,
];

pub(crate) const REGRESSIONS_STAY_MENDED: Case = Case {
    name: "regressions_stay_mended",
    group: Group::Law,
    needs: NEEDS,
    run: |context| {
        let bent = Bent::declared(context.capabilities().quirks.clone());
        for (name, text) in REGRESSIONS {
            let script = parse_script(text).with_context(|| (*name).to_owned())?;
            let place = context.path("trial");
            let report = run_script(&script, context.setting(), &bent, &place)?;
            if let Some(failure) = report.failure {
                bail!("{name}, operation {}: {}", failure.line + 1, failure.text);
            }
        }
        Ok(())
    },
};

pub(crate) const SCRIPTS_MEAN_WHAT_THE_MODEL_SAYS: Case = Case {
    name: "scripts_mean_what_the_model_says",
    group: Group::Law,
    needs: NEEDS,
    run: |context| {
        let mut setting = context.setting().clone();
        setting.place = context.path("campaign");
        fs_err::create_dir(&setting.place)?;
        let campaign = Campaign {
            seed: setting.seed,
            extent: Extent::Cases(rounds(20, 1000) as u64),
            bent: Bent::declared(context.capabilities().quirks.clone()),
            patience: Duration::from_mins(1),
        };
        let outcome = run_campaign(&campaign, &setting, |_, _, _| ())?;
        match outcome.found {
            None => Ok(()),
            Some(found) => bail!(
                "script {} of seed {}: law {}: {}\n{}",
                found.case,
                setting.seed,
                found.failure.law.as_str(),
                found.failure.text,
                render_script(&found.script)
            ),
        }
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_regression_file_is_run() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/regressions");
        let mut files = Vec::new();
        for entry in fs_err::read_dir(directory).unwrap() {
            let name = entry.unwrap().file_name().to_string_lossy().into_owned();
            files.extend(name.strip_suffix(".script").map(str::to_owned));
        }
        files.sort();
        let known: Vec<_> = REGRESSIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(files, known);
    }

    #[test]
    fn regressions_can_be_read() {
        for (name, text) in REGRESSIONS {
            assert!(!parse_script(text).unwrap().is_empty(), "{name}");
        }
    }
}
