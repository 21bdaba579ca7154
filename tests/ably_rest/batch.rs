//! POST `/messages` and GET `/presence`: several requests in one (§11.9).

use serde_json::{Value, json};

use super::sandbox::{ALSO_QUALIFIED, EVERYTHING, PUBLISH_ONLY, SUBSCRIBE_ONLY, Sandbox, assert_refused};
use crate::support::Response;

const FIXTURES: &str = "persisted:presence_fixtures";

async fn publish_by(sandbox: &mut Sandbox, key: usize, version: &str, body: &Value) -> Response {
    let body = body.to_string();
    sandbox.ask_by(key, "POST", "/messages", &[("X-Ably-Version", version)], body.as_bytes()).await
}

fn data(history: &[Value]) -> Vec<&str> {
    history.iter().map(|message| message["data"].as_str().expect("data")).collect()
}

/// Each part of the batch has its own counts, each channel its own outcome, and what can be published is.
#[tokio::test]
async fn each_channel_has_its_own_outcome() {
    let mut sandbox = Sandbox::start().await;
    let body = json!([
        {"channels": ["only:a", "[bad", ""], "messages": [{"data": "1"}, {"data": "2"}]},
        {"channels": "b", "messages": {"data": "3"}},
        {"channels": ["only:a"], "messages": {"id": "chosen", "data": "4"}},
    ]);
    let response = publish_by(&mut sandbox, EVERYTHING, "6", &body).await;
    assert_eq!(response.status, 201, "{response:?}");
    let parts = response.json();
    let counts = |index: usize| (parts[index]["successCount"].as_u64(), parts[index]["failureCount"].as_u64());
    assert_eq!([counts(0), counts(1), counts(2)], [(Some(1), Some(2)), (Some(1), Some(0)), (Some(1), Some(0))]);
    let first = &parts[0]["results"];
    assert_eq!(first[0]["channel"], "only:a");
    assert_eq!(first[0]["serials"].as_array().map(Vec::len), Some(2), "{first}");
    assert!(first[0]["messageId"].is_string() && first[0].get("error").is_none(), "{first}");
    for (index, name) in [(1, "[bad"), (2, "")] {
        assert_eq!(first[index]["channel"], name);
        assert_eq!(first[index]["error"]["code"], 40010, "{first}");
        assert_eq!(first[index]["error"]["statusCode"], 400);
        assert_eq!(first[index].get("messageId"), None);
    }
    assert_eq!(parts[2]["results"][0]["messageId"], "chosen");
    // In the order of the batch.
    assert_eq!(data(&sandbox.history("only%3Aa").await), ["4", "2", "1"]);
    assert_eq!(data(&sandbox.history("b").await), ["3"]);

    let response = publish_by(&mut sandbox, SUBSCRIBE_ONLY, "6", &body).await;
    assert_eq!((response.status, &response.json()[0]["results"][0]["error"]["code"]), (201, &json!(40160)));
    assert_eq!(response.json()[0]["failureCount"], 3);
    assert_eq!(data(&sandbox.history("b").await), ["3"]);
}

/// A part that is no list is answered by an object, a list of one by a list.
#[tokio::test]
async fn one_part_alone_or_in_a_list() {
    let mut sandbox = Sandbox::start().await;
    let part = json!({"channels": ["x", "y"], "messages": {"data": "z"}});
    let alone = publish_by(&mut sandbox, EVERYTHING, "3", &part).await.json();
    assert_eq!((&alone["successCount"], &alone["failureCount"]), (&json!(2), &json!(0)), "{alone}");
    // Serials since version 5.
    assert_eq!(alone["results"][1].get("serials"), None);
    let listed = publish_by(&mut sandbox, EVERYTHING, "3", &json!([part])).await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    assert_eq!(listed[0]["results"][1]["channel"], "y");
}

/// Version 2: a flat list, and a refusal around it when something failed.
#[tokio::test]
async fn version_2_has_one_list() {
    let mut sandbox = Sandbox::start().await;
    let good = json!([{"channels": ["a", "b"], "messages": {"data": "1"}}, {"channels": "c", "messages": []}]);
    let response = publish_by(&mut sandbox, EVERYTHING, "2", &good).await;
    assert_eq!(response.status, 201, "{response:?}");
    let answer = response.json();
    let channels: Vec<_> = answer.as_array().expect("a list").iter().map(|item| &item["channel"]).collect();
    assert_eq!(channels, ["a", "b", "c"]);

    let mixed = json!({"channels": ["a", "[bad"], "messages": {"data": "2"}});
    let response = publish_by(&mut sandbox, EVERYTHING, "2", &mixed).await;
    assert_refused(&response, 400, 40020);
    let answer = response.json();
    assert_eq!(answer["batchResponse"][0]["channel"], "a");
    assert_eq!(answer["batchResponse"][1]["error"]["code"], 40010);
    assert_eq!(data(&sandbox.history("a").await), ["2", "1"]);
}

#[tokio::test]
async fn batches_that_are_none() {
    let mut sandbox = Sandbox::start().await;
    let channels: Vec<_> = (0..=100).map(|number| number.to_string()).collect();
    let messages: Vec<_> = (0..=1_000).map(|_| json!({})).collect();
    let table = [
        (json!([]), 400, 40000),
        (json!({}), 400, 40000),
        (json!({"channels": [], "messages": {}}), 400, 40000),
        (json!({"channels": channels, "messages": {}}), 400, 40000),
        (
            json!([{"channels": &channels[..60], "messages": {}}, {"channels": &channels[60..], "messages": {}}]),
            400,
            40000,
        ),
        (json!({"channels": "a", "messages": messages}), 400, 40034),
        (json!("a"), 400, 40001),
        (json!([1]), 400, 40001),
        (json!({"channels": 7, "messages": {}}), 400, 40001),
        (json!({"channels": [["a"]], "messages": {}}), 400, 40001),
        (json!({"channels": {"a": 1}, "messages": {}}), 400, 40001),
        (json!({"channels": "a", "messages": "text"}), 400, 40001),
        (json!({"channels": "a", "messages": [{"name": {}}]}), 400, 40001),
    ];
    for (body, status, code) in table {
        let response = publish_by(&mut sandbox, EVERYTHING, "6", &body).await;
        assert_refused(&response, status, code);
    }
    for body in [&b""[..], b"{", b"\xff"] {
        let response = sandbox.ask_by(EVERYTHING, "POST", "/messages", &[], body).await;
        assert_refused(&response, 400, 40001);
    }
    let response = sandbox.ask_by(EVERYTHING, "POST", "/messages", &[("Authorization", "")], b"{}").await;
    assert_refused(&response, 401, 40101);
    let large = format!(r#"{{"channels":"a","messages":{{"data":"{}"}}}}"#, "x".repeat(2 * 1024 * 1024));
    let response = sandbox.ask_by(EVERYTHING, "POST", "/messages", &[], large.as_bytes()).await;
    assert_refused(&response, 413, 40009);
}

/// A message that is too large fails its channels only.
#[tokio::test]
async fn messages_that_may_not_be_published_fail_in_their_place() {
    let mut sandbox = Sandbox::start().await;
    let body = json!([
        {"channels": ["a", "b"], "messages": {"data": "x".repeat(65_537)}},
        {"channels": ["a"], "messages": {"data": "y"}},
    ]);
    let answer = publish_by(&mut sandbox, EVERYTHING, "6", &body).await.json();
    assert_eq!(answer[0]["failureCount"], 2);
    assert_eq!(answer[0]["results"][1]["error"]["code"], 40009);
    assert_eq!(answer[1]["successCount"], 1);
}

#[tokio::test]
async fn batches_in_message_pack() {
    let mut sandbox = Sandbox::start().await;
    let headers = [("Content-Type", "application/x-msgpack"), ("Accept", "application/x-msgpack")];
    // {channels: ["a", "[bad"], messages: {data: "x"}}
    let body = b"\x82\xa8channels\x92\xa1a\xa4[bad\xa8messages\x81\xa4data\xa1x";
    let response = sandbox.ask_by(EVERYTHING, "POST", "/messages", &headers, body).await;
    assert_eq!(response.status, 201, "{response:?}");
    let answer: Value = rmp_serde::from_slice(&response.bytes).expect("MessagePack");
    assert_eq!((&answer["successCount"], &answer["failureCount"]), (&json!(1), &json!(1)));
    assert_eq!(answer["results"][1]["error"]["code"], 40010);
    let response = sandbox.ask_by(EVERYTHING, "GET", "/presence?channels=a,b", &headers[1..], b"").await;
    let answer: Value = rmp_serde::from_slice(&response.bytes).expect("MessagePack");
    assert_eq!(answer["results"][1], json!({"channel": "b", "presence": []}));
}

#[tokio::test]
async fn who_is_present_on_several_channels() {
    let mut sandbox = Sandbox::start().await;
    let fixtures = FIXTURES.replace(':', "%3A");
    let response = sandbox.get(&format!("/presence?channels={fixtures},empty,%5Bbad")).await;
    assert_eq!(response.status, 200, "{response:?}");
    let answer = response.json();
    assert_eq!((&answer["successCount"], &answer["failureCount"]), (&json!(2), &json!(1)), "{answer}");
    let results = &answer["results"];
    assert_eq!(results[0]["channel"], FIXTURES);
    assert_eq!(results[0]["presence"].as_array().map(Vec::len), Some(6), "{results}");
    assert_eq!(results[0]["presence"][0]["clientId"], "client_bool");
    assert_eq!(results[1], json!({"channel": "empty", "presence": []}));
    assert_eq!(results[2]["error"]["code"], 40010);
    // A name with a comma needs another separator.
    let response = sandbox.get("/presence?channels=a%2Cb%7Cc&separator=%7C").await;
    assert_eq!(response.json()["results"][0]["channel"], "a,b");
    assert_eq!(response.json()["results"][1]["channel"], "c");

    let target = format!("/presence?channels={fixtures},only:a");
    let response = sandbox.ask_by(SUBSCRIBE_ONLY, "GET", &target, &[], b"").await;
    assert_eq!(response.json()["results"][0]["error"]["code"], 40160, "{response:?}");
    assert_eq!(response.json()["results"][1]["presence"], json!([]));
    let response = sandbox.ask_by(PUBLISH_ONLY, "GET", &target, &[("X-Ably-Version", "2")], b"").await;
    assert_refused(&response, 400, 40020);
    assert_eq!(response.json()["batchResponse"].as_array().map(Vec::len), Some(2));
    let response = sandbox.ask_by(ALSO_QUALIFIED, "GET", "/presence?channels=a", &[("X-Ably-Version", "2")], b"").await;
    assert_eq!(response.json(), json!([{"channel": "a", "presence": []}]));

    let many: Vec<_> = (0..=100).map(|number| number.to_string()).collect();
    for (query, code) in [("", 40003), ("channels=", 40003), (&*format!("channels={}", many.join(",")), 40000)] {
        assert_refused(&sandbox.get(&format!("/presence?{query}")).await, 400, code);
    }
    let response = sandbox.ask_by(EVERYTHING, "GET", "/presence?channels=a", &[("Authorization", "")], b"").await;
    assert_refused(&response, 401, 40101);
}
