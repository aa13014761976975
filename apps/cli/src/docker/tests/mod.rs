//! What Docker's words and columns are held to.
