//! How many channels there may be, and what their messages may cost (docs/architecture.md §6a): who fills up what there is
//! is refused alone, and what nobody is attached to goes first.

use letshare_server::config::Protocol;
use serde_json::{Value, json};

use crate::support::{AblyClient, Client, Http, Server, TestApp, ably::action, eventually};

/// A back end that publishes.
struct BackEnd {
    http: Http<tokio::net::TcpStream>,
    key: String,
}

impl BackEnd {
    async fn of(server: &Server, app: &TestApp) -> Self {
        Self { http: Http::connect(server).await, key: app.keys[0].clone() }
    }

    async fn publish(&mut self, channel: &str, data: &str) -> u16 {
        let target = format!("/channels/{channel}/messages?key={}", self.key);
        self.http.post(&target, &[], &json!({"name": "n", "data": data}).to_string()).await.status
    }

    /// How many messages of a channel are kept.
    async fn kept(&mut self, channel: &str) -> usize {
        let target = format!("/channels/{channel}/messages?limit=1000&key={}", self.key);
        self.http.ask("GET", &target, &[]).await.json().as_array().expect("a page").len()
    }
}

async fn apps(server: &Server) -> [TestApp; 2] {
    [TestApp::plain(server).await, TestApp::plain(server).await]
}

async fn channels(server: &Server) -> u64 {
    let page = Http::connect(server).await.ask("GET", "/metrics", &[]).await;
    page.json()["websocket"]["total_rooms"].as_u64().expect("a figure")
}

/// findings B4: a back end that publishes to fresh names is not refused, and takes nothing from others; who comes back to a
/// channel of which the messages are gone is told so.
#[tokio::test]
async fn fresh_names_make_room_for_each_other() {
    let server = Server::sandbox(|config| config.limits.channels = 20);
    let [flooding, other] = apps(&server).await;
    let key = &flooding.keys[0];
    let mut client = AblyClient::connect(&server, key).await;
    client.attach("left").await;
    client.publish("left", json!([{"name": "seen"}])).await;
    let seen = client.expect(action::MESSAGE).await["channelSerial"].clone();
    client.cut();
    let mut guests = Vec::new();
    for number in 0..5 {
        let mut guest = AblyClient::connect(&server, &other.keys[0]).await;
        guest.attach(&format!("room {number}")).await;
        guests.push(guest);
    }

    let mut back_end = BackEnd::of(&server, &flooding).await;
    for number in 0..200 {
        assert_eq!(back_end.publish(&format!("fresh{number}"), "x").await, 201);
    }
    for (number, guest) in guests.iter_mut().enumerate() {
        guest.publish(&format!("room {number}"), json!([{"name": "still here"}])).await;
        guest.expect(action::MESSAGE).await;
    }
    assert_eq!(back_end.kept("fresh199").await, 1);
    assert_eq!(back_end.kept("fresh0").await, 0);
    eventually(async || (channels(&server).await <= 20).then_some(())).await;

    let mut late = AblyClient::connect(&server, key).await;
    let attached = late.attach_with(json!({"action": action::ATTACH, "channel": "left", "channelSerial": seen})).await;
    assert_eq!(attached["error"]["statusCode"], 404, "an explicit break: {attached}");
}

/// findings B4: of channels that somebody is attached to, one app has at most its share, and is told so.
#[tokio::test]
async fn an_app_with_its_share_of_channels_is_refused_alone() {
    let server = Server::sandbox(|config| {
        config.limits.channels = 8;
        config.limits.app_share = 50;
    });
    let [greedy, other] = apps(&server).await;
    let mut client = AblyClient::connect(&server, &greedy.keys[0]).await;
    for number in 0..4 {
        client.attach(&format!("c{number}")).await;
    }
    client.send(json!({"action": action::ATTACH, "channel": "c4"})).await;
    let refused = client.expect(action::ERROR).await;
    assert_eq!(refused["error"]["code"], 42910, "{refused}");
    let told = refused["error"]["message"].to_string();
    assert!(told.contains("4 channels") && told.contains("limits.app_share"), "{told}");
    assert_eq!(BackEnd::of(&server, &greedy).await.publish("c5", "x").await, 429);
    let mut guest = AblyClient::connect(&server, &other.keys[0]).await;
    for number in 0..4 {
        guest.attach(&format!("c{number}")).await;
    }
}

/// findings B4: nor does anybody keep others out who takes other names all the time: a relay user without credentials, and a
/// page that goes from room to room.
#[tokio::test]
async fn names_that_were_left_keep_nobody_out() {
    let server = Server::start(|config| {
        config.limits.channels = 10;
        config.limits.publishes_per_second = 0;
        config.relay.enabled = true;
        config.relay.api_key = "a key of the test".to_owned().into();
    });
    let url = format!("ws://{}/relay/ws", server.address_of(Protocol::Relay));
    let mut relay = Client::try_connect(&url, "nobody").await.expect("the handshake succeeds");
    for number in 0..100 {
        relay.send(json!({"event": "identify", "data": {"token": format!("u{number}")}})).await;
    }
    let mut page = Client::connect(&server, "a:1").await;
    for number in 0..100 {
        let room = format!("room {number}");
        page.subscribe(&room, "signal:all").await;
        page.send(json!({"type": "unsubscribe", "channel": room, "event": "signal:all"})).await;
        assert_eq!(page.next().await["type"], "unsubscribed");
    }
    let mut guest = Client::join(&server, "b:2", "demo1").await;
    page.subscribe("demo1", "signal:all").await;
    page.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert_eq!(guest.next().await["data"]["n"], Value::from(1));
}

/// findings B4: messages of an app cost that app: its own channels give theirs up, and what others keep stays.
#[tokio::test]
async fn messages_that_nobody_is_attached_to_are_paid_by_their_app() {
    const MIB: usize = 1 << 20;
    let server = Server::sandbox(|config| {
        config.history.channel_bytes = MIB;
        config.history.total_bytes = 4 * MIB;
    });
    let [flooding, other] = apps(&server).await;
    let mut quiet = BackEnd::of(&server, &other).await;
    let message = "x".repeat(60_000);
    for _ in 0..5 {
        assert_eq!(quiet.publish("kept", &message[..20_000]).await, 201);
    }
    let mut back_end = BackEnd::of(&server, &flooding).await;
    for number in 0..200 {
        assert_eq!(back_end.publish(&format!("fresh{number}"), &message).await, 201);
    }
    let kept = Http::connect(&server).await.ask("GET", "/metrics", &[]).await.json()["kept"]["window"].clone();
    assert!(kept.as_u64().is_some_and(|kept| kept <= 4 * MIB as u64), "{kept}");
    assert_eq!(quiet.kept("kept").await, 5, "what others keep stays");
    assert_eq!((back_end.kept("fresh199").await, back_end.kept("fresh0").await), (1, 0));
}
