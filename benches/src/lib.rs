//! Criterion micro-benchmarks; nothing but calls into the libraries.
#![forbid(unsafe_code)]
