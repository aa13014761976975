//! Walking, copying, measuring and removing directory trees.
