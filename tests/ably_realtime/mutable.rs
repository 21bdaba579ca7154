//! §9.1, §9.2, §9.4: updates, deletes and appends over a connection.

use serde_json::{Value, json};

use super::stage::attach_after;
use crate::support::{AblyClient, Server, TestApp, ably::action};

const CHANNEL: &str = "mutable:room";

struct Stage {
    server: Server,
    app: TestApp,
}

impl Stage {
    async fn start() -> Self {
        let server = Server::sandbox(|_| {});
        let own = r#"{"*":["publish","subscribe","history","message-update-own","message-delete-own"]}"#;
        let setup = json!({
            "keys": [{}, {"capability": own}, {"capability": r#"{"*":["publish","subscribe"]}"#}],
            "namespaces": [{"id": "mutable", "mutableMessages": true}],
        });
        let app = TestApp::create(&server, setup).await;
        Self { server, app }
    }

    async fn open(&self, key: usize, more: &str) -> AblyClient {
        AblyClient::connect_with(&self.server, &format!("v=6&key={}{more}", self.app.keys[key])).await.0
    }

    async fn attached(&self, key: usize, more: &str) -> AblyClient {
        let mut client = self.open(key, more).await;
        client.attach(CHANNEL).await;
        client
    }
}

/// The serials of the next ACK, which answers `serial`.
async fn serials(client: &mut AblyClient, serial: u64) -> Vec<String> {
    loop {
        let frame = client.next().await;
        if frame["action"] == action::ACK {
            assert_eq!(frame["msgSerial"], serial, "{frame}");
            let serials = frame["res"][0]["serials"].as_array().expect("serials");
            return serials.iter().map(|serial| serial.as_str().expect("a serial").to_owned()).collect();
        }
        assert_eq!(frame["action"], action::MESSAGE, "{frame}");
    }
}

async fn publish(client: &mut AblyClient, message: Value) -> String {
    let serial = client.publish(CHANNEL, json!([message])).await;
    serials(client, serial).await.remove(0)
}

/// The one message of the next MESSAGE frame.
async fn heard(client: &mut AblyClient) -> Value {
    let frame = client.expect(action::MESSAGE).await;
    frame["messages"][0].clone()
}

/// Of messages: action and data.
fn said(messages: &[Value]) -> Vec<(u64, &str)> {
    let action = |at: usize| messages[at]["action"].as_u64().unwrap_or_default();
    let data = |at: usize| messages[at]["data"].as_str().unwrap_or_default();
    (0..messages.len()).map(|at| (action(at), data(at))).collect()
}

fn messages(frames: Vec<Value>) -> Vec<Value> {
    frames
        .into_iter()
        .filter(|frame| frame["action"] == action::MESSAGE)
        .map(|frame| frame["messages"][0].clone())
        .collect()
}

/// T49 to T51, in both formats: what is not said stays, extras are replaced as a whole, the message stays who it was.
#[tokio::test]
async fn an_update_and_a_delete_bring_the_whole_message() {
    let stage = Stage::start().await;
    for format in ["json", "msgpack"] {
        let mut alice = stage.attached(0, &format!("&clientId=alice&format={format}")).await;
        let mut bob = stage.open(0, &format!("&clientId=bob&format={format}")).await;
        let original =
            json!({"name": "greet", "data": "hi", "extras": {"headers": {"a": 1}}, "id": format!("own id {format}")});
        let serial = publish(&mut alice, original).await;
        let version = json!({"description": "typo", "metadata": {"why": "x"}});
        let update = json!({"action": 1, "serial": serial, "data": "hello", "version": version});
        let created = alice.received_so_far().await;
        let created = messages(created);
        let update_serial = publish(&mut bob, update).await;
        assert!(update_serial > serial, "{update_serial} {serial}");
        let updated = heard(&mut alice).await;
        assert_eq!(updated["version"]["serial"], json!(update_serial));
        for (key, value) in [
            ("action", json!(1)),
            ("serial", json!(serial)),
            ("id", json!(format!("own id {format}"))),
            ("name", json!("greet")),
            ("data", json!("hello")),
            ("clientId", json!("alice")),
            ("extras", json!({"headers": {"a": 1}})),
        ] {
            assert_eq!(updated[key], value, "{key}: {updated}");
        }
        assert!(updated["connectionId"].is_string() && created.len() <= 1);
        let said = &updated["version"];
        assert_eq!((&said["clientId"], &said["description"]), (&json!("bob"), &json!("typo")));
        assert_eq!(said["metadata"], json!({"why": "x"}));
        assert!(said["timestamp"].as_u64() > updated["timestamp"].as_u64(), "{updated}");

        publish(&mut bob, json!({"action": 2, "serial": serial, "extras": {"ref": {"type": "x"}}})).await;
        let deleted = heard(&mut alice).await;
        assert_eq!(
            (&deleted["action"], &deleted["data"]),
            (&json!(2), &json!("hello")),
            "a delete keeps what it is not given"
        );
        assert_eq!(deleted["extras"], json!({"ref": {"type": "x"}}));
        assert!(deleted["version"]["serial"].as_str() > Some(&update_serial));
    }
}

/// T52: the fragment for who has what came before it, else the whole message, as an update.
#[tokio::test]
async fn an_append_comes_as_a_fragment_or_whole() {
    let stage = Stage::start().await;
    let mut alice = stage.attached(0, "").await;
    let mut bob = stage.open(0, "").await;
    let serial = publish(&mut bob, json!({"name": "story", "data": "once "})).await;
    let append = |data: &str| json!({"action": 5, "serial": serial, "data": data});
    publish(&mut bob, append("upon ")).await;
    let mut late = stage.attached(0, "").await;
    let mut full = stage.open(0, "").await;
    full.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "params": {"appendMode": "full"}})).await;
    publish(&mut bob, append("a ")).await;
    publish(&mut bob, append("")).await;
    publish(&mut bob, append("time")).await;
    let fragments = messages(alice.received_so_far().await);
    assert_eq!(said(&fragments), [(0, "once "), (5, "upon "), (5, "a "), (5, ""), (5, "time")]);
    for message in &fragments[1..] {
        assert_eq!(message["timestamp"], fragments[1]["timestamp"]);
        assert_eq!((&message["serial"], &message["name"]), (&json!(serial), &json!("story")));
    }
    let whole = messages(late.received_so_far().await);
    assert_eq!(said(&whole), [(1, "once upon a "), (5, ""), (5, "time")]);
    let mut wholes = Vec::new();
    for _ in 0..3 {
        wholes.push(heard(&mut full).await);
    }
    assert_eq!(said(&wholes), [(1, "once upon a "), (1, "once upon a "), (1, "once upon a time")]);

    // The last version once, and from there fragments.
    let mut rewound = stage.open(0, "").await;
    let rewind = json!({"action": action::ATTACH, "channel": CHANNEL, "params": {"rewind": "5"}});
    rewound.attach_with(rewind).await;
    publish(&mut bob, append("!")).await;
    assert_eq!(said(&messages(rewound.received_so_far().await)), [(1, "once upon a time"), (5, "!")]);
}

/// Who comes back to where it was gets all that it has missed, the first append of a message whole.
#[tokio::test]
async fn a_resume_goes_on_with_every_version() {
    let stage = Stage::start().await;
    let mut alice = stage.attached(0, "").await;
    let mut bob = stage.open(0, "").await;
    let serial = publish(&mut bob, json!({"data": "a"})).await;
    let position = alice.expect(action::MESSAGE).await["channelSerial"].clone();
    for (action, data) in [(5, "b"), (5, "c"), (1, "x"), (5, "y")] {
        publish(&mut bob, json!({"action": action, "serial": serial, "data": data})).await;
    }
    let live = messages(alice.received_so_far().await);
    assert_eq!(said(&live), [(5, "b"), (5, "c"), (1, "x"), (5, "y")]);
    let mut again = stage.open(0, "").await;
    again.attach_with(attach_after(CHANNEL, &position)).await;
    assert_eq!(said(&messages(again.received_so_far().await)), [(1, "ab"), (5, "c"), (1, "x"), (5, "y")]);
}

/// A subscription that does not get everything gets appends whole: what is its own it has not heard.
#[tokio::test]
async fn who_hears_only_some_messages_gets_appends_whole() {
    let stage = Stage::start().await;
    let mut silent = stage.attached(0, "&echo=false").await;
    let mut bob = stage.open(0, "").await;
    let serial = publish(&mut silent, json!({"name": "x", "data": "a"})).await;
    publish(&mut bob, json!({"action": 5, "serial": serial, "data": "b"})).await;
    publish(&mut silent, json!({"action": 5, "serial": serial, "data": "c"})).await;
    publish(&mut bob, json!({"action": 5, "serial": serial, "data": "d"})).await;
    let heard = messages(silent.received_so_far().await);
    assert_eq!(said(&heard).last(), Some(&(1, "abcd")));
}

/// §9.1: who may change what, and what is refused.
#[tokio::test]
async fn wrong_operations_are_refused_each_with_its_error() {
    let stage = Stage::start().await;
    let mut anybody = stage.open(0, "").await;
    let mut alice = stage.open(1, "&clientId=alice").await;
    let mut anonymous = stage.open(1, "").await;
    let mut reader = stage.open(2, "&clientId=alice").await;
    let foreign = publish(&mut anybody, json!({"data": "x"})).await;
    let own = publish(&mut alice, json!({"data": "x"})).await;
    let binary = publish(&mut anybody, json!({"data": "AAE=", "encoding": "base64"})).await;
    publish(&mut alice, json!({"action": 1, "serial": own, "data": "y"})).await;

    let update = |serial: &str| json!({"action": 1, "serial": serial, "data": "y"});
    for (client, code, message) in [
        (&mut alice, 40160, update(&foreign)),
        (&mut reader, 40160, update(&own)),
        (&mut anonymous, 40166, update(&foreign)),
        (&mut anybody, 40003, json!({"action": 1, "data": "y"})),
    ] {
        let serial = client.publish(CHANNEL, json!([message])).await;
        client.nacked(serial, code).await;
    }
    let unknown = foreign.replace(":000", ":007");
    let long = "x".repeat(70_000);
    for (code, messages) in [
        (40003, json!([update("nonsense")])),
        (40400, json!([update(&unknown)])),
        (40013, json!([{"action": 5, "serial": binary, "data": "text"}])),
        (40013, json!([{"action": 5, "serial": foreign, "data": "AAE=", "encoding": "base64"}])),
        (40013, json!([{"action": 5, "serial": foreign, "data": "1", "encoding": "json"}])),
        (40009, json!([{"action": 1, "serial": foreign, "data": long}])),
        (40003, json!([{"action": 1, "serial": foreign, "version": "x"}])),
        (40003, json!([{"action": 1, "serial": foreign, "version": {"metadata": "x"}}])),
        (40012, json!([{"action": 1, "serial": foreign, "version": {"clientId": ""}}])),
        (40000, json!([{"action": 4, "serial": foreign}])),
        (40000, json!([update(&foreign), {"data": "z"}])),
        (40032, json!([{"action": 1, "serial": foreign, "extras": {"headers": 1}}])),
    ] {
        let serial = anybody.publish(CHANNEL, messages).await;
        anybody.nacked(serial, code).await;
    }
    // The namespace does not allow it.
    let serial = anybody.publish("plain", json!([update(&foreign)])).await;
    anybody.nacked(serial, 93002).await;
    // Nothing of all that has become anything.
    let mut last = stage.open(0, "").await;
    last.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "params": {"rewind": "9"}})).await;
    assert_eq!(said(&messages(last.received_so_far().await)), [(0, "x"), (0, "AAE="), (1, "y")]);
}

/// §4.5: what comes again after a resume is done once.
#[tokio::test]
async fn an_operation_that_is_sent_again_is_done_once() {
    let stage = Stage::start().await;
    let (mut bob, connected) = AblyClient::connect_with(&stage.server, &format!("v=6&key={}", stage.app.keys[0])).await;
    let serial = publish(&mut bob, json!({"data": "a"})).await;
    let append = json!([{"action": 5, "serial": serial, "data": "b"}]);
    let number = bob.publish(CHANNEL, append.clone()).await;
    let first = serials(&mut bob, number).await;
    bob.cut();
    let key = connected["connectionDetails"]["connectionKey"].as_str().expect("a key").to_owned();
    let query = format!("v=6&key={}&resume={key}", stage.app.keys[0]);
    let (mut again, _) = AblyClient::connect_with(&stage.server, &query).await;
    again.push_again(number, action::MESSAGE, "messages", CHANNEL, append).await;
    assert_eq!(serials(&mut again, number).await, first);
    let mut reader = stage.open(0, "").await;
    reader.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "params": {"rewind": "1"}})).await;
    assert_eq!(said(&messages(reader.received_so_far().await)), [(1, "ab")]);
}

/// Appends without a pause between them, of two clients: the order is one, and the text is whole.
#[tokio::test]
async fn a_stream_of_appends_is_one_text_for_everybody() {
    const COUNT: usize = 200;
    let stage = Stage::start().await;
    let mut reader = stage.attached(0, "").await;
    let (mut bob, mut eve) = (stage.open(0, "").await, stage.open(0, "").await);
    let serial = publish(&mut bob, json!({"data": ""})).await;
    let mut last = [0; 2];
    for number in 0..COUNT {
        for (who, client) in [&mut bob, &mut eve].into_iter().enumerate() {
            let data = format!("{who}.{number} ");
            last[who] = client.publish(CHANNEL, json!([{"action": 5, "serial": serial, "data": data}])).await;
        }
    }
    bob.acked(last[0]).await;
    eve.acked(last[1]).await;
    let text: String = said(&messages(reader.received_so_far().await)).iter().map(|(_, data)| *data).collect();
    let mut late = stage.open(0, "").await;
    late.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "params": {"rewind": "1"}})).await;
    assert_eq!(said(&messages(late.received_so_far().await)), [(1, text.as_str())]);
    for who in 0..2 {
        let own: Vec<String> =
            text.split(' ').filter(|part| part.starts_with(&who.to_string())).map(str::to_owned).collect();
        assert_eq!(own, (0..COUNT).map(|number| format!("{who}.{number}")).collect::<Vec<_>>());
    }
}
