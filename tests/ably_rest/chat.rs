//! Rooms of chat (§11.12). What `@ably/chat` makes of them is tested with it, in tests/sdk/chat.test.mjs.

use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, PUBLISH_ONLY, SUBSCRIBE_ONLY, Sandbox, assert_refused, link};
use crate::support::Response;

const ROOM: &str = "/chat/v4/rooms/a%2Fb";

async fn ask(sandbox: &mut Sandbox, method: &str, path: &str, body: &Value) -> Response {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let target = format!("{ROOM}{path}");
    sandbox.ask_by(EVERYTHING, method, &target, &[("X-Ably-Version", "4")], body.as_bytes()).await
}

#[tokio::test]
async fn a_room_is_a_channel() {
    let mut sandbox = Sandbox::start().await;
    let said = json!({"text": "hello", "metadata": {"a": {"b": 1}}, "headers": {"h": "x"}});
    let response = ask(&mut sandbox, "POST", "/messages?idempotencyKey=once", &said).await;
    assert_eq!(response.status, 201, "{response:?}");
    let sent = response.json();
    let (serial, timestamp) = (sent["serial"].as_str().expect("a serial").to_owned(), &sent["timestamp"]);
    let expected = json!({
        "serial": serial, "version": {"serial": serial, "timestamp": timestamp}, "text": "hello", "clientId": "",
        "action": "message.create", "metadata": {"a": {"b": 1}}, "headers": {"h": "x"}, "timestamp": timestamp,
    });
    assert_eq!(sent, expected);
    // Sent again, it is the same.
    assert_eq!(ask(&mut sandbox, "POST", "/messages?idempotencyKey=once", &said).await.json(), sent);

    let history = sandbox.history("a%2Fb::$chat").await;
    assert_eq!(history.len(), 1);
    assert_eq!((&history[0]["name"], &history[0]["id"]), (&json!("chat.message"), &json!("once")));
    let data: Value = serde_json::from_str(history[0]["data"].as_str().expect("a text")).expect("JSON");
    assert_eq!(data, json!({"text": "hello", "metadata": {"a": {"b": 1}}}));

    let at = format!("/messages/{serial}");
    let change = json!({"message": {"text": "bye"}, "description": "why", "metadata": {"k": "v"}});
    let updated = ask(&mut sandbox, "PUT", &at, &change).await;
    assert_eq!(updated.status, 200, "{updated:?}");
    let updated = updated.json();
    assert_eq!((&updated["text"], &updated["metadata"], &updated["headers"]), (&json!("bye"), &json!({}), &json!({})));
    assert_eq!((&updated["action"], &updated["timestamp"]), (&json!("message.update"), timestamp));
    assert_eq!(
        (&updated["version"]["description"], &updated["version"]["metadata"]),
        (&json!("why"), &json!({"k": "v"}))
    );
    let deleted = ask(&mut sandbox, "POST", &format!("{at}/delete"), &json!({})).await.json();
    assert_eq!((&deleted["text"], &deleted["action"]), (&json!(""), &json!("message.delete")));
    let versions = ask(&mut sandbox, "GET", &format!("{at}/versions"), &Value::Null).await;
    assert_eq!(versions.json(), json!([sent, updated, deleted]));

    for text in ["one", "two"] {
        ask(&mut sandbox, "POST", "/messages", &json!({"text": text})).await;
    }
    let page = ask(&mut sandbox, "GET", "/messages?limit=2&direction=forwards", &Value::Null).await;
    assert_eq!(page.json()[0], deleted);
    assert_eq!(page.json()[1]["text"], "one");
    assert!(link(&page, "messages", "next").is_some());

    let reaction = json!({"type": "multiple", "name": "like", "count": 3});
    let reacted = ask(&mut sandbox, "POST", &format!("{at}/reactions"), &reaction).await;
    assert_eq!(reacted.status, 201, "{reacted:?}");
    assert!(reacted.json()["serial"].is_string());
    let like = json!({"total": 3, "clientIds": {}, "totalUnidentified": 3, "totalClientIds": 0, "clipped": false});
    let message = ask(&mut sandbox, "GET", &at, &Value::Null).await.json();
    assert_eq!(message["reactions"], json!({"unique": {}, "distinct": {}, "multiple": {"like": like}}));
    let none = ask(&mut sandbox, "GET", &format!("{at}/client-reactions?forClientId=bob"), &Value::Null).await;
    assert_eq!(none.json(), json!({"unique": {}, "distinct": {}, "multiple": {}}));
    let occupancy = ask(&mut sandbox, "GET", "/occupancy", &Value::Null).await;
    assert_eq!(occupancy.json(), json!({"connections": 0, "presenceMembers": 0}));
}

#[tokio::test]
async fn what_a_room_refuses() {
    let mut sandbox = Sandbox::start().await;
    let sent = ask(&mut sandbox, "POST", "/messages", &json!({"text": "x"})).await.json();
    let at = format!("/messages/{}", sent["serial"].as_str().expect("a serial"));
    let unknown = "/messages/01722945600123-000@00000000000000ab:000";
    let said = json!({"message": {"text": "y"}});
    for (method, path, body, status, code) in [
        ("POST", "/messages", json!({}), 400, 40001),
        ("POST", "/messages", json!({"text": 1}), 400, 40001),
        ("POST", "/messages", json!({"text": "x", "headers": {"a": {}}}), 400, 40032),
        ("POST", "/messages", json!({"text": "x".repeat(70_000)}), 413, 40009),
        ("GET", "/messages?limit=0", Value::Null, 400, 40003),
        ("GET", unknown, Value::Null, 404, 40400),
        ("GET", "/messages/x", Value::Null, 400, 40003),
        ("PUT", unknown, said.clone(), 404, 40400),
        ("PUT", &at, json!({"text": "y"}), 400, 40001),
        ("POST", &format!("{at}/reactions"), json!({"type": "other", "name": "x"}), 400, 40003),
        ("DELETE", &format!("{at}/reactions?type=distinct"), Value::Null, 400, 40012),
        ("GET", &format!("{at}/client-reactions"), Value::Null, 400, 40003),
        ("GET", "/nothing", Value::Null, 404, 40400),
        ("PATCH", &at, said.clone(), 405, 40500),
    ] {
        let refused = ask(&mut sandbox, method, path, &body).await;
        assert_refused(&refused, status, code);
    }
    let text = json!({"text": "x"}).to_string();
    let target = format!("{ROOM}/messages");
    let refused = sandbox.ask_by(SUBSCRIBE_ONLY, "POST", &target, &[], text.as_bytes()).await;
    assert_refused(&refused, 401, 40160);
    let refused = sandbox.ask_by(PUBLISH_ONLY, "GET", &target, &[], b"").await;
    assert_refused(&refused, 401, 40160);
    let refused = sandbox.ask_by(PUBLISH_ONLY, "PUT", &format!("{ROOM}{at}"), &[], said.to_string().as_bytes()).await;
    assert_refused(&refused, 401, 40160);
}

/// A list is not taken for the fields of an object, and what else is published to the channel of a room is no message of it.
#[tokio::test]
async fn only_objects_are_taken_and_only_messages_shown() {
    let mut sandbox = Sandbox::start().await;
    let sent = ask(&mut sandbox, "POST", "/messages?idempotencyKey=k", &json!({"text": "kept"})).await.json();
    let at = format!("/messages/{}", sent["serial"].as_str().expect("a serial"));
    for (method, path, list) in [
        ("POST", "/messages".to_owned(), json!(["hi", {"a": 1}, {"h": 1}])),
        ("PUT", at.clone(), json!([{"text": "t"}])),
        ("POST", format!("{at}/delete"), json!([])),
        ("POST", format!("{at}/reactions"), json!(["multiple", "n", 3])),
    ] {
        let response = ask(&mut sandbox, method, &path, &list).await;
        assert_refused(&response, 400, 40001);
    }
    // The same key for something else is something else.
    let change = json!({"message": {"text": "changed"}});
    let updated = ask(&mut sandbox, "PUT", &format!("{at}?idempotencyKey=k"), &change).await.json();
    assert_eq!(updated["text"], "changed");
    let again = ask(&mut sandbox, "PUT", &format!("{at}?idempotencyKey=k"), &change).await.json();
    assert_eq!(again["version"], updated["version"]);

    sandbox.publish("a%2Fb::$chat", json!({"name": "other", "data": "no message"})).await;
    let page = ask(&mut sandbox, "GET", "/messages", &Value::Null).await.json();
    assert_eq!(page.as_array().map(Vec::len), Some(1), "{page}");
}
