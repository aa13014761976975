//! Randomised complete blocks: each block runs every cell on every row once, in shuffled order.

use crate::seed::Seed;

/// One sample to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot {
    /// Index of the cell.
    pub cell: usize,
    /// Index of the row (a workload in one cache state).
    pub row: usize,
}

/// The order of all samples of a run, decided by its seed.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    seed: u64,
    cells: usize,
    rows: usize,
    together: Vec<usize>,
}

impl Schedule {
    /// A schedule for so many cells and rows.
    pub(crate) fn new(seed: u64, cells: usize, rows: usize) -> Self {
        Self {
            seed,
            cells,
            rows,
            together: Vec::new(),
        }
    }

    /// The cells of each of these rows follow one another, in shuffled order, at a random place of
    /// the block: rows that empty caches, after which every cell has to be warmed again.
    #[must_use]
    pub(crate) fn keep_together(mut self, rows: impl IntoIterator<Item = usize>) -> Self {
        self.together = rows.into_iter().collect();
        self
    }

    /// The slots of block `number`, in the order to run them. A block's order does not depend on
    /// how many blocks there are.
    pub(crate) fn block(&self, number: u32) -> Vec<Slot> {
        let mut slots: Vec<Slot> = (0..self.cells)
            .flat_map(|cell| (0..self.rows).map(move |row| Slot { cell, row }))
            .collect();
        Seed(self.seed)
            .generator(&format!("block {number}"))
            .shuffle(&mut slots);
        for row in &self.together {
            // One cell's place, which is any with the same chance; that of the first would be early.
            let place = slots
                .iter()
                .take_while(|slot| (slot.row, slot.cell) != (*row, 0))
                .filter(|slot| slot.row != *row)
                .count();
            let (group, mut others): (Vec<Slot>, Vec<Slot>) =
                slots.into_iter().partition(|slot| slot.row == *row);
            others.splice(place..place, group);
            slots = others;
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_block_is_complete_and_in_an_order_of_its_own() {
        let schedule = Schedule::new(42, 7, 12);
        let orders: Vec<_> = (0..10).map(|block| schedule.block(block)).collect();
        for order in &orders {
            assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 84);
        }
        assert_eq!(orders.iter().collect::<BTreeSet<_>>().len(), 10);
        assert_eq!(orders[3], Schedule::new(42, 7, 12).block(3));
        assert_ne!(orders[3], Schedule::new(43, 7, 12).block(3));
    }

    #[test]
    fn rows_kept_together_are_whole_shuffled_and_move_between_blocks() {
        let schedule = Schedule::new(42, 7, 12).keep_together([3]);
        let mut places = BTreeSet::new();
        let mut orders = BTreeSet::new();
        for number in 0..10 {
            let block = schedule.block(number);
            assert_eq!(block.iter().collect::<BTreeSet<_>>().len(), 84);
            let first = block.iter().position(|slot| slot.row == 3).unwrap();
            let group = &block[first..first + 7];
            assert!(group.iter().all(|slot| slot.row == 3));
            places.insert(first);
            orders.insert(group.to_vec());
        }
        assert!(places.len() > 3 && orders.len() == 10);
        let early = (0..400).filter(|number| {
            let block = schedule.block(*number);
            block[..38]
                .iter()
                .any(|slot| slot.row == 3 && slot.cell == 0)
        });
        let early = early.count();
        assert!(
            (140..260).contains(&early),
            "{early} of 400 in the first half"
        );
    }

    /// Over many blocks no cell keeps a place: a drift of the machine hits all alike.
    #[test]
    fn places_are_even() {
        let schedule = Schedule::new(1, 7, 1);
        let firsts = (0..700)
            .filter(|block| schedule.block(*block)[0].cell == 0)
            .count();
        assert!((60..140).contains(&firsts), "{firsts} of 700");
    }
}
