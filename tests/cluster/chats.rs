//! The chat over several nodes (`docs/protocols/chat.md §7`: online is who has a connection at any of them).

use letshare_server::config::Config;
use serde_json::{Value, json};

use super::{Ground, until_met};
use crate::{
    chat::{client::Client, house},
    support::{Http, Response, Server, eventually, redis::RedisServer},
};

fn nodes<const COUNT: usize>(ground: &Ground, redis: &RedisServer, adjust: impl Fn(&mut Config)) -> [Server; COUNT] {
    std::array::from_fn(|_| {
        ground.node(redis.port, |config| {
            config.chat.enabled = true;
            config.chat.jwt_secret = house::SECRET.into();
            config.chat.timezone = "UTC".to_owned();
            adjust(config);
        })
    })
}

async fn connect(node: &Server, user: u64) -> Client {
    Client::connect(node.address, user).await
}

async fn get(node: &Server, target: &str, user: u64) -> Response {
    Http::connect(node).await.ask("GET", target, &[("x-token", &house::token(user))]).await
}

async fn online(node: &Server) -> Value {
    get(node, "/api/ws/online-users", 7).await.json()["data"]["users"].take()
}

async fn until_all_met(nodes: &[Server]) {
    for node in nodes {
        until_met(node.address, nodes.len()).await;
    }
}

#[tokio::test]
async fn users_of_two_nodes_talk() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis, |_| {});
    until_all_met(&nodes).await;
    let (mut ann, mut bob) = (connect(&nodes[0], 7).await, connect(&nodes[1], 8).await);
    for node in &nodes {
        assert_eq!(online(node).await, json!([7, 8]));
        let count = Http::connect(node).await.ask("GET", "/api/ws/online-count", &[]).await.json();
        assert_eq!(count["data"]["count"], 2, "{count}");
    }
    // To one user.
    for number in 0..20 {
        let told = ann.asks("send_message", json!({"to_user_id": 8, "content": format!("{number}")})).await;
        assert_eq!(told["code"], 0, "{told}");
        let push = bob.data().await;
        assert_eq!((&push["content"], &push["message_id"]), (&json!(format!("{number}")), &told["data"]["message_id"]));
    }
    let told = ann.asks("send_message", json!({"to_user_id": 9, "content": "nobody"})).await;
    assert_eq!((&told["code"], &told["data"]["stored"]), (&json!(10003), &json!(true)), "{told}");
    // To a group that has members at both.
    bob.send("create_group", json!({"group_name": "crew", "member_ids": [7, 9]})).await;
    let group = bob.data().await["group_id"].clone();
    bob.send("send_group_message", json!({"group_id": group, "content": "to all"})).await;
    assert_eq!(bob.data().await["sent_count"], 1);
    assert_eq!(ann.data().await["content"], "to all");
    // To everybody.
    ann.send("broadcast", json!({"message": "hello"})).await;
    for client in [&mut ann, &mut bob] {
        let push = client.data().await;
        assert_eq!((&push["type"], &push["message"]), (&json!("broadcast"), &json!("hello")));
    }
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.received_so_far().await, Vec::<Value>::new(), "each message comes once");
    }
    bob.leave().await;
    eventually(async || (online(&nodes[0]).await == json!([7])).then_some(())).await;
}

#[tokio::test]
async fn rooms_have_users_of_several_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis, |_| {});
    until_all_met(&nodes).await;
    let (mut ann, mut bob) = (connect(&nodes[0], 7).await, connect(&nodes[1], 8).await);
    for client in [&mut ann, &mut bob] {
        client.send("join_room", json!({"room_id": "lobby"})).await;
        assert_eq!(client.data().await["type"], "join_room_success");
    }
    let body = json!({"room_id": "lobby", "content": "to the room"}).to_string();
    let mut http = Http::connect(&nodes[0]).await;
    let told = http.post("/api/ws/send-message", &[("x-token", &house::token(7))], &body).await;
    assert_eq!(told.json()["code"], 0, "{}", told.body);
    assert_eq!(bob.data().await["content"], "to the room");
    // Who is in it may read it, wherever that is asked for.
    for (user, status) in [(8, 200), (9, 403)] {
        assert_eq!(get(&nodes[0], "/api/ws/messages?room_id=lobby", user).await.status, status);
    }
}

/// §7: one connection per user; a new one closes the old one, with 4001.
#[tokio::test]
async fn a_user_has_one_connection_at_all_nodes_together() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis, |_| {});
    until_all_met(&nodes).await;
    let mut older = connect(&nodes[0], 7).await;
    let mut newer = connect(&nodes[1], 7).await;
    assert_eq!(older.expect_close().await.0, 4001);
    assert_eq!(online(&nodes[0]).await, json!([7]));
    let mut bob = connect(&nodes[0], 8).await;
    let told = bob.asks("send_message", json!({"to_user_id": 7, "content": "still there"})).await;
    assert_eq!(told["code"], 0, "{told}");
    assert_eq!(newer.data().await["content"], "still there");
}

#[tokio::test]
async fn several_devices_of_a_user_are_one_user_at_all_nodes() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis, |config| config.chat.multi_device = true);
    until_all_met(&nodes).await;
    let (mut one, mut other) = (connect(&nodes[0], 7).await, connect(&nodes[1], 7).await);
    let count = Http::connect(&nodes[0]).await.ask("GET", "/api/ws/online-count", &[]).await.json();
    assert_eq!(count["data"]["count"], 1, "{count}");
    let mut bob = connect(&nodes[1], 8).await;
    assert_eq!(bob.asks("send_message", json!({"to_user_id": 7, "content": "to both"})).await["code"], 0);
    for device in [&mut one, &mut other] {
        assert_eq!(device.data().await["content"], "to both");
    }
}

/// Of a group that was not made here whoever was online and received may read, also who came to another node between
/// two messages.
#[tokio::test]
async fn who_receives_at_another_node_reads_the_history() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis, |_| {});
    until_all_met(&nodes).await;
    let mut ann = connect(&nodes[0], 7).await;
    let mut readers = Vec::new();
    for (user, number) in [(8, 1), (9, 2), (10, 3)] {
        let history = async || get(&nodes[0], "/api/ws/messages?room_id=group_77", user).await.status;
        assert_eq!(history().await, 403, "{user}");
        readers.push(connect(&nodes[1], user).await);
        let told = ann.asks("send_group_message", json!({"group_id": "group_77", "content": "to all"})).await;
        assert_eq!(told["data"]["sent_count"], number, "{told}");
        assert_eq!(history().await, 200, "{user}");
    }
}

/// `chat.stored_bytes`: what is kept on Redis is bounded for all nodes together, and who is refused is told by what.
#[tokio::test]
async fn messages_on_redis_are_bounded() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = nodes::<2>(&ground, &redis, |config| config.chat.stored_bytes = 30_000);
    until_all_met(&nodes).await;
    let mut senders = [connect(&nodes[0], 7).await, connect(&nodes[1], 8).await];
    let mut sent = 0;
    loop {
        let told = senders[sent % 2].asks("send_message", json!({"to_user_id": 9, "content": "x".repeat(500)})).await;
        if told["code"] == 10008 {
            let reason = told["reason"].as_str().unwrap();
            assert_eq!(reason, "30000 bytes are kept, as many as chat.stored_bytes allows");
            break;
        }
        assert_eq!(told["code"], 10003, "{told}");
        sent += 1;
    }
    assert!((10..50).contains(&sent), "{sent}");
    for sender in &mut senders {
        let told = sender.asks("send_message", json!({"to_user_id": 9, "content": "x".repeat(500)})).await;
        assert_eq!(told["code"], 10008, "{told}");
    }
}
