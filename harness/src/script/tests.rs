//! The script is the same for a seed, has enough of every kind, and makes the golden trees.

use super::*;
use crate::oracle;
use crate::tree::Tree;

#[test]
fn script_has_enough_of_every_kind() {
    for seed in [1, 2, 3] {
        let script = Script::new(Seed(seed), 5_000, 8);
        assert_eq!(script.operations(), 5_000);
        for kind in KINDS {
            assert!(
                script.kinds.get(kind) >= Some(&100),
                "{kind}: {:?}",
                script.kinds
            );
        }
        let left_out: usize = script.left_out.values().sum();
        assert!((1..=150).contains(&left_out), "{:?}", script.left_out);
    }
}

#[test]
fn script_of_a_seed_is_the_same() {
    let text = |seed| format!("{:?}", Script::new(Seed(seed), 400, 3).layers);
    assert_eq!(text(5), text(5));
    assert_ne!(text(5), text(6));
}

#[test]
fn script_makes_the_golden_layers() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let place = tempfile::tempdir_in(crate::fixture::scratch_place()).unwrap();
    let dir = Dir::new(place.path());
    dir.mode(".", 0o755).unwrap();
    let mut lower: Option<Tree> = None;
    let mut diff_ids = Vec::new();
    for operations in Script::new(Seed(1), 5_000, 8).layers {
        for operation in operations {
            operation.run(&dir).unwrap();
        }
        let upper = Tree::read_with_contents(dir.path()).unwrap();
        let diff = oracle::canonical_diff(lower.as_ref(), &upper).unwrap();
        diff_ids.push(oracle::diff_id(&diff).to_string());
        lower = Some(upper);
    }
    assert_eq!(diff_ids, GOLDEN);
}
