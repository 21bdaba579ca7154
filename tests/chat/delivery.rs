//! Once and not lost: `client_id`, `replay_on_connect` (`docs/protocols/chat.md §7`).

use std::time::Duration;

use letshare_server::config::Config;
use serde_json::{Value, json};

use crate::{
    chat::{client::Client, house::House},
    support::eventually,
};

/// §7 [P]: a repeat gets the first answer, and nobody gets the message twice.
#[tokio::test]
async fn a_repeated_message_is_the_same_message() {
    let house = House::start(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(42).await);
    let data = |to: u64| json!({"to_user_id": to, "content": "x", "client_id": "c1"});
    let first = ann.asks("send_message", data(42)).await;
    assert_eq!(first["code"], 0);
    assert_eq!(ann.asks("send_message", data(42)).await, first);
    assert_eq!(house.post("/api/ws/send-message", 7, &data(42)).await.json(), first);
    assert_eq!(bob.received_so_far().await.len(), 1);
    // Another sender's is another one; also, who was not online is told so again.
    let offline = bob.asks("send_message", data(43)).await;
    assert_eq!(offline["code"], 10003);
    let _late = house.connect(43).await;
    assert_eq!(bob.asks("send_message", data(43)).await, offline);
    let page = house.get("/api/ws/messages?room_id=private_42_43", 42).await.json();
    assert_eq!(page["data"]["total"], 1);

    for (cmd, data) in [
        ("send_group_message", json!({"group_id": "group_1", "content": "x", "client_id": "c2"})),
        ("broadcast", json!({"message": "x", "client_id": "c3"})),
    ] {
        let first = ann.asks(cmd, data.clone()).await;
        assert_eq!(ann.asks(cmd, data).await["data"], first["data"], "{cmd}");
        assert_eq!(bob.received_so_far().await.len(), 1, "{cmd}");
    }
}

/// What was asked for is done, also when the client does not wait for it.
#[tokio::test]
async fn a_client_that_leaves_at_once_has_sent_its_messages() {
    let house = House::start(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(42).await);
    for number in 0..20 {
        let data = json!({"to_user_id": 42, "content": number.to_string()});
        ann.send("send_message", data).await;
    }
    ann.leave().await;
    for number in 0..20 {
        assert_eq!(bob.data().await["content"], number.to_string());
    }
}

/// A repeat after a restart, too: the store knows it.
#[tokio::test]
async fn a_message_repeated_after_a_restart_is_the_same() {
    let house = House::start(|_| {});
    let mut ann = house.connect(7).await;
    let data = json!({"to_user_id": 7, "content": "x", "client_id": "c1"});
    ann.send("send_message", data.clone()).await;
    let id = ann.data().await["message_id"].clone();
    let house = house.restart(|_| {});
    let mut ann = house.connect(7).await;
    ann.send("send_message", data).await;
    assert_eq!(ann.data().await["message_id"], id);
    let page = house.get("/api/ws/messages?room_id=private_7_7", 7).await.json();
    assert_eq!(page["data"]["total"], 1);
}

fn replaying(config: &mut Config) {
    config.chat.replay_on_connect = true;
}

async fn say(ann: &mut Client, content: &str) {
    let answer = ann.asks("send_message", json!({"to_user_id": 42, "content": content})).await;
    assert!(answer["code"] == 0 || answer["code"] == 10003, "{answer}");
}

fn texts(received: &[Value]) -> Vec<&str> {
    let texts = received.iter().map(|message| message["data"]["content"].as_str());
    texts.map(Option::unwrap_or_default).collect()
}

/// §7 [P]: what was missed comes after the welcome, once and in order.
#[tokio::test]
async fn missed_messages_come_after_the_welcome() {
    let house = House::start(replaying);
    let mut ann = house.connect(7).await;
    let all: Vec<String> = (0..250).map(|number| number.to_string()).collect();
    for content in &all {
        say(&mut ann, content).await;
    }
    let mut bob = house.connect(42).await;
    // Meanwhile new ones come.
    say(&mut ann, "new").await;
    let received = bob.received_so_far().await;
    let mut expected: Vec<&str> = all.iter().map(String::as_str).collect();
    expected.push("new");
    assert_eq!(texts(&received), expected);
    assert_eq!(received[0]["data"]["type"], "new_message");

    // It leaves in order, so it has read them; the store knows that a moment later.
    bob.leave().await;
    eventually(async || {
        let mut bob = house.connect(42).await;
        let again = bob.received_so_far().await;
        bob.leave().await;
        again.is_empty().then_some(())
    })
    .await;
    eventually(async || (house.users(7).await == json!([7])).then_some(())).await;
    say(&mut ann, "missed").await;
    let house = house.restart(replaying);
    let mut bob = house.connect(42).await;
    assert_eq!(texts(&bob.received_so_far().await), ["missed"]);
}

/// What was sent to a connection that was cut before it confirmed anything comes again.
#[tokio::test]
async fn unconfirmed_messages_come_again() {
    let house = House::start(replaying);
    let (mut ann, bob) = (house.connect(7).await, house.connect(42).await);
    say(&mut ann, "lost").await;
    if let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = bob.socket.get_ref() {
        tcp.set_zero_linger().expect("an open socket");
    }
    drop(bob);
    eventually(async || (house.users(7).await == json!([7])).then_some(())).await;
    let mut bob = house.connect(42).await;
    assert_eq!(texts(&bob.received_so_far().await), ["lost"]);
}

/// A client that answers pings has read what came before.
#[tokio::test]
async fn pongs_confirm_messages() {
    let house = House::start(|config| {
        replaying(config);
        config.websocket.ping_interval = Duration::from_millis(100);
    });
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(42).await);
    say(&mut ann, "read").await;
    assert_eq!(bob.data().await["content"], "read");
    // Until the store knows; cut connections tell nothing.
    let mut round = 0;
    loop {
        round += 1;
        assert!(round < 100, "it is never confirmed");
        bob.received_so_far().await;
        let mut pings = 0;
        while pings < 3 {
            use futures_util::{SinkExt as _, StreamExt as _};
            let frame = bob.socket.next().await;
            pings += usize::from(matches!(frame, Some(Ok(tokio_tungstenite::tungstenite::Message::Ping(_)))));
            let _ = bob.socket.flush().await;
        }
        if let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = bob.socket.get_ref() {
            tcp.set_zero_linger().expect("an open socket");
        }
        drop(bob);
        bob = house.connect(42).await;
        if bob.received_so_far().await.is_empty() {
            break;
        }
    }
}
