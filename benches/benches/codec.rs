//! The changeset codec on an archive of small files: encoding headers, decoding whole.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use strata_driver::changeset::{
    Decoder, END_MARK, Entry, EntryKind, EntryPath, Event, Limits, Metadata, Timestamp,
    encode_entry, padding,
};

/// Files of the archive.
const FILES: u32 = 1_000;
/// Bytes of each.
const SIZE: usize = 2_000;

fn entries() -> Vec<Entry> {
    (0..FILES)
        .map(|number| {
            let path = format!("usr/share/doc/package-{number}/copyright");
            let path = EntryPath::parse(path.as_bytes()).expect("the path is well formed");
            let metadata = Metadata {
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: Timestamp {
                    seconds: 1_700_000_000,
                    nanoseconds: 0,
                },
            };
            Entry {
                path,
                kind: EntryKind::File { size: SIZE as u64 },
                metadata,
                xattrs: Vec::new(),
            }
        })
        .collect()
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in entries {
        encode_entry(entry, &mut bytes).expect("the entry can be carried");
        bytes.extend_from_slice(&[1; SIZE]);
        bytes.extend_from_slice(padding(SIZE as u64));
    }
    bytes.extend_from_slice(&END_MARK);
    bytes
}

/// Decodes all of `archive` in blocks as a driver gets them; returns the number of items.
fn decode(archive: &[u8]) -> u32 {
    let mut decoder = Decoder::new(Limits::default());
    let mut items = 0;
    for mut input in archive.chunks(256 * 1024) {
        loop {
            let step = decoder.advance(input).expect("the archive is well formed");
            input = &input[step.consumed..];
            match step.event {
                Event::NeedMore => break,
                Event::Item(_) => items += 1,
                _ => {}
            }
        }
    }
    items
}

fn codec(criterion: &mut Criterion) {
    let entries = entries();
    let archive = archive(&entries);
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(FILES.into()));
    group.bench_function("encode 1,000 headers", |bencher| {
        let mut bytes = Vec::new();
        bencher.iter(|| {
            bytes.clear();
            for entry in &entries {
                encode_entry(black_box(entry), &mut bytes).expect("the entry can be carried");
            }
            bytes.len()
        });
    });
    group.throughput(Throughput::Bytes(archive.len() as u64));
    group.bench_function("decode 1,000 files", |bencher| {
        assert_eq!(decode(&archive), FILES);
        bencher.iter(|| decode(black_box(&archive)));
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
