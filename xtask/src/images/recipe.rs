//! What the test images are made of: layers of the shape and size of real ones, and images that
//! share them.

/// One layer.
#[derive(Debug)]
pub(super) struct Layer {
    /// What it is called here; images show it in their history only.
    pub(super) name: &'static str,
    pub(super) content: Content,
    /// `created_by` in the history.
    pub(super) made_by: &'static str,
}

/// What a layer holds.
#[derive(Debug)]
pub(super) enum Content {
    /// The cached root file system.
    Base,
    /// The files of these Debian packages. `ARCH` stands for the processor as its binutils have it.
    Packages(&'static [&'static str]),
    /// Generated files below a directory.
    Generated(Generated),
    /// Whiteouts of this many files of the layers below, and nothing else.
    Removals(usize),
    /// Files of the generated layer once more with other modes, as `chmod` and `ln` leave them.
    Changed {
        of: &'static Generated,
        files: usize,
    },
}

/// Files that are made up.
#[derive(Debug)]
pub(super) struct Generated {
    pub(super) directory: &'static str,
    pub(super) directories: usize,
    pub(super) files: usize,
    /// Bytes of one further file that no compression makes smaller; 0 for no such file.
    pub(super) blob: usize,
}

/// How the blobs of an image are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Compression {
    Gzip,
    Zstd,
}

/// One image.
#[derive(Debug)]
pub(super) struct Image {
    /// Its `org.opencontainers.image.ref.name`.
    pub(super) name: &'static str,
    pub(super) layers: &'static [&'static str],
    pub(super) compression: Compression,
    /// Further platforms, of which it is then an index.
    pub(super) others: &'static [Other],
}

/// An image for another processor: layers that say nothing of it, under a configuration that does.
#[derive(Debug)]
pub(super) struct Other {
    /// The processor if it is not this host's, and what stands in for it if it is.
    pub(super) architectures: [&'static str; 2],
    pub(super) layers: &'static [&'static str],
}

const APP: Generated = Generated {
    directory: "srv/app",
    directories: 62,
    files: 3000,
    blob: 48 << 20,
};

/// In this order they are each other's lower layers. `app`'s first seven are of the sizes of an
/// image that was made by `apt-get install`, some 280 MB as gzip and 570 MB as tar.
pub(super) const LAYERS: &[Layer] = &[
    Layer {
        name: "base",
        content: Content::Base,
        made_by: "ADD rootfs.tar / # buildkit",
    },
    Layer {
        name: "python",
        content: Content::Packages(&[
            "libexpat1",
            "libpython3.11",
            "libpython3.11-minimal",
            "libpython3.11-stdlib",
            "libsqlite3-0",
            "media-types",
            "python3",
            "python3-distutils",
            "python3-lib2to3",
            "python3-minimal",
            "python3-pip",
            "python3-pkg-resources",
            "python3-setuptools",
            "python3-wheel",
            "python3.11",
            "python3.11-minimal",
        ]),
        made_by: "RUN /bin/sh -c apt-get install -y python3 # buildkit",
    },
    Layer {
        name: "gcc",
        content: Content::Packages(&[
            "binutils-ARCH-linux-gnu",
            "binutils-common",
            "cpp-12",
            "gcc-12",
            "libasan8",
            "libc6-dev",
            "libgcc-12-dev",
            "libisl23",
            "libstdc++-12-dev",
            "libtsan2",
            "libubsan1",
            "linux-libc-dev",
        ]),
        made_by: "RUN /bin/sh -c apt-get install -y gcc # buildkit",
    },
    Layer {
        name: "node",
        content: Content::Packages(&[
            "libc-ares2",
            "libicu72",
            "libnghttp2-14",
            "libnode108",
            "libuv1",
            "node-undici",
            "nodejs",
            "npm",
        ]),
        made_by: "RUN /bin/sh -c apt-get install -y nodejs # buildkit",
    },
    Layer {
        name: "app",
        content: Content::Generated(APP),
        made_by: "COPY app /srv/app # buildkit",
    },
    Layer {
        name: "rm",
        content: Content::Removals(500),
        made_by: "RUN /bin/sh -c rm -rf /usr/lib/python3.11/test # buildkit",
    },
    Layer {
        name: "chmodlink",
        content: Content::Changed {
            of: &APP,
            files: 1100,
        },
        made_by: "RUN /bin/sh -c chmod 0600 /srv/app/*/* && ln /srv/app/blob /srv/app/blob.link # buildkit",
    },
    Layer {
        name: "extra",
        content: Content::Generated(Generated {
            directory: "srv/extra",
            directories: 4,
            files: 200,
            blob: 1 << 20,
        }),
        made_by: "COPY extra /srv/extra # buildkit",
    },
    Layer {
        name: "settings",
        content: Content::Generated(Generated {
            directory: "etc/app",
            directories: 1,
            files: 3,
            blob: 0,
        }),
        made_by: "COPY settings /etc/app # buildkit",
    },
];

/// `small` is of `app`'s layers; `six` shares four of its six with both; `zstd` has the layers of
/// `six` without the last in other blobs; `multi` is `small` for this host and another image for
/// another processor.
pub(super) const IMAGES: &[Image] = &[
    Image {
        name: "app",
        layers: &["base", "python", "gcc", "node", "app", "rm", "chmodlink"],
        compression: Compression::Gzip,
        others: &[],
    },
    Image {
        name: "small",
        layers: &["base", "python", "app", "rm"],
        compression: Compression::Gzip,
        others: &[],
    },
    Image {
        name: "six",
        layers: &["base", "python", "app", "rm", "extra", "settings"],
        compression: Compression::Gzip,
        others: &[],
    },
    Image {
        name: "zstd",
        layers: &["base", "python", "app", "rm", "extra"],
        compression: Compression::Zstd,
        others: &[],
    },
    Image {
        name: "multi",
        layers: &["base", "python", "app", "rm"],
        compression: Compression::Gzip,
        others: &[Other {
            architectures: ["arm64", "amd64"],
            layers: &["extra", "settings"],
        }],
    },
];

/// All packages of all layers.
pub(super) fn packages() -> Vec<String> {
    let lists = LAYERS.iter().filter_map(|layer| match layer.content {
        Content::Packages(packages) => Some(packages),
        _ => None,
    });
    lists.flatten().map(|package| named_here(package)).collect()
}

/// `x86_64` is `x86-64` in the names of packages.
pub(super) fn named_here(package: &str) -> String {
    package.replace("ARCH", &std::env::consts::ARCH.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::{IMAGES, LAYERS};

    #[test]
    fn images_are_of_layers_that_are_made_in_their_order() {
        let place = |name: &str| LAYERS.iter().position(|layer| layer.name == name).unwrap();
        for image in IMAGES {
            let others = image.others.iter().map(|other| other.layers);
            for layers in others.chain([image.layers]) {
                let places: Vec<_> = layers.iter().map(|name| place(name)).collect();
                assert!(places.is_sorted(), "{}: {layers:?}", image.name);
            }
        }
    }
}
