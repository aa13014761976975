//! External tools, run one way.
