//! Rows of the data folder that every start takes up again.

use crate::{
    limits,
    store::{Batch, Row, Store, StoreError},
};

/// Hands all rows of `table` to `counts`, and removes those for which it is false.
pub fn restore(store: &dyn Store, table: &'static str, mut counts: impl FnMut(&Row) -> bool) -> Result<(), StoreError> {
    let mut rows = store.scan(table, b"", limits::ABLY_ROWS);
    loop {
        let page = rows.next_page()?;
        if page.is_empty() {
            return Ok(());
        }
        let over: Vec<Row> = page.into_iter().filter(|row| !counts(row)).collect();
        if !over.is_empty() {
            let over = over.into_iter().fold(Batch::new(), |batch, row| batch.remove(table, row.key));
            // What is not removed now is found, and over, at the next start.
            store.submit(over, Box::new(drop));
        }
    }
}
