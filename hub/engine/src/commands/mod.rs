//! What can be asked of the hub, one file per resource: read rows, check, decide, write them with an audit-worthy change.

mod blobs;
mod connection_calls;
mod connection_cursors;
mod connection_end;
mod connection_hooks;
mod connection_rules;
mod connection_update;
mod connections;
mod conversations;
mod enquiries;
mod events;
mod handoffs;
mod idempotency;
mod invites;
mod keys;
mod lookup;
mod oauth;
mod operations;
mod plugins;
mod policies;
mod profiles;
mod proofs;
mod system;
mod tokens;
mod web_keys;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use throughline_store::Store;
use throughline_store::tables::{RowPage, Table, TableError, Tx, is_of_range, scan_rows};

use crate::error::Result;
use crate::hub::{PageOf, Paging};
use crate::{HubError, hub::Hub};

pub(crate) use connection_rules::{check_schema, schema_errors};
pub(crate) use enquiries::changed_fields;
pub use operations::NewAuditEntry;
pub(crate) use policies::stored_policies;

/// The longest page.
pub(crate) const MAX_PAGE: usize = 200;
/// How often a command is done again because somebody else changed what it read.
const RETRIES: usize = 16;

/// Reads one page of a table's rows under a prefix.
pub(crate) fn page<T: Table>(store: &Store, prefix: &[u8], paging: &Paging) -> Result<RowPage<T::Value>> {
    let after = paging.cursor.as_deref().map(decode_cursor).transpose()?;
    if after.as_ref().is_some_and(|after| !is_of_range::<T>(prefix, after)) {
        return Err(HubError::invalid("/cursor", "this is a cursor of another list; leave it out to begin again"));
    }
    Ok(scan_rows::<T>(store, prefix, after.as_deref(), paging.limit.clamp(1, MAX_PAGE))?)
}

fn encode_cursor(key: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(key)
}

fn decode_cursor(cursor: &str) -> Result<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(cursor)
        .map_err(|_| HubError::invalid("/cursor", "this is no cursor of an earlier page; leave it out to begin again"))
}

/// Turns rows into what is shown.
pub(crate) fn page_of<V, T>(page: RowPage<V>, mut show: impl FnMut(&[u8], V, u64) -> Result<Option<T>>) -> Result<PageOf<T>> {
    let next = page.next.as_deref().map(encode_cursor);
    let mut items = Vec::with_capacity(page.rows.len());
    for (key, row) in page.rows {
        items.extend(show(&key, row.value, row.version)?);
    }
    Ok(PageOf { items, next })
}

impl Hub {
    /// Does something in one unit of work, again if what it read has changed meanwhile.
    pub(crate) async fn transact<T>(&self, mut work: impl FnMut(&mut Tx) -> Result<T>) -> Result<T> {
        for _ in 0..RETRIES {
            let mut tx = Tx::new(&self.inner.store);
            let done = work(&mut tx)?;
            if tx.is_empty() {
                return Ok(done);
            }
            match tx.commit().await {
                Ok(_) => return Ok(done),
                Err(TableError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(HubError::Busy)
    }
}

/// Refuses a version that is not the current one.
pub(crate) fn expect_version(actual: u64, expected: u64) -> Result<()> {
    if actual == expected { Ok(()) } else { Err(HubError::Stale { actual }) }
}
