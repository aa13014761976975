//! Many threads at once on one union: no error that they did not earn, no lost update, no name
//! twice in a listing, and a daemon that does not grow.
//!
//! A few seconds; two minutes with `STRATA_SOAK=1`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::collections::HashSet;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use strata_driver::mount::{Mounted, mount};
use strata_driver::{MountFlags, MountOption, MountPlan, MountStep, SnapshotName};
use strata_harness::fixture::{FileSystemKind, Fixture};

const THREADS: usize = 24;
/// Files of the branch below, for each thread.
const FILES: usize = 20;
const SHARED: usize = 50;
/// What a daemon may grow by between the first quarter of the time and the end, in KiB: buffers of
/// threads that joined.
const GROWTH: u64 = 24 << 10;

/// Repeats itself for a seed: xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

fn union(fixture: &Fixture, coherence: &str) -> Mounted {
    let path = |name: &str| fixture.path().join(name);
    let shown = |name: &str| path(name).display().to_string();
    fs_err::create_dir_all(path("low/shared")).unwrap();
    for thread in 0..THREADS {
        fs_err::create_dir_all(path(&format!("low/{thread}/deep"))).unwrap();
        for file in 0..FILES {
            fs_err::write(path(&format!("low/{thread}/{file}")), 0u64.to_le_bytes()).unwrap();
        }
    }
    for file in 0..SHARED {
        fs_err::write(path(&format!("low/shared/{file}")), b"shared").unwrap();
    }
    for directory in ["up", "seen"] {
        fs_err::create_dir_all(path(directory)).unwrap();
    }
    let plan = MountPlan {
        snapshot: SnapshotName::new("stress").unwrap(),
        steps: vec![MountStep {
            fs_type: "fuse.strata-union".into(),
            source: "stress".into(),
            options: vec![
                MountOption::pair("lowerdir+", shown("low")),
                MountOption::pair("upperdir", shown("up")),
                MountOption::pair("xino", shown("xino")),
                MountOption::pair("udba", "none"),
                MountOption::pair("coherence", coherence),
            ],
            flags: MountFlags::default(),
        }],
        hold: None,
    };
    mount(&plan, &path("seen")).unwrap()
}

/// One thread's part: its own files, whose counts it knows, and names in a directory of all.
struct Worker {
    root: PathBuf,
    number: usize,
    counts: [u64; FILES],
    made: Vec<PathBuf>,
    random: Random,
}

impl Worker {
    fn own(&self, name: &str) -> PathBuf {
        self.root.join(self.number.to_string()).join(name)
    }

    fn step(&mut self) {
        let which = self.random.below(FILES);
        match self.random.below(10) {
            0..=2 => self.count_up(which),
            3 => self.replace(which),
            4 => self.make(),
            5 => self.unmake(),
            6 => self.list(),
            7 => self.directories(),
            8 => {
                // Somebody may have replaced it, but it is there and whole.
                let shared = self.root.join("shared").join((which % SHARED).to_string());
                assert_eq!(fs_err::read(shared).unwrap(), b"shared");
            }
            _ => {
                let shared = self.root.join("shared");
                let new = shared.join(format!("new-{}", self.number));
                fs_err::write(&new, b"shared").unwrap();
                fs_err::rename(&new, shared.join((which % SHARED).to_string())).unwrap();
            }
        }
    }

    /// Nobody else writes the file: what it holds is what was written last.
    fn count_up(&mut self, which: usize) {
        let path = self.own(&which.to_string());
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let mut count = [0; 8];
        file.read_exact_at(&mut count, 0).unwrap();
        assert_eq!(
            u64::from_le_bytes(count),
            self.counts[which],
            "a lost update"
        );
        self.counts[which] += 1;
        file.write_all_at(&self.counts[which].to_le_bytes(), 0)
            .unwrap();
    }

    fn replace(&mut self, which: usize) {
        let draft = self.own("draft");
        self.counts[which] += 1;
        fs_err::write(&draft, self.counts[which].to_le_bytes()).unwrap();
        fs_err::rename(draft, self.own(&which.to_string())).unwrap();
    }

    fn make(&mut self) {
        let name = format!("made-{}-{}", self.number, self.random.below(1000));
        let path = self.root.join("shared").join(name);
        fs_err::write(&path, vec![7; self.random.below(20_000)]).unwrap();
        if !self.made.contains(&path) {
            self.made.push(path);
        }
    }

    fn unmake(&mut self) {
        if !self.made.is_empty() {
            let at = self.random.below(self.made.len());
            fs_err::remove_file(self.made.swap_remove(at)).unwrap();
        }
    }

    fn list(&self) {
        let mut seen = HashSet::new();
        for entry in fs_err::read_dir(self.root.join("shared")).unwrap() {
            let entry = entry.unwrap();
            assert!(
                seen.insert(entry.file_name()),
                "{} twice",
                entry.file_name().display()
            );
        }
        for file in 0..SHARED {
            let name = file.to_string();
            assert!(
                seen.contains(name.as_str().as_ref() as &std::ffi::OsStr),
                "{name} is missing"
            );
        }
    }

    fn directories(&self) {
        let (one, two) = (self.own("deep/one"), self.own("deep/two"));
        fs_err::create_dir_all(one.join("inside")).unwrap();
        fs_err::write(one.join("inside/file"), b"x").unwrap();
        fs_err::rename(&one, &two).unwrap();
        assert_eq!(fs_err::read(two.join("inside/file")).unwrap(), b"x");
        fs_err::remove_dir_all(&two).unwrap();
    }
}

/// The resident memory of the daemon of a mount, in KiB.
fn memory(target: &Path) -> u64 {
    let pid = strata_driver::mount::daemon::control::request(target, "pid", None).unwrap();
    let status = fs_err::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn run(coherence: &str) {
    if let Some(missing) = FileSystemKind::Ext4.missing() {
        eprintln!("skipped: {missing}");
        return;
    }
    let soak = std::env::var_os("STRATA_SOAK").is_some();
    let time = Duration::from_secs(if soak { 120 } else { 4 });
    let fixture = Fixture::file_system(FileSystemKind::Ext4, 1 << 30).unwrap();
    let mounted = union(&fixture, coherence);
    let root = mounted.target().to_owned();
    let steps = AtomicU64::new(0);
    let began = Instant::now();
    let early = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (root, steps) = (root.clone(), &steps);
                scope.spawn(move || {
                    let mut worker = Worker {
                        root,
                        number,
                        counts: [0; FILES],
                        made: Vec::new(),
                        random: Random(number as u64 + 1),
                    };
                    while began.elapsed() < time {
                        worker.step();
                        steps.fetch_add(1, Ordering::Relaxed);
                    }
                    worker.counts
                })
            })
            .collect();
        std::thread::sleep(time / 4);
        let early = memory(&root);
        for (number, worker) in workers.into_iter().enumerate() {
            let counts = worker.join().unwrap();
            for (file, count) in counts.iter().enumerate() {
                let path = fixture.path().join(format!("seen/{number}/{file}"));
                assert_eq!(fs_err::read(path).unwrap(), count.to_le_bytes());
                let below = fixture.path().join(format!("low/{number}/{file}"));
                assert_eq!(
                    fs_err::read(below).unwrap(),
                    0u64.to_le_bytes(),
                    "written below"
                );
            }
        }
        early
    });
    let late = memory(&root);
    println!(
        "{coherence}: {} steps by {THREADS} threads in {time:?}; daemon {early} KiB, then {late}",
        steps.into_inner()
    );
    assert!(
        late < early + GROWTH,
        "the daemon grew from {early} to {late} KiB"
    );
    mounted.unmount().unwrap();
    fixture.close().unwrap();
}

#[test]
fn strict() {
    run("strict");
}

#[test]
fn fast() {
    run("fast");
}
