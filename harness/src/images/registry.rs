//! A real registry on this host: Debian's `docker-registry` (CNCF Distribution).

use super::http::{self, Response};
use super::{ImageLayout, Peers};
use anyhow::{Context as _, Result, bail};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// It takes some tens of milliseconds on an idle host.
const PATIENCE: Duration = Duration::from_mins(1);

/// What [`RegistryServer::manifest`] takes.
const DOCUMENTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A registry without users or TLS on a free port of 127.0.0.1. It is killed when dropped, and with
/// this process.
#[derive(Debug)]
pub struct RegistryServer {
    host: String,
    /// Holds configuration, log and data.
    storage: PathBuf,
    keeper: Option<Keeper>,
}

impl RegistryServer {
    /// Starts it; everything that it writes is in `storage`, an empty directory.
    pub fn start(peers: &Peers, storage: &Path) -> Result<Self> {
        let storage = fs_err::canonicalize(storage)?;
        let data = storage.join("data");
        fs_err::create_dir(&data)?;
        let configuration = storage.join("config.yml");
        // JSON is YAML.
        let text = serde_json::json!({
            "version": "0.1",
            "log": { "level": "info" },
            "storage": {
                "filesystem": { "rootdirectory": data },
                "delete": { "enabled": true },
                "maintenance": { "uploadpurging": { "enabled": false } },
            },
            "http": { "addr": "127.0.0.1:0", "secret": "of tests" },
        });
        fs_err::write(&configuration, text.to_string())?;
        let log = fs_err::File::create(storage.join("log"))?;
        let mut command = peers.direct("docker-registry")?;
        command.arg("serve").arg(configuration);
        // Variables of this name would change the configuration.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("REGISTRY_") {
                command.env_remove(name);
            }
        }
        command.env("OTEL_TRACES_EXPORTER", "none");
        command.stdin(Stdio::null());
        command
            .stdout(log.file().try_clone()?)
            .stderr(log.into_file());
        let mut server = Self {
            host: String::new(),
            storage,
            keeper: Some(Keeper::start(command)?),
        };
        server.host = server.wait_until_it_listens()?;
        Ok(server)
    }

    /// Address and port, as in references to its images.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Puts images of `layout` into it: `NAME` into the repository `NAME` with the tag `latest`,
    /// or, if there is a colon in it, with the tag behind that.
    ///
    /// Nothing is copied: the registry's blobs are symbolic links into the layout, which must
    /// outlive it. It never writes to a blob that it has.
    pub fn fill(&self, layout: &ImageLayout, names: &[&str]) -> Result<()> {
        // Paths as in `registry/storage/paths.go` of Distribution.
        let root = self.storage.join("data/docker/registry/v2");
        let layout = ImageLayout::at(fs_err::canonicalize(layout.directory())?);
        for name in names {
            let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "latest"));
            let parts = layout.parts(name)?;
            let repository = root.join("repositories").join(repository);
            for digest in parts.documents.iter().chain(&parts.blobs) {
                let (algorithm, hex) = digest.split_once(':').context("a digest without colon")?;
                let place = root.join("blobs").join(algorithm).join(&hex[..2]).join(hex);
                fs_err::create_dir_all(&place)?;
                match symlink(layout.blob(digest), place.join("data")) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(error).context("link a blob into the registry");
                    }
                    _ => {}
                }
            }
            let link = |kind: &str, digest: &str| -> Result<()> {
                let place = repository.join(kind).join(digest.replace(':', "/"));
                fs_err::create_dir_all(&place)?;
                Ok(fs_err::write(place.join("link"), digest)?)
            };
            for digest in &parts.blobs {
                link("_layers", digest)?;
            }
            for digest in &parts.documents {
                link("_manifests/revisions", digest)?;
            }
            let digest = layout.image(name)?.digest;
            let tag = format!("_manifests/tags/{tag}");
            link(&format!("{tag}/index"), &digest)?;
            let current = repository.join(tag).join("current");
            fs_err::create_dir_all(&current)?;
            fs_err::write(current.join("link"), digest)?;
        }
        Ok(())
    }

    /// Asks it for `path`.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Response> {
        http::get(&self.host, path, headers)
    }

    /// The index or manifest of a repository by tag or digest, of whichever kind it is.
    pub fn manifest(&self, repository: &str, reference: &str) -> Result<Response> {
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.get(&path, &[("Accept", DOCUMENTS)])
    }

    /// What it has logged so far; one line for each request among it.
    pub fn log(&self) -> Result<String> {
        Ok(fs_err::read_to_string(self.storage.join("log"))?)
    }

    /// Stops it, and says whether it was still there.
    pub fn stop(mut self) -> Result<()> {
        match self.keeper.take() {
            Some(keeper) => keeper.stop(),
            None => Ok(()),
        }
    }

    fn wait_until_it_listens(&self) -> Result<String> {
        let start = Instant::now();
        loop {
            let log = self.log()?;
            if let Some(host) = listens_on(&log)
                && http::get(host, "/v2/", &[]).is_ok_and(|response| response.status == 200)
            {
                return Ok(host.to_owned());
            }
            let ended = self.keeper.as_ref().is_none_or(Keeper::has_ended);
            if ended || start.elapsed() > PATIENCE {
                bail!("docker-registry does not answer; it says: {}", log.trim());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.take()
            && let Err(error) = keeper.stop()
        {
            tracing::warn!("the registry ended badly: {error:#}");
        }
    }
}

/// `... msg="listening on 127.0.0.1:35481" ...`
fn listens_on(log: &str) -> Option<&str> {
    let (_, rest) = log.split_once("listening on ")?;
    let (host, _) = rest.split_once(['"', ',', ' ', '\n'])?;
    host.starts_with("127.0.0.1:").then_some(host)
}

/// A thread that starts a process, lasts as long as it should and then kills it: the kernel's
/// signal at the parent's death comes when the *thread* ends that started the process.
#[derive(Debug)]
struct Keeper {
    order: mpsc::Sender<()>,
    thread: JoinHandle<Result<()>>,
}

impl Keeper {
    fn start(mut command: std::process::Command) -> Result<Self> {
        let (order, ordered) = mpsc::channel::<()>();
        let (say, said) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let signal = rustix::process::Signal::KILL;
            strata_sys::namespace::set_parent_death_signal(&mut command, signal);
            let child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    drop(say.send(Err(error))); // the other side waits for it
                    return Ok(());
                }
            };
            drop(say.send(Ok(()))); // as above
            wait_for_order(child, &ordered)
        });
        let started = said.recv().context("the thread of a server panicked")?;
        started.context("start docker-registry")?;
        Ok(Self { order, thread })
    }

    fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    fn stop(self) -> Result<()> {
        let _ = self.order.send(()); // nobody listens if it has ended, which `join` tells
        match self.thread.join() {
            Ok(result) => result,
            Err(_) => bail!("the thread of a server panicked"),
        }
    }
}

fn wait_for_order(mut child: Child, ordered: &mpsc::Receiver<()>) -> Result<()> {
    while let Err(mpsc::RecvTimeoutError::Timeout) = ordered.recv_timeout(Duration::from_millis(50))
    {
        if let Some(status) = child.try_wait()? {
            bail!("docker-registry ended by itself with {status}");
        }
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::listens_on;

    #[test]
    fn port_is_read_from_the_log() {
        let log = "time=\"x\" level=info msg=\"using inmemory blob descriptor cache\"\n\
                   time=\"x\" level=info msg=\"listening on 127.0.0.1:35481\" go.version=go1\n";
        assert_eq!(listens_on(log), Some("127.0.0.1:35481"));
        assert_eq!(listens_on("msg=\"listening on 127.0.0.1:35"), None);
    }
}
