//! The wrapper that checks every call of a driver.
