//! Keys, kinds, parents, labels.

pub(super) mod commit;
pub(super) mod facts;
pub(super) mod late;
pub(super) mod prepare;
pub(super) mod remove;
pub(super) mod view;
