//! What a file holds: blocks, and holes between them.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a block.
pub const BLOCK: u64 = 4096;

/// A file's bytes. Blocks that nobody wrote are holes; they read as zeros.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    size: u64,
    blocks: BTreeMap<u64, Arc<[u8; BLOCK as usize]>>,
}

impl Content {
    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of the blocks that are not holes: what a file system has to store.
    pub fn stored(&self) -> u64 {
        self.blocks.len() as u64 * BLOCK
    }

    /// All of it.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        for (number, block) in &self.blocks {
            let start = (number * BLOCK) as usize;
            let end = bytes.len().min(start + BLOCK as usize);
            bytes[start..end].copy_from_slice(&block[..end - start]);
        }
        bytes
    }

    /// Puts `data` at `at`; a gap before it becomes a hole.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        let mut done = 0;
        while done < data.len() {
            let position = at + done as u64;
            let (number, within) = (position / BLOCK, (position % BLOCK) as usize);
            let length = (BLOCK as usize - within).min(data.len() - done);
            let block = self.block(number);
            block[within..within + length].copy_from_slice(&data[done..done + length]);
            done += length;
        }
        if !data.is_empty() {
            self.size = self.size.max(at + data.len() as u64);
        }
    }

    /// Cuts, or adds a hole.
    pub fn resize(&mut self, size: u64) {
        if size < self.size {
            self.blocks.retain(|number, _| number * BLOCK < size);
            let within = (size % BLOCK) as usize;
            let last = size / BLOCK;
            if within > 0 && self.blocks.contains_key(&last) {
                self.block(last)[within..].fill(0);
            }
        }
        self.size = size;
    }

    /// Makes room for what is written later, and the file as long as that.
    pub fn allocate(&mut self, at: u64, length: u64) {
        for number in at / BLOCK..(at + length).div_ceil(BLOCK) {
            self.block(number);
        }
        self.size = self.size.max(at + length);
    }

    /// Makes zeros of a range, and holes of its whole blocks. The size stays.
    pub fn punch(&mut self, at: u64, length: u64) {
        let end = at + length;
        let whole = at.div_ceil(BLOCK)..end / BLOCK;
        self.blocks.retain(|number, _| !whole.contains(number));
        for number in at / BLOCK..end.div_ceil(BLOCK) {
            if self.blocks.contains_key(&number) {
                let start = at.max(number * BLOCK) - number * BLOCK;
                let end = end.min((number + 1) * BLOCK) - number * BLOCK;
                self.block(number)[start as usize..end as usize].fill(0);
            }
        }
    }

    fn block(&mut self, number: u64) -> &mut [u8; BLOCK as usize] {
        let block = self
            .blocks
            .entry(number)
            .or_insert_with(|| Arc::new([0; BLOCK as usize]));
        Arc::make_mut(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_a_hole_of_zeros() {
        let mut content = Content::default();
        content.write(3 * BLOCK + 1, b"x");
        assert_eq!((content.size(), content.stored()), (3 * BLOCK + 2, BLOCK));
        let mut expected = vec![0; 3 * BLOCK as usize + 1];
        expected.push(b'x');
        assert_eq!(content.bytes(), expected);
    }

    #[test]
    fn what_was_cut_comes_back_as_zeros() {
        let mut content = Content::default();
        content.write(0, &[7; 5000]);
        content.resize(10);
        content.resize(5000);
        let bytes = content.bytes();
        assert_eq!(bytes[..10], [7; 10]);
        assert!(bytes[10..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn punching_stores_less_and_keeps_the_size() {
        let mut content = Content::default();
        content.write(0, &[7; 3 * BLOCK as usize]);
        content.punch(10, 2 * BLOCK);
        assert_eq!((content.size(), content.stored()), (3 * BLOCK, 2 * BLOCK));
        let bytes = content.bytes();
        assert_eq!(bytes[9], 7);
        assert!(
            bytes[10..10 + 2 * BLOCK as usize]
                .iter()
                .all(|byte| *byte == 0)
        );
        assert_eq!(bytes[10 + 2 * BLOCK as usize], 7);
    }
}
