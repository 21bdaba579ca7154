//! Formats, envelopes, errors, versions (§1.3, §1.8, §1.10, §11.10).

use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, SUBSCRIBE_ONLY, Sandbox, assert_refused};

pub const MSGPACK: (&str, &str) = ("Accept", "application/x-msgpack");

pub fn from_msgpack(bytes: &[u8]) -> Value {
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

/// findings A11: on a path that nobody has, whoever shows credentials or asks for JSON or MessagePack is an API client
/// and reads the error of the API; everybody else, and every browser, gets the page.
#[tokio::test]
async fn an_api_client_reads_the_error_of_an_unknown_path() {
    let mut sandbox = Sandbox::start().await;
    let (basic, key) = (sandbox.basic(EVERYTHING), sandbox.key(EVERYTHING).to_owned());
    let json = [("Accept", "application/json")];
    let credentials = [("Authorization", basic.as_str())];
    let bearer = [("Authorization", "Bearer x.y")];
    let by_query =
        [format!("/no/such/path?key={key}"), "/no?access_token=x".to_owned(), "/no?accessToken=x".to_owned()];
    let mut cases: Vec<(&str, &[(&str, &str)])> = by_query.iter().map(|target| (&**target, &[][..])).collect();
    cases.extend([("/no/such/path", &credentials[..]), ("/no/such/path", &bearer), ("/no/such/path", &json)]);
    for (target, headers) in cases {
        let response = sandbox.http.ask("GET", target, headers).await;
        assert_refused(&response, 404, 40400);
        assert_eq!(response.header("content-type"), Some("application/json"), "{target}");
    }
    for accept in ["*/*", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"] {
        let response = sandbox.http.ask("GET", "/no/such/path", &[("Accept", accept)]).await;
        assert_eq!((response.status, &*response.body), (404, "404 page not found"), "{accept}");
    }
}

/// findings A9: whatever a parser refuses, the error names the field, what was found (cut short) and what is allowed.
#[tokio::test]
async fn errors_name_the_field_what_was_found_and_what_is_allowed() {
    let mut sandbox = Sandbox::start().await;
    let name = sandbox.app["keys"][EVERYTHING]["keyName"].as_str().expect("a name").to_owned();
    let (request, revoke) = (format!("/keys/{name}/requestToken"), format!("/keys/{name}/revokeTokens"));
    let messages = "/channels/x/messages";
    let long = "x".repeat(5_000);
    let long_id = json!({"id": long}).to_string();
    let long_name = format!(r#"{{"name":[{long:?}]}}"#);
    let long_param = format!("/channels/x/messages?limit={long}");
    let table: &[(&str, &str, &str, u32, &[&str])] = &[
        ("POST", messages, r#"{"name":5}"#, 40001, &["name", "`5`", "a string"]),
        ("POST", messages, r#"[{},{"name":5}]"#, 40001, &["[1].name", "`5`", "a string"]),
        ("POST", messages, &long_name, 40001, &["name", "a list", "a string"]),
        ("POST", messages, r#""s""#, 40001, &["\"s\"", "a message or a list of messages"]),
        ("POST", messages, "null", 40001, &["null", "a message or a list of messages"]),
        ("POST", messages, "{", 40001, &["EOF", "line 1"]),
        ("POST", messages, r#"{"data":5}"#, 40013, &["data", "found 5", "a string, binary"]),
        ("POST", messages, r#"{"data":"!","encoding":"base64"}"#, 40013, &["data", "found \"!\"", "base64"]),
        ("POST", messages, r#"{"extras":[]}"#, 40032, &["extras", "a list", "an object"]),
        ("POST", messages, r#"{"extras":{"headers":{"a":{}}}}"#, 40032, &["extras.headers", "an object", "flat"]),
        ("POST", messages, r#"{"extras":{"delta":1}}"#, 40032, &["extras.delta", "found 1", "the server sets it"]),
        ("POST", messages, r#"{"clientId":"*"}"#, 40012, &["clientId", "\"*\"", "wildcard"]),
        ("POST", messages, r#"[{"id":"a"},{"id":"b"}]"#, 40031, &["messages[0].id", "\"a\"", "<base>:0"]),
        ("POST", messages, &long_id, 40009, &["the id of a message", "5000", "512"]),
        ("POST", "/channels/:x/messages", "{}", 40010, &["channel name", "\":x\"", "a first character"]),
        ("POST", "/channels/%5Bx%5Dy/messages", "{}", 40010, &["channel name", "\"[x]y\"", "meta"]),
        ("GET", "/channels/x/messages?limit=0", "", 40003, &["limit", "\"0\"", "1 to 1000"]),
        ("GET", &long_param, "", 40003, &["limit", "xxx", "1 to 1000"]),
        ("GET", "/channels/x/messages?start=y", "", 40003, &["start", "\"y\"", "milliseconds"]),
        ("GET", "/channels/x/messages?direction=up", "", 40003, &["direction", "\"up\"", "forwards or backwards"]),
        ("GET", "/channels/x/messages?from_serial=5", "", 40003, &["from_serial", "\"5\"", "channelSerial"]),
        ("GET", "/channels/x/messages?cursor=5", "", 40003, &["cursor", "\"5\"", "Link"]),
        ("GET", "/channels?by=size", "", 40003, &["by", "\"size\"", "id or value"]),
        ("POST", &request, r#"{"capability":{"*":["*"]}}"#, 40000, &["capability", "an object", "a string"]),
        ("POST", &request, r#"{"capability":"x"}"#, 40000, &["capability", "\"x\"", "JSON object"]),
        ("POST", &request, r#"{"capability":"{\"a\":[\"fly\"]}"}"#, 40000, &["\"a\"", "\"fly\"", "publish"]),
        ("POST", &request, r#"{"capability":"{\"a\":[]}"}"#, 40000, &["\"a\"", "empty list", "at least one"]),
        ("POST", &request, r#"{"ttl":"soon"}"#, 40003, &["ttl", "\"soon\"", "24 hours"]),
        ("POST", &request, r#"{"timestamp":"soon"}"#, 40003, &["timestamp", "\"soon\"", "milliseconds"]),
        ("POST", &request, r#"{"timestamp":5}"#, 40104, &["Timestamp", " s ago", "120 s"]),
        ("POST", &request, r#"{"clientId":""}"#, 40012, &["clientId", "\"\"", "neither empty"]),
        ("POST", &request, r#""x""#, 40000, &["token request", "\"x\"", "an object"]),
        ("POST", &revoke, r#"{"targets":1}"#, 40001, &["targets", "`1`", "a list"]),
        ("POST", "/apps", r#"{"keys":5}"#, 40000, &["keys", "`5`", "a list"]),
    ];
    for (method, target, body, code, said) in table {
        let response = sandbox.ask_by(EVERYTHING, method, target, &[], body.as_bytes()).await;
        let message = response.json()["error"]["message"].as_str().expect("a message").to_owned();
        assert_refused(&response, response.status, *code);
        for word in *said {
            assert!(message.contains(word), "{method} {target} {body:.80}: {message:?} has not {word:?}");
        }
        assert!(message.len() < 600 && !message.contains(&"x".repeat(65)), "{message}");
    }
    // What the credentials permit instead, and where.
    let response = sandbox.ask_by(SUBSCRIBE_ONLY, "POST", "/channels/only:x/messages", &[], b"{}").await;
    assert_refused(&response, 401, 40160);
    let message = response.json()["error"]["message"].as_str().expect("a message").to_owned();
    assert!(message.contains("publish on \"only:x\"") && message.contains("they permit subscribe there"), "{message}");
    let response = sandbox.http.ask("GET", &format!("{messages}?v=six"), &[("Authorization", "Digest x")]).await;
    assert_refused(&response, 400, 40017);
    assert!(response.json()["error"]["message"].as_str().is_some_and(|message| message.contains("\"six\"")));
}
