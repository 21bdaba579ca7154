//! §8.6: `delta=vcdiff` gives messages as differences to those before them. What clients make of them is tested with the
//! published decoder, in tests/sdk/delta.test.mjs.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use oxidelta::vcdiff::decoder::decode_memory;
use serde_json::{Value, json};

use super::stage::Stage;
use crate::support::ably::action;

fn document(n: usize) -> String {
    format!(r#"{{"foo":"bar","count":{n},"status":"active"}}"#)
}

fn decoded(message: &Value, base: &str) -> String {
    let delta = BASE64_STANDARD.decode(message["data"].as_str().expect("base64")).expect("base64");
    String::from_utf8(decode_memory(&delta, base.as_bytes()).expect("a delta")).expect("UTF-8")
}

#[tokio::test]
async fn a_message_says_what_it_goes_on_from() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    for name in ["room", "[?delta=vcdiff]room"] {
        let mut alice = stage.anybody().await;
        let attach = json!({"action": action::ATTACH, "channel": name, "params": {"delta": "vcdiff"}});
        let attached = alice.attach_with(attach.clone()).await;
        assert_eq!(attached["params"], json!({"delta": "vcdiff"}));
        let mut other = stage.anybody().await;
        other.attach("room").await;
        for messages in [
            json!([{"data": document(1), "encoding": "json"}]),
            json!([{"data": document(2), "encoding": "json", "extras": {"headers": {"a": 1}}}, {"data": document(3)}]),
            json!([{"name": "nothing"}]),
            json!([{"data": document(4)}]),
            json!([{"data": "short"}]),
        ] {
            let serial = bob.publish("room", messages).await;
            bob.acked(serial).await;
        }
        let heard = alice.received_so_far().await;
        assert!(heard.iter().all(|frame| frame["channel"] == name), "{heard:?}");
        assert_eq!(heard[0]["messages"][0]["data"], document(1));
        let first = &heard[1]["messages"][0];
        assert_eq!(first["encoding"], "json/utf-8/vcdiff/base64");
        let from = format!("{}:0", heard[0]["id"].as_str().expect("an id"));
        assert_eq!(first["extras"], json!({"headers": {"a": 1}, "delta": {"from": from, "format": "vcdiff"}}));
        assert_eq!(decoded(first, &document(1)), document(2));
        let second = &heard[1]["messages"][1];
        assert_eq!(second["encoding"], "utf-8/vcdiff/base64");
        assert_eq!(second["extras"]["delta"]["from"], format!("{}:0", heard[1]["id"].as_str().expect("an id")));
        assert_eq!(decoded(second, &document(2)), document(3));
        // Nothing goes on from a message without data; what is not shorter comes whole.
        for (frame, data) in [(3, document(4)), (4, "short".to_owned())] {
            assert_eq!(heard[frame]["messages"][0]["data"], data);
            assert_eq!(heard[frame]["messages"][0]["extras"], Value::Null);
        }
        let whole = other.received_so_far().await;
        assert_eq!(whole[1]["messages"][0]["data"], document(2));

        // Attached again, a client may have dropped what it had.
        alice.attach_with(attach).await;
        let serial = bob.publish("room", json!([{"data": document(5)}, {"data": document(6)}])).await;
        bob.acked(serial).await;
        let again = alice.received_so_far().await;
        assert_eq!(again[0]["messages"][0]["data"], document(5));
        assert_eq!(decoded(&again[0]["messages"][1], &document(5)), document(6));
    }
}
