//! Property tests: random scripts on a real driver, held against the model at every step.
//!
//! `docs/adr/0009-the-model.md` says how.

mod beside;
mod campaign;
pub(crate) mod decode;
mod generate;
mod laws;
mod offer;
mod perform;
mod run;
pub mod session;
mod shrink;
mod table;
mod tally;
mod values;

pub use campaign::{Campaign, Extent, Found, Outcome, run as run_campaign};
pub use generate::script;
pub use laws::Law;
pub use perform::Performer;
pub use run::{Failure, Report, run as run_script};
pub use tally::Tally;
