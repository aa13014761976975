//! Random trees against the reference program: whole trees, with and without a copy's record, and
//! upper directories under real overlay mounts.

mod diff_support;

use diff_support::{
    Edits, Random, Reference, diff_id, directory, first_seed, lacks_root, listing, repetitions,
    scratch, threads, whole, written,
};
use std::os::fd::AsFd as _;
use strata_driver::ErrorKind;
use strata_driver::diff::CompareOptions;
use strata_driver::tree::{self, CopyOptions, Witness};

#[test]
fn whole_trees_give_the_bytes_of_the_reference() {
    if lacks_root() {
        return;
    }
    let Some(mut reference) = Reference::start() else {
        return;
    };
    let first = first_seed();
    for seed in first..first + repetitions(150) {
        let scratch = scratch();
        let mut random = Random(seed);
        let (lower, upper) = (scratch.path().join("lower"), scratch.path().join("upper"));
        fs_err::create_dir(&lower).unwrap();
        fs_err::create_dir(&upper).unwrap();
        let mut edits = Edits {
            root: lower.clone(),
            random: &mut random,
            model: None,
            tame: false,
        };
        edits.edit_often(40);
        let options = CopyOptions::default().with_witness(Witness::Record);
        let copied = tree::copy(
            directory(&lower).as_fd(),
            directory(&upper).as_fd(),
            &options,
        );
        let record = copied.unwrap().record.unwrap();
        let equal = whole(Some(&lower), &upper, &CompareOptions::default()).unwrap();
        assert!(
            equal.is_empty(),
            "seed {seed}: a copy differs: {:?}",
            equal.changes()
        );
        let model = Some(lower.clone());
        let mut edits = Edits {
            root: upper.clone(),
            random: &mut random,
            model,
            tame: false,
        };
        edits.edit_often(14);
        for lower in [Some(&*lower), None] {
            let wanted = reference.diff_id(lower, &upper);
            let plain = CompareOptions::default();
            let ways = [
                plain.with_threads(threads(1)),
                plain,
                plain.with_record(&record),
            ];
            for (way, options) in ways.iter().enumerate() {
                let got = whole(lower, &upper, options).map(|found| written(&found));
                let got = match got {
                    Err(error) if error.kind() == ErrorKind::InvalidInput => "refused".into(),
                    other => diff_id(&other.unwrap()),
                };
                assert_eq!(
                    got,
                    wanted,
                    "seed {seed}, way {way}\nlower\n{}upper\n{}",
                    lower.map(listing).unwrap_or_default(),
                    listing(&upper)
                );
            }
        }
    }
}
