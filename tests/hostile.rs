//! Clients that mean harm or are broken (docs/goals.md §5, docs/architecture.md §10): in each test the server is a
//! process of its own, well-behaved clients in the same room and in another one go on talking and
//! notice nothing, and memory grows by a bounded amount.

mod backlogs;
mod bodies;
mod endings;
mod floods;
mod frames;
mod full;
mod http;
mod readers;
mod siege;
mod sockets;

use std::future::Future;

use crate::support::{process::ServerProcess, witness::Witness};

/// Where attackers and good clients meet.
const ROOM: &str = "siege";
const MIB: u64 = 1_024;

/// Runs `attack` while good clients talk. The server's memory may grow by `budget` KiB at any time.
async fn besiege<T>(server: &ServerProcess, budget: u64, attack: impl Future<Output = T>) -> T {
    let near = Witness::start(server, ROOM).await;
    let far = Witness::start(server, "elsewhere").await;
    server.metrics().await;
    let before = server.memory();
    server.forget_peak();
    let outcome = attack.await;
    near.finish().await;
    far.finish().await;
    let grown = server.peak_memory().saturating_sub(before);
    eprintln!("memory: {before} KiB, and {grown} KiB more at most");
    assert!(grown <= budget, "{grown} KiB more, {budget} allowed");
    outcome
}
