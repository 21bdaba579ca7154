//! POST `/channels/{c}/messages` (§6, §3.5 - §3.7, §11.5). Whose messages they are: `identity`.

use serde_json::{Value, json};

use super::sandbox::{ALSO_QUALIFIED, EVERYTHING, PUBLISH_ONLY, SUBSCRIBE_ONLY, Sandbox, assert_refused};

fn names(history: &[Value]) -> Vec<&str> {
    let name = |message: &Value| message["name"].as_str().map(str::to_owned);
    let names = history.iter().filter_map(name);
    names.map(|name| &*name.leak()).collect()
}

/// §6.9: one message or several; the answer, and what the history then says.
#[tokio::test]
async fn one_message_and_several() {
    let mut sandbox = Sandbox::start().await;
    let one = sandbox.publish("room", json!({"name": "one", "data": "x"})).await;
    assert_eq!(one["channel"], "room");
    let base = one["messageId"].as_str().expect("an id");
    assert!((8..=12).contains(&base.len()), "{base}");
    let several = json!([{"name": "two"}, {"name": "three", "data": {"a": 1}}]);
    let several = sandbox.publish("room", several).await;
    let serials = several["serials"].as_array().expect("serials");
    assert_eq!(serials.len(), 2);

    let history = sandbox.history("room").await;
    assert_eq!(names(&history), ["three", "two", "one"]);
    assert_eq!(history[2]["id"], format!("{base}:0"));
    assert_eq!(history[2]["serial"], one["serials"][0]);
    assert_eq!(history[1]["serial"], serials[0]);
    assert_eq!(history[0]["serial"], serials[1]);
    assert!(history[2]["timestamp"].is_u64());
    assert_eq!(history[2]["data"], "x");
    // T14: a native value is kept as text.
    assert_eq!((&history[0]["data"], &history[0]["encoding"]), (&json!("{\"a\":1}"), &json!("json")));
    assert_eq!(history[2].get("clientId"), None);
    assert_eq!(history[2].get("connectionId"), None);
}

/// The other address of a publish, of ably-ruby.
#[tokio::test]
async fn published_to_the_older_path() {
    let mut sandbox = Sandbox::start().await;
    let response = sandbox.post("/channels/room/publish", &json!({"name": "one"})).await;
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(names(&sandbox.history("room").await), ["one"]);
    let response = sandbox.get("/channels/room/publish").await;
    assert_refused(&response, 405, 40500);
}

/// §1.3: serials since version 5.
#[tokio::test]
async fn older_versions_get_no_serials() {
    let mut sandbox = Sandbox::start().await;
    for (version, has_serials) in [("", false), ("2", false), ("4", false), ("5", true)] {
        let headers = [("X-Ably-Version", version)];
        let response = sandbox.ask_by(EVERYTHING, "POST", "/channels/x/messages", &headers, b"{}").await;
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.json().get("serials").is_some(), has_serials, "{version}");
    }
}

/// §3.5, T13: the same bytes, whatever the format of either side.
#[tokio::test]
async fn binary_and_text_in_both_formats() {
    let mut sandbox = Sandbox::start().await;
    let target = "/channels/mixed/messages";
    sandbox.publish("mixed", json!({"data": "3q2+7w==", "encoding": "base64"})).await;
    // {"data": bin de ad be ef}
    let msgpack = b"\x81\xa4data\xc4\x04\xde\xad\xbe\xef";
    let headers = [("Content-Type", "application/x-msgpack")];
    let response = sandbox.ask_by(EVERYTHING, "POST", target, &headers, msgpack).await;
    assert_eq!(response.status, 201, "{response:?}");

    for message in sandbox.history("mixed").await {
        assert_eq!((&message["data"], &message["encoding"]), (&json!("3q2+7w=="), &json!("base64")));
    }
    let headers = [("Accept", "application/x-msgpack")];
    let response = sandbox.ask_by(EVERYTHING, "GET", target, &headers, b"").await;
    assert_eq!(response.header("content-type"), Some("application/x-msgpack"));
    let binary = b"\xa4data\xc4\x04\xde\xad\xbe\xef";
    let found = response.bytes.windows(binary.len()).filter(|bytes| bytes == binary);
    assert_eq!(found.count(), 2);
}

/// §6.4, T39: what comes again is answered like the first time, and is there once.
#[tokio::test]
async fn a_repeated_id_is_published_once() {
    let mut sandbox = Sandbox::start().await;
    let batch = json!([{"id": "base:0", "name": "a"}, {"id": "base:1", "name": "b"}]);
    let first = sandbox.publish("once", batch.clone()).await;
    assert_eq!(first["messageId"], "base");
    assert_eq!(sandbox.publish("once", batch).await, first);
    let single = json!({"id": "of my own: choice", "name": "c"});
    let first = sandbox.publish("once", single.clone()).await;
    assert_eq!(sandbox.publish("once", single).await, first);
    // A single `<base>:0` is a batch of one.
    let based = sandbox.publish("once", json!({"id": "other:0", "name": "d"})).await;
    assert_eq!(based["messageId"], "other");

    let history = sandbox.history("once").await;
    assert_eq!(names(&history), ["d", "c", "b", "a"]);
    let ids: Vec<&Value> = history.iter().map(|message| &message["id"]).collect();
    assert_eq!(ids, ["other:0", "of my own: choice", "base:1", "base:0"]);
    // Another channel knows nothing of it.
    sandbox.publish("twice", json!({"id": "other:0"})).await;
    assert_eq!(sandbox.history("twice").await.len(), 1);
}

/// §6.1 in its order, one refusal for each rule.
#[tokio::test]
async fn what_may_not_be_published() {
    let mut sandbox = Sandbox::start().await;
    let large = "x".repeat(65_537);
    let many: Vec<Value> = (0..1_001).map(|_| json!({})).collect();
    let table = [
        (json!({"data": 1}), 400, 40013),
        (json!({"data": true}), 400, 40013),
        (json!({"data": "!", "encoding": "base64"}), 400, 40013),
        (json!({"extras": "text"}), 400, 40032),
        (json!({"extras": {"headers": {"a": {}}}}), 400, 40032),
        (json!({"connectionId": "someone else"}), 400, 40006),
        (json!({"connectionKey": "someone-elses"}), 400, 40006),
        (json!({"data": large}), 413, 40009),
        (json!([{"data": "x".repeat(40_000)}, {"data": "x".repeat(40_000)}]), 413, 40009),
        (json!([{"id": "a:0"}, {"id": "a:0"}]), 400, 40031),
        (json!([{"id": "a:0"}, {"id": "b:1"}]), 400, 40031),
        (json!([{"id": "a:0"}, {}]), 400, 40031),
        (json!([{"id": "a"}, {"id": "b"}]), 400, 40031),
        (json!(many), 400, 40034),
        (json!([{"extras": {"ephemeral": true}}, {}]), 400, 40000),
    ];
    for (body, status, code) in table {
        let response = sandbox.post("/channels/refused/messages", &body).await;
        assert_refused(&response, status, code);
    }
    let response = sandbox.post("/channels/refused/messages?_forceNack=true", &json!({})).await;
    assert_refused(&response, 400, 40099);
    assert_eq!(sandbox.history("refused").await, Vec::<Value>::new());
    // Nearly: exactly as long as it may be.
    sandbox.publish("full", json!({"data": "x".repeat(65_536)})).await;
}

/// §6.7: delivered, not kept.
#[tokio::test]
async fn ephemeral_messages_leave_no_trace() {
    let mut sandbox = Sandbox::start().await;
    sandbox.publish("typing", json!({"name": "kept"})).await;
    let ephemeral = json!({"name": "gone", "extras": {"ephemeral": true}});
    let answer = sandbox.publish("typing", ephemeral).await;
    assert_eq!(answer["serials"].as_array().map(Vec::len), Some(1));
    let target = "/channels/typing/messages?ephemeral=true";
    let response = sandbox.post(target, &json!([{"name": "gone"}, {"name": "too"}])).await;
    assert_eq!(response.status, 201);
    assert_eq!(names(&sandbox.history("typing").await), ["kept"]);
}

/// §5.1: names that are none, and names that say more.
#[tokio::test]
async fn names_of_channels() {
    let mut sandbox = Sandbox::start().await;
    let long = "x".repeat(2_049);
    for bad in [":hell", "%20x", "%2Cx", "a%0Ab", "%5Bwhat%5Dx", "", &long] {
        let response = sandbox.post(&format!("/channels/{bad}/messages"), &json!({})).await;
        assert_refused(&response, 400, 40010);
        let response = sandbox.get(&format!("/channels/{bad}/messages")).await;
        assert_refused(&response, 400, 40010);
    }
    sandbox.publish("%5B%3Frewind%3D1%5Dplain", json!({"name": "by rewind"})).await;
    sandbox.publish("plain", json!({"name": "by name"})).await;
    assert_eq!(names(&sandbox.history("plain").await), ["by name", "by rewind"]);
    // A slash is part of the name, and so is every other sign.
    let odd = "a%2Fb%3Ac%20%C3%BC%3F%23%25";
    let published = sandbox.publish(odd, json!({"name": "odd"})).await;
    assert_eq!(published["channel"], "a/b:c ü?#%");
    assert_eq!(names(&sandbox.history(odd).await), ["odd"]);
    let target = "/channels/%5Bmeta%5Dlog/messages";
    let response = sandbox.ask_by(ALSO_QUALIFIED, "POST", target, &[], b"{}").await;
    assert_refused(&response, 401, 40160);
}

/// §11.1: who lacks the operation.
#[tokio::test]
async fn who_may_publish() {
    let mut sandbox = Sandbox::start().await;
    let target = "/channels/only:this/messages";
    let response = sandbox.ask_by(SUBSCRIBE_ONLY, "POST", target, &[], b"{}").await;
    assert_refused(&response, 401, 40160);
    let response = sandbox.ask_by(PUBLISH_ONLY, "POST", target, &[], b"{}").await;
    assert_eq!(response.status, 201);
    let response = sandbox.ask_by(PUBLISH_ONLY, "GET", target, &[], b"").await;
    assert_refused(&response, 401, 40160);
}

/// No name and no data is legal (§6.1), and so is nothing at all.
#[tokio::test]
async fn empty_messages_are_messages() {
    let mut sandbox = Sandbox::start().await;
    sandbox.publish("empty", json!({})).await;
    sandbox.publish("empty", json!({"name": null, "data": null})).await;
    assert_eq!(sandbox.history("empty").await.len(), 2);
}
