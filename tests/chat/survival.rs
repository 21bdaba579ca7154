//! `docs/protocols/chat.md §9`: messages and groups survive a restart and kill -9.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    chat::{
        client::Client,
        house::{House, SECRET, token},
    },
    support::{Http, process::ServerProcess},
};

#[tokio::test]
async fn messages_and_groups_survive_a_restart() {
    let house = House::start(|_| {});
    let (mut ann, _bob) = (house.connect(7).await, house.connect(8).await);
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    let data = json!({"group_id": group, "content": "x"});
    ann.asks("send_group_message", data.clone()).await;
    ann.asks("send_message", json!({"to_user_id": 8, "content": "y"})).await;
    let house = house.restart(|_| {});
    for room in [&*group, "private_7_8"] {
        let page = house.get(&format!("/api/ws/messages?room_id={room}"), 8).await.json();
        assert_eq!(page["data"]["total"], 1, "{room}");
    }
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    ann.send("send_group_message", data).await;
    assert_eq!(ann.data().await["sent_count"], 1);
    let push = bob.data().await;
    assert_eq!((&push["type"], &push["group_name"]), (&json!("group_message"), &json!("g")));
}

#[tokio::test]
async fn acknowledged_messages_survive_kill_9() {
    let data = TempDir::new().expect("a folder");
    let folder = data.path().to_str().expect("UTF-8");
    let settings = [("CHAT_PORT", "0"), ("DATA_DIR", folder), ("CHAT_JWT_SECRET", SECRET)];
    let mut server = ServerProcess::start_in("chat", &settings);
    let address = server.address;
    let (mut ann, mut bob) = (Client::connect(address, 7).await, Client::connect(address, 8).await);
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    let mut acknowledged = Vec::new();
    for number in 0..50 {
        let content = number.to_string();
        ann.send("send_message", json!({"to_user_id": 8, "content": content})).await;
        acknowledged.push(ann.data().await["message_id"].clone());
        assert_eq!(bob.data().await["content"], content);
    }
    server.signal(Signal::SIGKILL);
    server.exit().await;
    drop(server);

    let server = ServerProcess::start_in("chat", &settings);
    let address = server.address;
    let mut http = Http::connect_to(address).await;
    let target = "/api/ws/messages?room_id=private_7_8&page_size=100";
    let page = http.ask("GET", target, &[("x-token", &token(8))]).await.json();
    let messages = page["data"]["messages"].as_array().expect("messages");
    let mut kept: Vec<Value> = messages.iter().map(|message| message["message_id"].clone()).collect();
    kept.reverse();
    assert_eq!(kept, acknowledged);
    let (mut ann, mut bob) = (Client::connect(address, 7).await, Client::connect(address, 8).await);
    ann.send("send_group_message", json!({"group_id": group, "content": "x"})).await;
    assert_eq!(ann.data().await["sent_count"], 1);
    assert_eq!(bob.data().await["group_id"], group);
}
