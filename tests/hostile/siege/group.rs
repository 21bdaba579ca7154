//! The group protocol: before and after clients say who they are.

use serde_json::{Value, json};

use super::{Siege, besiege, inbound::user_token, texts};
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
async fn clients_that_do_not_say_who_they_are() {
    besiege(&[], async |siege| {
        let garbage = texts((0..90).map(|number| match number % 3 {
            0 => json!({"type": "auth", "data": {"token": "x".repeat(500)}}),
            1 => json!({"type": "ping", "message_id": "p".repeat(200)}),
            _ => say("nowhere", number, 1_000),
        }));
        let attack = async |number| {
            let mut raw = siege.upgrade(siege.connect(number).await?, "/group/ws", "").await?;
            raw.flood(&garbage).await;
            Some(raw)
        };
        siege.crowd(attack).await
    })
    .await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_of_many() {
    besiege(&[], async |siege| {
        let speak = |number: usize| {
            let group = format!("loud-{}", number % 10);
            std::iter::once(join(&group)).chain((0..6).map(|id| say(&group, id, 400_000))).collect()
        };
        siege.in_groups(25, speak).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_group_that_nobody_reads() {
    besiege(&[], async |siege| {
        let speak = |_| std::iter::once(join("book")).chain((0..10).map(|id| say("book", id, 200_000))).collect();
        let mut held = siege.in_groups(1, speak).await;
        let bearer = user_token(0);
        let target = "/group/api/messages?group_id=book&limit=100";
        held.extend(siege.ask_and_not_read(target, &format!("Authorization: Bearer {bearer}\r\n")).await);
        held
    })
    .await;
}
