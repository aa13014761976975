//! Mount and user namespaces of threads and child processes, and what ties a child to its parent.
#![expect(unsafe_code, reason = "unshare(2), and code between fork and exec")]

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use crate::error::{Context, Result, SysError};
use crate::file::read_whole;
use crate::mount::{UnmountFlags, set_private_propagation};
use crate::syscall::{check_int, last_errno};

/// Gives the calling thread a mount namespace of its own (and a working directory of its own, so
/// that it shares neither with the process's other threads); no mount goes in or out afterwards.
///
/// There is no way back: a thread of a pool must never call this, see
/// [`run_in_private_namespace`]. Needs `CAP_SYS_ADMIN`.
pub fn unshare_mounts() -> Result<()> {
    unshare(
        UnshareFlags::NEWNS | UnshareFlags::FS,
        "unshare(CLONE_NEWNS)",
    )?;
    match set_private_propagation(Path::new("/")) {
        Err(error) if error.is(Errno::INVAL) => set_private_above_root(),
        other => other,
    }
}

/// For a root that is no mount point, as in a chroot: steps out to the namespace's own root,
/// makes everything private from there, and comes back.
fn set_private_above_root() -> Result<()> {
    let open = |path: &str, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).on("open", || path)
    };
    let root = open("/", OFlags::PATH | OFlags::DIRECTORY)?;
    let home = open(".", OFlags::PATH | OFlags::DIRECTORY)?;
    let namespace = open("/proc/thread-self/ns/mnt", OFlags::RDONLY)?;
    // setns(2): entering a mount namespace, even one's own, moves root and working directory to
    // that namespace's root.
    rustix::thread::move_into_link_name_space(
        namespace.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Mount),
    )
    .on("setns", || "the thread's own mount namespace")?;
    let private = set_private_propagation(Path::new("/"));
    rustix::process::fchdir(&root).on("fchdir", || "the root before")?;
    rustix::process::chroot(".").on("chroot", || "the root before")?;
    rustix::process::fchdir(&home).on("fchdir", || "the working directory before")?;
    private
}

/// Whether `/` is no mount point: then this process lives in a chroot, and the kernel lets nobody
/// make a user namespace (`EPERM`, `user_namespaces(7)`).
pub fn is_chrooted() -> bool {
    let mask = rustix::fs::StatxFlags::BASIC_STATS;
    crate::file::statx(rustix::fs::CWD, "/", mask).is_ok_and(|stat| {
        !stat
            .attributes
            .contains(rustix::fs::StatxAttributes::MOUNT_ROOT)
    })
}

fn unshare(flags: UnshareFlags, step: &'static str) -> Result<()> {
    // SAFETY: unshare(2): without CLONE_FILES the thread keeps sharing its descriptors with the
    // others, which is all that rustix asks for.
    unsafe { rustix::thread::unshare_unsafe(flags) }.on(step, || "the calling thread")
}

/// Unmounts, in the calling thread's namespace, everything but `/`, `/proc` and `/dev`: a process
/// that lives long in a namespace of its own ([`unshare_mounts`]) must keep no other file system
/// busy.
///
/// What the kernel does not let go stays: mounts that came with a user namespace are locked.
pub fn leave_mounts() -> Result<()> {
    for mount in crate::mountinfo::mounts()?.iter().rev() {
        if ["/", "/proc", "/dev"]
            .map(Path::new)
            .contains(&&*mount.mount_point)
        {
            continue;
        }
        if let Err(error) = crate::mount::unmount(&mount.mount_point, UnmountFlags::DETACH) {
            tracing::debug!(%error, "stays mounted in this namespace");
        }
    }
    Ok(())
}

/// Runs `work` on a fresh thread with a mount namespace of its own, and waits for it. What it
/// mounts goes when it ends, unless a descriptor that it returns keeps it.
///
/// A panic in `work` goes on in the caller.
pub fn run_in_private_namespace<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T> {
    on_fresh_thread(|| {
        unshare_mounts()?;
        Ok(work())
    })
}

/// Runs `work` on a fresh thread whose working directory is `directory`, and waits for it: for
/// calls that take relative names, such as mount(2) with more lower layers than absolute paths
/// leave room for.
///
/// A panic in `work` goes on in the caller.
pub fn run_in_directory<T: Send>(
    directory: impl AsFd,
    work: impl FnOnce() -> T + Send,
) -> Result<T> {
    let directory = directory.as_fd();
    on_fresh_thread(|| {
        unshare(UnshareFlags::FS, "unshare(CLONE_FS)")?;
        rustix::process::fchdir(directory)
            .on("fchdir", || format!("fd {}", directory.as_raw_fd()))?;
        Ok(work())
    })
}

fn on_fresh_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("strata-namespace".to_owned())
            .spawn_scoped(scope, work)
            .on("pthread_create", || "a thread of its own")?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// A run of ids and what they stand for outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// First id in the namespace.
    pub inside: u32,
    /// First id in the parent's namespace.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// The ids of a user namespace; see `user_namespaces(7)`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMaps {
    /// User ids.
    pub users: Vec<IdMap>,
    /// Group ids.
    pub groups: Vec<IdMap>,
}

impl IdMaps {
    /// Only the caller's own user and group, as 0. Needs no privilege and no other program, but
    /// leaves no other owner to give a file to.
    pub fn own_ids() -> Self {
        let own = |outside| {
            vec![IdMap {
                inside: 0,
                outside,
                count: 1,
            }]
        };
        Self {
            users: own(rustix::process::geteuid().as_raw()),
            groups: own(rustix::process::getegid().as_raw()),
        }
    }

    /// The caller's own ids as 0, and from 1 on the subordinate ids that `/etc/subuid` and
    /// `/etc/subgid` give to the user `name` (or to the number). Without any there, it is
    /// [`IdMaps::own_ids`].
    pub fn with_subordinates(name: &str) -> Result<Self> {
        let number = rustix::process::getuid().as_raw().to_string();
        let mut maps = Self::own_ids();
        for (path, map) in [
            ("/etc/subuid", &mut maps.users),
            ("/etc/subgid", &mut maps.groups),
        ] {
            match read_whole(Path::new(path)) {
                Ok(text) => {
                    append_subordinates(map, &String::from_utf8_lossy(&text), &[name, &number]);
                }
                Err(error) if error.is(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(maps)
    }

    fn is_own_ids_only(&self) -> bool {
        *self == Self::own_ids()
    }
}

/// Appends the ranges of `NAME:START:COUNT` lines, subuid(5), behind what is mapped already.
fn append_subordinates(map: &mut Vec<IdMap>, text: &str, owners: &[&str]) {
    let mut inside = map
        .iter()
        .map(|range| range.inside + range.count)
        .max()
        .unwrap_or(0);
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let (Some(owner), Some(outside), Some(count)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (Ok(outside), Ok(count)) = (outside.parse(), count.parse()) else {
            continue;
        };
        if owners.contains(&owner) && count > 0 {
            map.push(IdMap {
                inside,
                outside,
                count,
            });
            inside += count;
        }
    }
}

/// Starts `command` in a new user and mount namespace, as root there, with nothing mounted in it
/// seen outside.
///
/// The maps are written directly where the caller may (root, or [`IdMaps::own_ids`]), else by
/// newuidmap(1) and newgidmap(1). User and group set on the command itself do not work with this.
pub fn spawn_in_user_namespace(mut command: Command, maps: &IdMaps) -> Result<Child> {
    let subject = command.get_program().display().to_string();
    let (ours, theirs) = UnixStream::pair().on("socketpair", || &subject)?;
    let (ours_raw, theirs_raw) = (ours.as_raw_fd(), theirs.as_raw_fd());
    let enter = move || enter_user_namespace(ours_raw, theirs_raw);
    // SAFETY: pre_exec: `enter_user_namespace` makes only system calls (signal-safety(7)); its
    // descriptors are open in the child, since they are closed here only after the spawn.
    unsafe { command.pre_exec(enter) };
    // `spawn` returns only after the exec, which waits for the maps: another thread writes them.
    let (spawned, answered) = std::thread::scope(|scope| {
        let mapper = std::thread::Builder::new()
            .name("strata-id-maps".to_owned())
            .spawn_scoped(scope, || answer_child(ours, maps))
            .on("pthread_create", || &subject)?;
        let spawned = command.spawn();
        // The mapper reads to the end if there never was a child.
        drop(theirs);
        let answered = mapper
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((spawned, answered))
    })?;
    // The maps' failure is the cause of the child's.
    answered?;
    spawned.on("spawn in a user namespace", || subject)
}

/// The child's side: its process id goes out, one byte comes back when the maps are written.
fn enter_user_namespace(parents_end: RawFd, own_end: RawFd) -> io::Result<()> {
    // SAFETY: close(2): the child's copy of the parent's end, which nothing in the child uses;
    // with it open, the child would not see the parent's end closed.
    unsafe { libc::close(parents_end) };
    // SAFETY: unshare(2): the child has one thread.
    check_int(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })?;
    // SAFETY: getpid(2) takes no argument and never fails.
    let pid = unsafe { libc::getpid() }.to_ne_bytes();
    // SAFETY: write(2): the buffer is as long as is said.
    let written = unsafe { libc::write(own_end, pid.as_ptr().cast(), pid.len()) };
    if written != pid.len() as isize {
        return Err(last_errno().into());
    }
    let mut answer = 0_u8;
    // SAFETY: read(2): the buffer has the one byte that is asked for.
    if unsafe { libc::read(own_end, (&raw mut answer).cast(), 1) } != 1 || answer != MAPPED {
        return Err(Errno::PERM.into());
    }
    // Raw system calls: glibc's wrappers would synchronise threads that the child does not have.
    // SAFETY: setresgid(2) takes numbers only.
    check_int(unsafe { libc::syscall(libc::SYS_setresgid, 0, 0, 0) } as libc::c_int)?;
    // SAFETY: setresuid(2) takes numbers only.
    check_int(unsafe { libc::syscall(libc::SYS_setresuid, 0, 0, 0) } as libc::c_int)?;
    let (none, root) = (std::ptr::null(), c"/".as_ptr());
    // SAFETY: mount(2): for a change of propagation only the target counts, which is
    // NUL-terminated.
    check_int(unsafe {
        libc::mount(
            none,
            root,
            none,
            libc::MS_REC | libc::MS_PRIVATE,
            none.cast(),
        )
    })?;
    Ok(())
}

const MAPPED: u8 = 1;

/// The parent's side of [`enter_user_namespace`].
fn answer_child(mut child: UnixStream, maps: &IdMaps) -> Result<()> {
    let mut pid = [0; 4];
    // No process id: the spawn failed, and tells why itself.
    if child.read_exact(&mut pid).is_err() {
        return Ok(());
    }
    write_maps(u32::from_ne_bytes(pid), maps)?;
    child
        .write_all(&[MAPPED])
        .on("write", || "the child in its user namespace")
}

fn write_maps(pid: u32, maps: &IdMaps) -> Result<()> {
    let directory = format!("/proc/{pid}");
    let write = |name: &str, text: &str| {
        let path = format!("{directory}/{name}");
        // One write, and no truncation: the kernel takes nothing else.
        std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .on("write", || {
                format!("{path}: {}", text.trim_end().replace('\n', ", "))
            })
    };
    let root = rustix::process::geteuid().is_root();
    if !root && !maps.is_own_ids_only() {
        run_mapper("newuidmap", pid, &maps.users)?;
        return run_mapper("newgidmap", pid, &maps.groups);
    }
    if !root {
        // user_namespaces(7): without privilege the group map is refused before this.
        write("setgroups", "deny")?;
    }
    write("uid_map", &map_text(&maps.users))?;
    write("gid_map", &map_text(&maps.groups))
}

fn map_text(map: &[IdMap]) -> String {
    let mut text = String::new();
    for IdMap {
        inside,
        outside,
        count,
    } in map
    {
        writeln!(text, "{inside} {outside} {count}").expect("a string takes all that is written");
    }
    text
}

fn run_mapper(program: &'static str, pid: u32, map: &[IdMap]) -> Result<()> {
    let numbers = map
        .iter()
        .flat_map(|range| [range.inside, range.outside, range.count]);
    let output = Command::new(program)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .output()
        .on("exec", || program)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let source = io::Error::new(io::ErrorKind::PermissionDenied, said);
    Err(SysError::new(
        program,
        source,
        format!("{:?}", map_text(map).trim_end()),
    ))
}

/// Goes on as a process that is nobody's child, in a session of its own: the one that was started
/// ends with success, and its parent has nothing left to wait for.
///
/// Refused where the process has other threads, which would not come along.
pub fn leave_parent() -> Result<()> {
    const STEP: &str = "fork";
    // A directory per thread, and two links as every directory has.
    let threads = rustix::fs::stat("/proc/self/task").on(STEP, || "/proc/self/task")?;
    if threads.st_nlink > 3 {
        return Err(SysError::refused(
            STEP,
            "this process",
            "it has several threads".to_owned(),
        ));
    }
    // SAFETY: fork(2): the process has one thread, so that the child is all of it.
    match check_int(unsafe { libc::fork() }).on(STEP, || "this process")? {
        0 => rustix::process::setsid()
            .map(drop)
            .on("setsid", || "the new process"),
        // SAFETY: _exit(2) takes a number, and runs nothing of this process again.
        _ => unsafe { libc::_exit(0) },
    }
}

/// Lets the kernel send `signal` to the command's process when the *thread* that starts it ends:
/// start it from one that lasts (prctl(2), `PR_SET_PDEATHSIG`).
///
/// A program that changes its user or is set-user-ID loses this.
pub fn set_parent_death_signal(command: &mut Command, signal: Signal) {
    let parent = rustix::process::getpid();
    // SAFETY: pre_exec: prctl(2) and getppid(2) are system calls without memory of their own.
    unsafe {
        command.pre_exec(move || {
            rustix::process::set_parent_process_death_signal(Some(signal))?;
            // The parent may have died before the call, and then no signal comes.
            if rustix::process::getppid() != Some(parent) {
                return Err(Errno::SRCH.into());
            }
            Ok(())
        });
    }
}

/// This boot's id, a UUID: another one means that all mounts, loop devices and locks are gone.
pub fn boot_id() -> Result<String> {
    let text = read_whole(Path::new("/proc/sys/kernel/random/boot_id"))?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subordinates_follow_what_is_mapped() {
        let mut map = vec![IdMap {
            inside: 0,
            outside: 1000,
            count: 1,
        }];
        let text = "other:1:5\nme:100000:65536\nbroken\n1000:300000:10\nme:x:1\nme:5:0\n";
        append_subordinates(&mut map, text, &["me", "1000"]);
        assert_eq!(
            map_text(&map),
            "0 1000 1\n1 100000 65536\n65537 300000 10\n"
        );
    }
}
