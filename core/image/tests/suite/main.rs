//! References to bytes: the client against registries that misbehave, and against a real one.
#![expect(clippy::unwrap_used, reason = "tests")]

mod access;
mod document;
mod download;
mod manifest;
mod mirror;
mod push;
mod real;
mod search;
mod tls;

use std::sync::Mutex;
use std::time::Duration;
use strata_image::document::Descriptor;
use strata_image::registry::{
    Notify, OciRegistry, Registry, RetryPolicy, Settings, Sink, download,
};
use strata_image::testing::FakeRegistry;
use strata_image::{Repository, Result};
use strata_store::Digest;

/// Patient enough for a busy machine.
fn settings() -> Settings {
    Settings::default().with_stall_timeout(Duration::from_mins(1))
}

/// A client for registries that fall silent.
fn hasty() -> OciRegistry {
    let settings = Settings::default().with_stall_timeout(Duration::from_secs(1));
    OciRegistry::new(settings, None).unwrap()
}

fn client() -> OciRegistry {
    OciRegistry::new(settings(), None).unwrap()
}

fn fake() -> FakeRegistry {
    FakeRegistry::start().unwrap()
}

fn quick() -> RetryPolicy {
    RetryPolicy::default().with_first_wait(Duration::from_millis(1))
}

/// Bytes that no compression and no accident makes.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}

/// A sink in memory.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    restarts: usize,
}

impl Sink for Memory {
    fn position(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.bytes.clear();
        self.restarts += 1;
        Ok(())
    }
}

/// Fetches a blob, and what was said about retries.
async fn fetch(
    registry: &dyn Registry,
    repository: &Repository,
    blob: &Descriptor,
    sink: &mut Memory,
    policy: &RetryPolicy,
) -> (Result<()>, Vec<String>) {
    let said = Mutex::new(Vec::new());
    let notify: &Notify<'_> = &|retry| {
        let line = format!("{}: {:?}: {}", retry.failures, retry.wait, retry.error);
        said.lock().unwrap().push(line);
    };
    let result = download(registry, repository, blob, sink, policy, notify).await;
    (result, said.into_inner().unwrap())
}

fn digest_of(sink: &Memory) -> Digest {
    Digest::of(&sink.bytes)
}

/// The work of a pull is spawned on a runtime of several threads.
#[test]
fn futures_can_be_sent_to_other_threads() {
    fn is_send<T: Send>(_: &T) {}
    let (client, mut sink) = (client(), Memory::default());
    let repository: Repository = "r.example/x".parse().unwrap();
    let blob = Descriptor::new("x", Digest::of(b""), 0);
    let policy = RetryPolicy::default();
    is_send(&download(
        &client,
        &repository,
        &blob,
        &mut sink,
        &policy,
        &|_| {},
    ));
    is_send(&client.search("x", 1));
}
