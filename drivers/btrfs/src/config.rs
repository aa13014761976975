//! The options of this driver.

use std::collections::BTreeMap;
use strata_driver::{Bytes, Error, ErrorKind, OptionSpec, Result};

const MIB: u64 = 1 << 20;

/// The smallest file system in a file that this driver makes; btrfs itself wants 109 MiB.
pub(crate) const LEAST_SIZE: Bytes = Bytes(128 * MIB);

/// How the driver sets up its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Size of the file system in a file when it is made, where the root is not on btrfs. The
    /// file takes room as it is written.
    pub size: Bytes,
    /// How far that may grow; without, as far as there is room for it.
    pub max_size: Option<Bytes>,
    /// Whether size limits can be set.
    pub quota: Quota,
}

/// How size limits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// Not at all, which costs nothing.
    Off,
    /// By simple quotas: each extent counts for the subvolume that wrote it (Linux 6.7).
    Simple,
    /// By full quota groups, which cost most at each removal of a snapshot.
    Full,
}

/// The options, for help texts.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        key: "size",
        default: "10GiB",
        help: "size of the file system in a file, made where the root is not on btrfs",
    },
    OptionSpec {
        key: "max_size",
        default: "auto",
        help: "how far that may grow: `auto` (as far as there is room) or a size",
    },
    OptionSpec {
        key: "quota",
        default: "off",
        help: "size limits: `off`, `simple` (Linux 6.7) or `full`; for the whole file system",
    },
];

impl Default for Config {
    fn default() -> Self {
        Self {
            size: Bytes(10 << 30),
            max_size: None,
            quota: Quota::Off,
        }
    }
}

impl Config {
    /// Reads settings; unknown keys and values are refused.
    pub fn parse(settings: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (key, value) in settings {
            match (key.as_str(), value.as_str()) {
                ("size", text) if size(text).is_some() => {
                    config.size = size(text).unwrap_or(config.size);
                }
                ("max_size", "auto") => config.max_size = None,
                ("max_size", text) if size(text).is_some() => config.max_size = size(text),
                ("quota", "off") => config.quota = Quota::Off,
                ("quota", "simple") => config.quota = Quota::Simple,
                ("quota", "full") => config.quota = Quota::Full,
                ("size" | "max_size" | "quota", _) => {
                    return Err(Error::new(ErrorKind::InvalidInput, "open")
                        .because("the option does not take this value")
                        .with("option", key)
                        .with("value", value)
                        .hint(
                            "size: `128MiB` or more; max_size: `auto` or such a size; \
                             quota: `off`, `simple` or `full`",
                        ));
                }
                _ => {
                    return Err(Error::new(ErrorKind::InvalidInput, "open")
                        .because("the btrfs driver has no such option")
                        .with("option", key)
                        .hint("its options: size, max_size, quota"));
                }
            }
        }
        if let Some(most) = config.max_size
            && most < config.size
        {
            return Err(Error::new(ErrorKind::InvalidInput, "open")
                .because("`max_size` is less than `size`")
                .with("size", config.size.0)
                .with("max_size", most.0));
        }
        Ok(config)
    }
}

/// A number of bytes, or of `KiB`, `MiB`, `GiB`, `TiB`; in whole blocks of 4096 bytes.
fn size(text: &str) -> Option<Bytes> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    let bytes = number.parse::<u64>().ok()?.checked_mul(1 << shift)? / 4096 * 4096;
    (LEAST_SIZE.0..1 << 60)
        .contains(&bytes)
        .then_some(Bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Config> {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).into(), (*value).into()));
        Config::parse(&pairs.collect())
    }

    #[test]
    fn parse_refuses_unknown_keys_and_values() {
        for pair in [
            ("sise", "1GiB"),
            ("size", "0"),
            ("size", "1 GiB"),
            ("size", "127MiB"),
            ("size", "99999999TiB"),
            ("max_size", "never"),
            ("max_size", "1GiB"),
            ("quota", "on"),
        ] {
            let error = parse(&[pair]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{pair:?}");
        }
    }

    #[test]
    fn parse_reads_sizes() {
        let config = parse(&[("size", "512MiB"), ("max_size", "1TiB"), ("quota", "full")]).unwrap();
        assert_eq!(config.size, Bytes(512 * MIB));
        assert_eq!(config.max_size, Some(Bytes(1 << 40)));
        assert_eq!(config.quota, Quota::Full);
        assert_eq!(size("134217729"), Some(LEAST_SIZE));
    }
}
