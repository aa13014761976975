//! An engine that knows nothing but what it is told to answer: HTTP on a Unix socket, one request a
//! connection.

use super::data::DataSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

pub(super) struct StandIn {
    socket: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    data: Mutex<DataSet>,
    is_over: AtomicBool,
}

impl StandIn {
    pub(super) fn start(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if theirs.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let data = theirs.data.lock().unwrap().clone();
                // A client that hangs up early will say so itself.
                drop(answer(&stream.unwrap(), &data));
            }
        });
        Self {
            socket: socket.to_owned(),
            shared,
            thread: Some(thread),
        }
    }

    pub(super) fn answer_with(&self, data: &DataSet) {
        *self.shared.data.lock().unwrap() = data.clone();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // Wakes the thread; if that fails it has ended already.
        drop(UnixStream::connect(&self.socket));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn answer(mut stream: &UnixStream, data: &DataSet) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let path = request.split_whitespace().nth(1).unwrap_or_default();
    let body = match path.split('?').next().unwrap_or_default() {
        path if path.ends_with("/_ping") => "OK".to_owned(),
        path if path.ends_with("/info") => {
            r#"{"IndexServerAddress":"https://index.docker.io/v1/"}"#.to_owned()
        }
        path if path.ends_with("/images/json") => data.images.to_string(),
        path if path.ends_with("/x/json") => data.document.to_string(),
        path if path.ends_with("/images/search") => data.search.to_string(),
        path if path.ends_with("/history") => data.history.to_string(),
        path if path.ends_with("/system/df") => data.usage.to_string(),
        path => panic!("no answer for {path}"),
    };
    let is_head = request.starts_with("HEAD");
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.41\r\n\
         Ostype: linux\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{}",
        body.len(),
        if is_head { "" } else { &body }
    )
}
