//! A stand-in for the search of a registry: what Docker Hub's index answers to `/v1/search`. No
//! registry that can be run here has it.

use anyhow::{Context as _, Result};
use serde::Serialize;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// One repository in an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SearchResult {
    /// Its name.
    pub name: String,
    /// What its owner says of it.
    pub description: String,
    /// How many like it.
    pub star_count: u64,
    /// Whether Docker keeps it.
    pub is_official: bool,
    /// Whether it was built from a repository of sources.
    pub is_automated: bool,
}

/// A server that gives the same answer to every search. It ends when dropped.
#[derive(Debug)]
pub struct SearchStandIn {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a server on this host that answers `/v1/search` with `results`, whatever the query, and
/// everything else with 404. A stand-in: it does not search.
pub fn search_stand_in(results: Vec<SearchResult>) -> Result<SearchStandIn> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen for searches")?;
    let address = listener.local_addr()?;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let over = Arc::new(AtomicBool::new(false));
    let answer = Answer {
        results,
        asked: Arc::clone(&asked),
    };
    let ends = Arc::clone(&over);
    let thread = std::thread::spawn(move || {
        for stream in listener.incoming() {
            if ends.load(Ordering::SeqCst) {
                break;
            }
            // Whoever hangs up before the answer does not want it.
            let _ = stream.map(|stream| answer.give(stream));
        }
    });
    Ok(SearchStandIn {
        address,
        asked,
        over,
        thread: Some(thread),
    })
}

impl SearchStandIn {
    /// Address and port.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The paths with their queries that it was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

impl Drop for SearchStandIn {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // It waits for a connection, and gets one.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(thread) = self.thread.take()
            && woken
            && thread.join().is_err()
        {
            tracing::warn!("the stand-in for searches panicked");
        }
    }
}

struct Answer {
    results: Vec<SearchResult>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Answer {
    fn give(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let request = lines.next().transpose()?.unwrap_or_default();
        // What is not read of the request would reset the connection when it is closed.
        for line in lines {
            if line?.is_empty() {
                break;
            }
        }
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        let is_search = path == "/v1/search" || path.starts_with("/v1/search?");
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(path);
        let (status, body) = if is_search {
            let body = serde_json::json!({
                "num_results": self.results.len(),
                "results": self.results,
            });
            ("200 OK", body.to_string())
        } else {
            ("404 Not Found", "{}".to_owned())
        };
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{body}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::http;

    #[test]
    fn searches_are_answered_and_nothing_else() {
        let server = search_stand_in(vec![SearchResult {
            name: "debian".to_owned(),
            star_count: 3,
            ..SearchResult::default()
        }])
        .unwrap();
        let host = server.host();
        let found = http::get(&host, "/v1/search?q=deb&n=25", &[]).unwrap();
        assert_eq!(found.status, 200);
        let found: serde_json::Value = serde_json::from_slice(&found.body).unwrap();
        assert_eq!(found["results"][0]["name"], "debian");
        assert_eq!(http::get(&host, "/v2/", &[]).unwrap().status, 404);
        assert_eq!(server.asked(), ["/v1/search?q=deb&n=25", "/v2/"]);
        drop(server);
        assert!(http::get(&host, "/v1/search", &[]).is_err());
    }
}
