//! What the integration tests share: a server of their own each, and clients.

pub mod ably;
pub mod brought;
pub mod client;
pub mod echo;
pub mod echo_server;
pub mod http;
#[cfg(feature = "mongo")]
pub mod mongo;
pub mod process;
pub mod raw;
pub mod redis;
pub mod redis_cluster;
pub mod server;
pub mod witness;

use std::time::Duration;

pub use ably::{AblyClient, TestApp};
pub use client::Client;
pub use http::{Http, Response, UPGRADE};
pub use server::Server;

/// Longest wait for something that must come. Not a measurement: a test that waits this long failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer: for what the server does in its own time, such as
/// noticing that somebody is gone. Each question is a round trip to the server, so nothing spins.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let answer = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            // For questions that wait for nothing: the time limit needs its turn.
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.expect("it happens in the end")
}
