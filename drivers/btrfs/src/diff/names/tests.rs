//! Tests of the replay against a model of paths.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A tree of directories and files: path to inode, and whether that is a directory.
type Model = BTreeMap<String, (u32, bool)>;

fn above(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// A tree under edits that are told as a stream tells them.
struct Edited {
    model: Model,
    next: u32,
    replay: Replay,
    /// Inodes of which something besides names changed.
    touched: BTreeSet<u32>,
}

impl Edited {
    fn tell(&mut self, command: Command<'_>) {
        self.replay.apply(command).unwrap();
    }

    fn rename(&mut self, from: &str, to: &str) {
        self.tell(Command::Moved {
            from: from.as_bytes(),
            to: to.as_bytes(),
        });
        let moving: Vec<_> = self
            .model
            .keys()
            .filter(|path| *path == from || is_below(path, from))
            .cloned()
            .collect();
        for path in moving {
            let found = self.model.remove(&path).unwrap();
            self.model
                .insert(format!("{to}{}", &path[from.len()..]), found);
        }
    }

    /// A new thing comes under a temporary name, as in a stream.
    fn make(&mut self, path: &str, directory: bool, at_once: bool) {
        let inode = self.next;
        self.next += 1;
        let temporary = if at_once {
            path.to_owned()
        } else {
            format!("o{inode}-7-0")
        };
        self.tell(Command::Made {
            path: temporary.as_bytes(),
            directory,
        });
        self.model.insert(temporary.clone(), (inode, directory));
        if !at_once {
            self.rename(&temporary, path);
        }
    }

    /// Takes away what is at `path`: by name and below first, or under a temporary name.
    fn remove(&mut self, path: &str, orphan: bool) {
        let mut path = path.to_owned();
        if orphan {
            let inode = self.model[&path].0;
            let temporary = format!("o{inode}-6-0");
            self.rename(&path, &temporary);
            path = temporary;
        }
        let all: Vec<_> = self
            .model
            .keys()
            .filter(|found| **found == path || is_below(found, &path))
            .cloned()
            .collect();
        for path in all.iter().rev() {
            let path = path.as_bytes();
            self.tell(Command::Removed { path });
        }
        let gone: Vec<_> = all
            .iter()
            .filter_map(|path| self.model.remove(path))
            .collect();
        // A file that lost a name has another link count: the kernel comes to it once more, under
        // a name that is left.
        for lost in gone {
            let left = self.model.iter().find(|(_, found)| **found == lost);
            if let Some(path) = left.map(|(path, _)| path.clone()) {
                let path = path.as_bytes();
                self.tell(Command::Touched { path });
            }
        }
    }

    fn edit(&mut self, (kind, one, other, flag): (u8, usize, usize, bool)) {
        let paths: Vec<String> = self.model.keys().cloned().collect();
        let directories: Vec<String> = std::iter::once(String::new())
            .chain(
                self.model
                    .iter()
                    .filter(|found| found.1.1)
                    .map(|found| found.0.clone()),
            )
            .collect();
        let directory = &directories[one % directories.len()];
        let name = ["a", "b", "c"][other % 3];
        let new = match &**directory {
            "" => name.to_owned(),
            directory => format!("{directory}/{name}"),
        };
        let some = paths.get(one.wrapping_mul(7) % paths.len().max(1));
        match (kind % 8, some) {
            (0..=2, _) => {
                if self.model.contains_key(&new) {
                    self.remove(&new, flag);
                }
                self.make(&new, kind % 8 != 0, flag && other % 2 == 0);
            }
            (3 | 4, Some(from)) if *from != new && !is_below(&new, from) => {
                if is_below(from, &new) {
                    return;
                }
                if self.model.contains_key(&new) {
                    self.remove(&new, flag);
                }
                let from = from.clone();
                self.rename(&from, &new);
            }
            (5, Some(path)) => {
                let path = path.clone();
                self.remove(&path, flag);
            }
            (6, Some(path)) => {
                let (path, inode) = (path.clone(), self.model[path].0);
                self.touched.insert(inode);
                self.tell(Command::Touched {
                    path: path.as_bytes(),
                });
            }
            (7, Some(target)) if !self.model[target].1 => {
                if self.model.contains_key(&new) {
                    return;
                }
                let found = self.model[target];
                let (path, target) = (new.as_bytes(), target.as_bytes());
                self.replay.apply(Command::Linked { path, target }).unwrap();
                self.model.insert(new, found);
            }
            _ => {}
        }
    }
}

/// Applies edits of which the first `base` are not told, and checks that each name that differs is
/// looked at. Returns how many names differ, and how many are looked at.
fn check(edits: &[(u8, usize, usize, bool)], base: usize) -> (usize, usize) {
    let mut edited = Edited {
        model: Model::new(),
        next: 1,
        replay: Replay::default(),
        touched: BTreeSet::new(),
    };
    let base = base.min(edits.len());
    for edit in &edits[..base] {
        edited.edit(*edit);
    }
    let lower = edited.model.clone();
    edited.replay = Replay::default();
    edited.touched.clear();
    for edit in &edits[base..] {
        edited.edit(*edit);
    }
    let upper = &edited.model;
    let names = edited.replay.into_names().unwrap();
    let is_directory =
        |model: &Model, path: &str| path.is_empty() || model.get(path).is_some_and(|found| found.1);
    let mut differing = 0;
    for path in lower.keys().chain(upper.keys()).collect::<BTreeSet<_>>() {
        let (below, above_it) = (lower.get(path), upper.get(path));
        let touched = above_it.is_some_and(|found| edited.touched.contains(&found.0));
        let mut parent = above(path);
        let mut reached = is_directory(&lower, parent) && is_directory(upper, parent);
        while !parent.is_empty() {
            parent = above(parent);
            reached &= is_directory(&lower, parent) && is_directory(upper, parent);
        }
        if below == above_it && !touched {
            continue;
        }
        differing += 1;
        // A touched inode with several names is told under one of them.
        let others = touched && below == above_it;
        let contained = |path: &str| names.contains(path.as_bytes());
        let same = |other: &&String| upper.get(*other) == above_it;
        if reached
            && !(contained(path) || (others && upper.keys().filter(same).any(|p| contained(p))))
        {
            panic!("{path} is not looked at\nlower {lower:?}\nupper {upper:?}\n{names:?}");
        }
    }
    (differing, names.len())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(2000),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn each_name_that_differs_is_looked_at(
        edits in prop::collection::vec(any::<(u8, usize, usize, bool)>(), 0..60),
        base in 0_usize..40,
    ) {
        check(&edits, base);
    }
}

fn replayed(commands: &[Command<'_>]) -> ChangedNames {
    let mut replay = Replay::default();
    for command in commands {
        replay.apply(*command).unwrap();
    }
    replay.into_names().unwrap()
}

#[test]
fn temporary_names_are_not_looked_at() {
    let names = replayed(&[
        Command::Made {
            path: b"o260-9-0",
            directory: false,
        },
        Command::Moved {
            from: b"o260-9-0",
            to: b"d/f",
        },
        Command::Touched { path: b"d/f" },
        Command::Moved {
            from: b"old",
            to: b"o259-8-0",
        },
        Command::Removed {
            path: b"o259-8-0/x",
        },
        Command::Removed { path: b"o259-8-0" },
    ]);
    assert_eq!(names.len(), 3, "{names:?}");
    for path in ["d", "d/f", "old", "old/x"] {
        assert!(names.contains(path.as_bytes()), "{path}");
    }
}

#[test]
fn names_below_a_moved_directory_are_looked_at_in_both_places() {
    let names = replayed(&[
        Command::Moved {
            from: b"a",
            to: b"p/b",
        },
        Command::Touched {
            path: b"p/b/deep/f",
        },
        Command::Moved {
            from: b"p",
            to: b"q",
        },
        Command::Removed { path: b"q/b/gone" },
    ]);
    for path in ["a/any", "q/b/any", "q/b/deep/f", "p/any", "q/any"] {
        assert!(names.contains(path.as_bytes()), "{path}");
    }
    assert!(!names.contains(b"elsewhere"));
}

#[test]
fn a_directory_moved_into_itself_is_refused() {
    let moved = Command::Moved {
        from: b"a",
        to: b"a/b/c",
    };
    let refused = Replay::default().apply(moved).unwrap_err();
    assert_eq!(refused, Malformed::IntoItself);
}
