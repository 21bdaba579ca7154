//! Who a request is from, and what its messages may say about that (§6.5, §6.6, §12.1, §12.6).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::sandbox::{EVERYTHING, Sandbox, assert_refused};

const TARGET: &str = "/channels/who/messages";

/// §12.1: by header, by query; and what is none.
#[tokio::test]
async fn credentials() {
    let mut sandbox = Sandbox::start().await;
    let key = sandbox.key(EVERYTHING).replace(':', "%3A");
    let response = sandbox.http.ask("GET", &format!("{TARGET}?key={key}"), &[]).await;
    assert_eq!(response.status, 200, "{response:?}");

    let response = sandbox.http.ask("GET", TARGET, &[]).await;
    assert_refused(&response, 401, 40101);
    let (name, _) = sandbox.key(EVERYTHING).split_once(':').expect("a key");
    let app = &name[..6];
    for (key, status, code) in [
        (format!("{name}:wrong"), 401, 40101),
        (format!("{app}.nobody:x"), 401, 40400),
        ("nobody.nobody:x".to_owned(), 404, 40400),
        ("api:key".to_owned(), 401, 40101),
    ] {
        let basic = format!("Basic {}", BASE64_STANDARD.encode(&key));
        let response = sandbox.http.ask("GET", TARGET, &[("Authorization", &basic)]).await;
        assert_refused(&response, status, code);
    }
    for (header, code) in [("Digest x", 40005), ("Basic !", 40005)] {
        let response = sandbox.http.ask("GET", TARGET, &[("Authorization", header)]).await;
        assert_refused(&response, 400, code);
    }
}

/// §6.6 with basic auth: anybody may be named, nobody must be.
#[tokio::test]
async fn a_key_may_speak_for_anybody() {
    let mut sandbox = Sandbox::start().await;
    sandbox.publish("who", json!({"clientId": "alice"})).await;
    sandbox.publish("who", json!({})).await;
    let history = sandbox.history("who").await;
    assert_eq!(history[0].get("clientId"), None);
    assert_eq!(history[1]["clientId"], "alice");
    for bad in ["*", ""] {
        let response = sandbox.post(TARGET, &json!({"clientId": bad})).await;
        assert_refused(&response, 400, 40012);
    }
}

/// §12.6, T64: `X-Ably-ClientId` is base64, and stamps what names nobody.
#[tokio::test]
async fn the_client_of_a_request() {
    let mut sandbox = Sandbox::start().await;
    let bob = BASE64_STANDARD.encode("bob/ü");
    let headers = [("X-Ably-ClientId", bob.as_str())];
    for body in [&b"{}"[..], "{\"clientId\":\"bob/ü\"}".as_bytes()] {
        let response = sandbox.ask_by(EVERYTHING, "POST", TARGET, &headers, body).await;
        assert_eq!(response.status, 201, "{response:?}");
    }
    for message in sandbox.history("who").await {
        assert_eq!(message["clientId"], "bob/ü");
    }
    let body = br#"{"clientId":"alice"}"#;
    let response = sandbox.ask_by(EVERYTHING, "POST", TARGET, &headers, body).await;
    assert_refused(&response, 400, 40012);
    for bad in ["!", &BASE64_STANDARD.encode("*")] {
        let headers = [("X-Ably-ClientId", bad)];
        let response = sandbox.ask_by(EVERYTHING, "POST", TARGET, &headers, b"{}").await;
        assert_refused(&response, 400, 40012);
    }
}

/// §5.2, §13: channels for those who are known.
#[tokio::test]
async fn some_channels_are_for_identified_clients() {
    let mut sandbox = Sandbox::start().await;
    for (client, status) in [(None, 401), (Some("bob"), 201)] {
        let token = format!("Bearer {}", sandbox.token(json!({"clientId": client})).await);
        let headers = [("Authorization", token.as_str())];
        let target = "/channels/known:room/messages";
        let response = sandbox.ask_by(EVERYTHING, "POST", target, &headers, b"{}").await;
        assert_eq!(response.status, status, "{response:?}");
        if status == 401 {
            assert_refused(&response, 401, 40161);
        }
    }
}

/// §6.6: who is nobody can name nobody.
#[tokio::test]
async fn an_anonymous_token() {
    let mut sandbox = Sandbox::start().await;
    let token = format!("Bearer {}", sandbox.token(json!({})).await);
    let headers = [("Authorization", token.as_str())];
    let response = sandbox.ask_by(EVERYTHING, "POST", TARGET, &headers, b"{}").await;
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(sandbox.history("who").await[0].get("clientId"), None);
    let body = br#"{"clientId":"alice"}"#;
    let response = sandbox.ask_by(EVERYTHING, "POST", TARGET, &headers, body).await;
    assert_refused(&response, 400, 40012);
    let alice = BASE64_STANDARD.encode("alice");
    let headers = [headers[0], ("X-Ably-ClientId", &alice)];
    let response = sandbox.ask_by(EVERYTHING, "POST", TARGET, &headers, b"{}").await;
    assert_refused(&response, 401, 40102);
}

/// findings A2: a key that its app does not have is a credential that lets nobody in: 401 with the code 40400, on every
/// endpoint and in whatever form it comes; an app that there is not stays a 404.
#[tokio::test]
async fn an_unknown_key_of_a_known_app_is_401_everywhere() {
    let mut sandbox = Sandbox::start().await;
    let app = sandbox.app["appId"].as_str().expect("an id").to_owned();
    let basic = |key: &str| format!("Basic {}", BASE64_STANDARD.encode(key));
    let header = jsonwebtoken::Header { kid: Some(format!("{app}.nobody")), ..Default::default() };
    let secret = jsonwebtoken::EncodingKey::from_secret(b"whatever");
    let jwt = jsonwebtoken::encode(&header, &json!({"iat": 1, "exp": 2}), &secret).expect("a JWT");
    let endpoints = [
        ("GET", "/channels".to_owned()),
        ("GET", "/channels/x".to_owned()),
        ("GET", "/channels/x/messages".to_owned()),
        ("POST", "/channels/x/messages".to_owned()),
        ("GET", "/channels/x/presence".to_owned()),
        ("GET", "/channels/x/presence/history".to_owned()),
        ("GET", "/stats".to_owned()),
        ("POST", format!("/keys/{app}.nobody/requestToken")),
        ("POST", format!("/keys/{app}.nobody/revokeTokens")),
        ("DELETE", format!("/apps/{app}")),
    ];
    for (method, target) in &endpoints {
        let body = if target.ends_with("revokeTokens") { &br#"{"targets":[]}"#[..] } else { b"{}" };
        for authorization in [basic(&format!("{app}.nobody:secret")), format!("Bearer {jwt}")] {
            let is_request = target.ends_with("requestToken");
            if is_request && authorization.starts_with("Bearer") {
                continue;
            }
            let headers = [("Authorization", authorization.as_str())];
            let response = sandbox.ask_by(EVERYTHING, method, target, &headers, body).await;
            assert_refused(&response, 401, 40400);
        }
        let target = target.replace(&format!("{app}.nobody"), "nobody.nobody");
        let headers = [("Authorization", &*basic("nobody.nobody:secret"))];
        let response = sandbox.ask_by(EVERYTHING, method, &target, &headers, body).await;
        assert_refused(&response, 404, 40400);
    }
}
