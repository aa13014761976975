//! Mounts a union and serves it in the foreground.
#![expect(clippy::unwrap_used, reason = "an example")]
use strata_aufs::union::{UnionOptions, serve};
fn main() {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let mut args = std::env::args().skip(1);
    let (target, text) = (args.next().unwrap(), args.next().unwrap());
    let options = UnionOptions::parse(&text, "union").unwrap();
    serve(options, |mount| {
        mount
            .attach(std::path::Path::new(&target))
            .map_err(|e| std::io::Error::other(e.to_string()))
    })
    .unwrap();
}
