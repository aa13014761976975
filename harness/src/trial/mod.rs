//! Scripts on real file systems, held against the model.

pub mod perform;
