//! Tests of the counters against calls made on purpose.

use super::{SyscallCounter, counter, strace, tracefs};

fn count_three_fsyncs(counter: &mut dyn SyscallCounter, scratch: &std::path::Path) {
    let file = fs_err::File::create(scratch.join("file")).unwrap();
    counter.reset().unwrap();
    counter.resume().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                file.sync_all().unwrap();
            }
            file.sync_data().unwrap();
        });
    });
    counter.pause().unwrap();
    file.sync_all().unwrap();
    let counts = counter.counts().unwrap();
    assert_eq!(counts.syncs["fsync"], 3, "{counts:?}");
    assert_eq!(counts.syncs["fdatasync"], 1, "{counts:?}");
    assert!(counts.all >= 4);
    counter.reset().unwrap();
    counter.resume().unwrap();
    counter.pause().unwrap();
    assert_eq!(counter.counts().unwrap().sync_total(), 0);
}

/// Set in the process that counts.
const ALONE: &str = "STRATA_TEST_ALONE";

/// In a process of its own, since both follow every thread of theirs, also those of other tests;
/// and one after the other in one test.
#[test]
fn counters_see_threads_started_after_them() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    if std::env::var_os(ALONE).is_none() {
        let own = "bench::syscalls::tests::counters_see_threads_started_after_them";
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", own, "--nocapture"])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&alone.stderr).into_owned();
        let reasons = said.lines().filter(|line| line.starts_with("skipped: "));
        reasons.for_each(|reason| eprintln!("{reason}"));
        assert!(alone.status.success(), "{said}");
        let run = String::from_utf8_lossy(&alone.stdout).contains("1 passed");
        assert!(run, "the process ran no test");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut found = 0;
    match tracefs::Tracefs::open(scratch.path()) {
        Ok(mut counter) => {
            found += 1;
            count_three_fsyncs(&mut counter, scratch.path());
        }
        Err(error) => eprintln!("skipped: no trace events here: {error:#}"),
    }
    match strace::Strace::attach(scratch.path()) {
        Ok(mut counter) => {
            found += 1;
            count_three_fsyncs(&mut counter, scratch.path());
        }
        Err(error) => eprintln!("skipped: no strace here: {error:#}"),
    }
    assert_eq!(counter(scratch.path()).is_ok(), found > 0);
}

#[test]
fn a_table_of_strace_is_read() {
    let table = "    calls syscall\n--------- ----------------\n       12 openat\n        3 fsync\n--------- ----------------\n       15 total\n";
    let counts = strace::parse(table).unwrap();
    assert_eq!((counts.all, counts.syncs["fsync"]), (15, 3));
    assert!(strace::parse("").is_err());
}
