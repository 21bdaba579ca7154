//! `docs/protocols/letshare.md §2.5` "Cap" and §2.6, the burst of a join in a full room.

use futures_util::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Server, eventually};

const FULL: &str = "房间已满，最多支持50个用户";

async fn fill(server: &Server, members: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for n in 0..members {
        clients.push(Client::join(server, &format!("m:{n}"), "demo1").await);
    }
    clients
}

/// Subscribes; true when that was confirmed, false when the room is full.
async fn tries(client: &mut Client, full: &str) -> bool {
    client.send(json!({"type": "subscribe", "channel": "demo1", "event": "signal:all"})).await;
    let answer = client.next().await;
    if answer["type"] == "subscribed" {
        return true;
    }
    assert_eq!(answer["error"], json!({"code": 400, "message": full}));
    false
}

/// §2.5: the 51st gets the text and no `subscribed`; a member may subscribe again; a place is free again
/// after `unsubscribe`.
#[tokio::test]
async fn fifty_are_in_and_one_more_is_refused() {
    let server = Server::start(|_| {});
    let mut members = fill(&server, 50).await;
    let mut late = Client::connect(&server, "late:1").await;
    assert!(!tries(&mut late, FULL).await);
    late.publish("demo1", "signal:all", json!({})).await;
    late.expect_error(400, "客户端未订阅房间: demo1").await;
    // The socket stays and is good for another room.
    late.subscribe("demo2", "signal:all").await;

    members[7].subscribe("demo1", "signal:all").await;
    members[7].subscribe("demo1", "another").await;
    late.send(json!({"type": "unsubscribe", "channel": "demo1", "event": "signal:all"})).await;
    assert_eq!(late.next().await["type"], "unsubscribed");
    assert!(!tries(&mut late, FULL).await, "it never had a place");

    members[7].send(json!({"type": "unsubscribe", "channel": "demo1", "event": "another"})).await;
    assert_eq!(members[7].next().await["type"], "unsubscribed");
    assert!(!tries(&mut late, FULL).await, "only an event was dropped");

    members[7].send(json!({"type": "unsubscribe", "channel": "demo1", "event": "signal:all"})).await;
    assert_eq!(members[7].next().await["type"], "unsubscribed");
    assert!(tries(&mut late, FULL).await);
    assert!(!tries(&mut members[7], FULL).await);
    late.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert_eq!(members[0].next().await["data"]["n"], 1);
}

/// §2.5 `websocket.max_room_users`, named in the text; "counted per socket, not per user".
#[tokio::test]
async fn the_cap_is_a_setting_and_counts_sockets() {
    const FULL_OF_TWO: &str = "房间已满，最多支持2个用户";
    let server = Server::start(|config| config.websocket.max_room_users = 2);
    let _first = Client::join(&server, "a:1", "demo1").await;
    let _second = Client::join(&server, "a:1", "demo1").await;
    for user in ["a:1", "b:2"] {
        let mut third = Client::connect(&server, user).await;
        assert!(!tries(&mut third, FULL_OF_TWO).await);
        third.subscribe("demo2", "signal:all").await;
    }
}

/// §2.5, §5 k: who disappears without a word, or says goodbye without leaving, gives its place back; and
/// §2.6: nobody is told, since there is no presence.
#[tokio::test]
async fn a_place_is_free_after_a_disconnect() {
    const FULL_OF_TWO: &str = "房间已满，最多支持2个用户";
    let server = Server::start(|config| config.websocket.max_room_users = 2);
    let mut stays = Client::join(&server, "a:1", "demo1").await;
    let mut goes = Client::join(&server, "b:2", "demo1").await;
    let mut waits = Client::connect(&server, "c:3").await;
    for polite in [false, true] {
        assert!(!tries(&mut waits, FULL_OF_TWO).await);
        if polite {
            goes.socket.close(None).await.expect("open");
        }
        drop(goes);
        eventually(async || tries(&mut waits, FULL_OF_TWO).await.then_some(())).await;
        assert!(stays.received_so_far().await.is_empty());
        goes = waits;
        waits = Client::connect(&server, "d:4").await;
    }
}

/// §2.7: the app subscribes twice without waiting. A place that gets free between the two is taken by
/// the second, and it is a place like any other: its owner can publish, and gives it back. Whether it gets
/// free before, between or after the requests is chance; so there are many rounds.
#[tokio::test]
async fn a_place_that_gets_free_between_two_requests() {
    const REQUESTS: usize = 10;
    let server = Server::start(|config| {
        config.server.workers = 2;
        config.websocket.max_room_users = 1;
        config.limits.publishes_per_second = 0;
    });
    let leave = json!({"type": "unsubscribe", "channel": "demo1", "event": "signal:all"});
    let mut owner = Client::connect(&server, "a:1").await;
    let mut late = Client::connect(&server, "b:2").await;
    for _ in 0..100 {
        owner.subscribe("demo1", "signal:all").await;
        let requests = async {
            for _ in 0..REQUESTS {
                let request = Message::text(r#"{"type":"subscribe","channel":"demo1"}"#);
                late.socket.feed(request).await.expect("open");
            }
            late.socket.flush().await.expect("open");
        };
        tokio::join!(requests, owner.send(leave.clone()));
        assert_eq!(owner.next().await["type"], "unsubscribed");
        let mut refused = 0;
        for _ in 0..REQUESTS {
            refused += usize::from(late.next().await["type"] == "error");
        }
        late.publish("demo1", "signal:all", json!({})).await;
        let errors = late.received_so_far().await;
        assert_eq!(errors.is_empty(), refused < REQUESTS, "{errors:?}");
        late.send(leave.clone()).await;
        assert_eq!(late.next().await["type"], "unsubscribed");
    }
}

/// §2.3, §2.6: a page joins as the fiftieth and says `discover` twice; the others answer each with a
/// targeted reply. All 98 arrive, once, in each sender's order, and nobody else sees one.
#[tokio::test]
async fn a_join_in_a_full_room() {
    let server = Server::start(|_| {});
    let mut members = fill(&server, 49).await;
    let mut joiner = Client::join(&server, "new:1", "demo1").await;
    for n in [1, 2] {
        let discover = json!({"type": "discover", "from": "new:1", "n": n});
        joiner.publish("demo1", "signal:all", discover).await;
    }
    for (id, member) in members.iter_mut().enumerate() {
        for n in [1, 2] {
            let discover = member.next().await;
            assert_eq!(discover["data"]["n"], n, "member {id}: {discover}");
            let from = format!("m:{id}");
            let reply = json!({
                "type": "discover", "isReply": true, "to": "new:1", "from": from, "n": n,
            });
            member.publish("demo1", "signal:new:1", reply).await;
        }
    }
    let mut heard = vec![0; members.len()];
    for _ in 0..2 * members.len() {
        let reply = joiner.next().await;
        assert_eq!(reply["event"], "signal:new:1");
        let from = reply["data"]["from"].as_str().and_then(|f| f.strip_prefix("m:"));
        let id: usize = from.expect("a member").parse().expect("its number");
        heard[id] += 1;
        assert_eq!(reply["data"]["n"], heard[id], "member {id}");
    }
    assert!(heard.iter().all(|replies| *replies == 2));
    assert!(joiner.received_so_far().await.is_empty());
    for member in &mut members {
        assert!(member.received_so_far().await.is_empty());
    }
}
