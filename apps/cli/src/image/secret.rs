//! Asking for a password without showing it.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::Write as _;

/// The terminal as it was, when this goes.
struct Restored(Termios);

impl Drop for Restored {
    fn drop(&mut self) {
        // It cannot be made better by telling.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
        // What was typed to end the line was not shown either.
        let _ = std::io::stdout().write_all(b"\n");
    }
}

/// Asks for a line while the terminal shows nothing of what is typed.
pub(super) fn ask(
    what: &str,
    ask: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let Ok(before) = tcgetattr(std::io::stdin()) else {
        return ask(what); // which says that there is no terminal
    };
    let mut silent = before.clone();
    silent.local_modes -= LocalModes::ECHO;
    tcsetattr(std::io::stdin(), OptionalActions::Now, &silent)?;
    let _restored = Restored(before);
    ask(what)
}
