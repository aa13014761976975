//! The registry of this program's drivers: the only library that knows every driver's name.
#![forbid(unsafe_code)]

use std::sync::Arc;
use strata_driver::Registry;

/// All drivers that this build has, the preferred first. A full copy per layer stands last: it
/// is chosen by name, or with a warning.
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.add(Arc::new(strata_overlay::OverlayFactory));
    #[cfg(feature = "btrfs")]
    registry.add(Arc::new(strata_btrfs::BtrfsFactory));
    registry.add(Arc::new(strata_vfs::VfsFactory));
    registry
}

/// Drivers that are never chosen silently where another works.
pub const LAST_RESORT: &[&str] = &["vfs"];

#[cfg(test)]
mod tests {
    #[test]
    fn registry_knows_each_driver_once() {
        let registry = super::registry();
        let names: Vec<_> = registry
            .factories()
            .iter()
            .map(|f| f.name().to_string())
            .collect();
        let known: &[&str] = if cfg!(feature = "btrfs") {
            &["overlay", "btrfs", "vfs"]
        } else {
            &["overlay", "vfs"]
        };
        assert_eq!(names, known);
        assert!(registry.get("no-such").is_err());
    }
}
