//! As much of HTTP as asking a server on this host takes: version 1.0, so that the answer ends with
//! the connection and never comes in chunks.

use anyhow::{Context as _, Result};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Nothing hangs for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The code.
    pub status: u16,
    /// Names in small letters, and values.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Response {
    /// The value of the first header with this name, which is given in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(called, _)| called == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Gets `path` from `host`, which is an address and a port.
pub fn get(host: &str, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
    let context = || format!("GET http://{host}{path}");
    let mut stream = TcpStream::connect(host).with_context(context)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n").into_bytes();
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n")?;
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).with_context(context)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).with_context(context)?;
    parse(&answer).with_context(|| format!("{} was answered in another language", context()))
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect::<Option<_>>()?;
    Some(Response {
        status,
        headers,
        body: answer[end + 4..].to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn answers_are_taken_apart() {
        let response = parse(b"HTTP/1.0 404 Not Found\r\nContent-Type: a; b=c:d\r\n\r\n\r\n\r\nx");
        let response = response.unwrap();
        assert_eq!(response.status, 404);
        assert_eq!(response.header("content-type"), Some("a; b=c:d"));
        assert_eq!(response.body, b"\r\n\r\nx");
        assert_eq!(parse(b"220 mail.example ESMTP\r\n"), None);
    }
}
