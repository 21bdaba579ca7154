//! POST `/keys/{keyName}/requestToken` (§11.3, §12.2, T15, T58, T59).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::sandbox::{EVERYTHING, Sandbox, assert_refused};

/// Signed as §12.2 says it; what is absent is an empty line.
fn signed(sandbox: &Sandbox, index: usize, mut request: Value) -> Value {
    let key = &sandbox.app["keys"][index];
    request["keyName"] = key["keyName"].clone();
    let text = |name: &str| match &request[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let names = ["keyName", "ttl", "capability", "clientId", "timestamp", "nonce"];
    let lines: String = names.iter().map(|name| format!("{}\n", text(name))).collect();
    let secret = key["keySecret"].as_str().expect("a secret");
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
    let mac = mac.chain_update(lines).finalize().into_bytes();
    request["mac"] = json!(BASE64_STANDARD.encode(mac));
    request
}

fn target(sandbox: &Sandbox, index: usize) -> String {
    let name = sandbox.app["keys"][index]["keyName"].as_str().expect("a name");
    format!("/keys/{name}/requestToken")
}

async fn now(sandbox: &mut Sandbox) -> u64 {
    let time = sandbox.http.ask("GET", "/time", &[]).await;
    time.json()[0].as_u64().expect("milliseconds")
}

/// The way of every client library: signed, sent without credentials, used as a bearer token.
#[tokio::test]
async fn a_signed_request_becomes_a_token() {
    let mut sandbox = Sandbox::start().await;
    let timestamp = now(&mut sandbox).await;
    let request = json!({
        "ttl": 60_000, "clientId": "alice", "timestamp": timestamp, "nonce": "0123456789abcdef",
        "capability": r#"{"room":["subscribe","publish","history"]}"#,
    });
    let request = signed(&sandbox, EVERYTHING, request);
    let target = target(&sandbox, EVERYTHING);
    let response = sandbox.http.post(&target, &[], &request.to_string()).await;
    assert_eq!(response.status, 201, "{response:?}");
    // T15: JSON for who does not say otherwise.
    assert_eq!(response.header("content-type"), Some("application/json"));
    let details = response.json();
    assert_eq!(details["keyName"], request["keyName"]);
    assert_eq!(details["clientId"], "alice");
    // T58: sorted.
    assert_eq!(details["capability"], r#"{"room":["history","publish","subscribe"]}"#);
    let (issued, expires) = (details["issued"].as_u64(), details["expires"].as_u64());
    assert_eq!(issued.map(|issued| issued + 60_000), expires);

    let token = details["token"].as_str().expect("a token").to_owned();
    let encoded = format!("Bearer {}", BASE64_STANDARD.encode(&token));
    for bearer in [format!("Bearer {token}"), encoded] {
        let headers = [("Authorization", bearer.as_str())];
        let response = sandbox.ask_by(EVERYTHING, "POST", "/channels/room/messages", &headers, b"{}").await;
        assert_eq!(response.status, 201, "{response:?}");
        let response = sandbox.ask_by(EVERYTHING, "POST", "/channels/other/messages", &headers, b"{}").await;
        assert_refused(&response, 401, 40160);
        // §6.6: a token of somebody speaks for nobody else.
        let body = br#"{"clientId":"bob"}"#;
        let response = sandbox.ask_by(EVERYTHING, "POST", "/channels/room/messages", &headers, body).await;
        assert_refused(&response, 400, 40012);
    }
    assert_eq!(sandbox.history("room").await[0]["clientId"], "alice");

    let again = sandbox.http.post(&target, &[], &request.to_string()).await;
    assert_refused(&again, 401, 40105);
}

/// T59: numbers as texts; and with the key itself no signature is needed.
#[tokio::test]
async fn numbers_may_be_texts_and_a_key_signs_nothing() {
    let mut sandbox = Sandbox::start().await;
    let timestamp = now(&mut sandbox).await.to_string();
    let request = json!({"ttl": "3600000", "timestamp": timestamp, "nonce": "fedcba9876543210"});
    let request = signed(&sandbox, EVERYTHING, request);
    let target = target(&sandbox, EVERYTHING);
    let response = sandbox.http.post(&target, &[], &request.to_string()).await;
    assert_eq!(response.status, 201, "{response:?}");

    let unsigned = json!({"keyName": request["keyName"], "timestamp": timestamp});
    let response = sandbox.post(&target, &unsigned).await;
    assert_eq!(response.status, 201, "{response:?}");
    // T15: always there.
    assert_eq!(response.json()["capability"], r#"{"*":["*"]}"#);

    let headers = [("Accept", "application/x-msgpack")];
    let body = unsigned.to_string();
    let response = sandbox.ask_by(EVERYTHING, "POST", &target, &headers, body.as_bytes()).await;
    assert_eq!(response.header("content-type"), Some("application/x-msgpack"));
    let details: Value = rmp_serde::from_slice(&response.bytes).expect("msgpack");
    assert!(details["token"].is_string());
}

#[tokio::test]
async fn requests_that_are_refused() {
    let mut sandbox = Sandbox::start().await;
    let timestamp = now(&mut sandbox).await;
    let path = target(&sandbox, EVERYTHING);
    let good = json!({"timestamp": timestamp, "nonce": "0011223344556677"});
    let mut forged = signed(&sandbox, EVERYTHING, good.clone());
    forged["clientId"] = json!("mallory");
    let old = json!({"timestamp": timestamp - 200_000, "nonce": "0011223344556677"});
    let old = signed(&sandbox, EVERYTHING, old);
    let endless = json!({"timestamp": timestamp, "nonce": "1011223344556677", "ttl": 90_000_000});
    let endless = signed(&sandbox, EVERYTHING, endless);
    let invalid = json!({"timestamp": timestamp, "nonce": "2011223344556677", "capability": "{\"*\":[]}"});
    let invalid = signed(&sandbox, EVERYTHING, invalid);
    for (request, status, code) in
        [(forged, 401, 40101), (old, 401, 40104), (endless, 400, 40003), (invalid, 400, 40000)]
    {
        let response = sandbox.http.post(&path, &[], &request.to_string()).await;
        assert_refused(&response, status, code);
    }
    let response = sandbox.http.post(&path, &[], "{").await;
    assert_refused(&response, 400, 40001);
    // The values of a request in a list are no request.
    let list = json!([null, null, null, null, timestamp, "3011223344556677", null]);
    let response = sandbox.http.post(&path, &[], &list.to_string()).await;
    assert_refused(&response, 400, 40000);
    let long = json!({"capability": "x".repeat(70_000)}).to_string();
    let response = sandbox.http.post(&path, &[], &long).await;
    assert_refused(&response, 413, 40009);
    // §11.3: nothing is there to be read.
    assert_refused(&sandbox.get(&path).await, 404, 40400);
}

/// findings A1: a nonce is spent together with its timestamp and its key, and the same pair again is refused.
#[tokio::test]
async fn one_nonce_with_two_timestamps_is_two_requests() {
    let mut sandbox = Sandbox::start().await;
    let timestamp = now(&mut sandbox).await;
    let path = target(&sandbox, EVERYTHING);
    let at = |sandbox: &Sandbox, timestamp: u64| {
        signed(sandbox, EVERYTHING, json!({"timestamp": timestamp, "nonce": "1234567890123456"})).to_string()
    };
    let (first, second) = (at(&sandbox, timestamp), at(&sandbox, timestamp + 1));
    for request in [&first, &second] {
        let response = sandbox.http.post(&path, &[], request).await;
        assert_eq!(response.status, 201, "{response:?}");
    }
    for request in [&first, &second] {
        assert_refused(&sandbox.http.post(&path, &[], request).await, 401, 40105);
    }
}

/// findings A1: what is refused for anything else has spent nothing: nobody fills the server's memory with it, and the
/// same nonce is good once the request is right.
#[tokio::test]
async fn a_refused_request_spends_no_nonce() {
    let mut sandbox = Sandbox::start().await;
    let timestamp = now(&mut sandbox).await;
    let path = target(&sandbox, EVERYTHING);
    let mut good = json!({"timestamp": timestamp, "nonce": "the-same-nonce-each-time"});
    let with = |name: &str, value: Value| {
        let mut request = good.clone();
        request[name] = value;
        request
    };
    for (request, status, code) in [
        (with("ttl", json!(0)), 400, 40003),
        (with("capability", json!("{")), 400, 40000),
        (with("capability", json!(r#"{"[meta]a":["*"]}"#)), 401, 40160),
    ] {
        let request = signed(&sandbox, EVERYTHING, request).to_string();
        assert_refused(&sandbox.http.post(&path, &[], &request).await, status, code);
    }
    good = signed(&sandbox, EVERYTHING, good);
    assert_eq!(sandbox.http.post(&path, &[], &good.to_string()).await.status, 201);
}
