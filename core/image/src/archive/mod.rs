//! Images as one file: what `save` writes and `load` reads.
//!
//! An archive is a tar with an OCI image layout in it (`image-layout.md`) and beside that the
//! `manifest.json` and `repositories` of Docker's own form, so that every tool finds one that it
//! reads. On the way in the one, the other or both may be there, also as older tools wrote them.

mod input;
mod load;
mod members;
mod plan;
mod save;
mod tape;

pub use input::Input;
pub use load::{LoadOptions, Loaded, Loader};
pub use save::{SaveOptions, save};

pub(crate) use input::spooled;
pub(crate) use members::Section;

use crate::ImageError;

const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";
const MANIFESTS: &str = "manifest.json";
const REPOSITORIES: &str = "repositories";

fn refused(why: impl Into<String>) -> ImageError {
    ImageError::document("archive", why)
}
