//! What the disk can do: redb alone, and a plain file that is synced.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Result;
use hdrhistogram::Histogram;
use redb::{Database, TableDefinition};

use crate::Figure;

/// Key and value of a message with [`crate::publisher::DATA_BYTES`] as the server stores it, about.
pub const ROW_BYTES: usize = KEY_BYTES + VALUE_BYTES;
const KEY_BYTES: usize = 18;
const VALUE_BYTES: usize = 140;

const TABLE: TableDefinition<'static, &'static [u8], &'static [u8]> = TableDefinition::new("entries");

/// Transactions of `batch` rows, as the server makes them: rising keys, quick repair, a sync each.
pub fn redb(folder: &Path, batch: usize, time: Duration) -> Result<Figure> {
    let database = Database::builder().set_cache_size(64 << 20).create(folder.join("raw.redb"))?;
    let value = [b'x'; VALUE_BYTES];
    let mut number = 0_u64;
    measure(batch, time, || {
        let mut transaction = database.begin_write()?;
        transaction.set_quick_repair(true);
        let mut table = transaction.open_table(TABLE)?;
        for _ in 0..batch {
            number += 1;
            let mut key = [0; KEY_BYTES];
            key[8..16].copy_from_slice(&number.to_be_bytes());
            table.insert(&key[..], &value[..])?;
        }
        drop(table);
        transaction.commit()?;
        Ok(())
    })
}

/// Writes of as many bytes to the end of a file, each followed by a sync.
pub fn fdatasync(folder: &Path, batch: usize, time: Duration) -> Result<Figure> {
    let mut file = File::create(folder.join("raw"))?;
    let bytes = vec![b'x'; batch * ROW_BYTES];
    measure(batch, time, || {
        file.write_all(&bytes)?;
        file.sync_data()?;
        Ok(())
    })
}

fn measure(batch: usize, time: Duration, mut commit: impl FnMut() -> Result<()>) -> Result<Figure> {
    commit()?;
    let mut latencies = Histogram::<u64>::new(3)?;
    let began = Instant::now();
    while began.elapsed() < time {
        let before = Instant::now();
        commit()?;
        latencies.record(u64::try_from(before.elapsed().as_micros())?)?;
    }
    let commits = latencies.len() as f64 / began.elapsed().as_secs_f64();
    Ok(Figure {
        items: commits * batch as f64,
        commits,
        p50: Duration::from_micros(latencies.value_at_quantile(0.5)),
        p99: Duration::from_micros(latencies.value_at_quantile(0.99)),
    })
}
