//! The media types of OCI (`media-types.md` of its image specification) and of Docker's schema 2.

use crate::{ImageError, Result};

/// An image's manifest, by OCI.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An index, by OCI.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An image's configuration, by OCI.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// A layer's tar as it is, by OCI.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// A layer packed with gzip, by OCI.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// A layer packed with zstd, by OCI.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// An image's manifest, by Docker.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// An index, by Docker.
pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// An image's configuration, by Docker.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// A layer's tar as it is, by Docker.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// A layer packed with gzip, by Docker.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
/// A layer packed with zstd, by Docker.
pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";

/// What a request for a manifest accepts, best first.
pub(crate) const MANIFESTS: [&str; 4] = [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST];

/// Docker's first format with a manifest, signed or not.
const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+";

/// How a layer's tar is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As it is.
    None,
    /// gzip.
    Gzip,
    /// zstd.
    Zstd,
}

impl Compression {
    /// What the media type of a layer says, or why such a layer is refused.
    pub fn of_layer(name: &str) -> Result<Self> {
        match name {
            OCI_LAYER | DOCKER_LAYER => Ok(Self::None),
            OCI_LAYER_GZIP | DOCKER_LAYER_GZIP => Ok(Self::Gzip),
            OCI_LAYER_ZSTD | DOCKER_LAYER_ZSTD => Ok(Self::Zstd),
            _ if name.contains(".nondistributable.") || name.contains(".foreign.") => {
                Err(ImageError::document(
                    "manifest",
                    format!(
                        "layer of type `{name}`: such layers are not kept by registries, \
                         and fetching them from elsewhere is not supported"
                    ),
                ))
            }
            _ => Err(ImageError::document(
                "manifest",
                format!("unsupported media type `{name}` of a layer"),
            )),
        }
    }
}

/// What a manifest-like document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Image,
    Index,
}

impl Kind {
    /// What a media type of a manifest says; `None` for one that says nothing, as registries
    /// that serve plain files send it.
    pub(crate) fn of(name: &str) -> Result<Option<Self>> {
        let name = name.split(';').next().unwrap_or(name).trim();
        match name {
            OCI_MANIFEST | DOCKER_MANIFEST => Ok(Some(Self::Image)),
            OCI_INDEX | DOCKER_INDEX => Ok(Some(Self::Index)),
            ""
            | "application/json"
            | "application/octet-stream"
            | "text/plain"
            | "binary/octet-stream" => Ok(None),
            _ if name.starts_with(SCHEMA_1) => Err(schema_1()),
            _ => Err(ImageError::document(
                "manifest",
                format!("unsupported media type `{name}`"),
            )),
        }
    }
}

/// Schema 1 has no configuration and its digests are of signed text; Docker dropped it too.
pub(crate) fn schema_1() -> ImageError {
    ImageError::document(
        "manifest",
        "Docker image manifest version 2, schema 1 is not supported; \
         push the image again with a newer tool",
    )
}
