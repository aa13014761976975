//! The content of one file, told in order as stored bytes and holes.

use super::event::Event;
use super::sparse::Segment;

/// How far the current file has been told.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Bytes of the file, holes included.
    size: u64,
    /// How far it has been told.
    position: u64,
    /// What is left of the current segment.
    segment: Segment,
    /// The segments after it.
    segments: std::vec::IntoIter<Segment>,
    /// Bytes in the archive that come after the content.
    padding: u64,
}

/// What comes next in a file.
pub(super) enum Next {
    /// This, and so many bytes of the input are done with.
    Event(Event, usize),
    /// Nothing but so many bytes of padding.
    Padding(u64),
}

impl Content {
    /// A file stored whole.
    pub(super) fn plain(size: u64, padding: u64) -> Self {
        let segment = Segment {
            offset: 0,
            length: size,
        };
        Self {
            size,
            segment,
            padding,
            ..Self::default()
        }
    }

    /// A file of which only `segments` are stored; they are in order and inside it.
    pub(super) fn sparse(size: u64, segments: Vec<Segment>, padding: u64) -> Self {
        Self {
            size,
            segments: segments.into_iter(),
            padding,
            ..Self::default()
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.segments.len() * size_of::<Segment>()
    }

    /// Tells the next piece, of which `available` bytes are in the input.
    pub(super) fn advance(&mut self, available: usize) -> Next {
        if self.segment.length == 0
            && let Some(segment) = self.segments.next()
        {
            self.segment = segment;
        }
        let stored = self.segment.length > 0;
        let next = if stored {
            self.segment.offset
        } else {
            self.size
        };
        if self.position < next {
            let (offset, length) = (self.position, next - self.position);
            self.position = next;
            return Next::Event(Event::Hole { offset, length }, 0);
        }
        if !stored {
            return Next::Padding(self.padding);
        }
        if available == 0 {
            return Next::Event(Event::NeedMore, 0);
        }
        let length = self.segment.length.min(available as u64);
        let offset = self.position;
        self.position += length;
        self.segment.offset += length;
        self.segment.length -= length;
        Next::Event(Event::Data { offset }, length as usize)
    }
}
