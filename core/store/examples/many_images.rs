//! Fills the facts of a store with images that have no bytes, to time commands that list:
//! `cargo run -p strata-store --example many_images -- ROOT IMAGES LAYERS_OF_EACH`.
//!
//! Each image has layers of its own but for a third of them, which it shares with ten others.

use rusqlite::{Connection, params};
use sha2::{Digest as _, Sha256};
use std::path::PathBuf;
use strata_driver::Durability;
use strata_store::Store;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let root = PathBuf::from(arguments.next().ok_or("give a root")?);
    let images: u64 = arguments.next().ok_or("how many images?")?.parse()?;
    let layers: u64 = arguments.next().ok_or("how many layers each?")?.parse()?;
    drop(Store::open(&root, Durability::Volatile)?);
    let mut connection = Connection::open(root.join("store.db"))?;
    let transaction = connection.transaction()?;
    for image in 0..images {
        let id = digest(&format!("image {image}"));
        let mut parent: Option<[u8; 32]> = None;
        for position in 0..layers {
            let family = if position < layers / 3 {
                image / 10
            } else {
                image
            };
            let is_shared = position < layers / 3;
            let chain = digest(&format!("layer {family} {is_shared} {position}"));
            transaction.execute(
                "INSERT OR IGNORE INTO layer (chain, parent, diff, size, contents, created_ms) \
                 VALUES (?1, ?2, ?1, 1000000, 900000, 0)",
                params![chain, parent],
            )?;
            transaction.execute(
                "INSERT INTO image_layer (image, position, chain) VALUES (?1, ?2, ?3)",
                params![id, position as i64, chain],
            )?;
            let blob = digest(&format!("blob {family} {is_shared} {position}"));
            transaction.execute(
                "INSERT OR IGNORE INTO blob (digest, size) VALUES (?1, 400000)",
                params![blob],
            )?;
            transaction.execute(
                "INSERT INTO image_blob (image, digest, role) VALUES (?1, ?2, 3)",
                params![id, blob],
            )?;
            parent = Some(chain);
        }
        transaction.execute(
            "INSERT INTO image (id, created, size, labels) VALUES (?1, ?2, ?3, '{}')",
            params![id, 1_700_000_000 + image as i64, 900_000 * layers as i64],
        )?;
        transaction.execute(
            "INSERT INTO reference (repository, tag, image) VALUES (?1, 'latest', ?2)",
            params![format!("docker.io/library/image-{image}"), id],
        )?;
    }
    transaction.commit()?;
    Ok(())
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}
