//! §9.5 - §9.7: annotations over a connection, and the summaries that everybody gets.

use serde_json::{Value, json};

use super::stage::{Stage, attach_after, told};
use crate::support::{
    AblyClient,
    ably::{action, flag},
};

const CHANNEL: &str = "mutable:room";
const ALL: u64 = flag::PUBLISH | flag::SUBSCRIBE | flag::ANNOTATION_PUBLISH | flag::ANNOTATION_SUBSCRIBE;

/// A client that is attached with modes.
async fn attached(stage: &Stage, more: &str, modes: u64) -> AblyClient {
    let (mut client, _) = stage.open(more).await;
    client.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "flags": modes})).await;
    client
}

/// The serial of a message that the client publishes, and hears if it is attached.
async fn message(client: &mut AblyClient) -> String {
    client.publish(CHANNEL, json!([{"name": "question", "data": "?"}])).await;
    serial_of(&answer(client).await)
}

/// The next ACK or NACK.
async fn answer(client: &mut AblyClient) -> Value {
    loop {
        let frame = client.next().await;
        if frame["action"] == action::ACK || frame["action"] == action::NACK {
            return frame;
        }
    }
}

fn serial_of(ack: &Value) -> String {
    ack["res"][0]["serials"][0].as_str().unwrap_or_else(|| panic!("{ack}")).to_owned()
}

async fn annotate(client: &mut AblyClient, annotation: Value) {
    client.push(action::ANNOTATION, "annotations", CHANNEL, json!([annotation])).await;
}

/// The next ANNOTATION or summary; what else comes is passed over.
async fn heard(client: &mut AblyClient) -> Value {
    loop {
        let frame = client.next().await;
        if frame["action"] == action::ANNOTATION || frame["messages"][0]["action"] == 4 {
            return frame;
        }
    }
}

/// In both formats: what is said is completed, acknowledged by its serial, and summed up.
#[tokio::test]
async fn an_annotation_is_delivered_and_summed_up() {
    let stage = Stage::start().await;
    for format in ["json", "msgpack"] {
        let mut alice = attached(&stage, &format!("clientId=alice&format={format}"), ALL).await;
        let mut reader = attached(&stage, &format!("clientId=reader&format={format}"), flag::SUBSCRIBE).await;
        let target = message(&mut alice).await;
        let said = json!({
            "messageSerial": target, "type": "r:multiple.v1", "name": "👍", "count": 3, "data": "{\"a\":1}",
            "encoding": "json", "extras": {"headers": {"b": 2}},
        });
        annotate(&mut alice, said.clone()).await;
        let frame = heard(&mut alice).await;
        let annotation = &frame["annotations"][0];
        for (key, value) in said.as_object().expect("an object") {
            assert_eq!(&annotation[key], value, "{key}: {frame}");
        }
        assert_eq!((&annotation["action"], &annotation["clientId"]), (&json!(0), &json!("alice")));
        assert_eq!(annotation["timestamp"], frame["timestamp"]);
        assert_eq!(annotation["connectionId"], frame["connectionId"]);
        assert_eq!(annotation["id"], json!(format!("{}:0", frame["id"].as_str().expect("an id"))));
        let serial = annotation["serial"].as_str().expect("a serial");
        assert_eq!(serial, format!("{}:000", frame["channelSerial"].as_str().expect("a position")));
        assert!(serial > &*target);
        // observed: ably-python realtimeannotations_test: the echo comes before the answer.
        assert_eq!(serial_of(&answer(&mut alice).await), serial);

        // Who has no mode for annotations gets the summary only: all of it, under the message's name and serial.
        let frame = heard(&mut reader).await;
        assert!(frame["channelSerial"].as_str() > Some(serial.rsplit_once(':').expect("an index").0), "{frame}");
        let counted = json!({
            "total": 3, "clientIds": {"alice": 3}, "totalUnidentified": 0, "totalClientIds": 1, "clipped": false
        });
        let mut told = frame["messages"][0].clone();
        assert!(told["id"].is_string() && told["timestamp"].is_u64(), "{frame}");
        for key in ["id", "timestamp"] {
            told.as_object_mut().expect("a message").remove(key);
        }
        let summary = json!({"summary": {"r:multiple.v1": {"👍": counted}}});
        assert_eq!(told, json!({"action": 4, "serial": target, "name": "question", "annotations": summary}));

        // T53: of all types.
        annotate(&mut alice, json!({"messageSerial": target, "type": "seen:total.v1"})).await;
        annotate(&mut alice, json!({"action": 1, "messageSerial": target, "type": "r:multiple.v1", "name": "👍"}))
            .await;
        annotate(&mut alice, json!({"messageSerial": target, "type": "spam:flag.v1"})).await;
        let list = json!({"total": 1, "clientIds": ["alice"], "clipped": false});
        let expected = json!({"seen:total.v1": {"total": 1}, "spam:flag.v1": list});
        while heard(&mut reader).await["messages"][0]["annotations"]["summary"] != expected {}
    }
}

/// §6.4: the same id once; by the number of its frame, a repeated frame is acknowledged as before.
#[tokio::test]
async fn what_comes_again_is_counted_once() {
    let stage = Stage::start().await;
    let mut alice = attached(&stage, "clientId=alice", ALL).await;
    let target = message(&mut alice).await;
    let said = json!({"messageSerial": target, "type": "seen:total.v1", "id": "own id"});
    let mut serials = Vec::new();
    for _ in 0..2 {
        annotate(&mut alice, said.clone()).await;
        serials.push(serial_of(&answer(&mut alice).await));
    }
    assert_eq!(serials[0], serials[1]);
    annotate(&mut alice, json!({"messageSerial": target, "type": "seen:total.v1"})).await;
    while heard(&mut alice).await["messages"][0]["annotations"]["summary"]["seen:total.v1"] != json!({"total": 2}) {}
}

/// Each with its own error, and the connection goes on.
#[tokio::test]
async fn what_cannot_be_annotated_is_refused() {
    let stage = Stage::start().await;
    let mut alice = attached(&stage, "clientId=alice", ALL).await;
    let target = message(&mut alice).await;
    let unknown = format!("01700000000000{}", &target[14..]);
    let foreign = format!("{}@0000000000000000:000", target.split_once('@').expect("an epoch").0);
    let beyond = format!("{}:001", target.rsplit_once(':').expect("an index").0);
    let good = json!({"messageSerial": target, "type": "r:distinct.v1", "name": "x"});
    for (key, value, code) in [
        ("type", Value::Null, 40003),
        ("type", json!(""), 40003),
        ("name", Value::Null, 40003),
        ("messageSerial", Value::Null, 40003),
        ("messageSerial", json!("no serial"), 40003),
        ("messageSerial", json!(unknown), 40400),
        ("messageSerial", json!(foreign), 40400),
        ("messageSerial", json!(beyond), 40400),
        ("action", json!(2), 40000),
        ("count", json!(0), 40003),
        ("count", json!(-1), 40001),
        ("clientId", json!("bob"), 40012),
        ("connectionId", json!("other"), 40006),
        ("data", json!(1), 40013),
        ("extras", json!({"userClaim": "x"}), 40032),
        ("data", json!("x".repeat(70_000)), 40009),
    ] {
        let mut bad = good.clone();
        bad[key] = value;
        annotate(&mut alice, bad.clone()).await;
        let answer = answer(&mut alice).await;
        assert_eq!(
            (&answer["action"], &answer["error"]["code"]),
            (&json!(action::NACK), &json!(code)),
            "{key}: {answer}"
        );
    }
    annotate(&mut alice, good.clone()).await;
    assert_eq!(answer(&mut alice).await["action"], action::ACK);

    // §2.4, §12.5, §9: without the mode, the capability, an identity, the rule.
    let mut reader = attached(&stage, "clientId=reader", flag::SUBSCRIBE).await;
    annotate(&mut reader, good.clone()).await;
    assert_eq!(answer(&mut reader).await["error"]["code"], 40165);
    let mut anonymous = attached(&stage, "", ALL).await;
    annotate(&mut anonymous, good.clone()).await;
    assert_eq!(answer(&mut anonymous).await["error"]["code"], 40012);
    alice.push(action::ANNOTATION, "annotations", "plain", json!([good])).await;
    assert_eq!(answer(&mut alice).await["error"]["code"], 93002);
}

/// Trap T53, §5.3: who comes back gets annotations that were missed with the mode for them, and the summary without.
#[tokio::test]
async fn who_comes_back_has_missed_nothing() {
    let stage = Stage::start().await;
    let mut alice = attached(&stage, "clientId=alice", ALL).await;
    let target = message(&mut alice).await;
    let position = target.rsplit_once(':').expect("an index").0.to_owned();
    annotate(&mut alice, json!({"messageSerial": target, "type": "spam:flag.v1"})).await;
    assert_eq!(answer(&mut alice).await["action"], action::ACK);
    while heard(&mut alice).await["action"] != action::MESSAGE {}
    for modes in [flag::SUBSCRIBE, ALL] {
        let (mut bob, _) = stage.open("clientId=bob").await;
        let mut attach = attach_after(CHANNEL, &json!(position));
        attach["flags"] = json!(modes);
        let attached = bob.attach_with(attach).await;
        assert!(told(&attached) & flag::RESUMED != 0, "{attached}");
        if modes == ALL {
            assert_eq!(heard(&mut bob).await["annotations"][0]["messageSerial"], target);
        }
        let frame = heard(&mut bob).await;
        assert_eq!(frame["messages"][0]["annotations"]["summary"]["spam:flag.v1"]["total"], 1, "{frame}");
    }
    // A rewind has the message, with its summary.
    let (mut late, _) = stage.open("clientId=late").await;
    late.attach_with(json!({"action": action::ATTACH, "channel": CHANNEL, "params": {"rewind": "1"}})).await;
    let frame = late.expect(action::MESSAGE).await;
    let rewound = &frame["messages"][0];
    assert_eq!((&rewound["data"], &rewound["serial"]), (&json!("?"), &json!(target)), "{frame}");
    assert_eq!(rewound["annotations"]["summary"]["spam:flag.v1"]["total"], 1, "{frame}");
}
