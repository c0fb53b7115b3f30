//! Which digest schemes the keys of a database are of: the names in `fleche_schemes`.
//!
//! A database with calls and without such a name was filled by somebody else, who knows only
//! `sha256`.

use rusqlite::{Connection, OptionalExtension};

use super::changes::change;
use super::{Database, Error, Intent};
use crate::engine::schemes::{Scheme, Schemes};

const READING: &str = "reading the digest schemes of";

/// What is assumed where it cannot be read, as in a database without the table that may not be
/// written to.
const UNKNOWN: bool = true;

impl Database {
    /// Whether there may be calls under keys of this scheme.
    pub fn may_hold(&self, scheme: Scheme) -> Result<bool, Error> {
        let look = |connection: &mut Connection| may_hold_in(connection, scheme);
        match self.with(READING, Intent::Read, look) {
            Err(Error::Interrupted) => Err(Error::Interrupted),
            held => Ok(held.unwrap_or(UNKNOWN)),
        }
    }

    /// As `may_hold`, if it can be found out without waiting for anybody.
    pub fn may_hold_at_once(&self, scheme: Scheme) -> Option<bool> {
        let held = self.with_at_once(READING, Intent::Read, |connection| {
            may_hold_in(connection, scheme)
        })?;
        Some(held.unwrap_or(UNKNOWN))
    }

    /// Notes that every call is under a key of this scheme.
    pub fn hold_only(&self, scheme: Scheme) -> Result<(), Error> {
        self.with("noting the digest scheme of", Intent::Write, |connection| {
            change(connection, |transaction| {
                transaction.execute("DELETE FROM fleche_schemes", [])?;
                insert(transaction, scheme)
            })
        })
    }
}

fn may_hold_in(connection: &Connection, scheme: Scheme) -> rusqlite::Result<bool> {
    let marked = marked(connection)?;
    if marked == Schemes::default() {
        holds_calls(connection)
    } else {
        Ok(marked.contains(scheme))
    }
}

/// Notes the scheme of a call that is about to be saved in the same transaction.
pub(super) fn note(connection: &Connection, scheme: Scheme) -> rusqlite::Result<()> {
    let marked = marked(connection)?;
    if marked.contains(scheme) {
        return Ok(());
    }
    if marked == Schemes::default() && holds_calls(connection)? {
        for other in scheme.others() {
            insert(connection, other)?;
        }
    }
    insert(connection, scheme)
}

fn marked(connection: &Connection) -> rusqlite::Result<Schemes> {
    let mut statement = connection.prepare_cached("SELECT name FROM fleche_schemes")?;
    let mut rows = statement.query([])?;
    let mut found = Schemes::default();
    while let Some(row) = rows.next()? {
        let name = row.get_ref(0)?.as_str().ok();
        match name.and_then(Scheme::of_name) {
            Some(scheme) => found = found.with(scheme),
            // Nobody writes that: it says nothing.
            None => return Ok(Schemes::default()),
        }
    }
    Ok(found)
}

fn holds_calls(connection: &Connection) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM calls LIMIT 1")?;
    Ok(statement.query_row([], |_| Ok(())).optional()?.is_some())
}

fn insert(connection: &Connection, scheme: Scheme) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO fleche_schemes (name) VALUES (?)")?
        .execute([scheme.name()])
        .map(drop)
}
