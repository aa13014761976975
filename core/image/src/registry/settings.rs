//! Where registries are, how they may be reached, and how patient we are with them.

use crate::reference::DEFAULT_DOMAIN;
use crate::{ImageError, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Where Docker Hub serves images; its name in references is no host that does.
const HUB: &str = "registry-1.docker.io";

/// Where Docker Hub answers searches.
const HUB_INDEX: &str = "index.docker.io";

/// How registries are reached.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The registry that a search without one asks.
    pub default_registry: String,
    /// Hosts, with their ports, that may be reached without TLS. Loopback always may.
    pub insecure: BTreeSet<String>,
    /// By the domain of a repository: hosts that are asked before it, in order.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// The proxy for TLS connections, as a URL. Nothing else goes through a proxy.
    pub https_proxy: Option<String>,
    /// Hosts that are reached without the proxy, as `NO_PROXY` lists them.
    pub no_proxy: Option<String>,
    /// Certificates of authorities that are trusted besides those of the host, in PEM.
    pub certificates: Vec<u8>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a registry may be silent before a request is given up.
    pub stall_timeout: Duration,
    /// Blobs that are fetched at the same time.
    pub max_concurrent: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_registry: DEFAULT_DOMAIN.to_owned(),
            insecure: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            https_proxy: None,
            no_proxy: None,
            certificates: Vec::new(),
            connect_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            // Docker's `max-concurrent-downloads`.
            max_concurrent: 3,
        }
    }
}

impl Settings {
    /// The defaults, with the proxy of the environment (`HTTPS_PROXY`, `NO_PROXY`).
    pub fn from_environment() -> Self {
        let variable = |name: &str| {
            [name.to_owned(), name.to_lowercase()]
                .iter()
                .find_map(|name| std::env::var(name).ok())
                .filter(|value| !value.is_empty())
        };
        Self {
            https_proxy: variable("HTTPS_PROXY"),
            no_proxy: variable("NO_PROXY"),
            ..Self::default()
        }
    }

    /// Allows a host, with its port, to be reached without TLS.
    #[must_use]
    pub fn with_insecure(mut self, host: impl Into<String>) -> Self {
        self.insecure.insert(host.into());
        self
    }

    /// Adds a mirror, which is asked after those that were added before it.
    #[must_use]
    pub fn with_mirror(mut self, domain: impl Into<String>, host: impl Into<String>) -> Self {
        let mirrors = self.mirrors.entry(domain.into()).or_default();
        mirrors.push(host.into());
        self
    }

    /// Trusts further authorities, given in PEM.
    #[must_use]
    pub fn with_certificates(mut self, pem: &[u8]) -> Self {
        self.certificates.extend_from_slice(pem);
        self.certificates.push(b'\n');
        self
    }

    /// Sets how long a registry may be silent.
    #[must_use]
    pub fn with_stall_timeout(mut self, timeout: Duration) -> Self {
        self.stall_timeout = timeout;
        self
    }

    /// Sets how many blobs are fetched at the same time.
    #[must_use]
    pub fn with_max_concurrent(mut self, count: usize) -> Self {
        self.max_concurrent = count.max(1);
        self
    }

    /// Sets the registry that a search without one asks.
    #[must_use]
    pub fn with_default_registry(mut self, domain: impl Into<String>) -> Self {
        self.default_registry = domain.into();
        self
    }

    /// The authorities of `certificates`, each in DER.
    pub(crate) fn authorities(&self) -> Result<Vec<Vec<u8>>> {
        CertificateDer::pem_slice_iter(&self.certificates)
            .map(|read| match read {
                Ok(certificate) => Ok(certificate.to_vec()),
                Err(error) => Err(ImageError::configuration("certificates", error)),
            })
            .collect()
    }

    /// Where the registry with this domain is.
    pub(crate) fn endpoint(&self, domain: &str) -> Endpoint {
        let host = if domain == DEFAULT_DOMAIN {
            HUB
        } else {
            domain
        };
        self.at(host, domain)
    }

    /// Where the registry with this domain answers searches.
    pub(crate) fn index(&self, domain: &str) -> Endpoint {
        let host = if domain == DEFAULT_DOMAIN {
            HUB_INDEX
        } else {
            domain
        };
        self.at(host, domain)
    }

    /// Who is asked before the registry with this domain, in order.
    pub(crate) fn mirrors(&self, domain: &str) -> Result<Vec<Endpoint>> {
        let mirrors = self.mirrors.get(domain).into_iter().flatten();
        mirrors.map(|mirror| self.mirror(mirror)).collect()
    }

    /// A mirror is given as a host or, as Docker has it, as a URL.
    fn mirror(&self, text: &str) -> Result<Endpoint> {
        let refused = |why: &str| ImageError::configuration(format!("mirror `{text}`"), why);
        let (scheme, host) = match text.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest.trim_end_matches('/')),
            None => (None, text),
        };
        if host.is_empty() || host.contains(['/', '@', '?', '#', ' ']) {
            return Err(refused("write a host, or a URL without a path"));
        }
        let mut endpoint = self.at(host, host);
        match scheme {
            None => {}
            Some("https") => endpoint.scheme = Scheme::Https,
            Some("http") if endpoint.scheme == Scheme::Http => {}
            Some("http") => {
                return Err(refused(
                    "plain http is for loopback and for hosts that are listed as insecure",
                ));
            }
            Some(_) => return Err(refused("its scheme is neither http nor https")),
        }
        Ok(endpoint)
    }

    fn at(&self, host: &str, domain: &str) -> Endpoint {
        let is_plain = is_loopback(host) || self.insecure.contains(host);
        Endpoint {
            scheme: if is_plain {
                Scheme::Http
            } else {
                Scheme::Https
            },
            host: host.to_owned(),
            domain: domain.to_owned(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// One server that is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) scheme: Scheme,
    /// With its port.
    pub(crate) host: String,
    /// Under which its credentials are kept.
    pub(crate) domain: String,
}

impl Endpoint {
    pub(crate) fn url(&self, path: impl fmt::Display) -> String {
        format!("{self}{path}")
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.host)
    }
}

/// Whether a host, with a port or without, is this machine.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address = match host.strip_prefix('[') {
        Some(inside) => inside.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    address == "localhost"
        || address
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_hosts_go_without_tls() {
        let settings = Settings::default().with_insecure("lab:5000");
        for (domain, url) in [
            ("127.0.0.1:5000", "http://127.0.0.1:5000"),
            ("127.9.9.9", "http://127.9.9.9"),
            ("[::1]:5000", "http://[::1]:5000"),
            ("localhost", "http://localhost"),
            ("lab:5000", "http://lab:5000"),
            ("lab", "https://lab"),
            ("localhost.evil.example", "https://localhost.evil.example"),
            ("127.0.0.1.evil.example", "https://127.0.0.1.evil.example"),
            ("[2001:db8::1]", "https://[2001:db8::1]"),
            ("docker.io", "https://registry-1.docker.io"),
        ] {
            assert_eq!(settings.endpoint(domain).to_string(), url);
        }
        assert_eq!(
            settings.index("docker.io").to_string(),
            "https://index.docker.io"
        );
    }

    #[test]
    fn mirrors_come_first_and_are_held_to_the_same_rule() {
        let settings = Settings::default()
            .with_mirror("docker.io", "http://127.0.0.1:5000/")
            .with_mirror("docker.io", "mirror.example");
        let urls: Vec<String> = settings
            .mirrors("docker.io")
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(urls, ["http://127.0.0.1:5000", "https://mirror.example"]);
        for bad in [
            "http://mirror.example",
            "ftp://x",
            "https://x/path",
            "",
            "a@b",
        ] {
            let settings = Settings::default().with_mirror("r.io", bad);
            assert!(settings.mirrors("r.io").is_err(), "{bad}");
        }
    }
}
