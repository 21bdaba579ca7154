//! Formats, envelopes, errors, versions (§1.3, §1.8, §1.10, §11.10).

use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, Sandbox, assert_refused};

const MSGPACK: (&str, &str) = ("Accept", "application/x-msgpack");

fn from_msgpack(bytes: &[u8]) -> Value {
    rmp_serde::from_slice(bytes).expect("msgpack")
}

/// §11.2, T11: an array of one number, in the format that was asked for, for anybody.
#[tokio::test]
async fn time_is_an_array_in_the_format_asked_for() {
    let mut sandbox = Sandbox::start().await;
    let json = sandbox.http.ask("GET", "/time", &[]).await;
    assert_eq!(json.status, 200);
    assert_eq!(json.header("content-type"), Some("application/json"));
    let before = json.json()[0].as_u64().expect("milliseconds");
    assert_eq!(json.json().as_array().map(Vec::len), Some(1));
    let wrong = [MSGPACK, ("Authorization", "Basic d3Jvbmc6d3Jvbmc=")];
    let msgpack = sandbox.http.ask("GET", "/time", &wrong).await;
    assert_eq!(msgpack.status, 200);
    assert_eq!(msgpack.header("content-type"), Some("application/x-msgpack"));
    assert!(from_msgpack(&msgpack.bytes)[0].as_u64().expect("milliseconds") >= before);
}

/// §1.8, T7, T8: the type to the letter, the code in a header, the body in the format that is read.
#[tokio::test]
async fn errors_are_in_the_format_that_the_client_reads() {
    let mut sandbox = Sandbox::start().await;
    let json = sandbox.get("/invalid").await;
    assert_refused(&json, 404, 40400);
    assert_eq!(json.header("content-type"), Some("application/json"));

    let msgpack = sandbox.ask_by(EVERYTHING, "GET", "/invalid", &[MSGPACK], b"").await;
    assert_eq!(msgpack.status, 404);
    assert_eq!(msgpack.header("content-type"), Some("application/x-msgpack"));
    assert_eq!(msgpack.header("x-ably-errorcode"), Some("40400"));
    assert_eq!(from_msgpack(&msgpack.bytes)["error"]["code"], 40400);

    // ably-rust: msgpack out, no Accept, errors in JSON.
    for accept in ["", "*/*"] {
        let headers = [("Accept", accept), ("Content-Type", "application/x-msgpack")];
        let response =
            sandbox.ask_by(EVERYTHING, "POST", "/channels/x/messages?format=msgpack", &headers, b"\xc1").await;
        assert_refused(&response, 400, 40001);
        assert_eq!(response.header("content-type"), Some("application/json"));
    }
}

/// §1.8: `Accept` wins over `format`, parameters do not count.
#[tokio::test]
async fn accept_wins_over_format() {
    let mut sandbox = Sandbox::start().await;
    for (accept, target, expected) in [
        ("application/json; charset=utf-8", "/time?format=msgpack", "application/json"),
        ("application/x-msgpack", "/time?format=json", "application/x-msgpack"),
        ("", "/time?format=msgpack", "application/x-msgpack"),
    ] {
        let response = sandbox.ask_by(EVERYTHING, "GET", target, &[("Accept", accept)], b"").await;
        assert_eq!(response.header("content-type"), Some(expected), "{accept}");
    }
}

/// §1.8 "Envelope": always a 200, with what it stands for inside.
#[tokio::test]
async fn an_envelope_holds_every_answer() {
    let mut sandbox = Sandbox::start().await;
    let response = sandbox.get("/invalid?envelope=json").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("x-ably-errorcode"), None);
    let envelope = response.json();
    assert_eq!(envelope["statusCode"], 404);
    assert_eq!(envelope["headers"]["x-ably-errorcode"], "40400");
    assert_eq!(envelope["response"]["error"]["code"], 40400);

    for index in 0..3 {
        sandbox.publish("enveloped", json!({"name": index.to_string()})).await;
    }
    let target = "/channels/enveloped/messages?limit=1&envelope=json";
    let response = sandbox.ask_by(EVERYTHING, "GET", target, &[MSGPACK], b"").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert!(response.lines("link").is_empty());
    let envelope = response.json();
    assert_eq!(envelope["statusCode"], 200);
    assert_eq!(envelope["response"][0]["name"], "2");
    let links = envelope["headers"]["link"].as_str().expect("links");
    assert_eq!(links.matches("; rel=\"").count(), 3, "{links}");
    assert_eq!(links.split(',').count(), 3, "{links}");

    let response = sandbox.get("/time?envelope=msgpack").await;
    assert_eq!(response.header("content-type"), Some("application/x-msgpack"));
    let envelope = from_msgpack(&response.bytes);
    assert_eq!(envelope["statusCode"], 200);
    assert!(envelope["response"][0].is_u64());

    let id = sandbox.app["appId"].as_str().expect("an id").to_owned();
    let target = format!("/apps/{id}?envelope=json");
    let response = sandbox.ask_by(EVERYTHING, "DELETE", &target, &[], b"").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.json(), json!({"statusCode": 204, "headers": {}}));
}

/// §11.10.
#[tokio::test]
async fn unknown_paths_and_wrong_methods() {
    let mut sandbox = Sandbox::start().await;
    for path in ["/invalid", "/channels/a/b", "/time/x", "/keys/x", "/channels/a/messages/"] {
        assert_refused(&sandbox.get(path).await, 404, 40400);
    }
    for (method, path) in
        [("DELETE", "/time"), ("PUT", "/channels/a/messages"), ("POST", "/channels/a/presence"), ("PATCH", "/channels")]
    {
        let response = sandbox.ask_by(EVERYTHING, method, path, &[], b"").await;
        assert_refused(&response, 405, 40500);
    }
    // Without any sign of an Ably client: the path is Ably's.
    assert_refused(&sandbox.http.ask("GET", "/push/x", &[]).await, 404, 40400);
    // Who is no Ably client reads what the other protocols say.
    let plain = sandbox.http.ask("GET", "/invalid", &[]).await;
    assert_eq!((plain.status, &*plain.body), (404, "404 page not found"));
}

/// §1.3, §13: a version that is none.
#[tokio::test]
async fn a_version_that_cannot_be_read() {
    let mut sandbox = Sandbox::start().await;
    let headers = [("X-Ably-Version", "newest")];
    let response = sandbox.ask_by(EVERYTHING, "GET", "/time", &headers, b"").await;
    assert_refused(&response, 400, 40017);
    let headers = [("X-Ably-Version", "1.2")];
    let response = sandbox.ask_by(EVERYTHING, "GET", "/time", &headers, b"").await;
    assert_eq!(response.status, 200);
}

/// §11.5: bodies that are too long or no bodies.
#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let mut sandbox = Sandbox::start().await;
    let target = "/channels/x/messages";
    for (content_type, body) in [
        ("application/json", &b"{\"name\":"[..]),
        ("application/json", b""),
        ("application/x-msgpack", b"\xdf\xff\xff\xff\xff"),
    ] {
        let headers = [("Content-Type", content_type)];
        let response = sandbox.ask_by(EVERYTHING, "POST", target, &headers, body).await;
        assert_refused(&response, 400, 40001);
    }
    // Refused before it was read: the connection stays.
    let large = "x".repeat(100_000);
    let headers = [("Authorization", "Basic !")];
    let response = sandbox.ask_by(EVERYTHING, "POST", target, &headers, large.as_bytes()).await;
    assert_refused(&response, 400, 40005);
    let headers = [("Content-Length", "2097153")];
    let response = sandbox.ask_by(EVERYTHING, "POST", target, &headers, b"").await;
    assert_refused(&response, 413, 40009);
}

/// §1.10.
#[tokio::test]
async fn the_internet_is_up() {
    let mut sandbox = Sandbox::start().await;
    let response = sandbox.http.ask("GET", "/is-the-internet-up.txt", &[]).await;
    assert_eq!((response.status, &*response.body), (200, "yes"));
    assert_eq!(response.header("content-type"), Some("text/plain"));
}
