//! Presence after a restart: nobody is present until its client has entered again, which clients do on their own
//! (`docs/protocols/ably.md §7.1`). Whoever does not come back is no ghost.

use serde_json::{Value, json};

use super::ground::{Ground, Rest, Subscriber};
use crate::support::{
    ably::{action, flag},
    process::ServerProcess,
};

const CHANNELS: [&str; 2] = ["persisted:room", "room"];

async fn end(server: ServerProcess, is_ordered: bool) {
    if is_ordered {
        server.terminate().await;
    } else {
        server.kill().await;
    }
}

async fn member(server: &ServerProcess, name: &str, channel: &str) -> Subscriber {
    let mut member = Subscriber::connect(server.address, &format!("&clientId={name}")).await;
    member.attach(channel).await;
    let enter = json!([{"action": 2, "data": "here"}]);
    let serial = member.client.presence(channel, enter).await;
    member.client.acked(serial).await;
    member
}

async fn present(server: &ServerProcess, channel: &str) -> Vec<Value> {
    let mut rest = Rest::connect(server.address).await;
    let response = rest.get(&format!("/channels/{channel}/presence")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json().as_array().expect("a list").clone()
}

fn has_presence(attached: &Value) -> bool {
    attached["flags"].as_u64().expect("flags") & flag::HAS_PRESENCE != 0
}

/// With the id that it had, as clients do; everybody hears of it, and it may leave as if nothing had been.
#[tokio::test]
async fn members_enter_again() {
    for is_ordered in [true, false] {
        for channel in CHANNELS {
            let ground = Ground::new();
            let server = ground.start();
            let alice = member(&server, "alice", channel).await.cut();
            let id = present(&server, channel).await[0]["id"].clone();
            let mut bob = Subscriber::connect(server.address, "").await;
            bob.attach(channel).await;
            let bob = bob.cut();
            end(server, is_ordered).await;

            let server = ground.start();
            assert_eq!(present(&server, channel).await, Vec::<Value>::new());
            let mut bob = bob.resume(server.address, "").await;
            let (attached, _) = bob.attach_again(channel).await;
            // RTP19a: then clients forget whom they knew.
            assert!(!has_presence(&attached), "{attached}");
            let mut alice = alice.resume(server.address, "&clientId=alice").await;
            let (attached, _) = alice.attach_again(channel).await;
            assert!(!has_presence(&attached), "{attached}");
            // RTP17g.
            let again = json!([{"action": 2, "id": id, "clientId": "alice", "data": "here"}]);
            alice.client.publish("elsewhere", json!([{"data": "x"}])).await;
            alice.client.expect(action::ACK).await;
            let serial = alice.client.presence(channel, again).await;
            alice.client.acked(serial).await;
            let entered = bob.client.expect(action::PRESENCE).await;
            assert_eq!(entered["presence"][0]["action"], 2, "{entered}");
            assert_eq!(entered["presence"][0]["clientId"], "alice", "{entered}");
            let now = present(&server, channel).await;
            assert_eq!(now.len(), 1, "{now:?}");
            assert_eq!(now[0]["connectionId"], alice.ticket.connection);
            alice.client.send(json!({"action": action::CLOSE})).await;
            let left = bob.client.expect(action::PRESENCE).await;
            assert_eq!(left["presence"][0]["action"], 3, "{left}");
            assert_eq!(present(&server, channel).await, Vec::<Value>::new());
        }
    }
}

/// R7: who entered while a subscriber was away, and went with the server, is not told to it as present.
#[tokio::test]
async fn who_does_not_come_back_is_no_ghost() {
    for is_ordered in [true, false] {
        for channel in CHANNELS {
            let ground = Ground::new();
            let server = ground.start();
            let mut bob = Subscriber::connect(server.address, "").await;
            bob.attach(channel).await;
            let mut rest = Rest::connect(server.address).await;
            rest.publish_numbers(channel, 0..1).await;
            bob.hear(1).await;
            let bob = bob.cut();
            let _alice = member(&server, "alice", channel).await;
            rest.publish_numbers(channel, 1..2).await;
            end(server, is_ordered).await;

            let server = ground.start();
            let mut bob = bob.resume(server.address, "").await;
            let attach = json!({"action": action::ATTACH, "channel": channel, "channelSerial": bob.ticket.position});
            let attached = bob.client.attach_with(attach).await;
            assert!(!has_presence(&attached), "{attached}");
            let backlog = bob.client.received_so_far().await;
            let mut known = std::collections::BTreeSet::new();
            for event in backlog.iter().filter_map(|frame| frame["presence"].as_array()).flatten() {
                let name = event["clientId"].as_str().unwrap().to_owned();
                if event["action"] == 3 {
                    known.remove(&name);
                } else {
                    known.insert(name);
                }
            }
            assert!(known.is_empty(), "ordered {is_ordered}, {channel}: {known:?} {backlog:?}");
        }
    }
}
