//! Queries: a filter as SQL, its matches page by page in a bounded number of statements.

use std::collections::HashMap;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::records::{COLUMNS, pair, read_call};
use super::{Database, Error, Intent};
use crate::engine::record::{Condition, Filter, Row};

/// How many records a page holds: three statements each.
pub const PAGE: usize = 2000;

/// Some of the records that a filter lets through, in the order of their keys.
pub struct Page {
    pub records: Vec<Row>,
    /// Where the next page begins; none after the last one.
    pub after: Option<String>,
}

impl Database {
    /// The next page of matches after a key (the empty one: the first page).
    pub fn query(&self, filter: &Filter, after: &str) -> Result<Page, Error> {
        self.with("querying", Intent::Read, |connection| {
            // One transaction, so that the parts of the records belong together.
            let transaction = connection.transaction()?;
            let page = page(&transaction, filter, after)?;
            transaction.commit()?;
            Ok(page)
        })
    }
}

fn page(connection: &Connection, filter: &Filter, after: &str) -> rusqlite::Result<Page> {
    let mut parameters = Vec::new();
    let conditions = conditions(filter, &mut parameters);
    parameters.push(Value::Text(after.to_owned()));
    let statement =
        format!("SELECT {COLUMNS} FROM calls WHERE {conditions}key > ? ORDER BY key LIMIT {PAGE}");
    let mut statement = connection.prepare_cached(&statement)?;
    let rows = statement.query_map(params_from_iter(&parameters), read_call)?;
    let mut records: Vec<Row> = rows.collect::<rusqlite::Result<_>>()?;
    let after = if records.len() == PAGE {
        records.last().map(|record| record.key.clone())
    } else {
        None
    };
    for part in [Part::Arguments, Part::Metadata] {
        add(connection, &mut records, part, conditions.is_empty())?;
    }
    Ok(Page { records, after })
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Arguments,
    Metadata,
}

/// Reads a part of all these records, in one statement: of all that lie between the first and the
/// last one if they are `dense`, which is cheaper than one by one.
fn add(
    connection: &Connection,
    records: &mut [Row],
    part: Part,
    dense: bool,
) -> rusqlite::Result<()> {
    let (Some(first), Some(last)) = (records.first(), records.last()) else {
        return Ok(());
    };
    let (keys, condition) = if dense {
        (vec![first.key.clone(), last.key.clone()], "BETWEEN ? AND ?")
    } else {
        // One parameter, however many they are: the statement stays prepared.
        let keys: Vec<_> = records.iter().map(|record| &record.key).collect();
        let keys = json_array(&keys);
        (vec![keys], "IN (SELECT value FROM json_each(?))")
    };
    let statement = match part {
        Part::Arguments => format!(
            "SELECT call_key, name, value FROM arguments WHERE call_key {condition} \
             ORDER BY position"
        ),
        Part::Metadata => format!(
            "SELECT call_key, name, data FROM metadata WHERE call_key {condition} ORDER BY id"
        ),
    };
    let positions: HashMap<String, usize> = records
        .iter()
        .enumerate()
        .map(|(i, record)| (record.key.clone(), i))
        .collect();
    let mut statement = connection.prepare_cached(&statement)?;
    let mut rows = statement.query(params_from_iter(keys))?;
    while let Some(row) = rows.next()? {
        let position = positions.get(row.get_ref(0)?.as_str().unwrap_or_default());
        let Some(record) = position.and_then(|i| records.get_mut(*i)) else {
            continue;
        };
        let pair = pair(row, 1)?;
        match part {
            Part::Arguments => record.arguments.push(pair),
            Part::Metadata => record.metadata.push(pair),
        }
    }
    Ok(())
}

/// Keys as a JSON array. They are hex; what is not was never saved by anybody.
fn json_array(keys: &[&String]) -> String {
    let mut text = String::from("[");
    for (i, key) in keys.iter().enumerate() {
        text.push_str(if i == 0 { "\"" } else { ",\"" });
        text.extend(
            key.chars()
                .filter(|c| !matches!(c, '"' | '\\') && !c.is_control()),
        );
        text.push('"');
    }
    text.push(']');
    text
}

fn conditions(filter: &Filter, parameters: &mut Vec<Value>) -> String {
    let mut sql = String::new();
    let columns = [
        ("name", &filter.name),
        ("module", &filter.module),
        ("code_digest", &filter.code_digest),
    ];
    for (column, wanted) in columns {
        if let Some(wanted) = wanted {
            sql.push_str(column);
            sql.push_str(" = ? AND ");
            parameters.push(Value::Text(wanted.clone()));
        }
    }
    for (column, forms) in [("version", &filter.version), ("result", &filter.result)] {
        if let Some(forms) = forms {
            one_of(&mut sql, parameters, column, forms);
            sql.push_str(" AND ");
        }
    }
    for (name, digests) in &filter.arguments {
        parameters.push(Value::Text(name.clone()));
        match digests {
            // The other way round it could not use the index on values.
            Some(digests) => {
                sql.push_str("key IN (SELECT call_key FROM arguments WHERE name = ? AND ");
                one_of(&mut sql, parameters, "value", digests);
                sql.push_str(") AND ");
            }
            None => sql.push_str(
                "EXISTS (SELECT 1 FROM arguments WHERE call_key = calls.key AND name = ?) AND ",
            ),
        }
    }
    for (name, members) in &filter.metadata {
        sql.push_str("EXISTS (SELECT 1 FROM metadata WHERE call_key = calls.key AND name = ?");
        parameters.push(Value::Text(name.clone()));
        for (member, condition) in members {
            member_condition(&mut sql, parameters, member, condition);
        }
        sql.push_str(") AND ");
    }
    sql
}

fn one_of(sql: &mut String, parameters: &mut Vec<Value>, column: &str, digests: &[String]) {
    sql.push_str(column);
    sql.push_str(" IN (");
    sql.push_str(&vec!["?"; digests.len()].join(", "));
    sql.push(')');
    parameters.extend(digests.iter().cloned().map(Value::Text));
}

fn member_condition(
    sql: &mut String,
    parameters: &mut Vec<Value>,
    member: &str,
    condition: &Condition,
) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_ -.:".contains(c);
    if !member.chars().all(is_plain) {
        // Paths of SQLite's do not name every member: the pattern decides.
        return;
    }
    let path = Value::Text(format!("$.\"{member}\""));
    // What is no JSON for SQLite (NaN, say) may match: the pattern decides.
    sql.push_str(" AND CASE WHEN json_valid(data) THEN ");
    parameters.push(path);
    match condition {
        Condition::Present => sql.push_str("json_type(data, ?) IS NOT NULL"),
        Condition::Text(text) => {
            sql.push_str("json_extract(data, ?) = ?");
            parameters.push(Value::Text(text.clone()));
        }
        Condition::Number(number) => {
            // Its digits may have been read as the number next to it.
            sql.push_str("json_extract(data, ?) BETWEEN ? AND ?");
            let margin = number.abs() * 1e-9;
            parameters.push(Value::Real(number - margin));
            parameters.push(Value::Real(number + margin));
        }
    }
    sql.push_str(" ELSE 1 END");
}
