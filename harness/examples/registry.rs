//! Runs a registry with the test images until standard input ends: `cargo run -p strata-harness
//! --example registry -- app small`.

use anyhow::{Context as _, bail};
use std::io::Read as _;
use strata_harness::images::{ImageLayout, Peers, RegistryServer};

fn main() -> anyhow::Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    if names.is_empty() {
        bail!("name images: app, small, six, zstd, multi");
    }
    let peers = Peers::find().map_err(|skip| anyhow::anyhow!("{skip}"))?;
    let layout = ImageLayout::cached().map_err(|skip| anyhow::anyhow!("{skip}"))?;
    let place = tempfile::tempdir().context("no place for the registry")?;
    let server = RegistryServer::start(&peers, place.path())?;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    server.fill(&layout, &names)?;
    #[expect(clippy::print_stdout, reason = "an example")]
    {
        println!("{}", server.host());
    }
    std::io::stdin().read_to_end(&mut Vec::new())?;
    server.stop()
}
