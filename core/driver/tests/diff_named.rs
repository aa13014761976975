//! Looking at given names only, held against the comparison of whole trees.
#![expect(clippy::unwrap_used, reason = "a failed step of a test may panic")]

#[expect(dead_code, reason = "each test uses its own part")]
mod diff_support;

use diff_support::{
    Edits, Random, attributes, directory, first_seed, lacks_root, listing, repetitions, scratch,
    threads, whole, written,
};
use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use strata_driver::diff::{
    ChangedNames, CompareOptions, Comparison, Outcome, Tree, Upper, compare,
};
use strata_driver::tree::{self, CopyOptions};
use strata_driver::{Counters, ErrorKind};

/// An inode, not to be taken for a later one of the same number.
type Identity = (u64, i64, u32);

/// What counts of a name.
#[derive(PartialEq)]
struct Found {
    identity: Identity,
    header: (u16, u32, u32, u64, (u32, u32), (i64, u32)),
    attributes: Vec<(std::ffi::CString, Vec<u8>)>,
    content: Vec<u8>,
}

fn paths(root: &Path) -> Vec<Vec<u8>> {
    let mut random = Random(0);
    let edits = Edits {
        root: root.into(),
        random: &mut random,
        model: None,
        tame: false,
    };
    let all = edits.paths().into_iter().skip(1);
    all.map(|path| {
        let relative = path.strip_prefix(root).unwrap();
        relative.as_os_str().as_bytes().to_vec()
    })
    .collect()
}

fn at(root: &Path, path: &[u8]) -> std::path::PathBuf {
    root.join(std::ffi::OsStr::from_bytes(path))
}

fn tree(root: &Path) -> Names {
    let all = paths(root).into_iter();
    all.map(|path| {
        let full = at(root, &path);
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(CWD, &full, AtFlags::SYMLINK_NOFOLLOW, wanted).unwrap();
        let kind = full.symlink_metadata().unwrap();
        let content = if kind.is_file() {
            fs_err::read(&full).unwrap()
        } else if kind.is_symlink() {
            fs_err::read_link(&full)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else {
            Vec::new()
        };
        let found = Found {
            identity: (stat.stx_ino, stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec),
            header: (
                stat.stx_mode,
                stat.stx_uid,
                stat.stx_gid,
                if kind.is_dir() { 0 } else { stat.stx_size },
                (stat.stx_rdev_major, stat.stx_rdev_minor),
                (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
            ),
            attributes: attributes(&full),
            content,
        };
        (path, found)
    })
    .collect()
}

/// A whole tree: its paths, without the root.
type Names = BTreeMap<Vec<u8>, Found>;

/// The names that differ, where `copies` leads each inode of the lower tree to its copy.
fn changed(
    lower: &Names,
    upper: &Names,
    copies: &HashMap<Identity, Identity>,
) -> BTreeSet<Vec<u8>> {
    let all = lower.keys().chain(upper.keys());
    let differs = |path: &&Vec<u8>| match (lower.get(*path), upper.get(*path)) {
        (Some(lower), Some(upper)) => {
            copies.get(&lower.identity) != Some(&upper.identity)
                || lower.header != upper.header
                || lower.attributes != upper.attributes
                || lower.content != upper.content
        }
        _ => true,
    };
    all.filter(differs).cloned().collect()
}

/// The names, some directories of them as wholes, and others that did not change.
fn named(
    random: &mut Random,
    changed: &BTreeSet<Vec<u8>>,
    (lower, upper): (&Names, &Names),
) -> ChangedNames {
    let mut names = ChangedNames::new();
    let mut wholes: Vec<Vec<u8>> = Vec::new();
    let all: Vec<&Vec<u8>> = lower.keys().chain(upper.keys()).collect();
    if random.below(3) == 0 && !all.is_empty() {
        wholes.push((*random.pick(&all)).clone());
    }
    if random.below(30) == 0 {
        names.add_whole(b"").unwrap();
    }
    for path in changed {
        if random.below(10) == 0 {
            wholes.push(path.clone());
        }
        let covered = wholes.iter().any(|whole| {
            path.strip_prefix(&**whole)
                .is_some_and(|rest| rest.starts_with(b"/"))
        });
        if !covered {
            names.add(path).unwrap();
        }
    }
    for path in wholes {
        names.add_whole(&path).unwrap();
    }
    for _ in 0..random.below(6) {
        if all.is_empty() {
            break;
        }
        let mut path = (*random.pick(&all)).clone();
        if random.below(3) == 0 {
            path.extend_from_slice(b"/neither");
        }
        names.add(&path).unwrap();
    }
    names
}

fn compare_named(
    (lower, upper): (&Path, &Path),
    names: &ChangedNames,
    counters: &Counters,
    count: usize,
) -> strata_driver::Result<Outcome> {
    let (lower, upper) = (directory(lower), directory(upper));
    let upper = Upper::Named {
        root: upper.as_fd(),
        names,
    };
    let options = CompareOptions::default().with_threads(threads(count));
    compare(Some(lower.as_fd()), upper, &options, counters)
}

/// All names that an inode has, as a file system with back references knows them.
fn add_links(names: &mut ChangedNames, lower: &Path, upper: &Path) {
    let by_inode = |root: &Path| {
        let mut found: HashMap<u64, Vec<Vec<u8>>> = HashMap::new();
        for (path, entry) in tree(root) {
            found.entry(entry.identity.0).or_default().push(path);
        }
        found
    };
    let (below, above) = (by_inode(lower), by_inode(upper));
    let mut names_of = |tree, inode| {
        let found = match tree {
            Tree::Lower => &below,
            Tree::Upper => &above,
        };
        Ok(found.get(&inode).cloned().unwrap_or_default())
    };
    let (lower, upper) = (directory(lower), directory(upper));
    names
        .add_links(lower.as_fd(), upper.as_fd(), &mut names_of)
        .unwrap();
}

fn text(outcome: strata_driver::Result<Comparison>) -> Result<Vec<u8>, String> {
    match outcome {
        Ok(found) => Ok(written(&found)),
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err("refused".into()),
        Err(error) => panic!("{error:?}"),
    }
}

#[test]
fn names_that_hold_the_changed_ones_give_the_bytes_of_whole_trees() {
    if lacks_root() {
        return;
    }
    let (mut all, mut undecided, mut looked, mut listed) = (0, 0, 0, 0);
    let first = first_seed();
    for seed in first..first + repetitions(400) {
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
        edits.edit_often(60);
        let options = CopyOptions::default();
        tree::copy(
            directory(&lower).as_fd(),
            directory(&upper).as_fd(),
            &options,
        )
        .unwrap();
        let (below, fresh) = (tree(&lower), tree(&upper));
        let copies = below
            .iter()
            .filter_map(|(path, found)| Some((found.identity, fresh.get(path)?.identity)))
            .collect();
        let model = Some(lower.clone());
        let mut edits = Edits {
            root: upper.clone(),
            random: &mut random,
            model,
            tame: false,
        };
        edits.edit_often(10);
        let above = tree(&upper);
        let changed = changed(&below, &above, &copies);
        let counters = Counters::default();
        let wanted = text(whole(Some(&lower), &upper, &CompareOptions::default()));
        for round in 0..4 {
            let mut names = named(&mut random, &changed, (&below, &above));
            let linked = round != 0;
            if linked {
                add_links(&mut names, &lower, &upper);
            }
            all += u64::from(linked);
            let trees = (&*lower, &*upper);
            let got = match compare_named(trees, &names, &counters, 1 + round % 2) {
                Ok(Outcome::NeedsWholeTrees) => {
                    undecided += u64::from(!linked);
                    assert!(
                        !linked,
                        "seed {seed}: undecided with all names of linked files\n{names:?}\n\
                         lower\n{}upper\n{}",
                        listing(&lower),
                        listing(&upper)
                    );
                    continue;
                }
                Ok(Outcome::Compared(found)) => Ok(found),
                Err(error) => Err(error),
            };
            assert!(
                text(got) == wanted,
                "seed {seed} round {round}\n{names:?}\nlower\n{}upper\n{}",
                listing(&lower),
                listing(&upper)
            );
        }
        looked += counters.entries_walked();
        listed += 4 * (below.len() + above.len()) as u64;
    }
    eprintln!(
        "{all} decided with all links, {undecided} undecided of {} without",
        all / 3
    );
    eprintln!("{looked} names looked at, where listing has {listed}");
    assert!(undecided * 2 < all / 3, "{undecided} of {}", all / 3);
    assert!(looked < listed);
}

/// A lower tree, and an upper one that is its copy.
fn pair(fill: impl Fn(&Path)) -> (tempfile::TempDir, std::path::PathBuf, std::path::PathBuf) {
    let scratch = scratch();
    let (lower, upper) = (scratch.path().join("lower"), scratch.path().join("upper"));
    fs_err::create_dir(&lower).unwrap();
    fs_err::create_dir(&upper).unwrap();
    fill(&lower);
    let (below, above) = (directory(&lower), directory(&upper));
    tree::copy(below.as_fd(), above.as_fd(), &CopyOptions::default()).unwrap();
    (scratch, lower, upper)
}

fn names(paths: &[&str]) -> ChangedNames {
    let mut names = ChangedNames::new();
    for path in paths {
        names.add(path.as_bytes()).unwrap();
    }
    names
}

/// The changed paths; none if whole trees are asked for.
fn listed(lower: &Path, upper: &Path, names: &ChangedNames) -> Option<Vec<String>> {
    match compare_named((lower, upper), names, &Counters::default(), 1).unwrap() {
        Outcome::NeedsWholeTrees => None,
        Outcome::Compared(found) => {
            let changes = found.changes().into_iter();
            Some(
                changes
                    .map(|change| String::from_utf8(change.path).unwrap())
                    .collect(),
            )
        }
    }
}

#[test]
fn only_names_that_are_given_are_looked_at() {
    let (_scratch, lower, upper) = pair(|root| {
        for directory in 0..20 {
            let path = root.join(format!("d{directory}/sub"));
            fs_err::create_dir_all(&path).unwrap();
            for file in 0..50 {
                fs_err::write(path.join(format!("f{file}")), "1").unwrap();
            }
        }
    });
    fs_err::write(upper.join("d3/sub/f7"), "22").unwrap();
    fs_err::write(upper.join("d4/sub/f8"), "nobody says so").unwrap();
    let counters = Counters::default();
    let given = names(&["d3/sub/f7", "d9", "neither/there"]);
    let outcome = compare_named((&lower, &upper), &given, &counters, 1).unwrap();
    let Outcome::Compared(found) = outcome else {
        panic!("no file has several names");
    };
    let paths: Vec<_> = found
        .changes()
        .into_iter()
        .map(|change| change.path)
        .collect();
    assert_eq!(paths, [&b"d3"[..], b"d3/sub", b"d3/sub/f7"]);
    assert_eq!(counters.entries_walked(), 10); // five names, in two trees
}

#[test]
fn a_link_group_known_in_part_asks_for_whole_trees() {
    let (_scratch, lower, upper) = pair(|root| {
        fs_err::write(root.join("a"), "1").unwrap();
        fs_err::hard_link(root.join("a"), root.join("b")).unwrap();
    });
    let mut given = names(&["a"]);
    assert_eq!(listed(&lower, &upper, &given), None);
    add_links(&mut given, &lower, &upper);
    assert_eq!(listed(&lower, &upper, &given), Some(Vec::new()));
    // The other name joins in what is written.
    fs_err::write(upper.join("a"), "2").unwrap();
    let both = Some(vec!["a".into(), "b".into()]);
    assert_eq!(listed(&lower, &upper, &given), both);
}

#[test]
fn a_group_in_one_piece_less_is_told_by_what_survives() {
    let (_scratch, lower, upper) = pair(|root| {
        for directory in ["gone", "turned"] {
            fs_err::create_dir_all(root.join(directory).join("deep")).unwrap();
        }
        fs_err::write(root.join("kept"), "1").unwrap();
        fs_err::hard_link(root.join("kept"), root.join("gone/deep/one")).unwrap();
        fs_err::hard_link(root.join("kept"), root.join("turned/deep/two")).unwrap();
    });
    fs_err::remove_dir_all(upper.join("gone")).unwrap();
    fs_err::remove_dir_all(upper.join("turned")).unwrap();
    fs_err::write(upper.join("turned"), "a file").unwrap();
    let mut given = names(&["gone", "turned", "kept"]);
    assert_eq!(listed(&lower, &upper, &given), None);
    add_links(&mut given, &lower, &upper);
    let two = Some(vec!["gone".into(), "turned".into()]);
    assert_eq!(listed(&lower, &upper, &given), two);
}

#[test]
fn a_reserved_name_passes_only_where_nobody_looks() {
    let (_scratch, lower, upper) = pair(|root| fs_err::write(root.join(".wh.x"), "1").unwrap());
    assert_eq!(listed(&lower, &upper, &names(&["a"])), Some(Vec::new()));
    let given = names(&[".wh.x"]);
    let refused = compare_named((&lower, &upper), &given, &Counters::default(), 1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
}
