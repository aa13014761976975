//! References to images, as far as showing them goes: "ubuntu:16.04" for
//! "docker.io/library/ubuntu:16.04".
//!
//! Source: the grammar in github.com/distribution/reference.

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// A reference in its parts, the name as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Familiar {
    /// The name without the default registry and without "library/".
    pub(crate) name: String,
    /// What follows the colon.
    pub(crate) tag: Option<String>,
    /// What follows the at sign, with its algorithm.
    pub(crate) digest: Option<String>,
}

impl Familiar {
    /// Reads a reference. `None` where it is not one; Docker passes over such names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() == 64 && text.bytes().all(is_lower_hex) {
            // That is an id; it names no repository.
            return None;
        }
        let (domain, rest) = split_domain(text);
        let before_tag = rest.split(':').next().unwrap_or_default();
        if before_tag.chars().any(char::is_uppercase) {
            return None;
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return None,
            None => (&*rest, None),
        };
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) if is_tag(tag) => (path, Some(tag.to_owned())),
            Some(_) => return None,
            None => (rest, None),
        };
        // What looks like a registry and is none may still be the first part of a path.
        let domain_is_path = !is_domain(domain) && is_component(domain);
        if !(is_domain(domain) || domain_is_path)
            || !path.split('/').all(is_component)
            || domain.len() + 1 + path.len() > LONGEST_NAME
        {
            return None;
        }
        let name = match path.strip_prefix("library/") {
            _ if domain != DEFAULT_DOMAIN => format!("{domain}/{path}"),
            Some(official) if !official.contains('/') => official.to_owned(),
            _ => path.to_owned(),
        };
        Some(Self { name, tag, digest })
    }
}

impl std::fmt::Display for Familiar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The registry and what follows it; official images get their "library/" here.
fn split_domain(text: &str) -> (&str, std::borrow::Cow<'_, str>) {
    let (domain, rest) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_DOMAIN, text),
    };
    let domain = if domain == LEGACY_DOMAIN {
        DEFAULT_DOMAIN
    } else {
        domain
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        (domain, format!("{OFFICIAL}/{rest}").into())
    } else {
        (domain, rest.into())
    }
}

/// Letters and digits, between them one dot, one or two underscores, or dashes.
fn is_component(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    if !(bytes.first().copied().is_some_and(is_plain)
        && bytes.last().copied().is_some_and(is_plain))
    {
        return false;
    }
    bytes.split(|byte| is_plain(*byte)).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|byte| *byte == b'-')
    })
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.split('.').all(is_label)
        && port
            .is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= LONGEST_TAG
        && text.bytes().next().is_some_and(is_word)
        && text
            .bytes()
            .all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else {
        return false;
    };
    let length = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == length && hex.bytes().all(is_lower_hex)
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
