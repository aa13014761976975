//! The options of this driver.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use strata_driver::tree::{CopyOptions, Reflink};
use strata_driver::{Error, ErrorKind, OptionSpec, Result};

/// How layers are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether copies share blocks. Where the file system can, they do: a copy then costs its
    /// metadata only.
    pub reflink: Reflink,
    /// Threads that copy; as many as there are processors, at most eight, unless given.
    pub threads: Option<NonZeroUsize>,
}

/// The options, for help texts.
pub(crate) const OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        key: "reflink",
        default: "auto",
        help: "share blocks: `auto` or `never`",
    },
    OptionSpec {
        key: "threads",
        default: "auto",
        help: "threads that copy: `auto` or a number",
    },
];

impl Default for Config {
    fn default() -> Self {
        Self {
            reflink: Reflink::WherePossible,
            threads: None,
        }
    }
}

impl Config {
    /// Reads settings; unknown keys and values are refused.
    pub fn parse(settings: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = Self::default();
        for (key, value) in settings {
            match (key.as_str(), value.as_str()) {
                ("reflink", "auto") => config.reflink = Reflink::WherePossible,
                ("reflink", "never") => config.reflink = Reflink::Never,
                ("threads", "auto") => config.threads = None,
                ("threads", number) if number.parse::<NonZeroUsize>().is_ok_and(in_range) => {
                    config.threads = number.parse().ok();
                }
                ("reflink" | "threads", _) => {
                    return Err(Error::new(ErrorKind::InvalidInput, "open")
                        .because("the option does not take this value")
                        .with("option", key)
                        .with("value", value)
                        .hint("reflink: `auto` or `never`; threads: `auto` or 1 to 64"));
                }
                _ => {
                    return Err(Error::new(ErrorKind::InvalidInput, "open")
                        .because("the vfs driver has no such option")
                        .with("option", key)
                        .hint("its options: reflink, threads"));
                }
            }
        }
        Ok(config)
    }

    pub(crate) fn copy_options(self) -> CopyOptions {
        let options = CopyOptions::default().with_reflink(self.reflink);
        match self.threads {
            Some(threads) => options.with_threads(threads),
            None => options,
        }
    }
}

fn in_range(threads: NonZeroUsize) -> bool {
    threads.get() <= 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_refuses_unknown_keys_and_values() {
        for (key, value) in [("reflnk", "auto"), ("reflink", "yes"), ("threads", "0")] {
            let settings = BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(
                Config::parse(&settings).unwrap_err().kind(),
                ErrorKind::InvalidInput
            );
        }
        let settings = BTreeMap::from([("threads".to_owned(), "3".to_owned())]);
        assert_eq!(
            Config::parse(&settings).unwrap().threads,
            NonZeroUsize::new(3)
        );
    }
}
