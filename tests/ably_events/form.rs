//! How events are written: server-sent, as lines, with and without an envelope.

use serde_json::{Value, json};

use super::server_sent::{Event, Events};
use crate::{
    ably_comet::Lines,
    ably_realtime::stage::{META, SUBSCRIBE_ONLY, Stage},
    support::ably::{action, binary},
};

/// The envelope of a message is the message as history gives it, with its channel; the id is where to go on.
#[tokio::test]
async fn golden_events() {
    let stage = Stage::start().await;
    let mut events = Events::open(&stage, "channels=room").await;
    let (mut alice, connected) = stage.open("clientId=alice&format=msgpack").await;
    alice.attach("room").await;
    let messages = json!([
        {"name": "greet", "data": "{\"a\":1}", "encoding": "json", "extras": {"headers": {"k": "v"}}},
        {"name": "bytes", "data": binary(&[0xde, 0xad])},
    ]);
    alice.publish("room", messages).await;
    let frame = alice.expect(action::MESSAGE).await;
    let connection = connected["connectionId"].as_str().unwrap();
    let (serial, timestamp) = (frame["channelSerial"].as_str().unwrap(), &frame["timestamp"]);
    let [first, second] = [events.next().await, events.next().await];
    assert_eq!((&*first.kind, first.id), ("message", None), "who breaks off here has not got all of it");
    let expected = format!(
        r#"{{"id":"{connection}:0:0","name":"greet","data":"{{\"a\":1}}","encoding":"json","clientId":"alice","connectionId":"{connection}","timestamp":{timestamp},"serial":"{serial}:000","action":0,"extras":{{"headers":{{"k":"v"}}}},"channel":"room"}}"#
    );
    assert_eq!(first.data, expected);
    assert_eq!((&*second.kind, second.id), ("message", Some(format!("{}:{serial}", events.connection))));
    let second: Value = serde_json::from_str(&second.data).unwrap();
    assert_eq!((&second["data"], &second["encoding"]), (&json!("3q0="), &json!("base64")));
    alice.presence("room", json!([{"action": 2, "data": "hi"}])).await;
    let enter = events.next().await;
    assert_eq!(enter.kind, "presence");
    let enter: Value = serde_json::from_str(&enter.data).unwrap();
    assert_eq!((&enter["action"], &enter["clientId"], &enter["channel"]), (&json!(2), &json!("alice"), &json!("room")));
}

/// The payload alone, in as many lines as it has.
#[tokio::test]
async fn without_an_envelope_there_is_the_payload() {
    let stage = Stage::start().await;
    let mut events = Events::open(&stage, "channels=room&enveloped=false").await;
    let mut lines = Lines::open(
        stage.server.address,
        &Events::target(&stage, "/event-stream", "channels=room&enveloped=false"),
        "",
    )
    .await;
    assert_eq!(lines.line().await.as_deref(), Some(""));
    let mut alice = stage.anybody().await;
    for (sent, read) in [
        (json!({"data": "one\ntwo\r\nthree\rfour"}), "one\ntwo\nthree\nfour"),
        (json!({"data": "id: x\nevent: y\n\n: z"}), "id: x\nevent: y\n\n: z"),
        (json!({"data": "grüße 👋"}), "grüße 👋"),
        (json!({"data": "{\"a\":1}", "encoding": "json"}), "{\"a\":1}"),
        (json!({"data": "3q0=", "encoding": "base64"}), "3q0="),
        (json!({"name": "nothing"}), ""),
    ] {
        alice.publish("room", json!([sent])).await;
        let event = events.next().await;
        assert_eq!((&*event.kind, &*event.data), ("message", read));
        let line: Value = serde_json::from_str(&lines.line().await.expect("a line")).unwrap();
        assert_eq!(line.get("data"), sent.get("data"), "{line}");
    }
}

/// `/event-stream` gives lines of JSON to whoever does not ask for server-sent events.
#[tokio::test]
async fn event_stream_gives_lines_or_events() {
    let stage = Stage::start().await;
    let target = Events::target(&stage, "/event-stream", "channel=room");
    let mut lines = Lines::open(stage.server.address, &target, "").await;
    assert!(lines.head.contains("content-type: application/json\r\n"), "{}", lines.head);
    assert_eq!(lines.line().await.as_deref(), Some(""), "an empty line keeps it alive");
    let mut events = Events::at(&stage, &target, "Accept: text/event-stream\r\n").await;
    let serial = {
        let mut alice = stage.anybody().await;
        alice.attach("room").await;
        alice.publish("room", json!([{"name": "x", "data": "y"}])).await;
        alice.expect(action::MESSAGE).await["channelSerial"].clone()
    };
    let line = lines.line().await.expect("a line");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["event"], &line["data"]["name"], &line["data"]["channel"]),
        (&json!("message"), &json!("x"), &json!("room"))
    );
    assert!(line["id"].as_str().unwrap().ends_with(serial.as_str().unwrap()), "{line}");
    let event = events.next().await;
    assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), line["data"]);
    assert!(event.id.unwrap().ends_with(serial.as_str().unwrap()));
}

/// The comment, or an event for whoever asks for it; by then at the latest.
#[tokio::test]
async fn an_idle_stream_is_kept_alive() {
    let stage = Stage::start().await;
    let mut plain = Events::open(&stage, "channels=room").await.begun().await;
    let mut asked = Events::open(&stage, "channels=room&heartbeats=true").await;
    let target = Events::target(&stage, "/event-stream", "channels=room&heartbeats=true");
    let mut lines = Lines::open(stage.server.address, &target, "").await;
    assert_eq!(lines.line().await.as_deref(), Some(""));
    assert_eq!(plain.block().await.as_deref(), Some(":keepalive\n"));
    assert_eq!(asked.next().await, Event { id: None, kind: "heartbeat".to_owned(), data: String::new() });
    assert_eq!(lines.line().await.as_deref(), Some(r#"{"event":"heartbeat"}"#));
}

/// Names with commas, names with qualifiers, one channel by two names: each event says the name that it was asked for by.
#[tokio::test]
async fn several_channels_on_one_stream() {
    let stage = Stage::start().await;
    let mut alice = stage.anybody().await;
    let serial = alice.publish("b", json!([{"name": "old"}])).await;
    alice.acked(serial).await;
    let mut events = Events::open(&stage, "channels=a,1;b;[%3Frewind%3D1]b&separator=%3B").await;
    let channel =
        |event: &Event| serde_json::from_str::<Value>(&event.data).unwrap()["channel"].as_str().unwrap().to_owned();
    assert_eq!(channel(&events.next().await), "[?rewind=1]b");
    alice.publish("a,1", json!([{"name": "x"}])).await;
    assert_eq!(channel(&events.next().await), "a,1");
    alice.publish("b", json!([{"name": "y"}])).await;
    let mut both = [channel(&events.next().await), channel(&events.next().await)];
    both.sort_unstable();
    assert_eq!(both, ["[?rewind=1]b", "b"]);
    // The parameter of the address is for all of them.
    let mut again = Events::open(&stage, "channels=b&rewind=1").await;
    assert!(again.next().await.data.contains("\"y\""));
}

/// What was said of messages comes to who asks for it, what that comes to comes to all; without an envelope neither has a payload.
#[tokio::test]
async fn annotations_and_summaries() {
    let stage = Stage::start().await;
    let mut asking =
        Events::open(&stage, "separator=;&channels=[?modes=subscribe,annotation_subscribe]mutable:room").await;
    let mut plain = Events::open(&stage, "channels=mutable:room").await;
    let (mut alice, _) = stage.open("clientId=alice").await;
    alice.attach("mutable:room").await;
    alice.publish("mutable:room", json!([{"name": "question", "data": "?"}])).await;
    let message: Value = serde_json::from_str(&asking.next().await.data).unwrap();
    let serial = &message["serial"];
    let annotation = json!([{"messageSerial": serial, "type": "reaction:flag.v1", "action": 0}]);
    alice.push(action::ANNOTATION, "annotations", "mutable:room", annotation).await;
    let said = asking.next().await;
    let data: Value = serde_json::from_str(&said.data).unwrap();
    assert_eq!(
        (said.kind.as_str(), &data["type"], &data["messageSerial"]),
        ("annotation", &json!("reaction:flag.v1"), serial)
    );
    assert_eq!((&data["action"], &data["clientId"]), (&json!(0), &json!("alice")));
    plain.next().await;
    for events in [&mut asking, &mut plain] {
        let summary = events.next().await;
        let data: Value = serde_json::from_str(&summary.data).unwrap();
        assert_eq!((summary.kind.as_str(), &data["action"], &data["serial"]), ("message", &json!(4), serial));
        assert_eq!(data["annotations"]["summary"]["reaction:flag.v1"]["total"], 1);
    }
}

/// What the params of a channel ask for: occupancy, and messages as differences. Metachannels are channels.
#[tokio::test]
async fn occupancy_differences_and_metachannels() {
    let stage = Stage::start().await;
    let mut counts = Events::open(&stage, "channels=[?occupancy=metrics.subscribers]room").await;
    let target = format!("/sse?{}&channels=[meta]channel.lifecycle&enveloped=false", stage.query(META));
    let mut meta = Events::at(&stage, &target, "").await;
    let mut deltas = Events::open(&stage, "channels=[?delta=vcdiff]room").await;
    let (mut alice, _) = stage.open("clientId=alice").await;
    alice.attach("other").await;
    let opened: Value = serde_json::from_str(&meta.next().await.data).unwrap();
    assert_eq!(opened["channelId"], "other");
    let told = loop {
        let event = counts.next().await;
        assert_eq!(event.kind, "message");
        let told: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!((&told["name"], &told["action"]), (&json!("[meta]occupancy"), &json!(3)));
        assert_eq!(
            (&told["channel"], &told["encoding"]),
            (&json!("[?occupancy=metrics.subscribers]room"), &json!("json"))
        );
        if told["data"] == r#"{"metrics":{"subscribers":2}}"# {
            break told;
        }
    };
    assert!(told["timestamp"].is_u64() && told["id"].is_string(), "{told}");
    for count in [1, 2] {
        let data = format!(r#"{{"foo":"bar","count":{count},"status":"active"}}"#);
        alice.publish("room", json!([{"name": "n", "data": data}])).await;
    }
    let messages = [deltas.next().await, deltas.next().await];
    let messages = messages.map(|event| serde_json::from_str::<Value>(&event.data).unwrap());
    assert_eq!(messages[1]["encoding"], "utf-8/vcdiff/base64");
    assert_eq!(messages[1]["extras"]["delta"], json!({"from": messages[0]["id"], "format": "vcdiff"}));

    let target = format!("/sse?{}&channels=[?occupancy=metrics]room", stage.query(SUBSCRIBE_ONLY));
    let refused = Lines::open(stage.server.address, &target, "").await;
    assert!(refused.head.starts_with("HTTP/1.1 401"));
}
