//! The catalogue: the only truth of which snapshots a driver root holds.
