//! `docs/protocols/letshare.md §2.1`, §2.3, §2.7: who is in a room, and what leaving does.

use serde_json::{Value, json};

use crate::support::{Client, Server};

fn subscribe(room: &str, event: &str) -> Value {
    json!({"type": "subscribe", "channel": room, "event": event})
}

fn unsubscribe(room: &str, event: &str) -> Value {
    json!({"type": "unsubscribe", "channel": room, "event": event})
}

/// Sends `unsubscribe` and waits for the confirmation.
async fn leave(client: &mut Client, room: &str, event: &str) {
    client.send(unsubscribe(room, event)).await;
    let confirmation = client.next().await;
    assert_eq!(confirmation["type"], "unsubscribed", "{confirmation}");
    assert_eq!(confirmation["channel"], room);
}

/// §2.3 "membership must count from the first `subscribe`": the app publishes before the second
/// confirmation is there; here nothing at all is waited for.
#[tokio::test]
async fn membership_counts_from_the_first_subscribe() {
    let server = Server::start(|_| {});
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let mut a = Client::connect(&server, "a:1").await;
    a.send(subscribe("demo1", "signal:a:1")).await;
    a.send(subscribe("demo1", "signal:all")).await;
    a.publish("demo1", "signal:all", json!({"type": "discover"})).await;
    assert_eq!(b.next().await["data"]["type"], "discover");
    b.publish("demo1", "signal:a:1", json!({"type": "discover", "isReply": true})).await;
    for event in ["signal:a:1", "signal:all"] {
        let confirmation = a.next().await;
        assert_eq!(confirmation["type"], "subscribed");
        assert_eq!(confirmation["event"], event);
    }
    assert_eq!(a.next().await["data"]["isReply"], true);
    assert!(a.received_so_far().await.is_empty());
}

/// §2.1 `publish`: a member with another event than `signal:all` is a member.
#[tokio::test]
async fn any_event_makes_a_member() {
    let server = Server::start(|_| {});
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let mut a = Client::connect(&server, "a:1").await;
    a.subscribe("demo1", "signal:a:1").await;
    a.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert_eq!(b.next().await["data"]["n"], 1);
}

/// §2.1 `unsubscribe`: an event other than `signal:all` is only removed; membership stays.
#[tokio::test]
async fn dropping_an_event_only_filters() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    leave(&mut a, "demo1", "signal:a:1").await;
    b.publish("demo1", "signal:a:1", json!({"n": 1})).await;
    b.publish("demo1", "signal:all", json!({"n": 2})).await;
    assert_eq!(a.next().await["data"]["n"], 2);
    a.publish("demo1", "signal:b:2", json!({"n": 3})).await;
    assert_eq!(b.next().await["data"]["n"], 3);
    // Also without any event left.
    let mut c = Client::connect(&server, "c:3").await;
    c.subscribe("demo1", "signal:c:3").await;
    leave(&mut c, "demo1", "signal:c:3").await;
    c.publish("demo1", "signal:b:2", json!({"n": 4})).await;
    assert_eq!(b.next().await["data"]["n"], 4);
    assert!(c.received_so_far().await.is_empty());
}

/// §2.1 `unsubscribe`: `signal:all` leaves the room with all events; coming back starts anew.
#[tokio::test]
async fn dropping_signal_all_leaves_the_room() {
    for event in ["signal:all", ""] {
        let server = Server::start(|_| {});
        let mut a = Client::join(&server, "a:1", "demo1").await;
        let mut b = Client::join(&server, "b:2", "demo1").await;
        leave(&mut a, "demo1", event).await;
        b.publish("demo1", "signal:a:1", json!({"n": 1})).await;
        b.publish("demo1", "signal:all", json!({"n": 2})).await;
        assert!(b.received_so_far().await.is_empty());
        a.publish("demo1", "signal:all", json!({})).await;
        a.expect_error(400, "客户端未订阅房间: demo1").await;

        // The own event went with the membership; in the Go server `signal:all` would be back.
        a.subscribe("demo1", "else").await;
        b.publish("demo1", "signal:a:1", json!({"n": 3})).await;
        b.publish("demo1", "signal:all", json!({"n": 4})).await;
        b.publish("demo1", "else", json!({"n": 5})).await;
        assert_eq!(a.next().await["data"]["n"], 5);
        assert!(a.received_so_far().await.is_empty());
    }
}

/// §2.3 "subscriptions belong to (client, room)": in the Go server an event of one room filters the
/// messages of the other.
#[tokio::test]
async fn an_event_of_one_room_does_not_filter_another() {
    let server = Server::start(|_| {});
    let mut a = Client::connect(&server, "a:1").await;
    a.subscribe("room A", "only:A").await;
    a.subscribe("room B", "only:B").await;
    let mut b = Client::connect(&server, "b:2").await;
    b.subscribe("room A", "x").await;
    b.subscribe("room B", "x").await;
    for (n, (room, event)) in
        [("room A", "only:B"), ("room B", "only:A"), ("room A", "only:A"), ("room B", "only:B")].into_iter().enumerate()
    {
        b.publish(room, event, json!({"n": n})).await;
        assert!(b.received_so_far().await.is_empty());
    }
    let messages = a.received_so_far().await;
    let numbers: Vec<_> = messages.iter().map(|m| m["data"]["n"].as_u64()).collect();
    assert_eq!(numbers, [Some(2), Some(3)]);
}

/// §2.3: in the Go server leaving any room deletes the events of all rooms.
#[tokio::test]
async fn leaving_one_room_keeps_the_other() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "room A").await;
    for event in ["signal:a:1", "signal:all"] {
        a.subscribe("room B", event).await;
    }
    let mut b = Client::join(&server, "b:2", "room B").await;
    leave(&mut a, "room A", "signal:all").await;
    leave(&mut a, "never", "signal:all").await;
    b.publish("room B", "signal:a:1", json!({"n": 1})).await;
    b.publish("room B", "signal:all", json!({"n": 2})).await;
    for n in [1, 2] {
        assert_eq!(a.next().await["data"]["n"], n);
    }
    a.publish("room B", "signal:b:2", json!({"n": 3})).await;
    assert_eq!(b.next().await["data"]["n"], 3);
}

/// §2.7 "room change": five frames without waiting; the old room hears nothing of it, and nothing of the
/// old room follows.
#[tokio::test]
async fn a_room_change_on_the_same_socket() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "old").await;
    let mut old = Client::join(&server, "b:2", "old").await;
    let mut new = Client::join(&server, "c:3", "new").await;

    a.send(unsubscribe("old", "signal:a:1")).await;
    a.send(unsubscribe("old", "signal:all")).await;
    a.send(subscribe("new", "signal:a:1")).await;
    a.send(subscribe("new", "signal:all")).await;
    a.publish("new", "signal:all", json!({"type": "discover"})).await;

    let discover = new.next().await;
    assert_eq!(discover["channel"], "new");
    assert_eq!(discover["data"], json!({"type": "discover", "from": "a:1"}));
    new.publish("new", "signal:a:1", json!({"isReply": true})).await;
    let mut answers = Vec::new();
    for _ in 0..5 {
        let answer = a.next().await;
        answers.push(format!("{} {} {}", answer["type"], answer["channel"], answer["event"]));
    }
    // Rooms are independent of each other; within one the answers keep the order of the requests.
    let of_room = |room: &str| -> Vec<&str> {
        let answers = answers.iter().map(String::as_str);
        answers.filter(|answer| answer.contains(room)).collect()
    };
    assert_eq!(of_room("\"old\""), [r#""unsubscribed" "old" "signal:a:1""#, r#""unsubscribed" "old" "signal:all""#]);
    assert_eq!(
        of_room("\"new\""),
        [r#""subscribed" "new" "signal:a:1""#, r#""subscribed" "new" "signal:all""#, r#""message" "new" "signal:a:1""#]
    );

    old.publish("old", "signal:all", json!({})).await;
    old.publish("old", "signal:a:1", json!({})).await;
    assert!(old.received_so_far().await.is_empty());
    assert!(a.received_so_far().await.is_empty());
    assert!(new.received_so_far().await.is_empty());
}

/// §2.7 "stale socket": the app unsubscribes, forgets the socket without closing it, and comes back on
/// another one with the same `userId`.
#[tokio::test]
async fn a_stale_socket_of_the_same_user_is_no_member() {
    let server = Server::start(|_| {});
    let mut stale = Client::join(&server, "a:1", "demo1").await;
    leave(&mut stale, "demo1", "signal:a:1").await;
    leave(&mut stale, "demo1", "signal:all").await;
    let mut fresh = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;

    b.publish("demo1", "signal:a:1", json!({"n": 1})).await;
    fresh.publish("demo1", "signal:b:2", json!({"n": 2})).await;

    assert_eq!(fresh.next().await["data"]["n"], 1);
    assert_eq!(b.next().await["data"]["n"], 2);
    assert!(stale.received_so_far().await.is_empty());
}
