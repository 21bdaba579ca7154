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
