//! The digest that every changeset passes through.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sha2::{Digest, Sha256};
use std::hint::black_box;

fn digest(criterion: &mut Criterion) {
    let block = vec![7_u8; 1 << 20];
    let mut group = criterion.benchmark_group("digest");
    group.throughput(Throughput::Bytes(block.len() as u64));
    group.bench_function("sha256 of 1 MiB", |bencher| {
        bencher.iter(|| Sha256::digest(black_box(&block)));
    });
    group.finish();
}

criterion_group!(benches, digest);
criterion_main!(benches);
