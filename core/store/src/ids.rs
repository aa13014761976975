//! Digests, and what is named by them.

use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use strata_driver::{DiffId, Error, ErrorKind};

/// The sha256 of a blob: of a compressed layer, a manifest, a configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

/// A layer together with all below it, by the formula of the OCI image specification
/// (`config.md`, "Layer `ChainID`").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainId([u8; 32]);

impl Digest {
    /// Wraps a finished sha256.
    pub fn from_sha256(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The digest of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The bare digest, in 64 hexadecimal digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }

    /// The bare digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl ChainId {
    /// Wraps a finished sha256.
    pub fn from_sha256(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The bare digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The chain of these diffs, base first; none of no diffs.
    pub fn of_all(diffs: impl IntoIterator<Item = DiffId>) -> Option<Self> {
        diffs
            .into_iter()
            .fold(None, |below, diff| Some(Self::of(below, diff)))
    }

    /// The chain of a layer with `diff` upon `parent`.
    pub fn of(parent: Option<Self>, diff: DiffId) -> Self {
        match parent {
            None => Self(diff.sha256()),
            Some(parent) => Self(Sha256::digest(format!("{parent} {diff}")).into()),
        }
    }
}

/// Reads `sha256:` and 64 lower-case hexadecimal digits.
fn parse(text: &str) -> Result<[u8; 32], Error> {
    let wrong = |why: String| {
        Error::new(ErrorKind::InvalidInput, "read digest")
            .because(why)
            .with("digest", text)
            .hint("a digest is `sha256:` and 64 of `0-9a-f`")
    };
    let Some((algorithm, hex)) = text.split_once(':') else {
        return Err(wrong("it has no algorithm".to_owned()));
    };
    if algorithm != "sha256" {
        return Err(wrong(format!("the algorithm `{algorithm}` is not known")));
    }
    let mut digest = [0; 32];
    let is_lower = hex
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
    if !is_lower || hex::decode_to_slice(hex, &mut digest).is_err() {
        return Err(wrong("it is no sha256".to_owned()));
    }
    Ok(digest)
}

macro_rules! as_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "sha256:{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                parse(text).map(Self)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(Digest);
as_text!(ChainId);

/// Reads a DiffId as it stands in an image's configuration.
pub fn parse_diff_id(text: &str) -> Result<DiffId, Error> {
    parse(text).map(DiffId::from_sha256)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_are_those_of_the_specification() {
        let diff = |byte: u8| DiffId::from_sha256([byte; 32]);
        let first = ChainId::of(None, diff(1));
        assert_eq!(first.to_string(), diff(1).to_string());
        let second = ChainId::of(Some(first), diff(2));
        // printf 'sha256:0101... sha256:0202...' | sha256sum
        let text = format!("sha256:{} sha256:{}", "01".repeat(32), "02".repeat(32));
        assert_eq!(second.to_string(), Digest::of(text.as_bytes()).to_string());
    }

    #[test]
    fn only_digests_are_read() {
        let good = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        for bad in [
            "ab".repeat(32),
            format!("sha512:{}", "ab".repeat(64)),
            format!("sha256:{}", "AB".repeat(32)),
            format!("sha256:{}", "ab".repeat(31)),
            "sha256:../../etc/passwd".to_owned(),
        ] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
