//! A file system in a file, taken by a driver or a test as one value.
