//! A connection to the kernel: made, agreed on, served.

use crate::crew::{Crew, Looks};
use crate::dispatch::{Promise, Server};
use crate::filesystem::Filesystem;
use crate::notify::Notifier;
use crate::reply::Reply;
use crate::request::Request;
use crate::wire::{InHeader, InitIn, InitOut, MAJOR, MINOR, TransferIn, init, opcode};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use strata_sys::SysError;
use strata_sys::mount::{DetachedMount, FsContext, MountAttributes};

const DEVICE: &str = "/dev/fuse";
/// Most bytes of one READ or WRITE; the kernel allows no more pages than 256 unless told
/// (`/proc/sys/fs/fuse/max_pages_limit`).
const MAX_TRANSFER: usize = 1 << 20;
const MAX_PAGES: u16 = 256;
/// The oldest protocol that is spoken, that of Linux 5.4.
const OLDEST_MINOR: u32 = 31;
/// Requests that nobody waits for, read-ahead for one, which may be under way at a time.
const MAX_BACKGROUND: u16 = 64;

/// How to mount a [`Filesystem`](crate::Filesystem).
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// How many threads serve; at least one.
    pub threads: usize,
    /// How deep file systems may be stacked with this one on top; 0 for no passthrough. With 1 a
    /// backing file's own file system may not be stacked, with 2 it may, but then this one cannot
    /// be a layer of another.
    pub max_stack_depth: u32,
    /// Others than the user of this process may use it.
    pub allow_other: bool,
    /// No request changes anything.
    pub read_only: bool,
    /// What mount tables show as the source.
    pub source: String,
    /// What they show after `fuse.` as the type.
    pub subtype: String,
    /// Access control lists decide; they come and go as extended attributes.
    pub posix_acl: bool,
    /// What the mount forbids.
    pub attributes: MountAttributes,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            threads: 2,
            max_stack_depth: 0,
            allow_other: false,
            read_only: false,
            source: "strata".to_owned(),
            subtype: "strata".to_owned(),
            posix_acl: false,
            attributes: MountAttributes::default(),
        }
    }
}

/// What was agreed on with the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The protocol is 7.`minor`.
    pub minor: u32,
    flags: u64,
}

impl Features {
    fn has(self, flag: u64) -> bool {
        self.flags & flag != 0
    }

    /// Opens may answer with a [`Backing`](crate::Backing).
    pub fn passthrough(self) -> bool {
        self.has(init::PASSTHROUGH)
    }

    /// Directories are listed with attributes, where the kernel thinks they will be wanted.
    pub fn readdirplus(self) -> bool {
        self.has(init::DO_READDIRPLUS)
    }

    /// Several lookups and listings of one directory come at once.
    pub fn parallel_dirops(self) -> bool {
        self.has(init::PARALLEL_DIROPS)
    }

    /// Set-id bits go where a request says so; otherwise the kernel takes them off with SETATTR.
    pub fn kill_privileges(self) -> bool {
        self.has(init::HANDLE_KILLPRIV_V2)
    }

    /// Access control lists decide.
    pub fn posix_acl(self) -> bool {
        self.has(init::POSIX_ACL)
    }

    /// [`Notifier::expire_entry`] works.
    pub fn expire_entry(self) -> bool {
        self.has(init::HAS_EXPIRE_ONLY)
    }
}

/// A FUSE connection with its file system mounted nowhere yet. Dropping it aborts the connection.
#[derive(Debug)]
pub struct Session {
    device: Arc<OwnedFd>,
    features: Features,
    number: u32,
    threads: usize,
}

impl Session {
    /// Makes the superblock and answers INIT. Requests wait until [`Session::run`].
    ///
    /// Needs `CAP_SYS_ADMIN`.
    pub fn new(options: &SessionOptions) -> Result<(Self, DetachedMount), SysError> {
        let device = open_device()?;
        let mount = make_mount(options, &device)?;
        let features = agree(&device, options)?;
        let mask = StatxFlags::TYPE;
        // Asks the kernel only, not this session, which serves nobody yet.
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        let stat = rustix::fs::statx(&mount, "", flags, mask)
            .map_err(|errno| SysError::new("statx", errno, "the root of a FUSE mount"))?;
        let session = Self {
            device: Arc::new(device),
            features,
            number: stat.stx_dev_minor,
            threads: options.threads.max(1),
        };
        Ok((session, mount))
    }

    /// What the kernel agreed to.
    pub fn features(&self) -> Features {
        self.features
    }

    /// A way to tell the kernel something.
    pub fn notifier(&self) -> Notifier {
        Notifier::new(&self.device, self.number)
    }

    /// Serves until the last mount of it is gone, or the connection is aborted, then calls
    /// [`Filesystem::destroy`].
    ///
    /// Signals that would end the process wait until then on these threads, and on the calling
    /// one; another thread may take them, and unmount or [abort](Notifier::abort).
    pub fn run<F: Filesystem + ?Sized>(self, fs: &F) -> Result<(), SysError> {
        let mut devices = vec![Arc::clone(&self.device)];
        for _ in 1..self.threads {
            let fresh = open_device()?;
            strata_sys::fuse::clone_device(&fresh, &*self.device)
                .map_err(|errno| SysError::new("ioctl(FUSE_DEV_IOC_CLONE)", errno, DEVICE))?;
            devices.push(Arc::new(fresh));
        }
        let server = Server {
            fs,
            setxattr_ext: self.features.has(init::SETXATTR_EXT),
        };
        let held = HeldSignals::hold()?;
        let crew = Crew::new(self.threads);
        let result = std::thread::scope(|scope| {
            scope.spawn(|| crew.watch());
            let threads: Vec<_> = devices
                .iter()
                .map(|device| {
                    std::thread::Builder::new()
                        .name("strata-fuse".to_owned())
                        .spawn_scoped(scope, || take_turns(&crew, &server, device))
                        .map_err(|error| SysError::new("pthread_create", error, "a FUSE thread"))
                })
                .collect();
            let mut result = Ok(());
            if threads.iter().all(Result::is_err) {
                crew.end();
            }
            for thread in threads {
                let ended = thread.and_then(|thread| {
                    thread
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                });
                result = result.and(ended);
            }
            result
        });
        fs.destroy();
        drop(held);
        result
    }
}

fn open_device() -> Result<OwnedFd, SysError> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    rustix::fs::open(DEVICE, flags, Mode::empty())
        .map_err(|errno| SysError::new("open", errno, DEVICE))
}

fn make_mount(options: &SessionOptions, device: &OwnedFd) -> Result<DetachedMount, SysError> {
    let context = FsContext::open("fuse")?;
    context.set_string("source", &options.source)?;
    if !options.subtype.is_empty() {
        context.set_string("subtype", &options.subtype)?;
    }
    context.set_string("fd", device.as_raw_fd().to_string())?;
    context.set_string("rootmode", "40000")?;
    context.set_string("user_id", rustix::process::geteuid().as_raw().to_string())?;
    context.set_string("group_id", rustix::process::getegid().as_raw().to_string())?;
    context.set_flag("default_permissions")?;
    if options.allow_other {
        context.set_flag("allow_other")?;
    }
    let mut attributes = options.attributes;
    if options.read_only {
        context.set_flag("ro")?;
        attributes |= MountAttributes::READ_ONLY;
    }
    context.create()?;
    context.mount(attributes)
}

/// Flags of INIT that are wanted. No locks: the kernel then keeps them itself. No writeback cache:
/// it excludes passthrough. Cached content goes when the size turns out to be another one (neither
/// `AUTO_INVAL_DATA`, which compares times too, nor `EXPLICIT_INVAL_DATA`, which keeps it).
fn wanted(options: &SessionOptions) -> u64 {
    let mut flags = init::ASYNC_READ
        | init::ATOMIC_O_TRUNC
        | init::BIG_WRITES
        | init::DONT_MASK
        | init::DO_READDIRPLUS
        | init::READDIRPLUS_AUTO
        | init::ASYNC_DIO
        | init::PARALLEL_DIROPS
        | init::MAX_PAGES
        | init::CACHE_SYMLINKS
        | init::HANDLE_KILLPRIV_V2
        | init::SETXATTR_EXT
        | init::INIT_EXT
        | init::HAS_EXPIRE_ONLY
        | init::NO_EXPORT_SUPPORT;
    if options.max_stack_depth > 0 {
        flags |= init::PASSTHROUGH;
    }
    if options.posix_acl {
        flags |= init::POSIX_ACL;
    }
    flags
}

/// Reads INIT, which the superblock has sent, and answers it.
fn agree(device: &OwnedFd, options: &SessionOptions) -> Result<Features, SysError> {
    let failed = |errno| SysError::new("FUSE INIT", errno, DEVICE);
    let mut buffer = vec![0; buffer_size()];
    let length = read_request(device, &mut buffer).map_err(failed)?;
    let mut request = Request::parse(&buffer[..length]).map_err(failed)?;
    if request.header.opcode != opcode::INIT {
        return Err(failed(Errno::PROTO));
    }
    let offered: InitIn = request.take().map_err(failed)?;
    if offered.major != MAJOR || offered.minor < OLDEST_MINOR {
        let reason = format!(
            "the kernel speaks FUSE {}.{}, and this takes {MAJOR}.{OLDEST_MINOR} (Linux 5.4) or \
             later",
            offered.major, offered.minor
        );
        let error = io::Error::new(io::ErrorKind::Unsupported, reason);
        return Err(SysError::new("FUSE INIT", error, DEVICE));
    }
    let mut flags = u64::from(offered.flags);
    if flags & init::INIT_EXT != 0 {
        flags |= u64::from(request.take::<u32>().map_err(failed)?) << 32;
    }
    flags &= wanted(options);
    let minor = offered.minor.min(MINOR);
    let answer = InitOut {
        major: MAJOR,
        minor,
        max_readahead: offered.max_readahead,
        flags: flags as u32,
        max_background: MAX_BACKGROUND,
        congestion_threshold: MAX_BACKGROUND / 4 * 3,
        max_write: MAX_TRANSFER as u32,
        time_granularity: 1,
        max_pages: MAX_PAGES,
        flags2: (flags >> 32) as u32,
        max_stack_depth: options.max_stack_depth,
        ..InitOut::default()
    };
    let mut reply = Reply::new(size_of::<InitOut>());
    reply.put(&answer).map_err(failed)?;
    let message = reply.message(request.header.unique, Ok(()));
    rustix::io::write(device, message).map_err(failed)?;
    Ok(Features { minor, flags })
}

fn buffer_size() -> usize {
    size_of::<InHeader>() + size_of::<TransferIn>() + MAX_TRANSFER
}

/// One request, whole. `ENODEV` at the end of the connection.
fn read_request(device: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::read(&device, &mut *buffer) {
            // ENOENT: the request was interrupted before it could be read.
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
            other => return other,
        }
    }
}

/// Serves when needed, until the connection ends.
fn take_turns<F: Filesystem + ?Sized>(
    crew: &Crew,
    server: &Server<'_, F>,
    device: &OwnedFd,
) -> Result<(), SysError> {
    let mut buffers = None;
    while crew.join() {
        let (input, reply) =
            buffers.get_or_insert_with(|| (vec![0; buffer_size()], Reply::new(MAX_TRANSFER)));
        match serve(crew, server, device, input, reply) {
            Ok(End::Surplus) => {}
            Ok(End::Unmounted) => {
                crew.end();
                return Ok(());
            }
            Err(error) => {
                crew.end();
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Why a thread serves no longer.
enum End {
    Surplus,
    Unmounted,
}

/// Answers requests until the connection ends, or others do: for each, one read and one write.
fn serve<F: Filesystem + ?Sized>(
    crew: &Crew,
    server: &Server<'_, F>,
    device: &OwnedFd,
    input: &mut [u8],
    reply: &mut Reply,
) -> Result<End, SysError> {
    let mut looks = Looks::default();
    while !crew.is_surplus() {
        let length = match read_request(device, input) {
            Ok(length) => length,
            Err(Errno::NODEV) => return Ok(End::Unmounted),
            Err(errno) => return Err(SysError::new("read", errno, DEVICE)),
        };
        let Ok(mut request) = Request::parse(&input[..length]) else {
            tracing::error!(length, "request without a header");
            continue;
        };
        crew.begin();
        reply.clear();
        if let Some(result) = server.serve(&mut request, reply) {
            let message = reply.message(request.header.unique, result.map(drop));
            if let Err(errno) = rustix::io::write(device, message) {
                // ENOENT: the connection was aborted meanwhile.
                if errno != Errno::NOENT {
                    tracing::error!(opcode = request.header.opcode, %errno, "answer refused");
                }
                server.take_back(result.unwrap_or(Promise::None), reply.body());
            }
        }
        // While one that nobody waits for was answered, its caller may have asked again.
        let waited_for = !matches!(
            request.header.opcode,
            opcode::RELEASE | opcode::RELEASEDIR | opcode::FORGET | opcode::BATCH_FORGET
        );
        crew.answered(waited_for.then_some(&mut looks), device);
    }
    Ok(End::Surplus)
}

/// Keeps signals that would end the process in the middle of a request from this thread, and from
/// those that it starts.
struct HeldSignals {
    before: SigSet,
}

impl HeldSignals {
    fn hold() -> Result<Self, SysError> {
        let signals = SigSet::from_iter([
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
            Signal::SIGALRM,
            Signal::SIGUSR1,
            Signal::SIGUSR2,
            Signal::SIGPIPE,
            // Otherwise a write past the limit on file sizes of this process ends it.
            Signal::SIGXFSZ,
        ]);
        let before = signals
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .map_err(|errno| SysError::new("pthread_sigmask", errno, "a FUSE thread"))?;
        Ok(Self { before })
    }
}

impl Drop for HeldSignals {
    fn drop(&mut self) {
        if let Err(error) = self.before.thread_set_mask() {
            tracing::warn!(%error, "signals stay held");
        }
    }
}
