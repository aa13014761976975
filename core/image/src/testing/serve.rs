//! The fake registry's HTTP: one request a connection, written out by hand so that every byte
//! of an answer can be wrong.

use super::fake::{Access, Content, Fault, Seen, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::json;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use strata_store::Digest;

/// How often a silent connection looks whether it is over.
const PULSE: Duration = Duration::from_millis(20);

struct Request {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({"errors": [{"code": code, "message": message}]});
        Self::new(status, body.to_string()).with("Content-Type", "application/json")
    }

    fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

pub(super) fn accept(listener: &TcpListener, state: &Arc<State>) {
    let mut connections = Vec::new();
    for connection in listener.incoming() {
        if state.is_over.load(Ordering::Relaxed) {
            break;
        }
        let Ok(connection) = connection else { continue };
        let state = Arc::clone(state);
        connections.push(std::thread::spawn(move || {
            if let Err(error) = converse(&connection, &state) {
                tracing::debug!(%error, "connection ended early");
            }
        }));
    }
    for connection in connections {
        if connection.join().is_err() {
            tracing::warn!("a connection of the fake registry panicked");
        }
    }
}

fn converse(connection: &TcpStream, state: &State) -> std::io::Result<()> {
    let Some(request) = read(connection)? else {
        return Ok(());
    };
    let line = format!("{} {}", request.method, request.target());
    let fault = {
        let mut content = state.content();
        content.seen.push(Seen {
            method: request.method.clone(),
            target: request.target(),
            range: request.header("range").map(str::to_owned),
            authorization: request.header("authorization").map(str::to_owned),
            length: request.header("content-length").map(str::to_owned),
        });
        let left = content.faults.iter_mut();
        let mut left = left.filter(|(what, _, times)| *times > 0 && line.contains(what.as_str()));
        left.next().map(|(_, fault, times)| {
            *times -= 1;
            fault.clone()
        })
    };
    let fault = match fault {
        Some(Fault::After(path, then)) => {
            while !path.exists() && !state.is_over.load(Ordering::Relaxed) {
                std::thread::sleep(PULSE);
            }
            then.map(|fault| *fault)
        }
        fault => fault,
    };
    if matches!(fault, Some(Fault::Silence)) {
        return stall(connection, state);
    }
    let range = match fault {
        Some(Fault::IgnoreRange) => None,
        _ => request.range(),
    };
    let answer = answer(&request, range, state);
    write(connection, state, request.method == "HEAD", answer, fault)
}

/// Writes an answer, or what a fault makes of it.
fn write(
    mut connection: &TcpStream,
    state: &State,
    is_head: bool,
    mut answer: Answer,
    fault: Option<Fault>,
) -> std::io::Result<()> {
    let mut length = Some(answer.body.len() as u64);
    let mut sent = answer.body.len();
    let mut stalls = false;
    match fault {
        Some(Fault::Status(status, headers, body)) => {
            answer = Answer::new(status, body);
            for (name, value) in headers {
                answer = answer.with(name, value);
            }
            length = Some(answer.body.len() as u64);
            sent = answer.body.len();
        }
        Some(Fault::StallAfter(bytes)) => {
            sent = bytes.min(sent);
            stalls = true;
        }
        Some(Fault::CloseAfter(bytes)) => sent = bytes.min(sent),
        Some(Fault::ContentLength(claimed)) => length = Some(claimed),
        Some(Fault::NoLength(bytes)) => {
            length = None;
            sent = bytes.min(sent);
        }
        Some(Fault::Endless(bytes)) => {
            length = None;
            answer.body.resize(answer.body.len() + bytes, 0);
            sent = answer.body.len();
        }
        Some(Fault::WrongByte) => {
            if let Some(last) = answer.body.last_mut() {
                *last ^= 1;
            }
        }
        Some(Fault::Redirect(to)) => {
            answer = Answer::new(307, "").with("Location", to);
            length = Some(0);
            sent = 0;
        }
        Some(Fault::Encoded) => {
            // What is in it does not matter: nobody asked for it.
            answer.body.insert(0, 0x1f);
            answer
                .headers
                .push(("Content-Encoding".into(), "gzip".into()));
            length = Some(answer.body.len() as u64);
            sent = answer.body.len();
        }
        Some(Fault::ContentType(name)) => {
            answer.headers.retain(|(name, _)| name != "Content-Type");
            answer = answer.with("Content-Type", name);
        }
        Some(Fault::Silence | Fault::IgnoreRange | Fault::After(..)) | None => {}
    }
    let mut head = format!("HTTP/1.1 {} Told\r\nConnection: close\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    if let Some(length) = length {
        head.push_str("Content-Length: ");
        head.push_str(&length.to_string());
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    connection.write_all(head.as_bytes())?;
    if !is_head {
        // Counted first: when the client has the last byte, the test looks.
        state.body_bytes.fetch_add(sent as u64, Ordering::Relaxed);
        connection.write_all(&answer.body[..sent])?;
    }
    connection.flush()?;
    if stalls {
        return stall(connection, state);
    }
    // The client's bytes that were never read would turn the end into a reset.
    connection.shutdown(std::net::Shutdown::Write)?;
    let mut rest = [0; 1024];
    connection.set_read_timeout(Some(PULSE))?;
    while matches!(connection.read(&mut rest), Ok(read) if read > 0) {}
    Ok(())
}

/// Says nothing until the client goes or the registry ends.
fn stall(mut connection: &TcpStream, state: &State) -> std::io::Result<()> {
    connection.set_read_timeout(Some(PULSE))?;
    let mut rest = [0; 1024];
    while !state.is_over.load(Ordering::Relaxed) {
        match connection.read(&mut rest) {
            Ok(0) => break,
            Err(error)
                if !matches!(
                    error.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) =>
            {
                break;
            }
            _ => {}
        }
    }
    Ok(())
}

fn read(connection: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut reader = BufReader::new(connection);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        });
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.collect(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        let header = (name.to_lowercase(), value.trim().to_owned());
        request.headers.push(header);
    }
    if let Some(length) = request
        .header("content-length")
        .and_then(|text| text.parse().ok())
    {
        reader.take(length).read_to_end(&mut request.body)?;
    }
    Ok(Some(request))
}

/// Percent-decoded, and `+` as a space.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after
            .get(..2)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = after;
        match (first, byte) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'+', _) => bytes.push(b' '),
            _ => bytes.push(*first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(known, _)| known == name)?;
        Some(value)
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        let mut query = self.query.iter();
        let (_, value) = query.find(|(known, _)| known == name)?;
        Some(value)
    }

    fn target(&self) -> String {
        let mut target = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            let separator = if index == 0 { '?' } else { '&' };
            write!(target, "{separator}{name}={value}").expect("writing into a string cannot fail");
        }
        target
    }

    /// The first byte of `Range: bytes=FIRST-`.
    fn range(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }

    /// User and password of basic authorization.
    fn user(&self) -> Option<(String, String)> {
        let encoded = self.header("authorization")?.strip_prefix("Basic ")?;
        let pair = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
        let (user, password) = pair.split_once(':')?;
        Some((user.to_owned(), password.to_owned()))
    }
}

fn answer(request: &Request, range: Option<usize>, state: &State) -> Answer {
    let host = state.address.to_string();
    let mut content = state.content();
    if request.path == "/token" {
        return token(request, &content.access);
    }
    if let Some(refusal) = refused(request, &content.access, &host) {
        return refusal;
    }
    let path = request.path.clone();
    match path.strip_prefix("/v2/") {
        Some("") => Answer::new(200, "{}"),
        Some("_catalog") => {
            let mut names: Vec<String> = content
                .manifests
                .keys()
                .map(|(path, _)| path.clone())
                .collect();
            names.dedup();
            page(request, "repositories", names, content.page)
        }
        Some(rest) => {
            if let Some(path) = rest.strip_suffix("/tags/list") {
                let of_it = content.manifests.keys().filter(|(known, _)| known == path);
                let tags = of_it.map(|(_, name)| name.clone());
                let tags: Vec<_> = tags.filter(|name| !name.contains(':')).collect();
                if tags.is_empty() {
                    let message = "repository name not known to registry";
                    return Answer::error(404, "NAME_UNKNOWN", message);
                }
                page(request, "tags", tags, content.page)
            } else if let Some((path, name)) = rest.split_once("/manifests/") {
                manifest(request, &mut content, path, name)
            } else if let Some((path, _)) = rest.split_once("/blobs/uploads/") {
                upload(request, &mut content, path)
            } else if let Some((_, digest)) = rest.split_once("/blobs/") {
                blob(&content, digest, range)
            } else {
                Answer::new(404, "404 page not found\n")
            }
        }
        None if path == "/v1/search" && content.index.is_some() => {
            let answer = content.index.as_ref().map(ToString::to_string);
            Answer::new(200, answer.unwrap_or_default()).with("Content-Type", "application/json")
        }
        None => Answer::new(404, "404 page not found\n"),
    }
}

/// The refusal of whoever may not in; it says how to get in.
fn refused(request: &Request, access: &Access, host: &str) -> Option<Answer> {
    let writes = !matches!(request.method.as_str(), "GET" | "HEAD");
    let (is_in, challenge) = match access {
        Access::Open => return None,
        Access::Basic(user, password) => {
            let shown = request.user();
            let is_in = shown.is_some_and(|shown| shown.0 == *user && shown.1 == *password);
            (is_in, "Basic realm=\"fake\"".to_owned())
        }
        Access::Token(..) | Access::PrivateToken(..) => {
            let shown = request.header("authorization").unwrap_or_default();
            let is_in = shown == "Bearer may-write" || (shown == "Bearer may-read" && !writes);
            (
                is_in,
                format!("Bearer realm=\"http://{host}/token\",service=\"fake\""),
            )
        }
    };
    (!is_in).then(|| {
        Answer::error(401, "UNAUTHORIZED", "authentication required")
            .with("WWW-Authenticate", challenge)
    })
}

fn token(request: &Request, access: &Access) -> Answer {
    let (Access::Token(user, password) | Access::PrivateToken(user, password)) = access else {
        return Answer::new(404, "");
    };
    let form = String::from_utf8_lossy(&request.body);
    let shows_identity = form.contains("grant_type=refresh_token")
        && form.contains(&format!("refresh_token={password}"));
    let token = match request.user() {
        Some(shown) if shown.0 == *user && shown.1 == *password => "may-write",
        Some(_) => return Answer::new(401, r#"{"details":"incorrect username or password"}"#),
        None if shows_identity => "may-write",
        None if request.method == "POST" => return Answer::new(401, ""),
        None if matches!(access, Access::Token(..)) => "may-read",
        None => "may-nothing",
    };
    Answer::new(200, json!({"token": token, "expires_in": 300}).to_string())
}

/// A page of a list, and where the next one is.
fn page(request: &Request, list: &str, all: Vec<String>, most: usize) -> Answer {
    let after = request.parameter("last").unwrap_or_default();
    let rest = all.into_iter().filter(|name| name.as_str() > after);
    let mut names: Vec<_> = rest.collect();
    let is_cut = names.len() > most;
    names.truncate(most);
    let answer = Answer::new(200, json!({ list: names }).to_string())
        .with("Content-Type", "application/json");
    match names.last() {
        Some(end) if is_cut => {
            let next = format!("<{}?n={most}&last={end}>; rel=\"next\"", request.path);
            answer.with("Link", next)
        }
        _ => answer,
    }
}

fn manifest(request: &Request, content: &mut Content, path: &str, name: &str) -> Answer {
    if request.method == "PUT" {
        let digest = Digest::of(&request.body);
        let media_type = request
            .header("content-type")
            .unwrap_or_default()
            .to_owned();
        for name in [name.to_owned(), digest.to_string()] {
            let kept = (media_type.clone(), request.body.clone());
            content.manifests.insert((path.to_owned(), name), kept);
        }
        return Answer::new(201, "").with("Location", format!("/v2/{path}/manifests/{digest}"));
    }
    match content.manifests.get(&(path.to_owned(), name.to_owned())) {
        Some((media_type, bytes)) => Answer::new(200, bytes.clone())
            .with("Content-Type", media_type.as_str())
            .with("Docker-Content-Digest", Digest::of(bytes).to_string()),
        None => Answer::error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    }
}

fn blob(content: &Content, digest: &str, range: Option<usize>) -> Answer {
    let found = digest
        .parse()
        .ok()
        .and_then(|digest| content.blobs.get(&digest));
    let Some(bytes) = found else {
        return Answer::error(404, "BLOB_UNKNOWN", "blob unknown to registry");
    };
    match range {
        Some(from) if from < bytes.len() => {
            let (last, whole) = (bytes.len() - 1, bytes.len());
            Answer::new(206, &bytes[from..])
                .with("Content-Range", format!("bytes {from}-{last}/{whole}"))
        }
        Some(_) => Answer::new(416, ""),
        None => Answer::new(200, bytes.clone()),
    }
}

fn upload(request: &Request, content: &mut Content, path: &str) -> Answer {
    let Some(digest) = request.parameter("digest") else {
        let mounted = request
            .parameter("mount")
            .and_then(|digest| digest.parse().ok());
        if let Some(digest) = mounted.filter(|digest| content.blobs.contains_key(digest)) {
            content.mounts.insert((path.to_owned(), digest));
            return Answer::new(201, "").with("Location", format!("/v2/{path}/blobs/{digest}"));
        }
        return Answer::new(202, "").with("Location", format!("/v2/{path}/blobs/uploads/1"));
    };
    let actual = Digest::of(&request.body);
    if actual.to_string() != digest {
        return Answer::error(
            400,
            "DIGEST_INVALID",
            "provided digest did not match uploaded content",
        );
    }
    content.blobs.insert(actual, request.body.clone());
    Answer::new(201, "").with("Location", format!("/v2/{path}/blobs/{actual}"))
}
