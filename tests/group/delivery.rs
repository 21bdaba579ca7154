//! Messages: ack, delivery, order, repetition (`docs/protocols/group.md §5, §6`).

use letshare_server::config::AckMode;

use super::*;

/// §5: the fields of a message and of its ack; §6: to every member, the sender included.
#[tokio::test]
async fn a_message_reaches_every_member() {
    let rig = Rig::start(|_| {});
    let members = json!([{"user_id": 7, "name": "Wu", "avatar": "a.png"}, "8"]);
    let made = rig.service("POST", "/api/groups", json!({"group_id": "g-12", "members": members}));
    data(&made.await);
    let mut first = rig.user("7").await;
    let mut device = rig.user("7").await;
    let mut other = rig.user("8").await;
    let mut stranger = rig.user("9").await;
    let id = first.says("c-1", "g-12", "hi").await;
    assert_eq!(id.len(), 36);
    for client in [&mut first, &mut device, &mut other] {
        let frame = loop {
            let frame = client.next().await;
            if frame["type"] == "new_message" {
                break frame;
            }
        };
        assert_eq!(frame["message_id"], *id);
        let mut message = frame["data"].clone();
        let created = message["created_at"].take().as_u64().expect("seconds");
        assert!((1_700_000_000..100_000_000_000).contains(&created));
        let expected = json!({
            "message_id": id, "group_id": "g-12", "sender_id": "7", "sender_name": "Wu",
            "sender_avatar": "a.png", "msg_type": 1, "content": "hi", "image_url": "",
            "created_at": null,
        });
        assert_eq!(message, expected);
    }
    rig.group("h", &["9"]).await;
    stranger.says("c-2", "h", "alone").await;
    assert_eq!(stranger.message().await["content"], "alone");
}

#[tokio::test]
async fn an_image() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    let image = json!({"group_id": "g", "msg_type": 2, "image_url": "https://x/y.png"});
    client.send("send_message", "c-1", image).await;
    let message = client.message().await;
    assert_eq!(message["msg_type"], 2);
    assert_eq!(message["image_url"], "https://x/y.png");
    assert_eq!(message["content"], "");
}

/// §6: one order for all receivers, and each message once.
#[tokio::test]
async fn one_order_for_all() {
    let rig = Rig::start(|config| config.group.messages_per_second = 0);
    rig.group("g", &["1", "2", "3"]).await;
    let mut clients = Vec::new();
    for user in ["1", "2", "3"] {
        clients.push(rig.user(user).await);
    }
    for round in 0..40 {
        for (index, client) in clients.iter_mut().enumerate() {
            client.say(&format!("c-{round}"), "g", &format!("{index}:{round}")).await;
        }
    }
    let mut seen = Vec::new();
    for client in &mut clients {
        seen.push(client.contents(120).await);
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0], seen[2]);
    for index in 0..3 {
        let own = seen[0].iter().filter(|content| content.starts_with(&format!("{index}:")));
        let expected: Vec<_> = (0..40).map(|round| format!("{index}:{round}")).collect();
        assert_eq!(own.cloned().collect::<Vec<_>>(), expected);
    }
}

/// §6, dedupe: the same again is acknowledged by the same id and not stored twice; something else is something else.
#[tokio::test]
async fn the_same_again() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7", "8"]).await;
    rig.group("h", &["7"]).await;
    let mut client = rig.user("7").await;
    let first = client.says("c-1", "g", "hi").await;
    // At once, and from another device.
    client.say("c-2", "g", "twice").await;
    client.say("c-2", "g", "twice").await;
    let twice = client.acked("c-2").await;
    assert_eq!(client.acked("c-2").await, twice);
    let mut device = rig.user("7").await;
    assert_eq!(device.says("c-1", "g", "hi").await, first);
    // Another text, another group, another user, or no id: other messages.
    let mut other = rig.user("8").await;
    assert_ne!(device.says("c-1", "g", "ho").await, first);
    assert_ne!(device.says("c-1", "h", "hi").await, first);
    assert_ne!(other.says("c-1", "g", "hi").await, first);
    assert_ne!(device.says("", "g", "hi").await, device.says("", "g", "hi").await);
    let history = data(&rig.ask("8", "/api/messages?group_id=g").await);
    let contents = history["messages"].as_array().unwrap().iter().rev();
    let contents: Vec<_> = contents.map(|message| message["content"].as_str().unwrap()).collect();
    assert_eq!(contents, ["hi", "twice", "ho", "hi", "hi", "hi"]);
}

/// §6, `ack_mode`: the ack of the original comes at once; the message is stored all the same.
#[tokio::test]
async fn a_fast_ack() {
    let rig = Rig::start(|config| config.group.ack_mode = AckMode::Fast);
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    client.say("c-1", "g", "hi").await;
    let ack = client.expect("ack").await;
    let message = client.expect("new_message").await;
    assert_eq!(ack["data"]["message_id"], message["message_id"]);
    client.say("c-1", "g", "hi").await;
    assert_eq!(client.expect("ack").await["data"], ack["data"]);
}

/// §9: joining twice is one subscription; leaving ends it for this connection alone, and needs none.
#[tokio::test]
async fn joining_and_leaving() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    let mut device = rig.user("7").await;
    for id in ["c-1", "c-2"] {
        client.send("join_group", id, json!({"group_id": "g"})).await;
        let ack = client.expect("ack").await;
        assert_eq!(ack["data"], json!({"message_id": id, "success": true}));
    }
    device.says("d-1", "g", "once").await;
    assert_eq!(client.message().await["content"], "once");
    client.send("leave_group", "c-3", json!({"group_id": "g"})).await;
    assert_eq!(client.expect("ack").await["data"]["success"], true);
    client.send("leave_group", "c-4", json!({"group_id": "never joined"})).await;
    assert_eq!(client.expect("ack").await["data"], json!({"message_id": "c-4", "success": true}));
    device.says("d-2", "g", "unheard").await;
    // Still a member: it may write, and come back.
    client.says("c-5", "g", "from outside").await;
    assert_eq!(device.contents(3).await, ["once", "unheard", "from outside"]);
    client.send("join_group", "c-6", json!({"group_id": "g"})).await;
    client.expect("ack").await;
    device.says("d-3", "g", "again").await;
    assert_eq!(client.message().await["content"], "again");
}

/// §6, "store, ack, publish": its sender knows its own message when it comes, by the id of the ack.
#[tokio::test]
async fn the_ack_comes_before_the_message() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    for index in 0..20 {
        client.say(&format!("{index}"), "g", "x").await;
        let ack = client.expect("ack").await;
        assert_eq!(client.message().await["message_id"], ack["data"]["message_id"]);
    }
}
