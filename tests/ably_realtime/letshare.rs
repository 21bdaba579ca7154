//! A LetShare page and an Ably client in one room: a room is a channel of the app `shared`.

use letshare_server::config::Config;
use serde_json::{Value, json};

use super::stage::{attach_after, names, told};
use crate::support::{
    AblyClient, Client, Server,
    ably::{action, flag},
};

/// A server whose app `shared` has a key, and the key.
fn shared(adjust: impl FnOnce(&mut Config)) -> (Server, String) {
    let mut folder = None;
    let server = Server::start(|config| {
        config.ably.local_key = true;
        config.ably.keys_over_http = true;
        folder = Some(config.data.dir.clone());
        adjust(config);
    });
    let kept = folder.expect("a folder").join("ably-key.json");
    let kept = std::fs::read_to_string(kept).expect("the key is kept");
    let kept: Value = serde_json::from_str(&kept).expect("JSON");
    (server, kept["key"].as_str().expect("a key").to_owned())
}

/// `event` is the name, and data goes both ways.
#[tokio::test]
async fn they_see_each_others_messages() {
    let (server, key) = shared(|_| {});
    let mut page = Client::join(&server, "page:1", "demo1").await;
    for format in ["json", "msgpack"] {
        let query = format!("v=6&key={key}&clientId=ably&format={format}");
        let (mut ably, _) = AblyClient::connect_with(&server, &query).await;
        ably.attach("demo1").await;
        page.publish("demo1", "signal:all", json!({"type": "discover", "n": 1})).await;
        let frame = ably.expect(action::MESSAGE).await;
        let message = &frame["messages"][0];
        assert_eq!(message["name"], "signal:all");
        assert_eq!(message["encoding"], "json");
        let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).expect("JSON");
        assert_eq!(data, json!({"type": "discover", "n": 1, "from": "page:1"}));
        assert!(message["serial"].is_string());

        for (data, encoding, expected) in [
            (json!("{\"type\":\"hello\"}"), json!("json"), json!({"type": "hello"})),
            (json!("plain"), json!(null), json!("plain")),
        ] {
            let message = json!([{"name": "signal:page:1", "data": data, "encoding": encoding}]);
            let serial = ably.publish("demo1", message).await;
            ably.acked(serial).await;
            let received = page.next().await;
            assert_eq!(received["type"], "message");
            assert_eq!(received["channel"], "demo1");
            assert_eq!(received["event"], "signal:page:1");
            assert_eq!(received["data"], expected);
        }
    }
}

/// One Ably frame is as many messages of the page, those that it asks for.
#[tokio::test]
async fn several_messages_in_one_frame_and_the_names_that_a_page_wants() {
    let (server, key) = shared(|_| {});
    let mut page = Client::join(&server, "page:1", "demo1").await;
    let mut ably = AblyClient::connect(&server, &key).await;
    let messages = json!([
        {"name": "signal:page:1", "data": "a"}, {"name": "signal:other", "data": "b"},
        {"name": "signal:all", "data": "c"}, {"data": "d"}, {"name": "signal:page:1", "data": "e"},
    ]);
    let serial = ably.publish("demo1", messages).await;
    ably.acked(serial).await;
    let received = page.received_so_far().await;
    let data: Vec<&Value> = received.iter().map(|message| &message["data"]).collect();
    assert_eq!(data, ["a", "c", "e"], "{received:?}");
}

/// Presence, occupancy and ephemeral traffic of Ably clients is nothing that a page could read as a message of
/// its own; what is ephemeral is delivered.
#[tokio::test]
async fn what_a_page_does_not_hear() {
    let (server, key) = shared(|_| {});
    let mut page = Client::join(&server, "page:1", "demo1").await;
    let query = format!("v=6&key={key}&clientId=ably");
    let (mut ably, _) = AblyClient::connect_with(&server, &query).await;
    ably.attach("demo1").await;
    let serial = ably.presence("demo1", json!([{"action": 2}])).await;
    ably.acked(serial).await;
    assert!(page.received_so_far().await.is_empty());
    let ephemeral = json!([{"name": "signal:all", "data": "x", "extras": {"ephemeral": true}}]);
    let serial = ably.publish("demo1", ephemeral).await;
    ably.acked(serial).await;
    assert_eq!(page.next().await["data"], "x");
}

/// The rules of names and the cap hold for pages only; nor does an Ably client take a page's place.
#[tokio::test]
async fn the_rules_of_rooms_hold_for_pages_only() {
    let (server, key) = shared(|config| config.websocket.max_room_users = 2);
    let mut ably = AblyClient::connect(&server, &key).await;
    for channel in ["demo1", "x", "a very long name: with what pages may not use!"] {
        ably.attach(channel).await;
        let serial = ably.publish(channel, json!([{"name": "n"}])).await;
        ably.acked(serial).await;
    }
    let mut more = AblyClient::connect(&server, &key).await;
    more.attach("demo1").await;
    let mut pages = Vec::new();
    for user in ["a:1", "b:2"] {
        pages.push(Client::join(&server, user, "demo1").await);
    }
    // Full for pages, not for others.
    let mut late = Client::connect(&server, "c:3").await;
    late.send(json!({"type": "subscribe", "channel": "demo1", "event": "signal:all"})).await;
    let refusal = late.next().await;
    assert_eq!(refusal["type"], "error", "{refusal}");
    late.send(json!({"type": "subscribe", "channel": "x", "event": "signal:all"})).await;
    assert_eq!(late.next().await["type"], "error");
    AblyClient::connect(&server, &key).await.attach("demo1").await;
    assert!(pages[0].received_so_far().await.is_empty());
}

/// What a page publishes has a position, can be come back to, and is history.
#[tokio::test]
async fn messages_of_pages_are_kept_like_others() {
    let (server, key) = shared(|_| {});
    let mut page = Client::join(&server, "page:1", "demo1").await;
    let mut ably = AblyClient::connect(&server, &key).await;
    let start = ably.attach("demo1").await["channelSerial"].clone();
    page.publish("demo1", "signal:all", json!({"n": 1})).await;
    page.publish("demo1", "signal:all", json!({"n": 2})).await;
    let first = ably.expect(action::MESSAGE).await;
    ably.expect(action::MESSAGE).await;
    ably.cut();
    let mut again = AblyClient::connect(&server, &key).await;
    let attached = again.attach_with(attach_after("demo1", &start)).await;
    assert_eq!(told(&attached), flag::RESUMED | flag::HAS_BACKLOG);
    let missed = again.received_so_far().await;
    assert_eq!(names(&missed), ["signal:all", "signal:all"]);
    assert_eq!(missed[0], first);
}

/// Another app has rooms of the same names, which are other channels.
#[tokio::test]
async fn rooms_are_channels_of_one_app_only() {
    let (server, key) = shared(|config| config.ably.sandbox = true);
    let app = crate::support::TestApp::plain(&server).await;
    let mut page = Client::join(&server, "page:1", "demo1").await;
    let mut stranger = AblyClient::connect(&server, &app.keys[0]).await;
    stranger.attach("demo1").await;
    let mut ably = AblyClient::connect(&server, &key).await;
    for client in [&mut stranger, &mut ably] {
        let serial = client.publish("demo1", json!([{"name": "signal:all", "data": "x"}])).await;
        client.acked(serial).await;
    }
    assert_eq!(page.received_so_far().await.len(), 1);
    stranger.received_so_far().await;
    page.publish("demo1", "signal:all", json!({})).await;
    page.received_so_far().await;
    assert!(stranger.received_so_far().await.is_empty());
}
