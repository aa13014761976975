//! What a pull of an image takes at least on this machine, part by part, on one processor:
//! `cargo run --release -p strata-image --example pull_bound -- LAYOUT NAME DIRECTORY`.
//!
//! LAYOUT is an OCI image layout, DIRECTORY an empty one on the file system that counts. With two
//! processors and perfect overlap a pull takes the greater of the longest layer's inflating and
//! half of the sum.

use sha2::{Digest as _, Sha256};
use std::error::Error;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;
use strata_driver::changeset::{Decoder, EntryKind, Event, Item, Limits};
use strata_image::document::{Compression, Document, Manifest};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[derive(Default)]
struct Parts {
    hash_blob: f64,
    inflate: f64,
    longest_inflate: f64,
    hash_tar: f64,
    parse: f64,
    files: f64,
    bytes: u64,
    entries: u64,
}

#[expect(clippy::print_stdout, reason = "an example")]
fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let layout = PathBuf::from(arguments.next().ok_or("give an OCI image layout")?);
    let name = arguments.next().ok_or("give an image of it")?;
    let directory = PathBuf::from(arguments.next().ok_or("give an empty directory")?);
    let blob = |digest: &str| layout.join("blobs").join(digest.replace(':', "/"));
    let index: serde_json::Value =
        serde_json::from_slice(&fs_err::read(layout.join("index.json"))?)?;
    let manifests = index["manifests"].as_array().ok_or("no manifests")?;
    let named = manifests
        .iter()
        .find(|one| one["annotations"]["org.opencontainers.image.ref.name"] == name.as_str())
        .ok_or("no such image")?;
    let document = Document::new(
        fs_err::read(blob(named["digest"].as_str().unwrap_or_default()))?,
        None,
    );
    let Manifest::Image(manifest) = document.manifest()? else {
        return Err("an index; name an image of one platform".into());
    };
    let mut parts = Parts::default();
    for (number, layer) in manifest.layers.iter().enumerate() {
        let path = blob(&layer.descriptor.digest.to_string());
        measure(
            &path,
            layer.compression,
            &directory.join(number.to_string()),
            &mut parts,
        )?;
    }
    let sum = parts.hash_blob + parts.inflate + parts.hash_tar + parts.parse + parts.files;
    println!("sha256 of blobs   {:.3} s", parts.hash_blob);
    println!(
        "inflate           {:.3} s, longest layer {:.3} s",
        parts.inflate, parts.longest_inflate
    );
    println!(
        "sha256 of tars    {:.3} s, {} bytes",
        parts.hash_tar, parts.bytes
    );
    println!("parse             {:.3} s", parts.parse);
    println!(
        "bare files        {:.3} s, {} entries",
        parts.files, parts.entries
    );
    println!("sum               {sum:.3} s");
    println!(
        "bound             {:.3} s",
        parts.longest_inflate.max(sum / 2.0)
    );
    Ok(())
}

fn measure(
    path: &Path,
    compression: Compression,
    directory: &Path,
    parts: &mut Parts,
) -> Outcome<()> {
    let mut packed = Vec::new();
    File::open(path)?.read_to_end(&mut packed)?;
    let start = Instant::now();
    std::hint::black_box(Sha256::digest(&packed));
    parts.hash_blob += start.elapsed().as_secs_f64();

    let mut tar: Box<dyn std::io::Read> = match compression {
        Compression::None => Box::new(&packed[..]),
        Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(&packed[..])),
        Compression::Zstd => Box::new(zstd::Decoder::new(&packed[..])?),
    };
    let mut block = vec![0; 256 << 10];
    let mut hash = Sha256::new();
    let mut decoder = Decoder::new(Limits::default());
    let (mut inflating, mut open): (f64, Option<File>) = (0.0, None);
    fs_err::create_dir(directory)?;
    loop {
        let start = Instant::now();
        let length = tar.read(&mut block)?;
        inflating += start.elapsed().as_secs_f64();
        if length == 0 {
            break;
        }
        let start = Instant::now();
        hash.update(&block[..length]);
        parts.hash_tar += start.elapsed().as_secs_f64();
        parts.bytes += length as u64;
        let mut rest = &block[..length];
        loop {
            let start = Instant::now();
            let step = decoder.advance(rest)?;
            parts.parse += start.elapsed().as_secs_f64();
            let (bytes, after) = rest.split_at(step.consumed);
            rest = after;
            let start = Instant::now();
            match step.event {
                Event::NeedMore => break,
                Event::Data { .. } => {
                    if let Some(file) = &mut open {
                        file.write_all(bytes)?;
                    }
                }
                Event::Item(Item::Entry(entry)) => {
                    parts.entries += 1;
                    open = None;
                    if let EntryKind::File { .. } = entry.kind {
                        // One flat directory: what paths cost is no part of the least.
                        let file = File::create(directory.join(parts.entries.to_string()))?;
                        let times = std::fs::FileTimes::new()
                            .set_modified(std::time::SystemTime::UNIX_EPOCH);
                        file.set_times(times)?;
                        open = Some(file);
                    }
                }
                _ => {}
            }
            parts.files += start.elapsed().as_secs_f64();
        }
    }
    parts.inflate += inflating;
    parts.longest_inflate = parts.longest_inflate.max(inflating);
    std::hint::black_box(hash.finalize());
    Ok(())
}
