//! Descriptors and maps that are held while a file is copied up, in every interleaving: what they
//! show, and that nothing is ever written into a branch below.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use strata_driver::mount::{Mounted, mount};
use strata_driver::{MountFlags, MountOption, MountPlan, MountStep, SnapshotName};
use strata_harness::fixture::{FileSystemKind, Fixture};
use strata_sys::map::SharedMap;

const OLD: &[u8] = b"ORIGINAL";
const NEW: &[u8] = b"NEWDATA!";
const CUT: usize = 3;

/// One step of one of three who use the same file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Opens to read, reader 0 or 1.
    Open(usize),
    /// Maps what reader 0 has open.
    Map,
    /// Reads through descriptor and map.
    Look(usize),
    Close(usize),
    OpenToWrite,
    Write,
    CloseWritten,
    Change(Change),
}

/// Something else that copies up, by the file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Mode,
    Cut,
    Name,
    Removal,
}

const READER: &[Step] = &[Step::Open(0), Step::Map, Step::Look(0), Step::Close(0)];
const SECOND: &[Step] = &[Step::Open(1), Step::Look(1), Step::Close(1)];
const WRITER: &[Step] = &[Step::OpenToWrite, Step::Write, Step::CloseWritten];

/// All orders of the steps of several, each in its own order.
fn interleavings(scripts: &[&[Step]]) -> Vec<Vec<Step>> {
    if scripts.iter().all(|script| script.is_empty()) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, script) in scripts.iter().enumerate() {
        let Some((first, rest)) = script.split_first() else {
            continue;
        };
        let mut left = scripts.to_vec();
        left[index] = rest;
        for mut order in interleavings(&left) {
            order.insert(0, *first);
            all.push(order);
        }
    }
    all
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coherence {
    Strict,
    Fast,
}

/// What must be so.
struct Expected {
    coherence: Coherence,
    /// What the file holds now.
    content: Vec<u8>,
    mode: u32,
    copied: bool,
    name: Option<PathBuf>,
    /// Who opened the file of the branch below, and keeps to that.
    below: [bool; 2],
}

impl Expected {
    fn copied_up(&mut self) {
        self.copied = true;
    }

    /// What a reader sees.
    fn seen(&self, reader: usize) -> &[u8] {
        if self.coherence == Coherence::Fast && self.below[reader] && self.copied {
            OLD
        } else {
            &self.content
        }
    }
}

struct Run {
    expected: Expected,
    readers: [Option<File>; 2],
    map: Option<SharedMap>,
    writer: Option<File>,
}

impl Run {
    fn step(&mut self, step: Step) {
        let expected = &mut self.expected;
        match step {
            Step::Open(reader) => {
                expected.below[reader] = !expected.copied;
                let opened = expected.name.as_ref().map(|name| File::open(name).unwrap());
                self.readers[reader] = opened;
            }
            Step::Map => {
                let file = self.readers[0].as_ref();
                self.map = file.map(|file| SharedMap::read_only(file, OLD.len()).unwrap());
            }
            Step::Look(reader) => {
                let Some(file) = &mut self.readers[reader] else {
                    return;
                };
                let mut read = Vec::new();
                file.rewind().unwrap();
                file.read_to_end(&mut read).unwrap();
                assert_eq!(read, expected.seen(reader), "descriptor {reader}");
                if reader == 0
                    && let Some(map) = &self.map
                {
                    let wanted = expected.seen(0);
                    assert_eq!(map.read(0, wanted.len()), wanted, "map");
                }
                if expected.coherence == Coherence::Strict {
                    let mode = file.metadata().unwrap().mode() & 0o7777;
                    assert_eq!(mode, expected.mode, "mode by the descriptor");
                }
            }
            Step::Close(reader) => {
                self.readers[reader] = None;
                if reader == 0 {
                    self.map = None;
                }
            }
            Step::OpenToWrite => {
                let Some(name) = &expected.name else {
                    return;
                };
                let opened = File::options().read(true).write(true).open(name);
                self.writer = Some(opened.unwrap());
                if expected.coherence == Coherence::Fast {
                    expected.copied_up();
                }
            }
            Step::Write => {
                let Some(file) = &mut self.writer else {
                    return;
                };
                file.write_all(NEW).unwrap();
                expected.content = NEW.to_vec();
                expected.copied_up();
            }
            Step::CloseWritten => self.writer = None,
            Step::Change(change) => self.change(change),
        }
    }

    fn change(&mut self, change: Change) {
        let expected = &mut self.expected;
        let name = expected.name.clone().unwrap();
        match change {
            Change::Mode => {
                let mode = std::fs::Permissions::from_mode(0o600);
                fs_err::set_permissions(&name, mode).unwrap();
                expected.mode = 0o600;
            }
            Change::Cut => {
                let file = File::options().write(true).open(&name).unwrap();
                file.set_len(CUT as u64).unwrap();
                expected.content.truncate(CUT);
            }
            Change::Name => {
                let to = name.with_extension("moved");
                fs_err::rename(&name, &to).unwrap();
                expected.name = Some(to);
            }
            Change::Removal => {
                fs_err::remove_file(&name).unwrap();
                expected.name = None;
                // What is open keeps what it is; only a write by it makes a copy.
                return;
            }
        }
        expected.copied_up();
    }
}

struct Ground {
    fixture: Fixture,
    mounted: Mounted,
    coherence: Coherence,
}

impl Ground {
    /// A union over `count` files; none where this host cannot have one.
    fn new(coherence: Coherence, count: usize) -> Option<Self> {
        if let Some(missing) = FileSystemKind::Ext4.missing() {
            eprintln!("skipped: {missing}");
            return None;
        }
        let fixture = Fixture::file_system(FileSystemKind::Ext4, 1 << 30).unwrap();
        for directory in ["low", "up", "seen"] {
            fs_err::create_dir(fixture.path().join(directory)).unwrap();
        }
        for number in 0..count {
            fs_err::write(fixture.path().join(format!("low/{number}")), OLD).unwrap();
        }
        let path = |name: &str| fixture.path().join(name).display().to_string();
        let coherent = match coherence {
            Coherence::Strict => "strict",
            Coherence::Fast => "fast",
        };
        let plan = MountPlan {
            snapshot: SnapshotName::new("held").unwrap(),
            steps: vec![MountStep {
                fs_type: "fuse.strata-union".into(),
                source: "held".into(),
                options: vec![
                    MountOption::pair("lowerdir+", path("low")),
                    MountOption::pair("upperdir", path("up")),
                    MountOption::pair("xino", path("xino")),
                    MountOption::pair("udba", "none"),
                    MountOption::pair("coherence", coherent),
                ],
                flags: MountFlags::default(),
            }],
            hold: None,
        };
        let mounted = mount(&plan, &fixture.path().join("seen")).unwrap();
        Some(Self {
            fixture,
            mounted,
            coherence,
        })
    }

    fn run(&self, number: usize, order: &[Step]) {
        let name = self.mounted.target().join(number.to_string());
        let mut run = Run {
            expected: Expected {
                coherence: self.coherence,
                content: OLD.to_vec(),
                mode: 0o644,
                copied: false,
                name: Some(name),
                below: [false; 2],
            },
            readers: [None, None],
            map: None,
            writer: None,
        };
        for (at, step) in order.iter().enumerate() {
            let mut taken = std::panic::AssertUnwindSafe(&mut run);
            let done = std::panic::catch_unwind(move || taken.step(*step));
            assert!(done.is_ok(), "{:?}, step {at} of {order:?}", self.coherence);
        }
        if let Some(name) = &run.expected.name {
            assert_eq!(
                fs_err::read(name).unwrap(),
                run.expected.content,
                "{order:?}"
            );
        }
        self.is_untouched(number, order);
    }

    fn is_untouched(&self, number: usize, order: &[Step]) {
        let below = self.fixture.path().join(format!("low/{number}"));
        assert_eq!(
            fs_err::read(&below).unwrap(),
            OLD,
            "written below: {order:?}"
        );
        let meta = fs_err::metadata(&below).unwrap();
        assert_eq!(
            (meta.mode() & 0o7777, meta.nlink()),
            (0o644, 1),
            "{order:?}"
        );
    }

    fn close(self) {
        self.mounted.unmount().unwrap();
        self.fixture.close().unwrap();
    }
}

fn all_orders(orders: &[Vec<Step>]) {
    for coherence in [Coherence::Strict, Coherence::Fast] {
        let Some(ground) = Ground::new(coherence, orders.len()) else {
            return;
        };
        for (number, order) in orders.iter().enumerate() {
            ground.run(number, order);
        }
        ground.close();
    }
}

#[test]
fn two_readers_and_a_writer() {
    all_orders(&interleavings(&[READER, SECOND, WRITER]));
}

#[test]
fn a_reader_a_writer_and_a_change_by_name() {
    let changes = [Change::Mode, Change::Cut, Change::Name, Change::Removal];
    let orders: Vec<_> = changes
        .iter()
        .flat_map(|change| {
            let step = [Step::Change(*change)];
            interleavings(&[READER, WRITER, &step])
        })
        .collect();
    all_orders(&orders);
}

#[test]
fn orders_are_all_there() {
    let orders = interleavings(&[READER, WRITER]);
    assert_eq!(orders.len(), 35);
}
