//! The group protocol: before and after clients say who they are.

use serde_json::{Value, json};

use super::{Siege, besiege, texts};
use crate::support::raw::Raw;

impl Siege {
    async fn in_groups(&self, count: usize, requests: impl Fn(usize) -> Vec<Value>) -> Vec<Raw> {
        let attack = async |number: usize| {
            let mut raw = self.group(number, self.connect(number).await?).await?;
            raw.linger().await;
            raw.flood(&texts(requests(number))).await;
            Some(raw)
        };
        self.some(count, attack).await
    }
}

fn join(group: &str) -> Value {
    json!({"type": "join_group", "data": {"group_id": group}})
}

fn say(group: &str, id: usize, bytes: usize) -> Value {
    let data = json!({"group_id": group, "msg_type": 1, "content": "x".repeat(bytes)});
    json!({"type": "send_message", "message_id": id.to_string(), "data": data})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_of_fresh_names() {
    besiege(&[], async |siege| {
        let fresh = |number| (0..35).map(|group| join(&format!("{number}-{group}-{}", "x".repeat(200)))).collect();
        siege.in_groups(300, fresh).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_messages_that_nobody_reads() {
    besiege(&[], async |siege| {
        let joined = texts([join("loud")]);
        let attack = async |number: usize| {
            let mut raw = siege.group(number, siege.connect_narrow(number).await?).await?;
            raw.attack(&joined).await;
            Some(raw)
        };
        let held = siege.some(900, attack).await;
        let speakers = siege
            .in_groups(5, |_| std::iter::once(join("loud")).chain((0..30).map(|id| say("loud", id, 60_000))).collect());
        held.into_iter().chain(speakers.await).collect()
    })
    .await;
}
