//! The registry that misbehaves on request: what it has, and what goes wrong.

use super::serve;
use crate::document::{Descriptor, Platform, media_type};
use crate::reference::{Reference, Repository};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use strata_store::Digest;

/// What goes wrong with one answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Another status, with headers and a body.
    Status(u16, Vec<(&'static str, String)>, String),
    /// Nothing comes, not even a status.
    Silence,
    /// Silence after so many bytes of the body.
    StallAfter(usize),
    /// The connection ends after so many bytes of the body.
    CloseAfter(usize),
    /// The range that was asked for is ignored: 200 and everything.
    IgnoreRange,
    /// `Content-Length` says this.
    ContentLength(u64),
    /// The body is sent without a length, and cut to so many bytes.
    NoLength(usize),
    /// More bytes than there are, without a length.
    Endless(usize),
    /// The last byte is another one.
    WrongByte,
    /// The body goes to the same path on another host.
    Redirect(String),
    /// The body is encoded by gzip, unasked.
    Encoded,
    /// `Content-Type` says this.
    ContentType(&'static str),
    /// Nothing comes before this file is there; then everything does, or what this fault makes
    /// of it.
    After(PathBuf, Option<Box<Fault>>),
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Open,
    /// Whoever shows this user and password.
    Basic(&'static str, &'static str),
    /// Whoever shows a token, which everybody gets for reading, and this user for writing.
    Token(&'static str, &'static str),
    /// Whoever shows a token, which only this user gets.
    PrivateToken(&'static str, &'static str),
}

/// A request that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// The header `Range`.
    pub range: Option<String>,
    /// The header `Authorization`.
    pub authorization: Option<String>,
    /// The header `Content-Length`.
    pub length: Option<String>,
}

/// What the threads of a registry share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) address: SocketAddr,
    pub(super) content: Mutex<Content>,
    pub(super) is_over: AtomicBool,
    pub(super) body_bytes: AtomicU64,
}

#[derive(Debug)]
pub(super) struct Content {
    pub(super) blobs: BTreeMap<Digest, Vec<u8>>,
    /// By repository and by tag or digest.
    pub(super) manifests: BTreeMap<(String, String), (String, Vec<u8>)>,
    /// What repositories took over; by their names.
    pub(super) mounts: BTreeSet<(String, Digest)>,
    pub(super) access: Access,
    /// The answer of `/v1/search`, if there is one.
    pub(super) index: Option<Value>,
    /// Names on one page of a list.
    pub(super) page: usize,
    pub(super) faults: Vec<(String, Fault, usize)>,
    pub(super) seen: Vec<Seen>,
}

/// A registry on loopback. It ends when dropped.
#[derive(Debug)]
pub struct FakeRegistry {
    state: Arc<State>,
    server: Option<JoinHandle<()>>,
}

impl FakeRegistry {
    /// Starts one on a free port, open and empty.
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let state = Arc::new(State {
            address: listener.local_addr()?,
            content: Mutex::new(Content {
                blobs: BTreeMap::new(),
                manifests: BTreeMap::new(),
                mounts: BTreeSet::new(),
                access: Access::Open,
                index: None,
                page: 100,
                faults: Vec::new(),
                seen: Vec::new(),
            }),
            is_over: AtomicBool::new(false),
            body_bytes: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let server = std::thread::spawn(move || serve::accept(&listener, &shared));
        Ok(Self {
            state,
            server: Some(server),
        })
    }

    /// Host and port, as they stand in references.
    pub fn host(&self) -> String {
        self.state.address.to_string()
    }

    /// A repository on it.
    ///
    /// # Panics
    /// If the path is not in the grammar.
    pub fn repository(&self, path: &str) -> Repository {
        self.reference(path).repository().clone()
    }

    /// `PATH[:TAG][@DIGEST]` on it.
    ///
    /// # Panics
    /// If that is not in the grammar.
    pub fn reference(&self, name: &str) -> Reference {
        let reference = Reference::parse(&format!("{}/{name}", self.host()));
        reference.expect("the test gives a name in the grammar")
    }

    /// Adds a blob to every repository.
    pub fn add_blob(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::of(bytes);
        self.content().blobs.insert(digest, bytes.to_vec());
        Descriptor::new(media_type, digest, bytes.len() as u64)
    }

    /// Adds a manifest or an index under its digest, and under a tag.
    pub fn add_manifest(&self, path: &str, tag: &str, media_type: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let mut content = self.content();
        for name in [tag.to_owned(), digest.to_string()] {
            let kept = (media_type.to_owned(), bytes.to_vec());
            content.manifests.insert((path.to_owned(), name), kept);
        }
        digest
    }

    /// Adds an image of layers that are tars, each given with its media type, packed bytes and
    /// the digest of what they unpack to.
    pub fn add_image(
        &self,
        path: &str,
        tag: &str,
        platform: &Platform,
        layers: &[(&str, &[u8], Digest)],
    ) -> Digest {
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.2.to_string()).collect();
        let steps = layers.iter().enumerate();
        let history: Vec<Value> = steps
            .map(|(step, _)| json!({"created": "2026-01-01T00:00:00Z", "created_by": format!("step {step}")}))
            .collect();
        let config = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "created": "2026-01-01T00:00:00Z",
            "config": {"Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": history,
        });
        let config = self.add_blob(media_type::OCI_CONFIG, config.to_string().as_bytes());
        let layers = layers.iter().map(|layer| self.add_blob(layer.0, layer.1));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": config,
            "layers": layers.collect::<Vec<_>>(),
        });
        let bytes = manifest.to_string();
        self.add_manifest(path, tag, media_type::OCI_MANIFEST, bytes.as_bytes())
    }

    /// Whether a blob is there, and with which bytes.
    pub fn blob(&self, digest: Digest) -> Option<Vec<u8>> {
        self.content().blobs.get(&digest).cloned()
    }

    /// The manifest under a tag or a digest.
    pub fn manifest(&self, path: &str, name: &str) -> Option<(String, Vec<u8>)> {
        let key = (path.to_owned(), name.to_owned());
        self.content().manifests.get(&key).cloned()
    }

    /// Sets who is let in.
    pub fn allow(&self, access: Access) {
        self.content().access = access;
    }

    /// Gives it a search of its own, with this answer.
    pub fn answer_searches(&self, answer: Value) {
        self.content().index = Some(answer);
    }

    /// Sets how many names are on one page of a list.
    pub fn set_page(&self, names: usize) {
        self.content().page = names;
    }

    /// Lets `fault` happen to the next `times` requests that contain `what`, such as `GET /v2/`
    /// or `/blobs/`. Of several faults that fit, the first that is left happens.
    pub fn fail(&self, what: &str, fault: Fault, times: usize) {
        self.content().faults.push((what.to_owned(), fault, times));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.content().faults.clear();
    }

    /// What was asked so far, in order.
    pub fn requests(&self) -> Vec<Seen> {
        self.content().seen.clone()
    }

    /// The requests so far whose method and target contain `what`.
    pub fn count(&self, what: &str) -> usize {
        let fits = |seen: &&Seen| format!("{} {}", seen.method, seen.target).contains(what);
        self.content().seen.iter().filter(fits).count()
    }

    /// Bytes of bodies sent so far.
    pub fn bytes_sent(&self) -> u64 {
        self.state.body_bytes.load(Ordering::Relaxed)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.state.content()
    }
}

impl State {
    pub(super) fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for FakeRegistry {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::Relaxed);
        // The connection wakes the thread that accepts; if there is none, it has ended already.
        drop(TcpStream::connect(self.state.address));
        if let Some(server) = self.server.take()
            && server.join().is_err()
        {
            tracing::warn!("the fake registry panicked");
        }
    }
}
