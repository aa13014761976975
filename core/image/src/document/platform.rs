//! What an image runs on: operating system, architecture and variant.

use crate::{ImageError, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// `OS/ARCHITECTURE[/VARIANT]`, by Go's names.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`.
    pub architecture: String,
    /// `v7`; empty where there is but one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

impl Platform {
    /// That of this program.
    pub fn host() -> Self {
        let architecture = normalised(std::env::consts::ARCH, "");
        Self {
            os: "linux".to_owned(),
            architecture: architecture.0,
            variant: architecture.1,
        }
    }

    /// How well a host of this platform runs `other`; 0 is best, `None` not at all.
    ///
    /// The order is that of containerd's `platforms.Only`: the variant asked for, then older
    /// ones, then the 32-bit sibling that the processor runs too.
    pub(crate) fn rank_of(&self, other: &Self) -> Option<usize> {
        let other_os = if other.os == "macos" {
            "darwin"
        } else {
            &other.os
        };
        if self.os != other_os {
            return None;
        }
        let other = normalised(&other.architecture, &other.variant);
        self.runs().iter().position(|candidate| *candidate == other)
    }

    /// Whether a host of this platform runs images for `other`.
    pub fn runs_images_of(&self, other: &Self) -> bool {
        self.rank_of(other).is_some()
    }

    /// Pairs of architecture and variant that run here, best first.
    fn runs(&self) -> Vec<(String, String)> {
        let (architecture, variant) = normalised(&self.architecture, &self.variant);
        let mut runs = vec![(architecture.clone(), variant.clone())];
        let older = |prefix: &str, from: u32, down_to: u32| {
            let prefix = prefix.to_owned();
            (down_to..from)
                .rev()
                .map(move |version| (prefix.clone(), format!("v{version}")))
                .map(|(architecture, variant)| normalised(&architecture, &variant))
        };
        let version = |default: u32| -> u32 {
            let digits = variant.strip_prefix('v').unwrap_or_default();
            let major = digits.split('.').next().unwrap_or_default();
            major.parse().unwrap_or(default).min(16)
        };
        match architecture.as_str() {
            "amd64" => {
                runs.extend(older("amd64", version(1), 1));
                runs.push(("386".to_owned(), String::new()));
            }
            "arm" => runs.extend(older("arm", version(7), 5)),
            "arm64" => {
                runs.extend(older("arm64", version(8), 8));
                runs.extend(older("arm", 9, 5));
            }
            _ => {}
        }
        runs
    }
}

/// The one spelling of an architecture and its variant, as containerd normalises them.
fn normalised(architecture: &str, variant: &str) -> (String, String) {
    let architecture = architecture.to_ascii_lowercase();
    let variant = variant.to_ascii_lowercase();
    let pair = |architecture: &str, variant: &str| (architecture.to_owned(), variant.to_owned());
    match (architecture.as_str(), variant.as_str()) {
        ("i386" | "x86", _) => pair("386", ""),
        ("x86_64" | "x86-64" | "amd64", "" | "v1") => pair("amd64", ""),
        ("x86_64" | "x86-64" | "amd64", _) => pair("amd64", &variant),
        ("aarch64" | "arm64", "" | "8" | "v8" | "v8.0") => pair("arm64", ""),
        ("aarch64" | "arm64", _) => pair("arm64", &variant),
        ("armel", _) => pair("arm", "v6"),
        ("armhf", _) | ("arm", "" | "7") => pair("arm", "v7"),
        ("arm", "5" | "6" | "8") => pair("arm", &format!("v{variant}")),
        _ => (architecture, variant),
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    /// Reads what `--platform` takes: `linux/arm64`, `linux/arm/v7`, or an architecture alone.
    fn from_str(text: &str) -> Result<Self> {
        let refused = || {
            ImageError::configuration(
                format!("invalid platform `{text}`"),
                "write OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT, such as linux/arm64",
            )
        };
        let parts: Vec<&str> = text.split('/').collect();
        let is_part = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
        };
        if !parts.iter().all(is_part) {
            return Err(refused());
        }
        let (os, architecture, variant) = match parts[..] {
            ["linux"] => return Ok(Self::host()),
            [architecture] => ("linux", architecture, ""),
            [os, architecture] => (os, architecture, ""),
            [os, architecture, variant] => (os, architecture, variant),
            _ => return Err(refused()),
        };
        let (architecture, variant) = normalised(architecture, variant);
        Ok(Self {
            os: os.to_ascii_lowercase(),
            architecture,
            variant,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}
