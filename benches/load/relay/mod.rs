//! Files through the server's relay (docs/protocols/letshare.md §3), one or several at once, without the app's pauses; the same
//! clients go through a plain TCP proxy for comparison.

mod chunk;
mod line;
pub mod proxy;
mod transfer;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use crate::{
    relay::{chunk::CHUNK_BYTES, line::Line, transfer::Transfer},
    subject::Subject,
    tally::Wrongs,
};

/// What is sent at once.
#[derive(Clone, Copy)]
pub struct Freight {
    pub transfers: usize,
    pub bytes_each: u64,
}

pub struct Relayed {
    /// Bytes of files, without headers.
    pub bytes: u64,
    pub wall: Duration,
    pub cpu: Duration,
    /// Highest memory during the transfers, minus that before.
    pub growth: u64,
    pub wrongs: Wrongs,
    pub remarks: Vec<String>,
}

impl Relayed {
    pub fn megabytes(&self) -> f64 {
        self.bytes as f64 / 1e6
    }

    pub fn megabytes_per_second(&self) -> f64 {
        self.megabytes() / self.wall.as_secs_f64()
    }
}

/// Everybody joins; then all files leave at once. It ends with the last confirmation.
pub fn relay(subject: &Subject, freight: Freight) -> Result<Relayed> {
    let total_chunks = u32::try_from(freight.bytes_each / CHUNK_BYTES as u64)?;
    let mut pairs = Vec::new();
    for number in 0..freight.transfers {
        let transfer = Transfer { number, total_chunks };
        let room = transfer.room();
        let receiver = Line::join(&subject.target, &transfer.receiver(), &room).context("joining as a receiver")?;
        let sender = Line::join(&subject.target, &transfer.sender(), &room).context("joining as a sender")?;
        pairs.push((transfer, sender, receiver));
    }
    let before = subject.reset_peak_memory()?;
    let cpu = subject.cpu()?;
    let start = Instant::now();
    let mut wrongs = Wrongs::default();
    let mut remarks = Vec::new();
    thread::scope(|scope| {
        let sides = pairs.iter_mut().map(|(transfer, sender, receiver)| {
            let transfer = &*transfer;
            let sending = scope.spawn(|| transfer.send(sender));
            let receiving = scope.spawn(|| {
                let mut wrongs = Wrongs::default();
                let how = transfer.receive(receiver, &mut wrongs);
                (how, wrongs)
            });
            (sending, receiving)
        });
        let sides: Vec<_> = sides.collect();
        for (sending, receiving) in sides {
            let gone = || anyhow!("a client thread panicked");
            let sent = sending.join().unwrap_or_else(|_| Err(gone()));
            let received = receiving.join();
            let (received, counted) = received.unwrap_or_else(|_| (Err(gone()), Wrongs::default()));
            wrongs.add(&counted);
            for (side, how) in [("sender", sent), ("receiver", received)] {
                if let Err(error) = how {
                    wrongs.cut += 1;
                    remarks.push(format!("{side}: {error:#}"));
                }
            }
        }
    });
    let wall = start.elapsed();
    Ok(Relayed {
        bytes: freight.transfers as u64 * u64::from(total_chunks) * CHUNK_BYTES as u64,
        wall,
        // The connections are still open here, and with them the threads of the proxy.
        cpu: Duration::from_nanos(subject.cpu()? - cpu),
        growth: subject.peak_memory()?.saturating_sub(before),
        wrongs,
        remarks,
    })
}
