//! The relay: back ends that push without end, and clients that do not read.

use serde_json::{Value, json};

use super::{API_KEY, Siege, besiege};
use crate::support::raw::Raw;

impl Siege {
    /// So many pushes behind each other on one connection.
    async fn push(&self, number: usize, pushes: impl Iterator<Item = Value>) -> Option<Raw> {
        let mut raw = self.connect(number).await?;
        for push in pushes {
            let push = push.to_string();
            let request = format!(
                "POST /relay/api/push HTTP/1.1\r\nHost: x\r\nX-API-KEY: {API_KEY}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\n\r\n{push}",
                push.len()
            );
            if !raw.flood(request.as_bytes()).await {
                break;
            }
        }
        raw.linger().await;
        Some(raw)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_that_nobody_reads() {
    besiege(&[], async |siege| {
        let attack = async |number: usize| {
            let raw = siege.connect_narrow(number).await?;
            siege.upgrade(raw, &format!("/relay/ws?token=u{number}"), "").await
        };
        let held = siege.crowd(attack).await;
        let push = json!({"event_name": "big", "subject": "x".repeat(60_000)});
        siege.push(0, (0..100).map(|_| push.clone())).await;
        held
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_that_are_delayed_by_the_thousand() {
    besiege(&[], async |siege| {
        let subject = "x".repeat(16_000);
        let attack = async |number: usize| {
            let push = |user| {
                json!({"event_name": "late", "subject": subject, "delay_seconds": 86_400, "token": format!("{number}-{user}")})
            };
            siege.push(number, (0..300).map(push)).await
        };
        siege.some(30, attack).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pushes_to_users_who_never_come() {
    besiege(&[("RELAY_OFFLINE_TTL", "1h")], async |siege| {
        let subject = "x".repeat(16_000);
        let attack = async |number: usize| {
            let push = |user| json!({"event_name": "away", "subject": subject, "token": format!("{number}-{user}")});
            siege.push(number, (0..300).map(push)).await
        };
        siege.some(30, attack).await
    })
    .await;
}
