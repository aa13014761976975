//! Making a snapshot: numbers reserved ahead, the mechanism, then the row that makes it true.
//!
//! What is on disk under a number without a row is being made as long as the instance that
//! reserved the number lives, and is an orphan afterwards. A reservation covers many creations,
//! so that each costs one transaction.

use super::row::{Draft, NewSnapshot, SnapshotId};
use super::{Catalog, query, taken};
use crate::database::Sync;
use crate::error::{Error, ErrorKind, Result};
use crate::holder;
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::PoisonError;

/// Numbers that are reserved at once, at most. A short-lived instance reserves few, a busy one
/// many.
const MOST_AT_ONCE: i64 = 64;

/// What this instance has reserved.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// Reserved and not given.
    free: Option<RangeInclusive<i64>>,
    /// How many the last reservation took.
    taken_at_once: i64,
    /// Given, and still being made.
    making: BTreeSet<SnapshotId>,
    /// What its rows say.
    recorded: Vec<RangeInclusive<i64>>,
}

impl Numbers {
    /// Gives a free number, whose snapshot is being made from now on.
    fn give(&mut self) -> Option<SnapshotId> {
        let id = SnapshotId(self.free.as_mut()?.next()?);
        self.making.insert(id);
        Some(id)
    }

    fn next_size(&self) -> i64 {
        (self.taken_at_once * 2).clamp(1, MOST_AT_ONCE)
    }

    /// Recorded ranges of which nothing is being made any more.
    fn used_up(&self) -> Vec<RangeInclusive<i64>> {
        let is_used = |range: &&RangeInclusive<i64>| {
            let ids = SnapshotId(*range.start())..=SnapshotId(*range.end());
            self.making.range(ids).next().is_none()
        };
        self.recorded.iter().filter(is_used).cloned().collect()
    }
}

/// A number that is being made, for as long as it lives.
struct Making<'a>(&'a Catalog, SnapshotId);

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.0.memory().numbers.making.remove(&self.1);
    }
}

/// Which numbers may have something on disk; see [`Catalog::known_ids`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KnownIds {
    rows: BTreeSet<SnapshotId>,
    reserved: Vec<RangeInclusive<i64>>,
}

impl KnownIds {
    /// Whether a snapshot of that number exists, is being made or is being removed.
    pub fn contains(&self, id: SnapshotId) -> bool {
        self.rows.contains(&id) || self.reserved.iter().any(|range| range.contains(&id.0))
    }

    /// The numbers of all rows in any state.
    pub fn rows(&self) -> &BTreeSet<SnapshotId> {
        &self.rows
    }
}

impl Catalog {
    /// Makes a snapshot: `make` prepares what is on disk, under a number that nobody else has;
    /// the row that makes it true is the commit point of prepare and view. If either fails after
    /// `make` has [claimed](Draft::claim) the number's place, `unmake` deletes what is there.
    ///
    /// A name in use is [`ErrorKind::AlreadyExists`], an unknown parent, or one that was removed
    /// meanwhile, [`ErrorKind::NotFound`], one that is not committed [`ErrorKind::InvalidState`].
    pub fn create(
        &self,
        new: &NewSnapshot<'_>,
        make: impl FnOnce(&Draft) -> Result<()>,
        unmake: impl FnOnce(SnapshotId) -> Result<()>,
    ) -> Result<SnapshotId> {
        let (parent, chain) = self.outlook(new)?;
        let making = Making(self, self.number()?);
        let draft = Draft::new(making.1, chain);
        let done = make(&draft).and_then(|()| self.make_true(new, &draft, parent));
        let Err(error) = done else {
            return Ok(draft.id);
        };
        let error = self.blame_parent(new, parent, error);
        if !draft.is_claimed() {
            return Err(error);
        }
        Err(match unmake(draft.id) {
            Ok(()) => error,
            Err(rollback) => error.with_rollback(rollback),
        })
    }

    /// What can be refused before anything is made; the parent's number and its chain.
    fn outlook(&self, new: &NewSnapshot<'_>) -> Result<(Option<SnapshotId>, Vec<SnapshotId>)> {
        let look = |connection: &Connection| {
            let Some(parent) = new.parent else {
                if query::is_taken(connection, new.key)? {
                    return Err(taken("key", new.key));
                }
                return Ok(None);
            };
            let (is_taken, found) = query::outlook(connection, new.key, parent)?;
            if is_taken {
                return Err(taken("key", new.key));
            }
            query::as_parent(parent, found).map(Some)
        };
        let Some(parent) = self.database.query("prepare", look)? else {
            return Ok((None, Vec::new()));
        };
        if let Some(chain) = self.memory().chains.get(&parent) {
            return Ok((Some(parent), chain.clone()));
        }
        // In one state of the database: a parent may be removed at any moment.
        self.database.read("prepare", |connection| {
            let parent = look(connection)?;
            let chain = parent.map(|parent| self.chain_of(connection, parent));
            Ok((parent, chain.transpose()?.unwrap_or_default()))
        })
    }

    fn make_true(
        &self,
        new: &NewSnapshot<'_>,
        draft: &Draft,
        parent: Option<SnapshotId>,
    ) -> Result<()> {
        let finished = self.memory().finished.clone();
        self.database.write("prepare", Sync::Now, |connection| {
            if !query::insert(connection, draft.id, new, parent)? {
                if query::is_taken(connection, new.key)? {
                    return Err(taken("key", new.key));
                }
                let gone = new.parent.map(query::no_parent);
                return Err(gone.unwrap_or_else(|| taken("key", new.key)));
            }
            Ok(query::forget(connection, &finished)?)
        })?;
        self.memory().finished.retain(|id| !finished.contains(id));
        Ok(())
    }

    /// A parent that is removed while it is read shows as many things.
    fn blame_parent(
        &self,
        new: &NewSnapshot<'_>,
        parent: Option<SnapshotId>,
        error: Error,
    ) -> Error {
        match parent.map(|id| self.exists(id)) {
            Some(Ok(false)) if error.kind() != ErrorKind::NotFound => {
                let gone = Error::new(ErrorKind::NotFound, "prepare")
                    .because("the parent was removed meanwhile");
                match new.parent {
                    Some(name) => gone.with("parent", name).caused_by(error),
                    None => gone.caused_by(error),
                }
            }
            _ => error,
        }
    }

    /// A number that nobody else has or will have.
    fn number(&self) -> Result<SnapshotId> {
        loop {
            // Apart from the transaction, which has a lock of its own.
            if let Some(id) = self.memory().numbers.give() {
                return Ok(id);
            }
            self.reserve()?;
        }
    }

    /// Nothing is given before the reservation is there for others to see.
    fn reserve(&self) -> Result<()> {
        let holder = self.holder()?;
        // It guards nothing that a panic could spoil.
        let one_at_a_time = self
            .reserving
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (size, used) = {
            let numbers = &self.memory().numbers;
            if numbers.free.as_ref().is_some_and(|free| !free.is_empty()) {
                return Ok(()); // another thread was first
            }
            (numbers.next_size(), numbers.used_up())
        };
        let free = self.database.write("prepare", Sync::Later, |connection| {
            let last = query::count_up(connection, size)?;
            let free = last - size + 1..=last;
            for range in &used {
                query::give_back(connection, holder, range)?;
            }
            query::reserve(connection, holder, &free)?;
            Ok(free)
        })?;
        let numbers = &mut self.memory().numbers;
        numbers.recorded.retain(|range| !used.contains(range));
        numbers.recorded.push(free.clone());
        numbers.free = Some(free);
        numbers.taken_at_once = size;
        drop(one_at_a_time);
        Ok(())
    }

    /// Numbers up to `highest` are not given from now on: something is on disk under it that
    /// nobody knows of, since the count was lost in a power loss.
    pub(crate) fn never_give(&self, highest: SnapshotId) -> Result<()> {
        let counted = self.database.query("count numbers", |connection| {
            Ok(query::counted(connection)?)
        })?;
        if counted >= highest.0 {
            return Ok(());
        }
        self.database
            .write("count numbers", Sync::Later, |connection| {
                Ok(query::count_to(connection, highest.0)?)
            })
    }

    /// Which numbers may have something on disk. Read it after scanning the disk: what was seen
    /// there and is not in it is an orphan.
    pub fn known_ids(&self) -> Result<KnownIds> {
        self.forget_finished()?;
        let mut reserved = Vec::new();
        for (holder, range) in self.reservations()? {
            if !self.is_own(&holder) && !holder::is_gone(&self.root, &holder)? {
                reserved.push(range);
            }
        }
        {
            // Of its own numbers an instance knows better which are in use.
            let numbers = &self.memory().numbers;
            reserved.extend(numbers.making.iter().map(|id| id.0..=id.0));
            reserved.extend(numbers.free.clone());
        }
        // After the question of who lives: an instance that is gone makes no row any more, so
        // that one it has just made is seen.
        let rows = self.database.query("list ids", |connection| {
            Ok(query::ids(connection)?.into_iter().collect())
        })?;
        Ok(KnownIds { rows, reserved })
    }

    fn reservations(&self) -> Result<Vec<(String, RangeInclusive<i64>)>> {
        self.database.query("list reservations", |connection| {
            Ok(query::reservations(connection)?)
        })
    }

    /// Drops the reservations of instances that are gone; without one, what they left is an
    /// orphan all the same.
    pub(super) fn sweep_reservations(&self) -> Result<()> {
        let mut gone = Vec::new();
        for (holder, _) in self.reservations()? {
            if !self.is_own(&holder) && holder::is_gone(&self.root, &holder)? {
                gone.push(holder);
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        self.database
            .write("sweep reservations", Sync::Later, |connection| {
                for holder in &gone {
                    query::give_all_back(connection, holder)?;
                }
                Ok(())
            })
    }
}
