//! The options of this driver, and why their defaults are what they are.

use std::collections::BTreeMap;
use strata_driver::{Error, ErrorKind, OptionSpec, Result};

/// How the layers of a root are joined. Nothing of it is on disk: a root may be opened under other
/// options than before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Who joins them.
    pub engine: Engine,
    /// What a reader that began before a copy-up sees; of the FUSE engine.
    pub coherence: Coherence,
    /// Whether others change branches. No: they are the driver's own.
    pub udba: Udba,
    /// Whether hard links of a lower layer stay together. Yes: a layer means what it meant.
    pub plink: Switch,
}

/// Who joins the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// The kernel where it can, else FUSE.
    #[default]
    Auto,
    /// The kernel's aufs.
    Kernel,
    /// Strata's own union.
    Fuse,
}

/// What a reader that began before a copy-up sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coherence {
    /// What is written after.
    #[default]
    Strict,
    /// What it opened, read without a request to the daemon.
    Fast,
}

/// Whether changes of branches by others are looked for; aufs(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Udba {
    /// There are none.
    #[default]
    None,
    /// At each use.
    Reval,
}

/// On or off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Switch {
    /// On.
    #[default]
    On,
    /// Off.
    Off,
}

/// The options, for help texts.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        key: "engine",
        default: "auto",
        help: "who joins layers: `kernel` (aufs), `fuse`, or `auto`",
    },
    OptionSpec {
        key: "coherence",
        default: "strict",
        help: "`strict`: held files show later writes; `fast`: they do not, and reads are direct",
    },
    OptionSpec {
        key: "udba",
        default: "none",
        help: "`reval`: others may change writable branches",
    },
    OptionSpec {
        key: "plink",
        default: "on",
        help: "keep hard links together on copy-up",
    },
];

impl Config {
    /// Reads settings; unknown keys and values are refused.
    pub fn parse(settings: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (key, value) in settings {
            match (key.as_str(), value.as_str()) {
                ("engine", "auto") => config.engine = Engine::Auto,
                ("engine", "kernel") => config.engine = Engine::Kernel,
                ("engine", "fuse") => config.engine = Engine::Fuse,
                ("coherence", "strict") => config.coherence = Coherence::Strict,
                ("coherence", "fast") => config.coherence = Coherence::Fast,
                ("udba", "none") => config.udba = Udba::None,
                ("udba", "reval") => config.udba = Udba::Reval,
                ("plink", "on") => config.plink = Switch::On,
                ("plink", "off") => config.plink = Switch::Off,
                _ => return Err(refused(key, value)),
            }
        }
        Ok(config)
    }
}

fn refused(key: &str, value: &str) -> Error {
    let error = Error::new(ErrorKind::InvalidInput, "open").with("option", key);
    let takes = match key {
        "engine" => "`auto`, `kernel` or `fuse`",
        "coherence" => "`strict` or `fast`",
        "udba" => "`none` or `reval`",
        "plink" => "`on` or `off`",
        _ => {
            let known: Vec<_> = OPTIONS.iter().map(|option| option.key).collect();
            return error
                .because("the aufs driver has no such option")
                .hint(format!("its options: {}", known.join(", ")));
        }
    };
    error
        .because(format!("the option takes {takes}"))
        .with("value", value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(key: &str, value: &str) -> Result<Config> {
        Config::parse(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn parse_refuses_unknown_keys_and_values() {
        for (key, value) in [("engien", "fuse"), ("engine", "fsue"), ("plink", "yes")] {
            let error = parse(key, value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(error.context("option"), Some(key));
        }
    }

    #[test]
    fn every_documented_default_is_the_default() {
        for option in OPTIONS {
            assert_eq!(
                parse(option.key, option.default).unwrap(),
                Config::default()
            );
        }
        assert_eq!(
            parse("coherence", "fast").unwrap().coherence,
            Coherence::Fast
        );
    }
}
