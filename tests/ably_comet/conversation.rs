//! What is said on a comet connection, and how it comes.

use serde_json::{Value, json};

use super::client::{Comet, frames_of};
use crate::{
    ably_realtime::stage::{EVERYTHING, Stage, connection_key, names},
    support::{AblyClient, ably::action},
};

/// §1.6: both ways; the ACK comes by what is received, after the echo or before it, in one order with everything else.
#[tokio::test]
async fn comet_and_websocket_meet_on_a_channel() {
    let stage = Stage::start().await;
    let mut listener = stage.anybody().await;
    listener.attach("room").await;
    let (mut comet, connected) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    assert_eq!(connected["connectionDetails"]["maxIdleInterval"], 15_000);
    comet.attach("room").await;
    let message = json!({"name": "greet", "data": "hello"});
    comet.send(json!([{"action": action::MESSAGE, "channel": "room", "msgSerial": 0, "messages": [message]}])).await;
    let mut got = vec![comet.next().await, comet.next().await];
    got.sort_by_key(|frame| frame["action"].as_u64());
    assert_eq!((&got[0]["action"], &got[0]["msgSerial"]), (&json!(action::ACK), &json!(0)));
    assert_eq!((names(&got), &got[1]["connectionId"]), (vec!["greet"], &connected["connectionId"]));
    assert_eq!(listener.expect(action::MESSAGE).await["channelSerial"], got[1]["channelSerial"]);
    listener.publish("room", json!([{"name": "back"}])).await;
    assert_eq!(names(&[comet.expect(action::MESSAGE).await]), ["back"]);
}

/// Each element of a body is a frame of its own: one that cannot be read is refused alone.
#[tokio::test]
async fn each_frame_of_a_request_is_answered_by_itself() {
    let stage = Stage::start().await;
    let (mut comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    let publish = |serial: u64, messages: Value| json!({"action": action::MESSAGE, "channel": "room", "msgSerial": serial, "messages": messages});
    comet.send(json!([])).await;
    comet.send(json!([publish(0, json!([{"data": "a"}])), publish(1, json!("none")), publish(2, json!([]))])).await;
    assert_eq!(comet.expect(action::ACK).await["msgSerial"], 0);
    let nack = comet.expect(action::NACK).await;
    assert_eq!((&nack["msgSerial"], &nack["error"]["code"]), (&json!(1), &json!(40001)), "{nack}");
    assert_eq!(comet.expect(action::ACK).await["msgSerial"], 2);
    // Any other that cannot be read ends the connection, as behind a WebSocket.
    comet.send(json!([5])).await;
    assert_eq!(comet.expect(action::ERROR).await["error"]["code"], 40001);
}

/// T66, and what a client in Node makes of characters that are cut in two.
#[tokio::test]
async fn t66_batches_are_whole_lines_of_ascii() {
    let stage = Stage::start().await;
    let mut other = stage.anybody().await;
    other.attach("grüße").await;
    let (mut comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    comet.attach("grüße").await;
    let data = "é 你好 👋 \u{2028} \"\\";
    for name in ["ä", "b"] {
        other.publish("grüße", json!([{"name": name, "data": data}])).await;
    }
    let mut frames = Vec::new();
    while frames.len() < 2 {
        frames.push(comet.next().await);
    }
    assert_eq!(names(&frames), ["ä", "b"]);
    assert_eq!((&frames[0]["channel"], &frames[0]["messages"][0]["data"]), (&json!("grüße"), &json!(data)));
}

/// A request to receive is held until there is something, at the latest the heartbeat.
#[tokio::test]
async fn a_request_to_receive_is_held_until_the_heartbeat() {
    let stage = Stage::start().await;
    let (comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    assert_eq!(comet.receive().await, [json!({"action": action::HEARTBEAT})]);
}

#[tokio::test]
async fn a_second_request_to_receive_replaces_the_first() {
    let stage = Stage::start().await;
    let (mut comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    comet.attach("room").await;
    let (first, second) = tokio::join!(comet.ask("GET", "recv", ""), async {
        // Whichever is second: what comes then, one of them gets, once.
        let second = comet.ask("GET", "recv", "");
        let publish = async {
            let mut other = stage.anybody().await;
            for _ in 0..20 {
                // An ACK is a round trip: by then both are waiting, or the second is answered.
                let serial = other.publish("elsewhere", json!([{}])).await;
                other.acked(serial).await;
            }
            other.publish("room", json!([{"name": "once"}])).await;
        };
        tokio::join!(second, publish).0
    });
    let mut lengths = [frames_of(&first).len(), frames_of(&second).len()];
    lengths.sort_unstable();
    assert_eq!(lengths, [0, 1], "{first:?} {second:?}");
}

/// T24, T25: AUTH brings another key, by which later requests come; those with the one before are on their way.
#[tokio::test]
async fn after_a_new_token_both_keys_are_known() {
    let stage = Stage::start().await;
    let token = stage.token(json!({"clientId": "alice"})).await;
    let (mut comet, first) = Comet::connect(&stage.server, &format!("v=6&access_token={token}")).await;
    let mut keys = vec![comet.key.clone()];
    for _ in 0..2 {
        let token = stage.token(json!({"clientId": "alice"})).await;
        comet.send(json!([{"action": action::AUTH, "auth": {"accessToken": token}}])).await;
        let connected = comet.expect(action::CONNECTED).await;
        assert_eq!(connected["connectionId"], first["connectionId"]);
        comet.key = connection_key(&connected).to_owned();
        keys.push(comet.key.clone());
    }
    assert!(keys.iter().flat_map(|key| key.bytes()).all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    for (key, status) in keys.into_iter().zip([410, 204, 204]) {
        comet.key = key;
        assert_eq!(comet.ask("POST", "send", "[]").await.status, status);
    }
}

/// Also beside a format that comet does not have, and with `echo=false`.
#[tokio::test]
async fn the_query_is_that_of_a_websocket() {
    let stage = Stage::start().await;
    let query = format!("{}&format=msgpack&echo=false&clientId=alice&heartbeats=true", stage.query(EVERYTHING));
    let (mut comet, connected) = Comet::connect(&stage.server, &query).await;
    assert_eq!(connected["connectionDetails"]["clientId"], "alice");
    comet.attach("room").await;
    let own = json!({"action": action::MESSAGE, "channel": "room", "msgSerial": 0, "messages": [{"name": "own"}]});
    comet
        .send(
            json!([own, {"action": action::PRESENCE, "channel": "room", "msgSerial": 1, "presence": [{"action": 2}]}]),
        )
        .await;
    assert_eq!(comet.expect(action::ACK).await["msgSerial"], 0);
    let mut rest = vec![comet.next().await["action"].clone(), comet.next().await["action"].clone()];
    rest.sort_by_key(Value::as_u64);
    assert_eq!(rest, [action::ACK, action::PRESENCE]);
    let mut other: AblyClient = stage.anybody().await;
    assert_eq!(other.attach("room").await["flags"].as_u64().unwrap() & 1, 1, "alice is present");
}
