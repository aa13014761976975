//! The changeset codec against golden archives, other writers' archives, hostile ones and random
//! bytes.

mod content;
mod foreign;
mod forge;
mod framing;
mod golden;
mod names;
mod random;
mod watch;
