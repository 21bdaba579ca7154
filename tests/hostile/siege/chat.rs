//! The chat: requests that wait, rooms, and clients that do not read.

use serde_json::json;

use super::{besiege, inbound::chat_token, texts};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_wait_for_each_other() {
    besiege(&[], async |siege| {
        let content = "x".repeat(19_000);
        let attack = async |number: usize| {
            let mut raw = siege.chat(number, siege.connect(number).await?).await?;
            let send = |id: usize| {
                let data = json!({"to_user_id": number + 1, "content": content, "client_id": format!("{id}")});
                json!({"cmd": "send_message", "data": data})
            };
            raw.attack(&texts((0..30).map(send))).await;
            Some(raw)
        };
        siege.some(100, attack).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_a_chat_that_nobody_reads() {
    besiege(&[], async |siege| {
        let content = "x".repeat(19_000);
        let say = texts((0..60).map(|_| json!({"cmd": "send_message", "data": {"to_user_id": 1, "content": content}})));
        let speak = async |number| {
            let mut raw = siege.chat(number, siege.connect(number).await?).await?;
            raw.flood(&say).await;
            raw.linger().await;
            Some(raw)
        };
        let mut held = siege.some(1, speak).await;
        let target = "/api/ws/messages?room_id=private_1_1&page_size=100";
        held.extend(siege.ask_and_not_read(target, &format!("x-token: {}\r\n", chat_token(0))).await);
        held
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broadcasts_that_nobody_reads() {
    besiege(&[], async |siege| {
        let attack = async |number| siege.chat(number, siege.connect_narrow(number).await?).await;
        let held = siege.some(900, attack).await;
        let message = "x".repeat(19_000);
        let broadcast = texts((0..60).map(|_| json!({"cmd": "broadcast", "data": {"message": message}})));
        let speak = async |number| {
            let mut raw = siege.chat(number, siege.connect(number).await?).await?;
            raw.flood(&broadcast).await;
            raw.linger().await;
            Some(raw)
        };
        let speakers = siege.some(5, async |number| speak(CROWD_END + number).await).await;
        held.into_iter().chain(speakers).collect()
    })
    .await;
}

/// Behind those that read nothing, from another address.
const CROWD_END: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_and_groups_of_fresh_names() {
    besiege(&[], async |siege| {
        let members: Vec<usize> = (1..1_000).collect();
        let attack = async |number: usize| {
            let mut raw = siege.chat(number, siege.connect(number).await?).await?;
            let room = |room: usize| json!({"cmd": "join_room", "data": {"room_id": format!("room_{number}_{room}")}});
            let group = |group: usize| {
                json!({"cmd": "create_group", "data": {"group_name": format!("g{group}"), "member_ids": members}})
            };
            raw.flood(&texts((0..120).map(room).chain((0..5).map(group)))).await;
            Some(raw)
        };
        siege.some(200, attack).await
    })
    .await;
}
