//! Changes of a database, each whole or not at all.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::log_writes;

/// Makes changes in one transaction, which is the only one that writes meanwhile.
pub(super) fn change(
    connection: &mut Connection,
    changes: impl FnOnce(&Transaction) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    changes(&transaction)?;
    log_writes::together(|| transaction.commit())
}
