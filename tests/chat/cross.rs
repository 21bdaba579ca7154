//! Groups, rooms and everybody are channels that Ably clients may watch and publish to; what is for one user is out of
//! their reach (docs/architecture.md §5).

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    chat::{client::Client, house::House},
    support::{Http, ably::action},
};

const CHAT_KEY: &str = "shared.chat:0123456789abcdef-chat";
const ANY_KEY: &str = "shared.any:0123456789abcdef-any";

fn house(folder: &TempDir) -> House {
    let file = folder.path().join("apps.yaml");
    let apps = r#"
apps:
  - id: shared
    keys:
      - id: chat
        secret: 0123456789abcdef-chat
        capability: '{"chat:*":["*"],"chat:u:8":["*"]}'
      - id: any
        secret: 0123456789abcdef-any
        capability: '{"[*]*":["*"]}'
"#;
    std::fs::write(&file, apps).expect("a file");
    House::start(|config| {
        config.ably.enabled = true;
        config.ably.apps_file = Some(file);
        config.ably.keys_over_http = true;
    })
}

async fn ably(house: &House) -> Client {
    let url = format!("ws://{}/?key={CHAT_KEY}&v=5", house.shared);
    let mut ably = Client::open(&url, &[], 0).await.expect("an upgrade");
    assert_eq!(ably.next().await["action"], action::CONNECTED);
    ably
}

async fn attach(ably: &mut Client, channel: &str) -> Value {
    let frame = json!({"action": action::ATTACH, "channel": channel});
    ably.send_text(&frame.to_string()).await;
    ably.next().await
}

async fn publish(house: &House, key: &str, channel: &str, message: &Value) -> u16 {
    let stream = TcpStream::connect(house.shared).await.expect("it listens");
    let mut http = Http::over(stream, house.shared);
    let channel = channel.replace(':', "%3A");
    let target = format!("/channels/{channel}/messages?key={key}");
    http.post(&target, &[], &message.to_string()).await.status
}

/// One-to-one messages stay private, whatever the capability says.
#[tokio::test]
async fn nobody_watches_a_user() {
    let folder = TempDir::new().expect("a folder");
    let house = house(&folder);
    let mut bob = house.connect(8).await;
    let mut ably = ably(&house).await;
    let refused = attach(&mut ably, "chat:u:8").await;
    assert_ne!(refused["action"], action::ATTACHED, "{refused}");
    assert_eq!(refused["error"]["code"], 40160, "{refused}");
    let message = json!({"data": "hi"});
    for key in [CHAT_KEY, ANY_KEY] {
        assert_eq!(publish(&house, key, "chat:u:8", &message).await, 401);
    }
    assert!(bob.received_so_far().await.is_empty());
}

#[tokio::test]
async fn an_ably_client_watches_groups_and_broadcasts() {
    let folder = TempDir::new().expect("a folder");
    let house = house(&folder);
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    let mut ably = ably(&house).await;
    for channel in [&*format!("chat:g:{group}"), "chat:all", "chat:g:group_1"] {
        assert_eq!(attach(&mut ably, channel).await["action"], action::ATTACHED);
    }
    let told = |frame: &Value| -> (Value, Value, Value) {
        let message = &frame["messages"][0];
        let data = message["data"].as_str().expect("JSON as text");
        let data: Value = serde_json::from_str(data).expect("JSON");
        (message["name"].clone(), message["clientId"].clone(), data)
    };
    ann.asks("send_group_message", json!({"group_id": group, "content": "hi"})).await;
    let push = bob.data().await;
    let (name, client, data) = told(&ably.next().await);
    assert_eq!((name, client, data), (json!("group_message"), json!("7"), push));

    bob.asks("broadcast", json!({"message": "all"})).await;
    let push = ann.data().await;
    assert_eq!(told(&ably.next().await), (json!("broadcast"), json!("8"), push));

    // Also a group that is not known here.
    ann.asks("send_group_message", json!({"group_id": "group_1", "content": "x"})).await;
    let frames = [ably.next().await, ably.next().await];
    let channels: Vec<_> = frames.iter().map(|frame| frame["channel"].as_str()).collect();
    assert_eq!(channels, [Some("chat:g:group_1"), Some("chat:all")]);
}

#[tokio::test]
async fn an_ably_publish_reaches_the_sockets() {
    let folder = TempDir::new().expect("a folder");
    let house = house(&folder);
    let (mut ann, mut bob, mut eve) = (house.connect(7).await, house.connect(8).await, house.connect(9).await);
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    let group = made["data"]["group_id"].as_str().expect("an id").to_owned();
    eve.asks("join_room", json!({"room_id": "room_1"})).await;

    let channel = format!("chat:g:{group}");
    let message = json!({"name": "x", "data": "hi", "clientId": "7", "id": "mine"});
    assert_eq!(publish(&house, CHAT_KEY, &channel, &message).await, 201);
    for client in [&mut ann, &mut bob] {
        let data = client.data().await;
        let expected = json!({
            "type": "group_message", "group_id": group, "from_user_id": 7, "content": "hi", "message_type": 1,
            "message_id": "mine", "time": data["time"],
        });
        assert_eq!(data, expected);
    }
    // It cannot pass for a message of a user, and needs a key that names it.
    let forged =
        json!({"name": "group_message", "data": {"type": "new_message", "from_user_id": 1}, "clientId": "bot"});
    assert_eq!(publish(&house, ANY_KEY, "chat:all", &forged).await, 401);
    assert_eq!(publish(&house, CHAT_KEY, "chat:all", &forged).await, 201);
    for client in [&mut ann, &mut bob, &mut eve] {
        let data = client.data().await;
        assert_eq!((&data["type"], &data["from_user_id"]), (&json!("broadcast"), &json!(0)));
        let inner: Value = serde_json::from_str(data["message"].as_str().expect("a text")).expect("JSON");
        assert_eq!(inner, forged["data"]);
    }
    assert_eq!(publish(&house, CHAT_KEY, "chat:r:room_1", &json!({"data": "room"})).await, 201);
    let data = eve.data().await;
    assert_eq!((&data["type"], &data["room_id"]), (&json!("new_message"), &json!("room_1")));
    for client in [&mut ann, &mut bob, &mut eve] {
        assert!(client.received_so_far().await.is_empty());
    }
}
