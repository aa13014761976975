//! Names of images: Docker's grammar, its normalisation and its short forms.
//!
//! The grammar and the wording of refusals are those of `distribution/reference`, which Docker
//! and containerd use: `[DOMAIN/]PATH[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;
use strata_store::Digest;

/// The registry of a name that has none.
pub const DEFAULT_DOMAIN: &str = "docker.io";

/// What the default registry was called until 2015; names with it still occur.
const LEGACY_DOMAIN: &str = "index.docker.io";

/// Docker Hub keeps the names without a `/` below this.
const OFFICIAL: &str = "library/";

/// The tag of a name that has neither tag nor digest.
pub const DEFAULT_TAG: &str = "latest";

/// Characters of a path; the registries' own limit.
const LONGEST_PATH: usize = 255;

/// Characters of a tag.
const LONGEST_TAG: usize = 128;

/// Why a name is refused, in Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// It does not match the grammar.
    #[error("invalid reference format")]
    Format,
    /// It would match in lower case.
    #[error("invalid reference format: repository name ({name}) must be lowercase")]
    Uppercase {
        /// The path that was given.
        name: String,
    },
    /// It could be mistaken for an image's id.
    #[error("invalid repository name ({name}), cannot specify 64-byte hexadecimal strings")]
    Identifier {
        /// The name that was given.
        name: String,
    },
    /// The path is longer than registries take.
    #[error("repository name must not be more than {LONGEST_PATH} characters")]
    TooLong,
    /// The digest is no sha256.
    #[error("unsupported digest algorithm")]
    Algorithm,
    /// The digest has not 64 digits.
    #[error("invalid checksum digest length")]
    DigestLength,
    /// The digest has other characters than `0-9a-f`.
    #[error("invalid checksum digest format")]
    DigestFormat,
}

/// Where images of one name live: a registry's domain and a path on it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    domain: String,
    path: String,
}

/// An image's name, normalised: a repository with a tag, a digest, both or neither.
///
/// `Display` gives the canonical form, which is read again as the same value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Repository {
    /// The registry, with its port: `docker.io`, `127.0.0.1:5000`.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The path on the registry: `library/ubuntu`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What people call it: `ubuntu` for `docker.io/library/ubuntu`.
    pub fn familiar(&self) -> String {
        self.shortened().unwrap_or_else(|| self.to_string())
    }

    /// Without the default domain, where the rest would not be read as another name.
    fn shortened(&self) -> Option<String> {
        if self.domain != DEFAULT_DOMAIN {
            return None;
        }
        if let Some(name) = self.path.strip_prefix(OFFICIAL)
            && !name.contains('/')
        {
            return (!is_identifier(name)).then(|| name.to_owned());
        }
        let (first, _) = self.path.split_once('/')?;
        (first != "localhost" && !first.contains('.')).then(|| self.path.clone())
    }
}

impl Reference {
    /// Reads a name as Docker does, and fills in the registry, but no tag.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if is_identifier(text) {
            let name = text.to_owned();
            return Err(ReferenceError::Identifier { name });
        }
        let (domain, rest) = split_domain(text);
        let remote = rest.split(':').next().unwrap_or_default();
        if remote.chars().any(char::is_uppercase) {
            let name = remote.to_owned();
            return Err(ReferenceError::Uppercase { name });
        }
        let (named, digest) = match rest.split_once('@') {
            Some((named, digest)) => (named, Some(parse_digest(digest)?)),
            None => (rest.as_str(), None),
        };
        let (path, tag) = match named.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (named, None),
        };
        if !is_domain(domain) || !is_path(path) || !tag.is_none_or(is_tag) {
            return Err(ReferenceError::Format);
        }
        if path.len() > LONGEST_PATH {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self {
            repository: Repository {
                domain: domain.to_owned(),
                path: path.to_owned(),
            },
            tag: tag.map(str::to_owned),
            digest,
        })
    }

    /// The repository that it names.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, if it has one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if it has one.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Whether it names a repository and nothing in it.
    pub fn is_name_only(&self) -> bool {
        self.tag.is_none() && self.digest.is_none()
    }

    /// With the tag `latest`, if it has neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.is_name_only() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same repository with another tag, and without a digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, ReferenceError> {
        if !is_tag(tag) {
            return Err(ReferenceError::Format);
        }
        Ok(Self {
            repository: self.repository.clone(),
            tag: Some(tag.to_owned()),
            digest: None,
        })
    }

    /// The same repository with a digest, and without a tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self {
            repository: self.repository.clone(),
            tag: None,
            digest: Some(digest),
        }
    }

    /// What people write: `ubuntu:16.04`.
    pub fn familiar(&self) -> String {
        self.append_to(self.repository.familiar())
    }

    fn append_to(&self, mut text: String) -> String {
        use fmt::Write as _;
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            write!(text, "@{digest}").expect("writing into a string cannot fail");
        }
        text
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let reference = Reference::parse(text)?;
        if !reference.is_name_only() {
            return Err(ReferenceError::Format);
        }
        Ok(reference.repository)
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.append_to(self.repository.to_string()))
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What stands before the first `/` is a domain if it could not be part of a path on Docker Hub.
fn split_domain(text: &str) -> (&str, String) {
    let (domain, rest) = match text.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.chars().any(char::is_uppercase) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, text),
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        return (domain, format!("{OFFICIAL}{rest}"));
    }
    (domain, rest.to_owned())
}

/// Whether it looks like an image's id.
fn is_identifier(text: &str) -> bool {
    text.len() == 64
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A host name, an IPv4 address or an IPv6 address in brackets, with a port or without.
fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(inside) => {
            let Some((address, after)) = inside.split_once(']') else {
                return false;
            };
            let is_address = !address.is_empty()
                && address
                    .bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b':');
            match (is_address, after.strip_prefix(':')) {
                (true, Some(port)) => (None, Some(port)),
                (true, None) if after.is_empty() => (None, None),
                _ => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.is_none_or(|host| host.split('.').all(is_label))
        && port
            .is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_path(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Runs of letters and digits, between them `.`, `_`, `__` or any number of `-`.
fn is_path_component(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let edges = [text.bytes().next(), text.bytes().next_back()];
    if !edges.iter().all(|edge| edge.is_some_and(is_word)) {
        return false;
    }
    text.split(|c: char| c.is_ascii() && is_word(c as u8))
        .all(|between| {
            matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
        })
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= LONGEST_TAG
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

/// A digest of the grammar; then sha256 alone, which is what registries name by.
fn parse_digest(text: &str) -> Result<Digest, ReferenceError> {
    let (algorithm, hex) = text.split_once(':').ok_or(ReferenceError::Format)?;
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let in_grammar = algorithm.split(['-', '_', '+', '.']).all(is_part)
        && hex.len() >= 32
        && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !in_grammar {
        return Err(ReferenceError::Format);
    }
    if algorithm != "sha256" {
        return Err(ReferenceError::Algorithm);
    }
    if hex.len() != 64 {
        return Err(ReferenceError::DigestLength);
    }
    text.parse().map_err(|_| ReferenceError::DigestFormat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "91e470e1a9b0558eddb2c733de50efb3dbbd1a406635394adef6f95b33c2d078";

    #[test]
    fn good_names_are_normalised() {
        let digest = format!("sha256:{HEX}");
        for (text, canonical, familiar) in [
            ("ubuntu", "docker.io/library/ubuntu", "ubuntu"),
            (
                "ubuntu:16.04",
                "docker.io/library/ubuntu:16.04",
                "ubuntu:16.04",
            ),
            ("docker.io/ubuntu", "docker.io/library/ubuntu", "ubuntu"),
            (
                "index.docker.io/library/ubuntu",
                "docker.io/library/ubuntu",
                "ubuntu",
            ),
            ("a/b", "docker.io/a/b", "a/b"),
            ("a/b/c", "docker.io/a/b/c", "a/b/c"),
            ("library/x", "docker.io/library/x", "x"),
            (
                "docker.io/library/a/b",
                "docker.io/library/a/b",
                "library/a/b",
            ),
            ("localhost/x", "localhost/x", "localhost/x"),
            (
                "localhost:5000",
                "docker.io/library/localhost:5000",
                "localhost:5000",
            ),
            (
                "127.0.0.1:5000/peers/small:1",
                "127.0.0.1:5000/peers/small:1",
                "127.0.0.1:5000/peers/small:1",
            ),
            (
                "example.com/library/a:1",
                "example.com/library/a:1",
                "example.com/library/a:1",
            ),
            (
                "a__b/c-----d.e_f:X-1._",
                "docker.io/a__b/c-----d.e_f:X-1._",
                "a__b/c-----d.e_f:X-1._",
            ),
            ("[::1]:5000/x", "[::1]:5000/x", "[::1]:5000/x"),
            ("[fe80::1]/x", "[fe80::1]/x", "[fe80::1]/x"),
            ("Registry/x", "Registry/x", "Registry/x"),
            (
                "r.io/a--b/c__d/e.f_g",
                "r.io/a--b/c__d/e.f_g",
                "r.io/a--b/c__d/e.f_g",
            ),
            ("docker.io/a.b/c", "docker.io/a.b/c", "docker.io/a.b/c"),
            (
                "docker.io/localhost/c",
                "docker.io/localhost/c",
                "docker.io/localhost/c",
            ),
            ("x:A_b.c-d", "docker.io/library/x:A_b.c-d", "x:A_b.c-d"),
        ] {
            let reference = Reference::parse(text).unwrap();
            assert_eq!(reference.to_string(), canonical, "{text}");
            assert_eq!(reference.familiar(), familiar, "{text}");
            let with = Reference::parse(&format!("{text}@{digest}")).unwrap();
            assert_eq!(with.digest().unwrap().to_string(), digest);
            assert_eq!(with.tag(), reference.tag());
            assert_eq!(with.familiar(), format!("{familiar}@{digest}"));
        }
    }

    #[test]
    fn bad_names_are_refused_in_dockers_words() {
        let long = format!("r.io/{}", "a".repeat(256));
        let tag = format!("x:{}", "t".repeat(129));
        let format = "invalid reference format";
        let upper = "must be lowercase";
        for (text, message) in [
            ("", format),
            ("/", format),
            ("a/", format),
            ("/a", format),
            ("a//b", format),
            ("a b", format),
            (":1", format),
            ("x:", format),
            ("exa$mple.com/a", format),
            ("<none>:<none>", format),
            ("x:-a", format),
            ("x:a:b", format),
            ("x@", format),
            ("x@sha256:12", format),
            ("x@<none>", format),
            ("-a", format),
            ("a-", format),
            ("a..b/c", format),
            ("a___b", format),
            ("a._b", format),
            ("a.b:x/c", format),
            ("-a.b/c", format),
            ("a_b.c/d", format),
            ("[::1/x", format),
            ("[::1]5/x", format),
            ("https://r.io/x", format),
            ("r.io/x?y", format),
            ("\u{e4}/x", format),
            ("../x", format),
            ("r.io/../x", format),
            (
                "Ubuntu",
                "invalid reference format: repository name (library/Ubuntu) must be lowercase",
            ),
            (
                "Bad/Name",
                "invalid reference format: repository name (Name) must be lowercase",
            ),
            ("a/B", upper),
            (HEX, "cannot specify 64-byte hexadecimal strings"),
            (
                &long,
                "repository name must not be more than 255 characters",
            ),
            (&tag, format),
            (
                &format!("x@sha512:{HEX}{HEX}"),
                "unsupported digest algorithm",
            ),
            (
                &format!("x@sha256:{HEX}00"),
                "invalid checksum digest length",
            ),
            (
                &format!("x@sha256:{}", HEX.to_uppercase()),
                "invalid checksum digest format",
            ),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
            assert_eq!(message == format, error == format, "{text}: {error}");
        }
    }

    #[test]
    fn default_tag_is_filled_in_only_where_nothing_stands() {
        let named = |text: &str| Reference::parse(text).unwrap().or_latest().familiar();
        assert_eq!(named("x"), "x:latest");
        assert_eq!(named("x:1"), "x:1");
        assert_eq!(named(&format!("x@sha256:{HEX}")), format!("x@sha256:{HEX}"));
    }

    #[test]
    fn repository_is_a_name_alone() {
        let repository: Repository = "r.io/a/b".parse().unwrap();
        assert_eq!((repository.domain(), repository.path()), ("r.io", "a/b"));
        assert!("r.io/a/b:1".parse::<Repository>().is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_as_the_same(
            text in "([a-zA-Z0-9.-]{1,8}(:[0-9]{1,4})?/)?[a-z0-9._/-]{1,20}(:[A-Za-z0-9_.-]{1,9})?(@sha256:[0-9a-f]{64})?"
        ) {
            if let Ok(reference) = Reference::parse(&text) {
                prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
                prop_assert_eq!(&Reference::parse(&reference.familiar()).unwrap(), &reference);
            }
        }

        #[test]
        fn nothing_makes_the_parser_panic(text in "\\PC{0,40}") {
            drop(Reference::parse(&text));
        }
    }
}
