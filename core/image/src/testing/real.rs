//! Debian's `docker-registry`, run on loopback for tests that want a registry of others.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Where the program is, if it is not in `PATH`.
const VARIABLE: &str = "STRATA_DOCKER_REGISTRY";

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tells the directories of one process apart.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A running registry, with a directory of its own. Both end when it is dropped.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    directory: PathBuf,
    host: String,
}

impl DockerRegistry {
    /// Starts one, or says why there is none: a reason to skip a test.
    pub fn start() -> Result<Self, String> {
        let program = program().ok_or_else(|| {
            format!("`docker-registry` is not in PATH and {VARIABLE} does not name it")
        })?;
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("strata-test-registry-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        let failed = |error: std::io::Error| error.to_string();
        fs_err::create_dir_all(&directory).map_err(failed)?;
        let host = free_host().map_err(failed)?;
        let config = directory.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{host}\"}}\n",
            directory.join("data").display()
        );
        fs_err::write(&config, text).map_err(failed)?;
        let child = Command::new(&program)
            .arg("serve")
            .arg(&config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("`{}`: {error}", program.display()))?;
        let mut registry = Self {
            child,
            directory,
            host,
        };
        registry.wait()?;
        Ok(registry)
    }

    /// Host and port, as they stand in references.
    pub fn host(&self) -> &str {
        &self.host
    }

    fn wait(&mut self) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            if TcpStream::connect(&self.host).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("the registry ended with {status}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(format!("the registry does not listen on {}", self.host))
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        // It fails only for a process that is gone.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Err(error) = fs_err::remove_dir_all(&self.directory) {
            tracing::warn!(%error, "directory of a registry left behind");
        }
    }
}

fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os(VARIABLE) {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("docker-registry"))
        .find(|candidate| candidate.is_file())
}

/// A port that nobody listens on now.
fn free_host() -> std::io::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}
