//! Criterion micro-benchmarks; nothing but calls into the libraries.
