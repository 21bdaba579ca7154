//! Channels that nothing happens on, and channels that are only published to (`docs/design/cluster.md §2, §7`).

use serde_json::{Value, json};

use super::{Ground, KEY, attached, history, message, messages, proxy::Proxy};
use crate::support::{AblyClient, Http, Server, ably::action, ably::flag, eventually, redis::RedisServer};

async fn publish(node: &Server, body: &Value) -> Value {
    let target = format!("/channels/room/messages?key={KEY}");
    let headers = [("content-type", "application/json"), ("X-Ably-Version", "5")];
    let told = Http::connect(node).await.post(&target, &headers, &body.to_string()).await;
    assert_eq!(told.status, 201, "{}", told.body);
    told.json()
}

async fn open_channels(node: &Server) -> Value {
    Http::connect(node).await.ask("GET", "/metrics", &[]).await.json()["websocket"]["total_rooms"].clone()
}

/// A server at which nobody has the channel open appends to its log, and keeps nothing of it.
#[tokio::test]
async fn what_is_published_at_a_node_without_the_channel_opens_nothing_there() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [one, other] = ground.nodes(&redis);
    let mut reader = attached(&one, "room").await;
    for number in 0..20 {
        publish(&other, &message(&format!("{number}"))).await;
    }
    // The same id is the same message, whether or not anybody has the channel open.
    let body = json!([{"id": "chosen", "data": "once"}]);
    let told = [publish(&other, &body).await, publish(&one, &body).await, publish(&other, &body).await];
    assert!(told.iter().all(|again| again["serials"] == told[0]["serials"]), "{told:?}");
    assert_eq!(open_channels(&other).await, 0, "it was not opened");
    let mut expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    expected.push("once".to_owned());
    let read: Vec<String> = messages(&mut reader, 21).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(read, expected);
    // The first attach opens it, and finds what was published.
    let mut late = AblyClient::connect(&other, KEY).await;
    late.attach_with(json!({"action": action::ATTACH, "channel": "room", "params": {"rewind": "2"}})).await;
    let read: Vec<String> = messages(&mut late, 2).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(read, ["19", "once"]);
    assert_eq!(open_channels(&other).await, 1);
    assert_eq!(history(&other, "room").await, expected);
    // From then on it is delivered there as well.
    publish(&other, &message("late")).await;
    assert_eq!(messages(&mut late, 1).await[0].1, "late");
    assert_eq!(messages(&mut reader, 1).await[0].1, "late");
}

/// What a node has not heard of, although no link broke, is found by a look at its idle channels, and nobody is told of a break.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_on_the_way_is_found_by_a_look() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let proxy = Proxy::start(redis.port).await;
    let (deaf, other) = (ground.node(proxy.port, |_| {}), ground.node(redis.port, |_| {}));
    let mut readers = [attached(&deaf, "room").await, attached(&deaf, "second").await];
    let mut publisher = AblyClient::connect(&other, KEY).await;
    proxy.set_mute(true);
    for number in 0..3 {
        let serial = publisher.publish("room", message(&format!("{number}"))).await;
        publisher.acked(serial).await;
    }
    proxy.set_mute(false);
    // As when a node finds that Redis has lost something: all channels look at once.
    redis.command(&[b"SPUBLISH", b"ls:{ctl}lost", b""]).await;
    let read: Vec<String> = messages(&mut readers[0], 3).await.into_iter().map(|(_, data)| data).collect();
    assert_eq!(read, ["0", "1", "2"]);
    publisher.publish("second", message("after")).await;
    assert_eq!(
        messages(&mut readers[1], 1).await[0].1,
        "after",
        "nothing was told of a channel that has missed nothing"
    );
}

/// Redis without its data is noticed at once, although no link broke and nobody publishes.
#[tokio::test]
async fn idle_channels_hear_that_redis_has_lost_its_data() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let nodes = ground.nodes::<2>(&redis);
    let mut readers = [attached(&nodes[0], "room").await, attached(&nodes[1], "room").await];
    let mut publisher = AblyClient::connect(&nodes[0], KEY).await;
    let serial = publisher.publish("room", message("before")).await;
    publisher.acked(serial).await;
    for reader in &mut readers {
        messages(reader, 1).await;
    }
    eventually(async || redis.command(&[b"EXISTS", b"ls:{ctl}conf"]).await.contains(":1").then_some(())).await;
    redis.command(&[b"FLUSHALL"]).await;
    for reader in &mut readers {
        let told = reader.expect(action::ATTACHED).await;
        assert_eq!(told["flags"].as_u64().unwrap() & flag::RESUMED, 0, "{told}");
        assert_eq!(told["error"]["code"], 90003, "{told}");
    }
}
