//! Reads every entry of the data file, for `data check`.

use std::{collections::HashMap, ops::ControlFlow};

use crate::{
    log::disk::rows::{self, Slice},
    store::{
        StoreError,
        engine::{Order, Rows},
    },
};

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub channels: u64,
    pub entries: u64,
    /// Of the entries, as stored.
    pub bytes: u64,
    /// What could not be read, each with the name of its channel.
    pub damage: Vec<String>,
}

/// Reads all channels and their entries; goes on behind what is damaged where it can.
/// Error: when the file cannot be read at all.
pub fn read_all(rows: &mut impl Rows) -> Result<Found, StoreError> {
    let (mut found, mut channels) = (Found::default(), HashMap::new());
    let listed = rows::channels(rows, |name, row| {
        channels.insert(name, row);
        Ok(())
    });
    note(&mut found, listed)?;
    for (name, row) in channels {
        found.channels += 1;
        let (mut entries, mut bytes) = (0, 0);
        let read = rows::entries(rows, &name, &row, Slice::ALL, Order::Rising, |stored| {
            stored.entry()?;
            entries += 1;
            bytes += stored.value.len() as u64;
            Ok(ControlFlow::Continue(()))
        });
        note(&mut found, read)?;
        found.entries += entries;
        found.bytes += bytes;
    }
    Ok(found)
}

fn note(found: &mut Found, result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        Err(StoreError::Damaged(what)) => {
            found.damage.push(what.to_string());
            Ok(())
        }
        other => other,
    }
}
