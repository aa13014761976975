//! Who we are to a registry: Docker's configuration file and its credential programs.
//!
//! The file is shared with Docker and others, so what it holds besides is kept. The protocol of
//! the programs is that of `docker-credential-helpers`: a verb as argument, JSON over the pipes.

use crate::reference::DEFAULT_DOMAIN;
use crate::{ImageError, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Under which Docker keeps the credentials of Docker Hub.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// The user name that says that a program's secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// How a credential program says that it has none for a registry.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// What we show to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password.
    Password {
        /// The user.
        username: String,
        /// The password.
        password: String,
    },
    /// What a token server takes instead of a password.
    IdentityToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { username, .. } => write!(f, "Password({username})"),
            Self::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// Where a credential was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In the file, where whoever reads it has it.
    File(PathBuf),
    /// In a credential program.
    Program(String),
}

/// Docker's configuration file, as far as it is about credentials.
#[derive(Clone, Debug)]
pub struct CredentialFile {
    path: PathBuf,
    programs: Option<PathBuf>,
}

impl CredentialFile {
    /// The file at `path`, which need not exist.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            programs: None,
        }
    }

    /// Looks for credential programs in this directory instead of `PATH`.
    #[must_use]
    pub fn with_programs_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.programs = Some(directory.into());
        self
    }

    /// The file that Docker uses: `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`.
    pub fn of_user() -> Option<Self> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let directory = match set("DOCKER_CONFIG") {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(set("HOME")?).join(".docker"),
        };
        Some(Self::at(directory.join("config.json")))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is kept for the registry with this domain.
    pub fn get(&self, domain: &str) -> Result<Option<Credential>> {
        let content = self.read()?;
        if let Some(program) = self.program(&content, domain)? {
            return program.get(key(domain));
        }
        let Some(auths) = content.get("auths").and_then(Value::as_object) else {
            return Ok(None);
        };
        let entry = auths.get(key(domain)).or_else(|| {
            let mut same = auths.iter().filter(|(name, _)| is_same(name, domain));
            same.next().map(|(_, entry)| entry)
        });
        match entry {
            Some(entry) => self.decode(entry),
            None => Ok(None),
        }
    }

    /// Keeps a credential, instead of any before it.
    pub fn store(&self, domain: &str, credential: &Credential) -> Result<Kept> {
        let mut content = self.read()?;
        if let Some(program) = self.program(&content, domain)? {
            program.store(key(domain), credential)?;
            return Ok(Kept::Program(program.name));
        }
        let entry = match credential {
            Credential::Password { username, password } => {
                json!({ "auth": BASE64.encode(format!("{username}:{password}")) })
            }
            Credential::IdentityToken(token) => json!({ "identitytoken": token }),
        };
        let auths = content
            .entry("auths")
            .or_insert_with(|| Value::Object(Map::new()));
        if let Some(auths) = auths.as_object_mut() {
            auths.retain(|name, _| !is_same(name, domain));
            auths.insert(key(domain).to_owned(), entry);
        } else {
            return Err(self.refused("`auths` is no object"));
        }
        self.write(&content)?;
        Ok(Kept::File(self.path.clone()))
    }

    /// Forgets what is kept, and says whether there was something.
    pub fn erase(&self, domain: &str) -> Result<bool> {
        let mut content = self.read()?;
        if let Some(program) = self.program(&content, domain)? {
            let was_there = program.get(key(domain))?.is_some();
            if was_there {
                program.run("erase", key(domain))?;
            }
            return Ok(was_there);
        }
        let Some(auths) = content.get_mut("auths").and_then(Value::as_object_mut) else {
            return Ok(false);
        };
        let before = auths.len();
        auths.retain(|name, _| !is_same(name, domain));
        let was_there = auths.len() < before;
        if was_there {
            self.write(&content)?;
        }
        Ok(was_there)
    }

    fn read(&self) -> Result<Map<String, Value>> {
        let text = match fs_err::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
            Err(error) => return Err(self.refused(error)),
        };
        if text.trim_ascii().is_empty() {
            return Ok(Map::new());
        }
        serde_json::from_slice(&text).map_err(|error| self.refused(error))
    }

    /// Replaces the file in one step, readable by its owner alone. A link stays a link.
    fn write(&self, content: &Map<String, Value>) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let mut text = serde_json::to_vec_pretty(content).map_err(|error| self.refused(error))?;
        text.push(b'\n');
        let target = fs_err::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let directory = target.parent().unwrap_or(Path::new("."));
        let draft = directory.join(format!(".config.json.{}", std::process::id()));
        let written = (|| {
            fs_err::create_dir_all(directory)?;
            match fs_err::remove_file(&draft) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut options = fs_err::OpenOptions::new();
            options.write(true).create_new(true);
            options.options_mut().mode(0o600);
            let mut file = options.open(&draft)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs_err::rename(&draft, &target)
        })();
        written.map_err(|error| {
            // The draft may never have come about.
            drop(fs_err::remove_file(&draft));
            self.refused(error)
        })
    }

    /// The credential program that is responsible for this domain.
    fn program(&self, content: &Map<String, Value>, domain: &str) -> Result<Option<Program>> {
        let own = content
            .get("credHelpers")
            .and_then(Value::as_object)
            .and_then(|programs| {
                let found = programs.get(key(domain)).or_else(|| programs.get(domain));
                found.and_then(Value::as_str)
            });
        let name = own.or_else(|| content.get("credsStore").and_then(Value::as_str));
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        // It becomes part of a program's name, and must not become a path.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if !name.bytes().all(is_plain) {
            return Err(self.refused(format!("`{name}` is no name of a credential program")));
        }
        let name = format!("docker-credential-{name}");
        let path = match &self.programs {
            Some(directory) => directory.join(&name),
            None => PathBuf::from(&name),
        };
        Ok(Some(Program { name, path }))
    }

    fn decode(&self, entry: &Value) -> Result<Option<Credential>> {
        let text = |name: &str| {
            let value = entry.get(name).and_then(Value::as_str);
            value.filter(|value| !value.is_empty())
        };
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credential::IdentityToken(token.to_owned())));
        }
        if let Some(auth) = text("auth") {
            let wrong = || self.refused("an `auth` is no base64 of USER:PASSWORD");
            let bytes = BASE64.decode(auth.trim()).map_err(|_| wrong())?;
            let pair = String::from_utf8(bytes).map_err(|_| wrong())?;
            let (username, password) = pair.split_once(':').ok_or_else(wrong)?;
            return Ok(Some(Credential::Password {
                username: username.to_owned(),
                // Docker's own reader does so, for files of its first versions.
                password: password.trim_matches('\0').to_owned(),
            }));
        }
        Ok(match (text("username"), text("password")) {
            (Some(username), Some(password)) => Some(Credential::Password {
                username: username.to_owned(),
                password: password.to_owned(),
            }),
            _ => None,
        })
    }

    fn refused(&self, why: impl fmt::Display) -> ImageError {
        ImageError::configuration(format!("credential file `{}`", self.path.display()), why)
    }
}

/// The name under which the credentials of a domain are kept.
fn key(domain: &str) -> &str {
    if domain == DEFAULT_DOMAIN {
        HUB_KEY
    } else {
        domain
    }
}

/// Whether an entry of `auths` is for `domain`: others write it as a URL.
fn is_same(entry: &str, domain: &str) -> bool {
    if entry == key(domain) {
        return true;
    }
    let host = entry
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let host = host.split('/').next().unwrap_or_default();
    let hub = ["index.docker.io", "registry-1.docker.io", DEFAULT_DOMAIN];
    host == domain || (domain == DEFAULT_DOMAIN && hub.contains(&host))
}

/// A credential program.
struct Program {
    name: String,
    /// The name alone where `PATH` says where it is.
    path: PathBuf,
}

impl Program {
    fn get(&self, key: &str) -> Result<Option<Credential>> {
        let output = match self.run("get", key) {
            Ok(output) => output,
            Err(error) if error.to_string().contains(NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        let answer: Value =
            serde_json::from_slice(&output).map_err(|error| self.failed("get", error))?;
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        match (text("Username"), text("Secret")) {
            (Some(name), Some(token)) if name == TOKEN_USER => {
                Ok(Some(Credential::IdentityToken(token)))
            }
            (Some(username), Some(password)) => {
                Ok(Some(Credential::Password { username, password }))
            }
            _ => Err(self.failed("get", "it gave no `Username` and `Secret`")),
        }
    }

    fn store(&self, key: &str, credential: &Credential) -> Result<()> {
        let (username, secret) = match credential {
            Credential::Password { username, password } => (username.as_str(), password),
            Credential::IdentityToken(token) => (TOKEN_USER, token),
        };
        let input = json!({ "ServerURL": key, "Username": username, "Secret": secret });
        self.run("store", &input.to_string()).map(drop)
    }

    fn run(&self, verb: &'static str, input: &str) -> Result<Vec<u8>> {
        let failed = |error: std::io::Error| self.failed(verb, error);
        let mut child = Command::new(&self.path)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed)?;
        if let Some(mut pipe) = child.stdin.take()
            && let Err(error) = pipe.write_all(input.as_bytes())
            && error.kind() != std::io::ErrorKind::BrokenPipe
        {
            // It is waited for either way; what it says tells more than this.
            tracing::debug!(%error, program = self.name, "credential program took no input");
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            // These programs complain on standard output.
            let said = String::from_utf8_lossy(&output.stdout);
            let said = match said.trim() {
                "" => format!("it ended with {}", output.status),
                said => said.chars().take(300).collect(),
            };
            return Err(self.failed(verb, said));
        }
        Ok(output.stdout)
    }

    fn failed(&self, verb: &str, why: impl fmt::Display) -> ImageError {
        ImageError::configuration(format!("`{} {verb}`", self.name), why)
    }
}

/// Credentials of one client, asked for once per registry.
#[derive(Debug)]
pub(super) struct Credentials {
    file: Option<CredentialFile>,
    found: Mutex<HashMap<String, Option<Credential>>>,
}

impl Credentials {
    pub(super) fn new(file: Option<CredentialFile>) -> Self {
        Self {
            file,
            found: Mutex::default(),
        }
    }

    /// One credential and no other.
    pub(super) fn fixed(domain: &str, credential: Credential) -> Self {
        let found = HashMap::from([(domain.to_owned(), Some(credential))]);
        Self {
            file: None,
            found: Mutex::new(found),
        }
    }

    pub(super) async fn of(&self, domain: &str) -> Result<Option<Credential>> {
        let lock = || self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lock().get(domain) {
            return Ok(known.clone());
        }
        let Some(file) = self.file.clone() else {
            return Ok(None);
        };
        let wanted = domain.to_owned();
        let found = strata_driver::blocking(move || Ok(file.get(&wanted))).await??;
        lock().insert(domain.to_owned(), found.clone());
        Ok(found)
    }
}
