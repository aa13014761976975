//! What a pull tells while it goes on, on a terminal or as lines.

use crate::docker::progress::{Meter, Printer};
use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, PoisonError};
use strata_image::progress::{Progress, Stage};

/// Docker's lines for the stages of layers.
#[derive(Debug)]
pub(super) struct Lines {
    printer: Printer<io::Stdout>,
    is_terminal: bool,
    meters: Mutex<HashMap<(String, &'static str), Meter>>,
}

impl Lines {
    pub(super) fn to_stdout() -> Self {
        Self {
            printer: Printer::to_stdout(),
            is_terminal: io::IsTerminal::is_terminal(&io::stdout()),
            meters: Mutex::default(),
        }
    }

    fn advance(&self, id: &str, status: &'static str, (current, total): (u64, u64)) {
        if !self.is_terminal {
            return;
        }
        let due = {
            let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
            meters
                .entry((id.to_owned(), status))
                .or_insert_with(|| Meter::new(total as i64))
                .due(current as i64)
        };
        if let Some(count) = due {
            // With standard output gone there is nobody left to tell.
            drop(self.printer.advance(id, status, count));
        }
    }
}

impl Progress for Lines {
    fn layer(&self, id: &str, stage: Stage) {
        let text = match stage {
            Stage::Downloading(current, total) => {
                return self.advance(id, "Downloading", (current, total));
            }
            Stage::Extracting(current, total) => {
                return self.advance(id, "Extracting", (current, total));
            }
            Stage::Pushing(current, total) => return self.advance(id, "Pushing", (current, total)),
            Stage::Pulling => "Pulling fs layer",
            Stage::Waiting => "Waiting",
            Stage::AlreadyExists => "Already exists",
            Stage::Verifying => "Verifying Checksum",
            Stage::Downloaded => "Download complete",
            Stage::Pulled => "Pull complete",
            Stage::Preparing => "Preparing",
            Stage::Pushed => "Pushed",
            Stage::PushedBefore => "Layer already exists",
            Stage::Mounted => "Mounted",
            Stage::Retrying(wait) => {
                let seconds = wait.as_secs().max(1);
                let unit = if seconds == 1 { "second" } else { "seconds" };
                let text = format!("Retrying in {seconds} {unit}");
                drop(self.printer.state(id, &text)); // as above
                return;
            }
        };
        drop(self.printer.state(id, text)); // as above
    }

    fn say(&self, id: Option<&str>, text: &str) {
        drop(match id {
            Some(id) => self.printer.line(&format!("{id}: {text}")),
            None => self.printer.line(text),
        });
    }
}
