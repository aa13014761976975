//! Signals to single threads.
#![expect(unsafe_code, reason = "tgkill(2), which rustix does not offer")]

use rustix::process::{Pid, Signal, getpid};

use crate::error::{Context, Result};
use crate::syscall::check_long;

/// Sends `signal` to a thread of this process by its number, as `/proc/self/task` lists it.
///
/// # Errors
/// `ESRCH` where no such thread lives any more, from tgkill(2).
pub fn send_signal(thread: Pid, signal: Signal) -> Result<()> {
    // SAFETY: takes three numbers and touches no memory of ours.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            getpid().as_raw_nonzero().get(),
            thread.as_raw_nonzero().get(),
            signal.as_raw(),
        )
    };
    check_long(sent).on("tgkill", || thread.as_raw_nonzero().to_string())?;
    Ok(())
}
