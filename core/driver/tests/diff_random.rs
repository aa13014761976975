//! Random trees against the reference program: whole trees, with and without a copy's record, and
//! upper directories under real overlay mounts.
#![expect(clippy::unwrap_used, reason = "a failed step of a test may panic")]

mod diff_support;

use diff_support::{
    Edits, Random, Reference, attributes, diff_id, directory, first_seed, lacks_root, listing,
    remove, repetitions, scratch, threads, whole, written,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use std::ffi::CString;
use std::os::fd::AsFd as _;
use std::path::Path;
use strata_driver::diff::{CompareOptions, Mark, Marks, Outcome, Upper, UpperEntry, compare};
use strata_driver::tree::{self, CopyOptions, Witness};
use strata_driver::{Counters, ErrorKind};

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

/// Overlay's own marks, as the driver of that name reads them.
struct OverlayMarks;

impl Marks for OverlayMarks {
    fn classify(&self, entry: &UpperEntry<'_>) -> strata_driver::Result<Mark> {
        Ok(match entry.file_type() {
            FileType::CharacterDevice if entry.device() == (0, 0) => Mark::Whiteout,
            FileType::Directory => {
                if entry.xattr(c"trusted.overlay.redirect")?.is_some() {
                    Mark::Elsewhere
                } else if entry.xattr(c"trusted.overlay.opaque")?.as_deref() == Some(b"y") {
                    Mark::OpaqueDirectory
                } else {
                    Mark::Plain
                }
            }
            FileType::RegularFile if entry.xattr(c"trusted.overlay.metacopy")?.is_some() => {
                Mark::Elsewhere
            }
            _ => Mark::Plain,
        })
    }
}

/// A mount namespace of this thread's own, where overlay can be mounted.
fn own_mounts() -> bool {
    if lacks_root() {
        return false;
    }
    let flags = nix::sched::CloneFlags::CLONE_NEWNS;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let own = nix::sched::unshare(flags).is_ok() && mount_change("/", private).is_ok();
    if !own {
        eprintln!("skipped: needs a mount namespace");
    }
    own
}

fn overlay(options: &str, target: &Path) -> rustix::io::Result<()> {
    let options = CString::new(options).unwrap();
    mount(
        "overlay",
        target,
        "overlay",
        MountFlags::empty(),
        Some(&*options),
    )
}

/// What the partial walk says of `upper` over `lower`, held against the reference's word on
/// `merged`. True if it could tell by itself.
fn check_partial(
    reference: &mut Reference,
    (lower, upper, merged): (&Path, &Path, &Path),
    seed: u64,
) -> bool {
    let counters = Counters::default();
    let (below, above) = (directory(lower), directory(upper));
    let partial = Upper::Partial {
        root: above.as_fd(),
        marks: &OverlayMarks,
    };
    let options = CompareOptions::default().with_threads(threads(1 + seed as usize % 2));
    let outcome = compare(Some(below.as_fd()), partial, &options, &counters);
    let (got, decided) = match outcome {
        Err(error) if error.kind() == ErrorKind::InvalidInput => ("refused".into(), true),
        Err(error) => panic!("seed {seed}: {error:?}"),
        Ok(Outcome::Compared(found)) => (diff_id(&written(&found)), true),
        Ok(Outcome::NeedsWholeTrees) => {
            let found = whole(Some(lower), merged, &options).unwrap();
            (diff_id(&written(&found)), false)
        }
    };
    let wanted = reference.diff_id(Some(lower), merged);
    assert_eq!(
        got,
        wanted,
        "seed {seed}, decided {decided}\nlower\n{}upper\n{}merged\n{}",
        listing(lower),
        listing(upper),
        listing(merged)
    );
    decided
}

#[test]
fn edits_through_an_overlay_mount_are_found_in_its_upper_directory() {
    if !own_mounts() {
        return;
    }
    let Some(mut reference) = Reference::start() else {
        return;
    };
    let (mut decided, mut all) = (0, 0);
    let first = first_seed();
    for seed in first..first + repetitions(100) {
        let scratch = scratch();
        let mut random = Random(seed);
        let at = |name: &str| scratch.path().join(name);
        for name in ["lower", "upper", "work", "merged"] {
            fs_err::create_dir(at(name)).unwrap();
        }
        let mut edits = Edits {
            root: at("lower"),
            random: &mut random,
            model: None,
            tame: true,
        };
        edits.edit_often(40);
        let root = scratch.path().display();
        // The rule set in which overlay marks every new directory opaque, and the other.
        let extra = *random.pick(&["", ",redirect_dir=on", ",metacopy=on", ",xino=on"]);
        let options =
            format!("lowerdir={root}/lower,upperdir={root}/upper,workdir={root}/work{extra}");
        if overlay(&options, &at("merged")).is_err() {
            eprintln!("skipped: overlay takes no such mount here: {options}");
            return;
        }
        let model = Some(at("lower"));
        let mut edits = Edits {
            root: at("merged"),
            random: &mut random,
            model,
            tame: true,
        };
        edits.edit_often(10);
        let trees = (&*at("lower"), &*at("upper"), &*at("merged"));
        all += 1;
        decided += u64::from(check_partial(&mut reference, trees, seed));
        unmount(at("merged"), UnmountFlags::empty()).unwrap();
    }
    eprintln!("{decided} of {all} upper directories told by themselves");
    assert!(decided * 2 > all, "{decided} of {all}");
}

#[test]
fn any_upper_directory_gives_what_overlay_shows_of_it() {
    if !own_mounts() {
        return;
    }
    let Some(mut reference) = Reference::start() else {
        return;
    };
    let (mut decided, mut all) = (0, 0);
    let first = first_seed();
    for seed in first..first + repetitions(100) {
        let scratch = scratch();
        let mut random = Random(seed);
        let at = |name: &str| scratch.path().join(name);
        for name in ["lower", "upper", "merged"] {
            fs_err::create_dir(at(name)).unwrap();
        }
        let mut edits = Edits {
            root: at("lower"),
            random: &mut random,
            model: None,
            tame: true,
        };
        edits.edit_often(40);
        // Some uppers begin as a copy, so that much in them is as below.
        if random.below(2) == 0 {
            let (lower, upper) = (directory(&at("lower")), directory(&at("upper")));
            tree::copy(lower.as_fd(), upper.as_fd(), &CopyOptions::default()).unwrap();
        }
        let model = Some(at("lower"));
        let mut edits = Edits {
            root: at("upper"),
            random: &mut random,
            model,
            tame: true,
        };
        edits.edit_often(25);
        add_marks(&mut edits);
        let root = scratch.path().display();
        let options = format!("lowerdir={root}/upper:{root}/lower");
        if overlay(&options, &at("merged")).is_err() {
            eprintln!("skipped: overlay takes no such mount here: {options}");
            return;
        }
        let trees = (&*at("lower"), &*at("upper"), &*at("merged"));
        all += 1;
        decided += u64::from(check_partial(&mut reference, trees, seed));
        unmount(at("merged"), UnmountFlags::empty()).unwrap();
    }
    eprintln!("{decided} of {all} upper directories told by themselves");
    assert!(decided * 3 > all, "{decided} of {all}");
}

/// Opaque directories, and whiteouts for what is below and for what is not.
fn add_marks(edits: &mut Edits<'_>) {
    let (name, flags) = ("trusted.overlay.opaque", XattrFlags::empty());
    for path in edits.paths().into_iter().skip(1) {
        if path.symlink_metadata().unwrap().is_dir() && edits.random.below(6) == 0 {
            rustix::fs::lsetxattr(&path, name, b"y", flags).unwrap();
        }
    }
    for path in edits.paths().into_iter().skip(1) {
        // The kernel leaves no whiteout where nothing lies below, and would list it there.
        if path.symlink_metadata().is_ok() && edits.random.below(6) == 0 && is_merged(edits, &path)
        {
            remove(&path);
            let mode = Mode::empty();
            rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, mode, 0).unwrap();
        }
    }
}

/// Whether all directories above `path` lie over directories.
fn is_merged(edits: &Edits<'_>, path: &Path) -> bool {
    let model = edits.model.as_ref().unwrap();
    let above = path.ancestors().skip(1);
    above
        .take_while(|directory| *directory != edits.root)
        .all(|directory| {
            let below = model.join(directory.strip_prefix(&edits.root).unwrap());
            let opaque = attributes(directory)
                .iter()
                .any(|(name, _)| name.to_bytes().ends_with(b"opaque"));
            !opaque && below.symlink_metadata().is_ok_and(|found| found.is_dir())
        })
}
