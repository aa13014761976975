//! Host facts: what the directory under the root lets files be.

use std::path::Path;
use strata_driver::{Capabilities, Capability, Host, Quirk, Unavailable, probe, quota};

/// Makes files beside `root` and looks at what they may be given.
pub(crate) fn capabilities(host: &Host, root: &Path) -> Result<Capabilities, Unavailable> {
    if !host.root {
        return Err(Unavailable::new(
            "a bind mount takes root",
            "run as root, or in a user namespace (`strata verify --rootless` shows one)",
        ));
    }
    probe::root_path(root)?;
    let scratch = probe::Scratch::beside(root)?;
    let mut capabilities = Capabilities::default();
    probe::directory(&scratch, &mut capabilities);
    let whole = "a diff compares two whole trees";
    capabilities.note(Capability::NativeDiff, Err(whole.into()));
    let copied = "a full copy is made of its parent from the start";
    capabilities.note(Capability::LateParent, Err(copied.into()));
    capabilities.note(Capability::Quota, quota::probe(&scratch));
    capabilities.note(
        Capability::IdmappedMount,
        Err("its plans map no owners".into()),
    );
    capabilities.quirks.insert(Quirk::LateWriterPossible);
    Ok(capabilities)
}
