//! Blobs as files: in their places once verified, on their way before.
//!
//! A blob on its way has one writer, which holds the file's lock, and readers that follow it (see
//! [`Fetch`]). It is moved to its place when its digest and size are right, and not before; what
//! is cut off stays, and the next fetch goes on from there.

mod fetch;
mod reader;

pub use fetch::Fetch;
pub(crate) use fetch::Started;
pub use reader::BlobReader;
