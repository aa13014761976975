//! Making a snapshot: numbers reserved ahead, the mechanism, then the row that makes it true.
//!
//! What is on disk under a number without a row is being made as long as the instance that
//! reserved the number lives, and is an orphan afterwards. A reservation covers many creations,
//! so that each costs one transaction.

use super::database::{Fault, Sync};
use super::row::{Draft, NewSnapshot, SnapshotId};
use super::{Catalog, holder, query, taken};
use crate::error::{Error, ErrorKind, Result};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

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
    /// the row that makes it true is the commit point of prepare and view. If either fails,
    /// `unmake` deletes what `make` left.
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
        let draft = Draft {
            id: self.number()?,
            chain,
        };
        let done = make(&draft).and_then(|()| self.make_true(new, &draft, parent));
        let outcome = match done {
            Ok(()) => Ok(draft.id),
            Err(error) => {
                let error = self.blame_parent(new, parent, error);
                Err(match unmake(draft.id) {
                    Ok(()) => error,
                    Err(rollback) => error.with_rollback(rollback),
                })
            }
        };
        self.memory().numbers.making.remove(&draft.id);
        outcome
    }

    /// What can be refused before anything is made; the parent's number and its chain.
    fn outlook(&self, new: &NewSnapshot<'_>) -> Result<(Option<SnapshotId>, Vec<SnapshotId>)> {
        self.database.query("prepare", |connection| {
            let Some(parent) = new.parent else {
                if query::is_taken(connection, new.key)? {
                    return Err(taken("key", new.key));
                }
                return Ok((None, Vec::new()));
            };
            let (is_taken, found) = query::outlook(connection, new.key, parent)?;
            if is_taken {
                return Err(taken("key", new.key));
            }
            let parent = query::as_parent(parent, found)?;
            Ok((Some(parent), self.chain_of(connection, parent)?))
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
                return Err(parent_gone(new));
            }
            for id in &finished {
                query::forget(connection, *id)?;
            }
            Ok(())
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

    fn reserve(&self) -> Result<()> {
        let holder = self.holder()?;
        self.database.write("prepare", Sync::Later, |connection| {
            let mut memory = self.memory();
            let numbers = &mut memory.numbers;
            if numbers.free.as_ref().is_some_and(|free| !free.is_empty()) {
                return Ok(()); // another thread was first
            }
            let size = numbers.next_size();
            let last = query::count_up(connection, size)?;
            let free = last - size + 1..=last;
            let oldest = numbers.making.first().map_or(*free.start(), |id| id.0);
            query::reserve(connection, holder, &(oldest..=last))?;
            numbers.free = Some(free);
            numbers.taken_at_once = size;
            Ok(())
        })
    }

    /// Which numbers may have something on disk. Read it after scanning the disk: what was seen
    /// there and is not in it is an orphan.
    pub fn known_ids(&self) -> Result<KnownIds> {
        self.forget_finished()?;
        let mut reserved = Vec::new();
        for (holder, range) in self.reservations()? {
            if self.is_own(&holder) || !holder::is_gone(&self.root, &holder)? {
                reserved.push(range);
            }
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
                    query::give_back(connection, holder)?;
                }
                Ok(())
            })
    }
}

fn parent_gone(new: &NewSnapshot<'_>) -> Fault {
    let gone = Error::new(ErrorKind::NotFound, "catalogue").because("no such parent");
    Fault::Refused(match new.parent {
        Some(name) => gone.with("parent", name),
        None => gone,
    })
}
