//! §10: objects over a connection: what they are, what is done to them, and who may.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::stage::{EVERYTHING, PUBLISH_ONLY, SUBSCRIBE_ONLY, Stage, assert_error, told};
use crate::support::{
    AblyClient,
    ably::{action, binary, flag},
};

const CHANNEL: &str = "things";
const BOTH: u64 = flag::OBJECT_SUBSCRIBE | flag::OBJECT_PUBLISH;
const SITE: &str = "log";

/// A client that is attached with modes, and the OBJECT_SYNC that it got.
async fn attached(stage: &Stage, more: &str, modes: u64) -> (AblyClient, Vec<Value>) {
    let (mut client, connected) = stage.open(more).await;
    let details = &connected["connectionDetails"];
    assert_eq!((&details["siteCode"], &details["objectsGCGracePeriod"]), (&json!(SITE), &json!(86_400_000)));
    let attached = client.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "flags": modes})).await;
    let has_objects = modes & flag::OBJECT_SUBSCRIBE != 0;
    assert_eq!(told(&attached) & flag::HAS_OBJECTS != 0, has_objects, "{attached}");
    let objects = if has_objects { synced(&mut client).await } else { Vec::new() };
    (client, objects)
}

/// The objects of all OBJECT_SYNC that come now.
async fn synced(client: &mut AblyClient) -> Vec<Value> {
    let mut objects = Vec::new();
    loop {
        let page = client.expect(action::OBJECT_SYNC).await;
        let (_, cursor) = page["channelSerial"].as_str().and_then(|text| text.split_once(':')).expect("a cursor");
        objects.extend(page["state"].as_array().expect("a list").iter().map(|item| item["object"].clone()));
        if cursor.is_empty() {
            return objects;
        }
    }
}

async fn operate(client: &mut AblyClient, operations: Value) -> u64 {
    let operations = operations.as_array().expect("a list").iter().map(|operation| json!({"operation": operation}));
    client.push(action::OBJECT, "state", CHANNEL, operations.collect()).await
}

/// The serials of the next ACK, and the OBJECT that came before it, if the client hears itself.
async fn acked(client: &mut AblyClient) -> (Vec<Value>, Option<Value>) {
    let mut own = None;
    loop {
        let frame = client.next().await;
        if frame["action"] == action::ACK {
            return (frame["res"][0]["serials"].as_array().cloned().unwrap_or_default(), own);
        }
        own = (frame["action"] == action::OBJECT).then_some(frame).or(own);
    }
}

/// A create as clients write it.
fn create(kind: &str, initial: Value, nonce: &str) -> (String, Value) {
    let initial = initial.to_string();
    let hash = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(format!("{initial}:{nonce}")));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time").as_millis();
    let id = format!("{kind}:{hash}@{now}");
    let (action, field) = if kind == "map" { (0, "mapCreateWithObjectId") } else { (3, "counterCreateWithObjectId") };
    let operation = json!({"action": action, "objectId": id, field: {"initialValue": initial, "nonce": nonce}});
    (id, operation)
}

const NONCE: &str = "a-nonce-of-16-chars";

fn set(key: &str, value: Value) -> Value {
    json!({"action": 1, "objectId": "root", "mapSet": {"key": key, "value": value}})
}

fn of<'a>(objects: &'a [Value], id: &str) -> &'a Value {
    objects.iter().find(|object| object["objectId"] == id).unwrap_or_else(|| panic!("{id} in {objects:?}"))
}

/// In both formats: what is done is acknowledged by its serials and heard by all, itself included; who comes later gets what it
/// came to.
#[tokio::test]
async fn operations_are_acknowledged_heard_and_kept() {
    let stage = Stage::start().await;
    for format in ["json", "msgpack"] {
        let key = |name: &str| format!("{name}-{format}");
        let (mut alice, _) = attached(&stage, &format!("clientId=alice&format={format}"), BOTH).await;
        let (mut reader, _) = attached(&stage, &format!("format={format}"), flag::OBJECT_SUBSCRIBE).await;
        let (counter, create) = create("counter", json!({"count": 10}), &key(NONCE));
        let bytes = if format == "msgpack" { binary(&[1, 2]) } else { json!("AQI=") };
        operate(
            &mut alice,
            json!([
                create,
                set(&key("counter"), json!({"objectId": counter})),
                {"action": 4, "objectId": counter, "counterInc": {"number": 2.5}},
                set(&key("json"), json!({"json": "[1]"})),
                set(&key("bytes"), json!({"bytes": bytes})),
            ]),
        )
        .await;
        let (serials, own) = acked(&mut alice).await;
        let own = own.expect("its own operations");
        let heard = reader.expect(action::OBJECT).await;
        for frame in [&own, &heard] {
            let items = frame["state"].as_array().expect("a list");
            let of_items: Vec<_> = items.iter().map(|item| item["serial"].clone()).collect();
            assert_eq!(of_items, serials);
            for item in items {
                assert_eq!((&item["siteCode"], &item["clientId"]), (&json!(SITE), &json!("alice")), "{item}");
                assert!(item["id"].is_string() && item["serialTimestamp"].is_u64() && item["connectionId"].is_string());
            }
            assert_eq!(items[0]["operation"]["counterCreate"], json!({"count": 10}), "{frame}");
            assert_eq!(items[2]["operation"]["counterInc"], json!({"number": 2.5}), "{frame}");
            assert_eq!(items[4]["operation"]["mapSet"]["value"], json!({"bytes": bytes}), "{frame}");
        }
        let (_, objects) = attached(&stage, &format!("format={format}"), flag::OBJECT_SUBSCRIBE).await;
        let kept = of(&objects, &counter);
        // §10.5: the first value stands apart.
        assert_eq!(kept["counter"]["count"], 2.5, "{kept}");
        assert_eq!(kept["createOp"]["counterCreate"]["count"], 10, "{kept}");
        assert_eq!(kept["siteTimeserials"], json!({ SITE: serials[2] }), "{kept}");
        let entry = &of(&objects, "root")["map"]["entries"][key("json")];
        assert_eq!(*entry, json!({"timeserial": serials[3], "data": {"json": "[1]"}}));
    }
}

/// §10.5: large maps come in several pages, with each entry once, and removed ones among them.
#[tokio::test]
async fn a_large_map_comes_page_by_page() {
    let stage = Stage::start().await;
    let (mut alice, _) = attached(&stage, "", BOTH).await;
    for number in 0..5 {
        let serial =
            operate(&mut alice, json!([set(&format!("k{number}"), json!({"string": "x".repeat(50_000)}))])).await;
        alice.acked(serial).await;
    }
    let serial = operate(&mut alice, json!([{"action": 2, "objectId": "root", "mapRemove": {"key": "k0"}}])).await;
    alice.acked(serial).await;
    let (_, objects) = attached(&stage, "", flag::OBJECT_SUBSCRIBE).await;
    let keys: Vec<_> =
        objects.iter().flat_map(|part| part["map"]["entries"].as_object().expect("entries").keys()).collect();
    assert_eq!(keys, ["k0", "k1", "k2", "k3", "k4"]);
    assert!(objects.len() >= 3, "{} parts", objects.len());
    let removed = &objects[0]["map"]["entries"]["k0"];
    assert!(
        removed["tombstone"] == true && removed["serialTimestamp"].is_u64() && removed["data"].is_null(),
        "{removed}"
    );
}

/// §2.4, §10.4: capability and mode; without the echo a client hears others only.
#[tokio::test]
async fn who_may_not_is_refused_and_who_did_not_ask_hears_nothing() {
    let stage = Stage::start().await;
    let increment = json!([{"action": 4, "objectId": "counter:a@1", "counterInc": {"number": 1}}]);
    for (key, code) in [(SUBSCRIBE_ONLY, 40160), (PUBLISH_ONLY, 40160)] {
        let (mut client, _) = AblyClient::connect_with(&stage.server, &stage.query(key)).await;
        let serial = operate(&mut client, increment.clone()).await;
        client.nacked(serial, code).await;
    }
    let (mut listener, _) = attached(&stage, "", flag::OBJECT_SUBSCRIBE).await;
    let serial = operate(&mut listener, increment.clone()).await;
    listener.nacked(serial, 40165).await;
    // Who has not attached may publish; who did not ask for the mode hears nothing.
    let (mut plain, _) = attached(&stage, "", flag::SUBSCRIBE | flag::OBJECT_PUBLISH).await;
    let (mut silent, _) = attached(&stage, "echo=false", BOTH).await;
    let mut transient = AblyClient::connect(&stage.server, &stage.app.keys[EVERYTHING]).await;
    let serial = operate(&mut transient, increment.clone()).await;
    transient.acked(serial).await;
    silent.expect(action::OBJECT).await;
    operate(&mut silent, increment).await;
    assert_eq!(acked(&mut silent).await.1, None, "its own operations");
    for _ in 0..2 {
        listener.expect(action::OBJECT).await;
    }
    assert_eq!(plain.received_so_far().await, Vec::<Value>::new());
    // What shows that nothing else came attaches again, and is sent the objects.
    let frames = silent.received_so_far().await;
    assert!(frames.iter().all(|frame| frame["action"] == action::OBJECT_SYNC), "{frames:?}");
}

/// §13: what is wrong is refused with its code, nothing of its frame is done, and the connection goes on.
#[tokio::test]
async fn what_is_wrong_is_refused_and_nothing_is_done() {
    let stage = Stage::start().await;
    let (mut client, _) = attached(&stage, "", BOTH).await;
    let (map, create_map) = create("map", json!({"semantics": 0, "entries": {}}), NONCE);
    let serial = operate(&mut client, json!([create_map])).await;
    client.acked(serial).await;
    let (_, other) = create("map", json!({}), "another-nonce-of-some-length");
    let forged = |change: fn(&mut Value)| {
        let mut operation = other.clone();
        change(&mut operation);
        operation
    };
    let long = "x".repeat(70_000);
    for (operation, code) in [
        (json!({"action": 5, "objectId": map, "objectDelete": {}}), 92000),
        (json!({"action": 7, "objectId": map}), 92000),
        (json!({"action": 1, "objectId": map}), 92000),
        (json!({"action": 1, "mapSet": {"key": "a", "value": {"number": 1}}}), 92000),
        (json!({"action": 1, "objectId": "x", "mapSet": {"key": "a", "value": {"number": 1}}}), 92000),
        (json!({"action": 4, "objectId": map, "counterInc": {"number": 1}}), 92000),
        (json!({"action": 4, "objectId": "counter:a@1", "counterInc": {}}), 92000),
        (json!({"action": 1, "objectId": map, "mapSet": {"value": {"number": 1}}}), 92000),
        (set("a", json!({})), 92000),
        (set("a", json!({"number": 1, "string": "x"})), 92000),
        (set("a", json!({"json": "{"})), 92000),
        (set("a", json!({"objectId": "nothing"})), 92000),
        (set("a", json!({"bytes": "§"})), 40013),
        (json!({"action": 0, "objectId": map, "mapCreate": {"semantics": 0, "entries": {}}}), 92000),
        (forged(|operation| operation["action"] = json!(3)), 92000),
        (forged(|operation| operation["objectId"] = json!("map:AAAA@1700000000000")), 92000),
        (forged(|operation| operation["mapCreateWithObjectId"]["nonce"] = json!("short")), 92000),
        (forged(|operation| operation["mapCreateWithObjectId"]["initialValue"] = json!("{")), 92000),
        (set("a", json!({"string": long})), 40009),
        (json!({"action": 1, "objectId": map, "mapSet": {"key": 5}}), 40001),
        (json!({"action": "x", "objectId": map}), 40001),
    ] {
        let good = set("good", json!({"boolean": true}));
        let serial = operate(&mut client, json!([good, operation])).await;
        let nack = client.nacked(serial, code).await;
        let status = if code == 40009 { 413 } else { 400 };
        assert_error(&nack, code, status);
        assert!(nack["error"]["message"].as_str().is_some_and(|text| text.len() > 20), "{nack}");
    }
    let serial = operate(&mut client, json!([])).await;
    client.acked(serial).await;
    let (_, objects) = attached(&stage, "", flag::OBJECT_SUBSCRIBE).await;
    assert_eq!(of(&objects, "root")["map"]["entries"], json!({}), "nothing of these frames is done");
}

/// §4.5: a frame that comes again after a resume is acknowledged again, and done once.
#[tokio::test]
async fn what_is_sent_again_is_done_once() {
    let stage = Stage::start().await;
    let (mut client, connected) = stage.open("").await;
    client.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "flags": BOTH})).await;
    synced(&mut client).await;
    let operations = json!([{"operation": {"action": 4, "objectId": "counter:a@1", "counterInc": {"number": 1}}}]);
    let serial = client.push(action::OBJECT, "state", CHANNEL, operations.clone()).await;
    let (serials, _) = acked(&mut client).await;
    client.cut();
    let key = connected["connectionDetails"]["connectionKey"].as_str().expect("a key");
    let (mut client, _) = stage.open(&format!("resume={key}")).await;
    client.push_again(serial, action::OBJECT, "state", CHANNEL, operations).await;
    assert_eq!(acked(&mut client).await.0, serials);
    let (_, objects) = attached(&stage, "", flag::OBJECT_SUBSCRIBE).await;
    assert_eq!(of(&objects, "counter:a@1")["counter"]["count"], 1);
}

/// docs/architecture.md §6a: objects are written page by page as the socket takes them, so a client may attach to as many channels at once
/// as it likes, whatever they come to together: here three times what is kept for it.
#[tokio::test]
async fn many_attaches_to_large_channels_at_once() {
    const KEPT: usize = 1 << 20;
    let stage = Stage::with(|config| config.limits.client_memory = KEPT).await;
    let mut alice = stage.anybody().await;
    let channels: Vec<String> = (0..5).map(|number| format!("large{number}")).collect();
    for channel in &channels {
        let attach = json!({"action": action::ATTACH, "channel": channel, "flags": flag::OBJECT_PUBLISH});
        alice.attach_with(attach).await;
        for number in 0..10 {
            let operation = json!({"operation": set(&format!("k{number}"), json!({"string": "x".repeat(60_000)}))});
            let serial = alice.push(action::OBJECT, "state", channel, json!([operation])).await;
            alice.acked(serial).await;
        }
    }
    let mut reader = stage.anybody().await;
    for channel in &channels {
        reader.send(json!({"action": action::ATTACH, "channel": channel, "flags": flag::OBJECT_SUBSCRIBE})).await;
    }
    let mut read = std::collections::BTreeMap::<String, usize>::new();
    let mut ended = 0;
    while ended < channels.len() {
        let frame = reader.next().await;
        if frame["action"] != action::OBJECT_SYNC {
            assert_eq!(frame["action"], action::ATTACHED, "{frame}");
            continue;
        }
        let channel = frame["channel"].as_str().expect("a name").to_owned();
        let items = frame["state"].as_array().expect("a list");
        *read.entry(channel).or_default() += items
            .iter()
            .map(|item| item["object"]["map"]["entries"].as_object().map_or(0, |map| map.len()))
            .sum::<usize>();
        ended += usize::from(frame["channelSerial"].as_str().is_some_and(|serial| serial.ends_with(':')));
    }
    assert_eq!(read.into_iter().collect::<Vec<_>>(), channels.into_iter().map(|name| (name, 10)).collect::<Vec<_>>());
}
