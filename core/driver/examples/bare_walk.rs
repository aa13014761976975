//! Walks two trees as barely as can be: `bare_walk LOWER UPPER`.
//!
//! getdents64 and fstatat of every name of both, and nothing else: the floor that a comparison of
//! the two is held against. Prints names, wall time and processor time.
#![expect(clippy::print_stdout, reason = "a measuring command")]

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::process::ExitCode;
use std::time::{Duration, Instant};
use strata_sys::SysError;
use strata_sys::dir::DirectoryReader;

fn walk(directory: BorrowedFd<'_>, reader: &mut DirectoryReader) -> Result<u64, SysError> {
    let mut names = 0;
    let mut below: Vec<CString> = Vec::new();
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    reader.read(directory, |entry| {
        names += 1;
        let stat = rustix::fs::statat(directory, entry.name, flags)
            .map_err(|errno| SysError::new("fstatat", errno, "a name"))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            below.push(entry.name.to_owned());
        }
        Ok::<(), SysError>(())
    })?;
    for name in below {
        let opened = open(directory, &name)?;
        names += walk(opened.as_fd(), reader)?;
    }
    Ok(names)
}

fn open(directory: BorrowedFd<'_>, name: &CStr) -> Result<std::os::fd::OwnedFd, SysError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
        .map_err(|errno| SysError::new("openat", errno, "a directory"))
}

fn main() -> ExitCode {
    let trees: Vec<_> = std::env::args_os().skip(1).collect();
    if trees.len() != 2 {
        eprintln!("usage: bare_walk LOWER UPPER");
        return ExitCode::FAILURE;
    }
    let start = Instant::now();
    let mut names = 0;
    let mut reader = DirectoryReader::new();
    for tree in trees {
        let tree = CString::new(tree.into_encoded_bytes()).expect("arguments hold no NUL");
        match open(rustix::fs::CWD, &tree)
            .and_then(|directory| walk(directory.as_fd(), &mut reader))
        {
            Ok(found) => names += found,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!(
        "{names} names, wall {:.1} ms, cpu {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3,
        processor_time().as_secs_f64() * 1e3
    );
    ExitCode::SUCCESS
}

/// User and system time of this process so far.
fn processor_time() -> Duration {
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF);
    usage.map_or(Duration::ZERO, |usage| {
        let time = |value: nix::sys::time::TimeVal| {
            Duration::from_secs(value.tv_sec() as u64)
                + Duration::from_micros(value.tv_usec() as u64)
        };
        time(usage.user_time()) + time(usage.system_time())
    })
}
