//! Publishing to a persisted channel beside what its disk can do, in one run: `cargo bench --bench persist`.
//!
//! With 1, 16 and 256 publishes in flight: throughput, latency from the frame to its ACK, commits of the server.
//! Beside them, with the same number of rows in a batch: redb alone, one transaction a batch, set up as the
//! server's; and writes followed by `fdatasync` alone. All of them take turns, because the disk of a shared
//! machine changes its mind from minute to minute; the middle round counts. The generator shares the machine with
//! the server, the raw loops have it for themselves.
//!
//! Goal: at 256 in flight at least 60 % of what redb does alone.
//!
//! `--quick`: one short round, to see that it works. `--beside PATH`: another build of the server takes turns with it.

#[path = "../handshake.rs"]
mod handshake;
mod publisher;
mod raw;
mod server;

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, ensure};

const IN_FLIGHT: [usize; 3] = [1, 16, 256];
const GOAL_PERCENT: f64 = 60.0;
const SERVER: &str = env!("CARGO_BIN_EXE_letshare-server");

/// What one loop did for a while.
struct Figure {
    /// A second.
    items: f64,
    /// A second.
    commits: f64,
    /// Of the latency of one item, or of one batch.
    p50: Duration,
    p99: Duration,
}

fn main() -> Result<()> {
    let is_quick = std::env::args().any(|argument| argument == "--quick");
    let beside = std::env::args().skip_while(|argument| argument != "--beside").nth(1);
    let (rounds, time) = if is_quick { (1, Duration::from_millis(300)) } else { (5, Duration::from_secs(3)) };
    // Not the folder for temporary files: that may be memory.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("persist");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder)?;
    println!(
        "{rounds} rounds of {time:?} each, the middle one counts; data of {} bytes, rows of {} bytes\n",
        publisher::DATA_BYTES,
        raw::ROW_BYTES
    );
    println!("in flight  what              items/s  commits/s  items/commit    p50 µs    p99 µs");
    let mut share = 0.0;
    for in_flight in IN_FLIGHT {
        let (mut server, mut other, mut redb, mut sync) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for round in 0..rounds {
            let folder = folder.join(format!("{in_flight}-{round}"));
            fs::create_dir_all(&folder)?;
            redb.push(raw::redb(&folder, in_flight, time)?);
            server.push(server::run(SERVER, &folder.join("server"), in_flight, time)?);
            if let Some(beside) = &beside {
                other.push(server::run(beside, &folder.join("other"), in_flight, time)?);
            }
            sync.push(raw::fdatasync(&folder, in_flight, time)?);
            fs::remove_dir_all(&folder)?;
        }
        // Of neighbours in time: how far this run is to be believed.
        let shares = shares(&server, &redb);
        if !other.is_empty() {
            let shares = self::shares(&server, &other);
            let (low, middle, high) = (shares[0], shares[shares.len() / 2], shares[shares.len() - 1]);
            print(in_flight, "the other build", &middle_of(other));
            println!("{in_flight:>9}  {middle:.0} % of the other build; by rounds {low:.0} to {high:.0} %");
        }
        let (server, redb, sync) = (middle_of(server), middle_of(redb), middle_of(sync));
        print(in_flight, "letshare-server", &server);
        print(in_flight, "redb alone", &redb);
        print(in_flight, "fdatasync alone", &sync);
        share = 100.0 * server.items / redb.items;
        println!(
            "{in_flight:>9}  the server does {share:.0} % of redb alone; by rounds {:.0} to {:.0} %\n",
            shares[0],
            shares[shares.len() - 1]
        );
        ensure!(server.items > 0.0, "nothing was acknowledged");
    }
    let verdict = if share >= GOAL_PERCENT { "pass" } else { "MISSED" };
    println!("persist {verdict} {share:.0} % of redb alone at 256 in flight (goal {GOAL_PERCENT:.0} %)");
    fs::remove_dir_all(&folder)?;
    Ok(())
}

/// Percent, of each round, from low to high.
fn shares(one: &[Figure], other: &[Figure]) -> Vec<f64> {
    let pairs = one.iter().zip(other);
    let mut shares: Vec<f64> = pairs.map(|(one, other)| 100.0 * one.items / other.items).collect();
    shares.sort_by(f64::total_cmp);
    shares
}

fn middle_of(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|one, other| one.items.total_cmp(&other.items));
    figures.swap_remove(figures.len() / 2)
}

fn print(in_flight: usize, what: &str, figure: &Figure) {
    let Figure { items, commits, p50, p99 } = figure;
    println!(
        "{in_flight:>9}  {what:<16}  {items:>7.0}  {commits:>9.0}  {:>12.1}  {:>8}  {:>8}",
        items / commits,
        p50.as_micros(),
        p99.as_micros()
    );
}
