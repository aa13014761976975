//! The registry that peers pull from.

use super::subject::entered;
use super::tree::direct;
use anyhow::{Context, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

/// Debian's `docker-registry` on a free port of this host; killed when dropped.
#[derive(Debug)]
pub(super) struct Registry {
    child: Child,
    host: String,
    tools: PathBuf,
}

impl Registry {
    pub(super) fn start(tools: &Path, storage: &Path) -> anyhow::Result<Self> {
        let (configuration, log) = (storage.join("config.yml"), storage.join("log"));
        // JSON is YAML.
        let text = serde_json::json!({
            "version": "0.1",
            "log": { "level": "info", "accesslog": { "disabled": true } },
            "storage": { "filesystem": { "rootdirectory": storage.join("data") } },
            "http": { "addr": "127.0.0.1:0", "secret": "of tests" },
        });
        fs_err::write(&configuration, text.to_string())?;
        let output = fs_err::File::create(&log)?.into_file();
        let child = direct(tools, "docker-registry")?
            .arg("serve")
            .arg(configuration)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .context("cannot start docker-registry")?;
        let mut registry = Self {
            child,
            host: String::new(),
            tools: tools.to_owned(),
        };
        let start = Instant::now();
        loop {
            let said = fs_err::read_to_string(&log)?;
            if let Some((_, rest)) = said.split_once("listening on ")
                && let Some((host, _)) = rest.split_once(['"', ',', ' ', '\n'])
            {
                host.clone_into(&mut registry.host);
                return Ok(registry);
            }
            if start.elapsed() > PATIENCE || registry.child.try_wait()?.is_some() {
                bail!("docker-registry does not start: {}", said.trim());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Puts one image of the layout into it.
    pub(super) fn fill(&self, layout: &Path, image: &str) -> anyhow::Result<()> {
        let output = entered(&self.tools, "skopeo", &[layout])
            .args(["copy", "--quiet", "--all", "--preserve-digests"])
            .arg("--dest-tls-verify=false")
            .arg(format!("oci:{}:{image}", layout.display()))
            .arg(format!("docker://{}/{image}:latest", self.host))
            .output()?;
        ensure!(
            output.status.success(),
            "cannot fill the registry: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(())
    }

    /// An error if it ended before.
    pub(super) fn stop(mut self) -> anyhow::Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "the registry has ended");
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It fails only for a process that has ended.
        let _ = self.child.kill();
        if let Err(error) = self.child.wait() {
            eprintln!("the registry is left: {error}");
        }
    }
}

/// A layer's blob.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) digest: String,
    pub(super) size: u64,
}

/// The layers of an image of the layout. For the floor they must be gzip.
pub(super) fn layers(layout: &Path, image: &str) -> anyhow::Result<Vec<Layer>> {
    let read = |path: PathBuf| -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&fs_err::read(path)?)?)
    };
    let index = read(layout.join("index.json"))?;
    let name = "org.opencontainers.image.ref.name";
    let named = index["manifests"].as_array().context("no images")?;
    let named = named
        .iter()
        .find(|one| one["annotations"][name] == image)
        .with_context(|| format!("there is no test image `{image}`"))?;
    let digest = named["digest"].as_str().context("no digest")?;
    let manifest = read(layout.join("blobs").join(digest.replace(':', "/")))?;
    let layers = manifest["layers"]
        .as_array()
        .with_context(|| format!("`{image}` is an index: choose an image of one platform"))?;
    layers
        .iter()
        .map(|layer| {
            let media_type = layer["mediaType"].as_str().context("no media type")?;
            ensure!(
                media_type.ends_with("+gzip"),
                "`{image}` is `{media_type}`: the floor is of gzip"
            );
            Ok(Layer {
                digest: layer["digest"].as_str().context("no digest")?.to_owned(),
                size: layer["size"].as_u64().context("no size")?,
            })
        })
        .collect()
}
