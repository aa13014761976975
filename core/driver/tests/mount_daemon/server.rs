//! A file system of one empty directory, in as much of FUSE as that takes
//! (`include/uapi/linux/fuse.h`).

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::ExitCode;
use strata_driver::mount::daemon::{Control, Handover, control::Device};
use strata_driver::{Error, ErrorKind};
use strata_sys::mount::{DetachedMount, FsContext, MountAttributes};

const LOOKUP: u32 = 1;
const GETATTR: u32 = 3;
const STATFS: u32 = 17;
const INIT: u32 = 26;
const WITHOUT_ANSWER: [u32; 3] = [2, 36, 42];
const HEADER: usize = 40;

pub(super) fn main() -> ExitCode {
    let handover = Handover::begin(0).unwrap();
    if handover.options == b"refuse" {
        let error = Error::new(ErrorKind::NoSpace, "mount").because("told to refuse");
        handover.refuse(&error.hint("make room")).unwrap();
        return ExitCode::FAILURE;
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let device = rustix::fs::open("/dev/fuse", flags, Mode::empty()).unwrap();
    let mount = mount(&device, &handover.source);
    let control = Control::listen(Device::of_file(&mount).unwrap()).unwrap();
    let length = handover.options.len();
    std::thread::spawn(move || {
        control.serve(|request, file| match request {
            "length" => Ok(length.to_string()),
            "has a file" => Ok(file.is_some().to_string()),
            other => Err(format!("unknown request `{other}`")),
        });
    });
    handover.give(mount).unwrap();
    serve(&device);
    ExitCode::SUCCESS
}

fn mount(device: &OwnedFd, source: &str) -> DetachedMount {
    let context = FsContext::open("fuse").unwrap();
    for (key, value) in [
        ("source", source),
        ("fd", &device.as_raw_fd().to_string()),
        ("rootmode", "40000"),
        ("user_id", "0"),
        ("group_id", "0"),
        ("subtype", super::SUBTYPE),
    ] {
        context.set_string(key, value).unwrap();
    }
    context.create().unwrap();
    context.mount(MountAttributes::empty()).unwrap()
}

fn serve(device: &OwnedFd) {
    let mut buffer = vec![0_u8; 1 << 20];
    loop {
        let length = match rustix::io::read(device, &mut buffer[..]) {
            Ok(length) => length,
            // The last mount has gone.
            Err(Errno::NODEV) => return,
            Err(_) => continue,
        };
        assert!(length >= HEADER);
        let word = |at: usize| u32::from_ne_bytes(buffer[at..at + 4].try_into().unwrap());
        let (opcode, unique) = (word(4), &buffer[8..16]);
        if WITHOUT_ANSWER.contains(&opcode) {
            continue;
        }
        let (error, body) = answer(opcode);
        let total = (16 + body.len()) as u32;
        let parts = [
            &total.to_ne_bytes()[..],
            &(-error).to_ne_bytes(),
            unique,
            &body,
        ];
        let _ = rustix::io::write(device, &parts.concat()); // whoever asked may be gone
    }
}

fn answer(opcode: u32) -> (i32, Vec<u8>) {
    match opcode {
        INIT => {
            let mut body = vec![0_u8; 64];
            for (at, value) in [(0, 7_u32), (4, 31), (8, 1 << 17), (20, 1 << 17), (24, 1)] {
                body[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            (0, body)
        }
        GETATTR => {
            let mut body = vec![0_u8; 104];
            body[16] = 1;
            for (at, value) in [(76, 0o40_755_u32), (80, 2)] {
                body[at..at + 4].copy_from_slice(&value.to_ne_bytes());
            }
            (0, body)
        }
        STATFS => (0, vec![0; 80]),
        LOOKUP => (Errno::NOENT.raw_os_error(), Vec::new()),
        _ => (Errno::NOSYS.raw_os_error(), Vec::new()),
    }
}
