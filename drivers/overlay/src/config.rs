//! The options of this driver, and why their defaults are what they are.

use std::collections::BTreeMap;
use strata_driver::{Error, ErrorKind, OptionSpec, Result};

/// Overlay's own features, as they are given to every mount of a root.
///
/// They are recorded on disk when a root is made: a layer written under one set may not be
/// mounted under another (a file copied up as metadata only is an empty file to a mount without
/// `metacopy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Follow and make redirects when a directory of a lower layer is renamed. Off: the rename
    /// answers EXDEV, as programs expect, and an upper directory says all by itself, which the
    /// native diff needs.
    pub redirect_dir: Feature,
    /// Copy up only metadata on chmod and chown. Off: a layer is whole without the ones below.
    pub metacopy: Feature,
    /// Keep hard links together across copy-up by an index. Off: shared lower layers and a
    /// leaked mount do not end in ESTALE or EBUSY.
    pub index: Feature,
    /// Put the layer's number into inode numbers. Off: all layers lie on one file system.
    pub xino: Feature,
}

/// Whether one of overlay's features is given as `on` or as `off`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Feature {
    /// `=on`.
    On,
    /// `=off`.
    #[default]
    Off,
}

impl Feature {
    fn parse(key: &str, value: &str) -> Result<Self> {
        match value {
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            _ => Err(Error::new(ErrorKind::InvalidInput, "open")
                .because("the option takes `on` or `off`")
                .with("option", key)
                .with("value", value)),
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// Key under which a root's options stand in its catalogue.
pub(crate) const META_KEY: &str = "overlay.options";

/// The options, for help texts.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        key: "redirect_dir",
        default: "off",
        help: "rename lower directories by redirect instead of EXDEV",
    },
    OptionSpec {
        key: "metacopy",
        default: "off",
        help: "copy up metadata only on chmod, chown",
    },
    OptionSpec {
        key: "index",
        default: "off",
        help: "keep hard links together on copy-up",
    },
    OptionSpec {
        key: "xino",
        default: "off",
        help: "inode numbers carry the layer's number",
    },
];

impl Default for Config {
    fn default() -> Self {
        Self {
            redirect_dir: Feature::Off,
            metacopy: Feature::Off,
            index: Feature::Off,
            xino: Feature::Off,
        }
    }
}

impl Config {
    /// Reads settings; unknown keys and values are refused.
    pub fn parse(settings: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (key, value) in settings {
            match key.as_str() {
                "redirect_dir" => config.redirect_dir = Feature::parse(key, value)?,
                "metacopy" => config.metacopy = Feature::parse(key, value)?,
                "index" => config.index = Feature::parse(key, value)?,
                "xino" => config.xino = Feature::parse(key, value)?,
                _ => {
                    let known: Vec<_> = OPTIONS.iter().map(|option| option.key).collect();
                    return Err(Error::new(ErrorKind::InvalidInput, "open")
                        .because("the overlay driver has no such option")
                        .with("option", key)
                        .hint(format!("its options: {}", known.join(", "))));
                }
            }
        }
        if config.metacopy == Feature::On && config.redirect_dir == Feature::Off {
            return Err(Error::new(ErrorKind::InvalidInput, "open")
                .because("the kernel takes metacopy=on with redirect_dir=on only")
                .hint("set `redirect_dir=on` too, or leave `metacopy` off"));
        }
        Ok(config)
    }

    /// The options as key and value, in the order of mounting.
    pub(crate) fn pairs(self) -> [(&'static str, &'static str); 4] {
        [
            ("redirect_dir", self.redirect_dir.as_str()),
            ("metacopy", self.metacopy.as_str()),
            ("index", self.index.as_str()),
            ("xino", self.xino.as_str()),
        ]
    }

    /// One line, as recorded on disk.
    pub(crate) fn record(self) -> String {
        self.pairs()
            .map(|(key, value)| format!("{key}={value}"))
            .join(",")
    }

    /// Why an upper directory alone does not tell what changed, if it does not.
    pub(crate) fn hides_changes(self) -> Option<&'static str> {
        if self.metacopy == Feature::On {
            Some("with metacopy=on an upper file may lack its content")
        } else if self.redirect_dir == Feature::On {
            Some("with redirect_dir=on an upper directory may stand for another lower one")
        } else if self.index == Feature::On {
            Some("with index=on link groups lie partly in the index")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn parse_refuses_unknown_keys_and_values() {
        for pairs in [[("idnex", "on")], [("index", "yes")]] {
            let error = Config::parse(&settings(&pairs)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn record_names_every_option() {
        let config = Config::parse(&settings(&[("index", "on")])).unwrap();
        assert_eq!(
            config.record(),
            "redirect_dir=off,metacopy=off,index=on,xino=off"
        );
        assert!(config.hides_changes().is_some());
        assert_eq!(Config::default().hides_changes(), None);
    }
}
