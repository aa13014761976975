//! The tar in a layer's blob.

use crate::document::Compression;
use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Compressed bytes that are read at once.
const BLOCK: usize = 128 << 10;
/// Largest window of a zstd frame, as a power of two: what `zstd -d` takes without being told
/// more (RFC 8878, 3.1.1.1.2, leaves the limit to the decoder).
const LARGEST_WINDOW: u32 = 27;

/// The tar of a layer, from its blob.
///
/// Blobs of several gzip members or zstd frames are one tar (RFC 1952, 2.2; RFC 8878, 3.1). A wrong
/// checksum, a cut-off member and bytes after the last one are errors, and so are bytes that are
/// not what the media type says.
///
/// Nothing is read before the tar is: a blob may still be on its way, and who asks for its tar is
/// one of those that bring it.
pub(crate) fn unpacked<R: Read + Send + 'static>(
    blob: R,
    compression: Compression,
) -> impl Read + Send + use<R> {
    Unpacked::Closed(Some(blob), compression)
}

/// A tar that is opened when it is first read.
enum Unpacked<R> {
    Closed(Option<R>, Compression),
    Open(Box<dyn Read + Send>),
}

impl<R: Read + Send + 'static> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if let Self::Closed(blob, compression) = self {
            let Some(blob) = blob.take() else {
                return Err(io::Error::other("it could not be opened before"));
            };
            *self = Self::Open(open(blob, *compression)?);
        }
        match self {
            Self::Open(tar) => tar.read(buffer),
            Self::Closed(..) => Ok(0),
        }
    }
}

fn open(
    blob: impl Read + Send + 'static,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send>> {
    let has_failed = Arc::new(AtomicBool::new(false));
    let blob = Source {
        blob,
        has_failed: Arc::clone(&has_failed),
    };
    let mut blob = BufReader::with_capacity(BLOCK, blob);
    match compression {
        Compression::None => {
            refuse_packed(&mut blob)?;
            Ok(Box::new(blob))
        }
        Compression::Gzip => {
            demand(&mut blob, &[0x1f, 0x8b], "gzip")?;
            Ok(Box::new(Unpacking {
                decoder: MultiGzDecoder::new(blob),
                what: "gzip",
                has_failed,
            }))
        }
        Compression::Zstd => {
            // A skippable frame may come first; its magic is 50 2a 4d 18 up to 5f 2a 4d 18.
            let start = start(&mut blob)?;
            if start.first().is_none_or(|first| *first & 0xf0 != 0x50) {
                demand(&mut blob, &[0x28, 0xb5, 0x2f, 0xfd], "zstd")?;
            }
            let mut decoder = zstd::Decoder::with_buffer(blob)?;
            decoder.window_log_max(LARGEST_WINDOW)?;
            Ok(Box::new(Unpacking {
                decoder,
                what: "zstd",
                has_failed,
            }))
        }
    }
}

/// A blob that notes when it cannot be read, which is no fault of its bytes.
struct Source<R> {
    blob: R,
    has_failed: Arc<AtomicBool>,
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.blob.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.has_failed.store(true, Ordering::Relaxed);
            }
        })
    }
}

/// A decoder whose errors say what is damaged.
struct Unpacking<D> {
    decoder: D,
    what: &'static str,
    has_failed: Arc<AtomicBool>,
}

impl<D: Read> Read for Unpacking<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.decoder.read(buffer).map_err(|error| {
            let is_passing = error.kind() == io::ErrorKind::Interrupted;
            if is_passing || self.has_failed.load(Ordering::Relaxed) {
                return error;
            }
            let text = format!("the {} stream is damaged: {error}", self.what);
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }
}

fn start(blob: &mut impl BufRead) -> io::Result<&[u8]> {
    blob.fill_buf()
}

fn demand(blob: &mut impl BufRead, magic: &[u8], what: &str) -> io::Result<()> {
    // A first read may bring less than a magic number only at the end of a blob.
    let found = start(blob)?;
    let length = found.len().min(magic.len());
    if length > 0 && found[..length] == magic[..length] {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the media type says {what}, and the bytes are something else"),
    ))
}

fn refuse_packed(blob: &mut impl BufRead) -> io::Result<()> {
    let found = start(blob)?;
    if found.starts_with(&[0x1f, 0x8b, 8]) || found.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the media type says that it is not compressed, and it is",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    fn read(blob: Vec<u8>, compression: Compression) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        unpacked(io::Cursor::new(blob), compression).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// A pull once hung: each thread of the runtime waited here for the first byte of a blob that
    /// it was to bring itself.
    #[test]
    fn nothing_is_read_before_the_tar_is() {
        struct Untouched;
        impl Read for Untouched {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                panic!("the blob was read");
            }
        }
        for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
            drop(unpacked(Untouched, compression));
        }
    }

    #[test]
    fn several_members_and_frames_are_one_tar() {
        let two = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(read(two, Compression::Gzip).unwrap(), b"one two");
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9];
        let three = [&skippable[..], &frame(b"one "), &skippable, &frame(b"two")].concat();
        assert_eq!(read(three, Compression::Zstd).unwrap(), b"one two");
    }

    #[test]
    fn a_blob_that_cannot_be_read_is_not_called_damaged() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("no more"))
            }
        }
        let good = gzip(&[7; 5000]);
        let blob = io::Cursor::new(good[..20].to_vec()).chain(Broken);
        let mut tar = unpacked(blob, Compression::Gzip);
        let told = tar.read_to_end(&mut Vec::new()).unwrap_err().to_string();
        assert_eq!(told, "no more");
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let good = gzip(&[7; 5000]);
        let mut wrong_sum = good.clone();
        let at = wrong_sum.len() - 6;
        wrong_sum[at] ^= 1;
        let cut = good[..good.len() - 9].to_vec();
        let trailing = [&good[..], b"rubbish and more rubbish"].concat();
        for bad in [wrong_sum, cut, trailing, Vec::new(), b"no gzip".to_vec()] {
            let told = read(bad, Compression::Gzip).unwrap_err().to_string();
            assert!(told.contains("gzip"), "{told}");
        }
        let frame = zstd::encode_all(&[7; 5000][..], 1).unwrap();
        let cut = frame[..frame.len() - 2].to_vec();
        let trailing = [&frame[..], b"rubbish"].concat();
        for bad in [cut, trailing, good.clone(), Vec::new()] {
            let told = read(bad, Compression::Zstd).unwrap_err().to_string();
            assert!(told.contains("zstd"), "{told}");
        }
        for packed in [good, frame] {
            let told = read(packed, Compression::None).unwrap_err().to_string();
            assert!(told.contains("it is"), "{told}");
        }
    }
}
