//! The changeset codec against golden archives, other writers' archives, hostile ones and random
//! bytes.

mod foreign;
mod forge;
mod golden;
mod hostile;
mod random;
mod watch;
