//! `docs/protocols/letshare.md §2.3`: who gets a message.

use serde_json::{Value, json};

use crate::support::{Client, Server};

/// The events of what a client received.
fn events(messages: &[Value]) -> Vec<&str> {
    messages.iter().map(|message| message["event"].as_str().unwrap_or("none")).collect()
}

/// §2.3: no copy for the publisher; exact match; a third page sees no targeted signal.
#[tokio::test]
async fn a_signal_reaches_whom_it_names_and_nobody_else() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let mut c = Client::join(&server, "c:3", "demo1").await;

    a.publish("demo1", "signal:b:2", json!({"type": "offer", "from": "a:1"})).await;
    let offer = b.next().await;
    assert_eq!(offer["type"], "message");
    assert_eq!(offer["channel"], "demo1");
    assert_eq!(offer["event"], "signal:b:2");
    assert_eq!(offer["data"], json!({"type": "offer", "from": "a:1"}));
    assert!(offer["timestamp"].is_u64());

    a.publish("demo1", "signal:all", json!({"type": "discover"})).await;
    assert_eq!(b.next().await["data"], json!({"type": "discover", "from": "a:1"}));
    assert_eq!(c.next().await["data"]["type"], "discover");
    assert!(c.received_so_far().await.is_empty());
    assert!(b.received_so_far().await.is_empty());
    assert!(a.received_so_far().await.is_empty());
}

/// §2.3: "other sockets of the same `userId` do" get a copy; also §2.7, two pages of one user.
#[tokio::test]
async fn another_socket_of_the_publisher_gets_a_copy() {
    let server = Server::start(|_| {});
    let mut first = Client::join(&server, "a:1", "demo1").await;
    let mut second = Client::join(&server, "a:1", "demo1").await;

    first.publish("demo1", "signal:all", json!({"n": 1})).await;
    first.publish("demo1", "signal:a:1", json!({"n": 2})).await;
    second.publish("demo1", "signal:all", json!({"n": 3})).await;

    for n in [1, 2] {
        let copy = second.next().await;
        assert_eq!(copy["data"], json!({"n": n, "from": "a:1"}));
    }
    assert_eq!(first.next().await["data"], json!({"n": 3, "from": "a:1"}));
    assert!(first.received_so_far().await.is_empty());
    assert!(second.received_so_far().await.is_empty());
}

/// §2.3: a targeted signal goes to every socket of the user it names.
#[tokio::test]
async fn a_signal_reaches_all_sockets_of_its_user() {
    let server = Server::start(|_| {});
    let mut first = Client::join(&server, "b:2", "demo1").await;
    let mut second = Client::join(&server, "b:2", "demo1").await;
    let mut a = Client::join(&server, "a:1", "demo1").await;
    a.publish("demo1", "signal:b:2", json!({"type": "offer"})).await;
    assert!(a.received_so_far().await.is_empty());
    for socket in [&mut first, &mut second] {
        assert_eq!(socket.next().await["data"]["type"], "offer");
        assert!(socket.received_so_far().await.is_empty());
    }
}

/// §2.3 "exact matching by default": neither prefix nor case nor `signal:all` stands for another event.
#[tokio::test]
async fn events_match_exactly() {
    let server = Server::start(|_| {});
    let mut all = Client::connect(&server, "b:2").await;
    all.subscribe("demo1", "signal:all").await;
    let mut own = Client::connect(&server, "c:3").await;
    own.subscribe("demo1", "signal:c:3").await;
    let mut a = Client::join(&server, "a:1", "demo1").await;
    for event in ["signal:c:3", "signal:c", "signal:c:33", "Signal:All", "signal", "*", "signal:all"] {
        a.publish("demo1", event, json!({})).await;
    }
    assert!(a.received_so_far().await.is_empty());
    assert_eq!(events(&all.received_so_far().await), ["signal:all"]);
    assert_eq!(events(&own.received_so_far().await), ["signal:c:3"]);
}

/// findings S1: a signal for one user reaches only that user, whatever others ask for.
#[tokio::test]
async fn nobody_subscribes_to_the_signals_of_another() {
    let server = Server::start(|_| {});
    let mut bob = Client::join(&server, "bob:2", "demo1").await;
    let mut mallory = Client::join(&server, "mallory:3", "demo1").await;
    for event in ["signal:bob:2", "signal:bob", "signal:mallory:4", "signal:", "signal:Mallory:3"] {
        mallory.send(json!({"type": "subscribe", "channel": "demo1", "event": event})).await;
        let text = "只能订阅发给自己的信令，除非服务器设置 letshare.foreign_signals";
        mallory.expect_error(403, &format!("不能订阅其他用户的信令: {event}（{text}）")).await;
    }
    let mut alice = Client::join(&server, "alice:1", "demo1").await;
    alice.publish("demo1", "signal:bob:2", json!({"type": "offer"})).await;
    assert_eq!(bob.next().await["data"]["type"], "offer");
    assert!(mallory.received_so_far().await.is_empty());
}

/// findings S1: the own signals are heard by the whole id and without its suffix; a suffixless user is no other's.
#[tokio::test]
async fn a_user_hears_its_own_signals_by_both_forms() {
    let server = Server::start(|_| {});
    let mut bob = Client::connect(&server, "%E5%B0%8F%E6%98%8E:x1:zz7aljb").await;
    bob.subscribe("demo1", "signal:小明:x1:zz7aljb").await;
    bob.subscribe("demo1", "signal:小明:x1").await;
    bob.subscribe("demo1", "signal:all").await;
    let mut alice = Client::join(&server, "alice", "demo1").await;
    for event in ["signal:小明:x1:zz7aljb", "signal:小明:x1", "signal:小明"] {
        alice.publish("demo1", event, json!({})).await;
    }
    assert!(alice.received_so_far().await.is_empty());
    assert_eq!(events(&bob.received_so_far().await), ["signal:小明:x1:zz7aljb", "signal:小明:x1"]);
}

/// findings S1: `foreign_signals` brings the older meaning back.
#[tokio::test]
async fn the_switch_lets_everybody_hear_what_it_asks_for() {
    let server = Server::start(|config| config.letshare.foreign_signals = true);
    let mut mallory = Client::connect(&server, "mallory:3").await;
    mallory.subscribe("demo1", "signal:bob:2").await;
    let mut alice = Client::join(&server, "alice:1", "demo1").await;
    alice.publish("demo1", "signal:bob:2", json!({})).await;
    assert_eq!(mallory.next().await["event"], "signal:bob:2");
}

/// §2.3 `wildcard_signal_all`: `signal:all` gets every event, as in the Go server; any other event still
/// filters exactly, and nothing comes twice.
#[tokio::test]
async fn the_wildcard_switch_gives_everything_to_signal_all() {
    let server = Server::start(|config| config.letshare.wildcard_signal_all = true);
    let mut all = Client::connect(&server, "b:2").await;
    all.subscribe("demo1", "").await;
    let mut own = Client::connect(&server, "c:3").await;
    own.subscribe("demo1", "signal:c:3").await;
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut page = Client::join(&server, "d:4", "demo1").await;
    for event in ["signal:c:3", "signal:d:4", "anything", "signal:all"] {
        a.publish("demo1", event, json!({})).await;
    }
    assert!(a.received_so_far().await.is_empty());
    let everything = ["signal:c:3", "signal:d:4", "anything", "signal:all"];
    assert_eq!(events(&all.received_so_far().await), everything);
    assert_eq!(events(&page.received_so_far().await), everything);
    assert_eq!(events(&own.received_so_far().await), ["signal:c:3"]);
}

/// §2.3: what one connection publishes arrives in its order, whoever else publishes meanwhile.
#[tokio::test]
async fn messages_keep_their_order() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let mut readers = [Client::join(&server, "c:3", "demo1").await, Client::join(&server, "d:4", "demo1").await];
    for n in 0..200 {
        a.publish("demo1", "signal:all", json!({"n": n})).await;
        b.publish("demo1", "signal:all", json!({"n": n})).await;
    }
    let mut heard = Vec::new();
    for reader in &mut readers {
        let mut order = Vec::new();
        for _ in 0..400 {
            let data = reader.next().await["data"].take();
            order.push((data["from"].to_string(), data["n"].as_u64()));
        }
        for from in ["\"a:1\"", "\"b:2\""] {
            let of_one = order.iter().filter(|(sender, _)| sender == from);
            assert!(of_one.map(|(_, n)| *n).eq((0..200).map(Some)), "{from}");
        }
        heard.push(order);
    }
    assert_eq!(heard[0], heard[1], "all members see one order");
}
