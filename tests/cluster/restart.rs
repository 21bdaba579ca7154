//! A server that ends in order while others go on (`docs/design/cluster.md §9`).

use serde_json::json;

use super::{Ground, KEY, attached, message, messages};
use crate::support::{AblyClient, ably::action, redis::RedisServer};

/// Rolling restart: clients of the server that ends go on at another one, miss nothing, and were never away.
#[tokio::test]
async fn clients_of_a_server_that_ends_go_on_at_another_one() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let [mut one, other] = ground.nodes(&redis);
    let mut watcher = attached(&other, "room").await;
    let (mut alice, connected) = AblyClient::connect_with(&one, &format!("v=6&key={KEY}&clientId=alice")).await;
    alice.attach("room").await;
    let serial = alice.presence("room", json!([{"action": 2, "data": "here"}])).await;
    alice.acked(serial).await;
    watcher.expect(action::PRESENCE).await;
    let serial = alice.publish("room", message("before")).await;
    alice.acked(serial).await;
    let (last, data) = messages(&mut watcher, 1).await.remove(0);
    assert_eq!(data, "before");

    one.begin_drain();
    let told = alice.expect(action::DISCONNECTED).await;
    assert_eq!(told["error"]["code"], 80003, "{told}");
    alice.cut();
    one.join();
    let mut publisher = AblyClient::connect(&other, KEY).await;
    let serial = publisher.publish("room", message("meanwhile")).await;
    publisher.acked(serial).await;
    let key = connected["connectionDetails"]["connectionKey"].as_str().unwrap();
    let query = format!("v=6&key={KEY}&clientId=alice&resume={key}");
    let (mut alice, resumed) = AblyClient::connect_with(&other, &query).await;
    assert_eq!(resumed["connectionId"], connected["connectionId"]);
    let frame = json!({"action": action::ATTACH, "channel": "room", "channelSerial": last});
    alice.attach_with(frame).await;
    alice.expect(action::SYNC).await;
    assert_eq!(messages(&mut alice, 1).await[0].1, "meanwhile");
    assert_eq!(messages(&mut watcher, 1).await[0].1, "meanwhile");
    // Of her presence only what she does now is told: the server that ended has let nobody leave.
    alice.push_again(2, action::PRESENCE, "presence", "room", json!([{"action": 4, "data": "there"}])).await;
    alice.acked(2).await;
    let told = watcher.expect(action::PRESENCE).await;
    assert_eq!((&told["presence"][0]["action"], &told["presence"][0]["data"]), (&json!(4), &json!("there")), "{told}");
}

/// The lease has its whole time when the server is gone, and all that it was asked for is done.
#[tokio::test]
async fn a_server_that_ends_renews_its_lease_a_last_time() {
    let redis = RedisServer::start().await;
    let ground = Ground::new();
    let mut node = ground.node(redis.port, |_| {});
    // Nothing else puts it back within the same moment.
    redis.command(&[b"DEL", b"ls:{ctl}leases"]).await;
    node.begin_drain();
    node.join();
    assert_eq!(redis.command(&[b"ZCARD", b"ls:{ctl}leases"]).await.trim(), ":1");
}
