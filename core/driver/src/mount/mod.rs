//! Mounting plans: live mounts as values.
