//! The statements, and rows as values.

use super::row::{NewSnapshot, Row, SnapshotId, State};
use crate::database::Fault;
use crate::error::{Error, ErrorKind, Result};
use crate::name::SnapshotName;
use crate::snapshot::{Labels, SnapshotKind};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _};
use std::ops::RangeInclusive;

/// Columns of [`read_row`]; the parent's name comes from the row that its number points to.
macro_rules! select_rows {
    ($rest:literal) => {
        concat!(
            "SELECT s.id, s.name, s.kind, s.state, s.parent, p.name, s.labels, s.created_ms, \
             s.updated_ms, s.holder FROM snapshot s LEFT JOIN snapshot p ON p.id = s.parent ",
            $rest
        )
    };
}

/// Longest chain that is believed; a longer one is a loop.
const LONGEST_CHAIN: usize = 100_000;

pub(super) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([key], |row| row.get(0))
        .optional()
}

pub(super) fn set_meta(connection: &Connection, key: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta (key, value) VALUES (?1, ?2) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        )?
        .execute([key, value])
        .map(drop)
}

/// The row of a new snapshot, which exists from now on; false if the name is taken or the parent
/// gone.
pub(super) fn insert(
    connection: &Connection,
    id: SnapshotId,
    new: &NewSnapshot<'_>,
    parent: Option<SnapshotId>,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "INSERT INTO snapshot (id, name, kind, state, parent, labels, created_ms, updated_ms) \
             SELECT ?1, ?2, ?3, 1, ?4, ?5, ?6, ?6 WHERE ?4 IS NULL OR EXISTS \
             (SELECT 1 FROM snapshot p WHERE p.id = ?4 AND p.kind = 3 AND p.state = 1) \
             ON CONFLICT (name) DO NOTHING",
        )?
        .execute((
            id.0,
            new.key.as_str(),
            kind_number(new.kind),
            parent.map(|parent| parent.0),
            labels_text(new.labels),
            now_ms(),
        ))
        .map(|inserted| inserted == 1)
}

/// Counts the highest number that was ever reserved up by `size`, and gives it.
pub(super) fn count_up(connection: &Connection, size: i64) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("UPDATE reserved SET last = last + ?1 WHERE holder = '' RETURNING last")?
        .query_row([size], |row| row.get(0))
}

/// Records what an instance has reserved.
pub(super) fn reserve(
    connection: &Connection,
    holder: &str,
    range: &RangeInclusive<i64>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT INTO reserved (holder, first, last) VALUES (?1, ?2, ?3)")?
        .execute((holder, range.start(), range.end()))
        .map(drop)
}

/// Forgets one range that an instance has reserved.
pub(super) fn give_back(
    connection: &Connection,
    holder: &str,
    range: &RangeInclusive<i64>,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM reserved WHERE holder = ?1 AND first = ?2")?
        .execute((holder, range.start()))
        .map(drop)
}

/// The highest number that was ever reserved.
pub(super) fn counted(connection: &Connection) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT last FROM reserved WHERE holder = ''")?
        .query_row([], |row| row.get(0))
}

/// Counts numbers up to `highest` as reserved.
pub(super) fn count_to(connection: &Connection, highest: i64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE reserved SET last = max(last, ?1) WHERE holder = ''")?
        .execute([highest])
        .map(drop)
}

/// Forgets all that an instance has reserved.
pub(super) fn give_all_back(connection: &Connection, holder: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM reserved WHERE holder = ?1 AND holder <> ''")?
        .execute([holder])
        .map(drop)
}

/// What instances have reserved.
pub(super) fn reservations(
    connection: &Connection,
) -> rusqlite::Result<Vec<(String, RangeInclusive<i64>)>> {
    connection
        .prepare_cached("SELECT holder, first, last FROM reserved WHERE holder <> ''")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?..=row.get(2)?)))?
        .collect()
}

/// Whether a snapshot bears the name.
pub(super) fn is_taken(connection: &Connection, name: &SnapshotName) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM snapshot WHERE name = ?1")?
        .exists([name.as_str()])
}

/// The snapshot called `name`, or `NotFound`.
pub(super) fn get(connection: &Connection, name: &SnapshotName) -> Result<Row, Fault> {
    connection
        .prepare_cached(select_rows!("WHERE s.name = ?1"))?
        .query_row([name.as_str()], read_row)
        .optional()?
        .ok_or_else(|| absent(name))
}

/// The way out where a name stands for nothing.
const LISTED: &str = "`strata snapshot ls` lists the snapshots that there are";

/// No snapshot is called `name`.
pub(super) fn absent(name: &SnapshotName) -> Fault {
    Fault::Refused(
        Error::new(ErrorKind::NotFound, "catalogue")
            .because("there is no such snapshot")
            .with("name", name)
            .hint(LISTED),
    )
}

/// No snapshot is called `name`, which was to be a parent.
pub(super) fn no_parent(name: &SnapshotName) -> Fault {
    Fault::Refused(
        Error::new(ErrorKind::NotFound, "catalogue")
            .because("no such parent")
            .with("parent", name)
            .hint(LISTED),
    )
}

/// Number and kind of the snapshot called `name`, and whether mounts of it are recorded.
pub(super) fn glance(
    connection: &Connection,
    name: &SnapshotName,
) -> rusqlite::Result<Option<(SnapshotId, i64, bool)>> {
    connection
        .prepare_cached(
            "SELECT id, kind, EXISTS (SELECT 1 FROM mount WHERE mount.snapshot = snapshot.id) \
             FROM snapshot WHERE name = ?1 AND state = 1",
        )?
        .query_row([name.as_str()], |row| {
            Ok((SnapshotId(row.get(0)?), row.get(1)?, row.get(2)?))
        })
        .optional()
}

/// The committed snapshot called `name`, as a parent.
pub(super) fn parent(connection: &Connection, name: &SnapshotName) -> Result<SnapshotId, Fault> {
    let found = glance(connection, name)?.map(|(id, kind, _)| (id, kind));
    as_parent(name, found)
}

/// Whether `key` is taken, and number and kind of the snapshot called `parent`, in one question.
pub(super) fn outlook(
    connection: &Connection,
    key: &SnapshotName,
    parent: &SnapshotName,
) -> rusqlite::Result<(bool, Option<(SnapshotId, i64)>)> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM snapshot WHERE name = ?1), p.id, p.kind \
             FROM (SELECT 1) LEFT JOIN snapshot p ON p.name = ?2",
        )?
        .query_row([key.as_str(), parent.as_str()], |row| {
            let id: Option<i64> = row.get(1)?;
            let found = match id {
                Some(id) => Some((SnapshotId(id), row.get(2)?)),
                None => None,
            };
            Ok((row.get(0)?, found))
        })
}

/// The number of what was `found` under `name`, if it can be a parent.
pub(super) fn as_parent(
    name: &SnapshotName,
    found: Option<(SnapshotId, i64)>,
) -> Result<SnapshotId, Fault> {
    let (id, number) = found.ok_or_else(|| no_parent(name))?;
    match kind_of(number).ok_or_else(|| broken(1, "no such kind"))? {
        SnapshotKind::Committed => Ok(id),
        kind => Err(Fault::Refused(
            Error::new(ErrorKind::InvalidState, "catalogue")
                .because(format!("the parent's kind is `{kind}`, not `committed`"))
                .with("parent", name)
                .hint("commit an active snapshot first, and name as parent what it is then called"),
        )),
    }
}

/// `first` and its parents, nearest first.
pub(super) fn chain(connection: &Connection, first: SnapshotId) -> Result<Vec<SnapshotId>, Fault> {
    let mut statement = connection.prepare_cached(
        "WITH RECURSIVE above (id, parent, depth) AS ( \
             SELECT id, parent, 0 FROM snapshot WHERE id = ?1 \
             UNION ALL \
             SELECT s.id, s.parent, above.depth + 1 FROM above \
             JOIN snapshot s ON s.id = above.parent WHERE above.depth < ?2 \
         ) SELECT id, parent FROM above ORDER BY depth",
    )?;
    let mut rows = statement.query((first.0, LONGEST_CHAIN as i64))?;
    let mut found = Vec::new();
    let mut open_end = Some(first.0);
    while let Some(row) = rows.next()? {
        found.push(SnapshotId(row.get(0)?));
        open_end = row.get(1)?;
    }
    if found.is_empty() {
        return Err(Fault::Refused(
            Error::new(ErrorKind::NotFound, "catalogue")
                .because("the snapshot was removed meanwhile")
                .with("id", first),
        ));
    }
    if open_end.is_none() && found.len() <= LONGEST_CHAIN {
        return Ok(found);
    }
    Err(Fault::Refused(
        Error::new(ErrorKind::Corrupt, "catalogue")
            .because("the chain of parents does not end")
            .with("id", first)
            .hint(crate::database::CORRUPT_HINT),
    ))
}

/// Deletes the rows of snapshots that are being removed, as far as they are there.
pub(super) fn forget(connection: &Connection, ids: &[SnapshotId]) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare_cached("DELETE FROM snapshot WHERE id = ?1 AND state <> 1")?;
    for id in ids {
        statement.execute([id.0])?;
    }
    Ok(())
}

/// What stands on `id`.
pub(super) fn a_child(connection: &Connection, id: SnapshotId) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT name FROM snapshot WHERE parent = ?1 AND name IS NOT NULL LIMIT 1")?
        .query_row([id.0], |row| row.get(0))
        .optional()
}

pub(super) fn list(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare_cached(select_rows!("WHERE s.state = 1 ORDER BY s.name"))?
        .query_map([], read_row)?
        .collect()
}

pub(super) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    connection
        .prepare_cached(select_rows!("WHERE s.state <> 1 ORDER BY s.id"))?
        .query_map([], read_row)?
        .collect()
}

/// The numbers of all rows.
pub(super) fn ids(connection: &Connection) -> rusqlite::Result<Vec<SnapshotId>> {
    connection
        .prepare_cached("SELECT id FROM snapshot")?
        .query_map([], |row| row.get(0).map(SnapshotId))?
        .collect()
}

/// Whether a row is a snapshot that exists.
pub(super) fn is_ready(connection: &Connection, id: SnapshotId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM snapshot WHERE id = ?1 AND state = 1")?
        .exists([id.0])
}

/// Takes the name and marks the row for deletion by `holder`; false if anything stands on it.
pub(super) fn mark_removing(
    connection: &Connection,
    id: SnapshotId,
    holder: &str,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "UPDATE snapshot SET state = 2, name = NULL, holder = ?2 WHERE id = ?1 AND NOT EXISTS \
             (SELECT 1 FROM snapshot child WHERE child.parent = ?1 AND child.name IS NOT NULL)",
        )?
        .execute((id.0, holder))
        .map(|changed| changed == 1)
}

/// [`mark_removing`] of a snapshot that exists as `row` says and has no recorded mounts.
pub(super) fn mark_removing_unmounted(
    connection: &Connection,
    row: &Row,
    holder: &str,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "UPDATE snapshot SET state = 2, name = NULL, holder = ?2 \
             WHERE id = ?1 AND name = ?3 AND kind = ?4 AND state = 1 AND NOT EXISTS \
             (SELECT 1 FROM snapshot child WHERE child.parent = ?1 AND child.name IS NOT NULL) \
             AND NOT EXISTS (SELECT 1 FROM mount WHERE mount.snapshot = ?1)",
        )?
        .execute((
            row.id.0,
            holder,
            row.name.as_ref().map(SnapshotName::as_str),
            kind_number(row.kind),
        ))
        .map(|changed| changed == 1)
}

fn read_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    let labels = row.get_ref(6)?.as_str()?;
    Ok(Row {
        id: SnapshotId(row.get(0)?),
        name: name_at(row, 1)?,
        kind: kind_of(row.get(2)?).ok_or_else(|| broken(2, "no such kind"))?,
        state: state_of(row.get(3)?).ok_or_else(|| broken(3, "no such state"))?,
        parent: row.get::<_, Option<i64>>(4)?.map(SnapshotId),
        parent_name: name_at(row, 5)?,
        labels: if labels.is_empty() {
            Labels::new()
        } else {
            serde_json::from_str(labels).map_err(|error| broken(6, error))?
        },
        created_ms: row.get(7)?,
        updated_ms: row.get(8)?,
        holder: row.get(9)?,
    })
}

fn name_at(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<Option<SnapshotName>> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else {
        return Ok(None);
    };
    SnapshotName::new(text)
        .map(Some)
        .map_err(|error| broken(column, error))
}

fn broken(
    column: usize,
    why: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}

/// No labels are no text, which saves the parse.
pub(super) fn labels_text(labels: &Labels) -> String {
    if labels.is_empty() {
        return String::new();
    }
    serde_json::to_string(labels).expect("a map from strings to strings is JSON")
}

pub(super) fn kind_number(kind: SnapshotKind) -> i64 {
    match kind {
        SnapshotKind::Active => 1,
        SnapshotKind::View => 2,
        SnapshotKind::Committed => 3,
    }
}

fn kind_of(number: i64) -> Option<SnapshotKind> {
    [
        SnapshotKind::Active,
        SnapshotKind::View,
        SnapshotKind::Committed,
    ]
    .into_iter()
    .find(|kind| kind_number(*kind) == number)
}

fn state_of(number: i64) -> Option<State> {
    match number {
        1 => Some(State::Ready),
        2 => Some(State::Removing),
        _ => None,
    }
}

/// Unix milliseconds.
pub(super) fn now_ms() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as i64)
}
