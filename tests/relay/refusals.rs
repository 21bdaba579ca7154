//! Requests that are refused (`docs/protocols/relay.md §2, §4`).

use letshare_server::config::UnresolvedToken;

use super::*;
use crate::support::UPGRADE;

fn refusal(msg: &str) -> Value {
    json!({"code": -1, "msg": msg})
}

#[track_caller]
fn assert_refused(answer: &Response, status: u16, msg: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json(), refusal(msg));
}

/// §4: one row each.
#[tokio::test]
async fn bad_requests() {
    let mut rig = Rig::start(|_| {}).await;
    for (body, msg) in [
        ("", "invalid json"),
        ("x", "invalid json"),
        ("[]", "invalid json"),
        (r#""text""#, "invalid json"),
        (r#"{"event_name":5,"subject":1}"#, "invalid json"),
        (r#"{"event_name":"e","subject":1,"delay_seconds":"5"}"#, "invalid json"),
        (r#"{"event_name":"e","subject":1,"delay_seconds":1.5}"#, "invalid json"),
        (r#"{"subject":1}"#, "缺少 event_name"),
        (r#"{"event_name":"","subject":1}"#, "缺少 event_name"),
        (r#"{"event_name":"e"}"#, "缺少 subject"),
        (r#"{"event_name":"e","subject":1,"delay_seconds":2592001}"#, "delay_seconds too large"),
    ] {
        assert_refused(&rig.post(body).await, 400, msg);
    }
    assert!(rig.scheduled().await.is_empty());
}

/// §4: the key is asked for before anything of the body.
#[tokio::test]
async fn without_the_key_nothing_is_read() {
    let mut rig = Rig::start(|_| {}).await;
    let answer = rig.http.post("/api/push", &[], "x").await;
    assert_refused(&answer, 401, "invalid api key");
    for (method, target) in [("GET", "/api/push/scheduled"), ("DELETE", "/api/push/scheduled/x"), ("GET", "/stats")] {
        let answer = rig.http.ask(method, target, &[]).await;
        assert_refused(&answer, 401, "invalid api key");
    }
}

/// §1: an empty key is none: nobody can push.
#[tokio::test]
async fn an_empty_key_lets_nobody_in() {
    let mut rig = Rig::start(|config| config.relay.api_key = String::new().into()).await;
    let answer = rig.http.post("/api/push", &[("X-API-KEY", "")], "{}").await;
    assert_refused(&answer, 401, "invalid api key");
}

/// §2
#[tokio::test]
async fn other_methods() {
    let mut rig = Rig::start(|_| {}).await;
    for (method, target, allowed) in [
        ("GET", "/api/push", "POST"),
        ("PUT", "/api/push", "POST"),
        ("OPTIONS", "/api/push", "POST"),
        ("POST", "/api/push/scheduled", "GET"),
        ("GET", "/api/push/scheduled/x", "DELETE"),
        ("POST", "/ws", "GET"),
    ] {
        let answer = rig.ask(method, target).await;
        assert_refused(&answer, 405, "method not allowed");
        assert_eq!(answer.header("allow"), Some(allowed));
    }
    assert_eq!(rig.ask("GET", "/api/push/other").await.status, 404);
}

/// §4: 1 MiB is the most.
#[tokio::test]
async fn large_bodies() {
    let mut rig = Rig::start(|_| {}).await;
    let body = |bytes: usize| {
        let frame = r#"{"event_name":"e","subject":""}"#.len();
        let filling = "x".repeat(bytes - frame);
        format!(r#"{{"event_name":"e","subject":"{filling}"}}"#)
    };
    assert_eq!(rig.post(&body(1 << 20)).await.status, 200);
    let answer = rig.post(&body((1 << 20) + 1)).await;
    assert_refused(&answer, 413, "body too large");
}

/// §4: off by default; with `Retry-After`.
#[tokio::test]
async fn too_many_pushes() {
    let clock = Clock::manual(letshare_server::ids::Timestamp::from_millis(0));
    let mut rig = Rig::start_at(clock, |config| config.relay.pushes_per_second = 3).await;
    let body = r#"{"event_name":"e","subject":1}"#;
    for _ in 0..3 {
        assert_eq!(rig.post(body).await.status, 200);
    }
    let answer = rig.post(body).await;
    assert_refused(&answer, 429, "too many requests");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// §4 `unresolved_token = "reject"`: what was meant for somebody does not go to everybody.
#[tokio::test]
async fn slips_of_the_token() {
    let mut rig = Rig::start(|config| config.relay.unresolved_token = UnresolvedToken::Reject).await;
    for token in ["true", "[1]", "{}", r#"{"id":""}"#] {
        let body = format!(r#"{{"event_name":"e","subject":1,"token":{token}}}"#);
        assert_refused(&rig.post(&body).await, 400, "token cannot be resolved");
    }
    for token in ["null", r#""""#] {
        let body = format!(r#"{{"event_name":"e","subject":1,"token":{token}}}"#);
        assert_eq!(rig.post(&body).await.status, 200, "{token}");
    }
    // Longer than any user's.
    let long = "x".repeat(1_025);
    let body = json!({"event_name": "e", "subject": 1, "token": long});
    let answer = rig.post(&body.to_string()).await;
    assert_refused(&answer, 400, "token too long: it may have 1024 bytes");
}

/// §2: a request on the socket's path that is no handshake.
#[tokio::test]
async fn no_handshake() {
    let mut rig = Rig::start(|_| {}).await;
    let answer = rig.http.ask("GET", "/ws", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (400, "Bad Request\n"));
}

/// §5: every page may connect, unless some are listed.
#[tokio::test]
async fn origins() {
    let handshake = |origin| {
        let mut headers = UPGRADE.to_vec();
        headers.push(("Origin", origin));
        headers
    };
    let mut open = Rig::start(|_| {}).await;
    let headers = handshake("https://anywhere.example");
    assert_eq!(open.http.ask("GET", "/ws", &headers).await.status, 101);

    let listed = |config: &mut Config| {
        config.relay.allowed_origins = vec!["https://shop.example".into()];
    };
    let mut rig = Rig::start(listed).await;
    let refused = rig.http.ask("GET", "/ws", &headers).await;
    assert_eq!(refused.status, 403);
    let headers = handshake("https://shop.example");
    let mut rig = Rig::start(listed).await;
    assert_eq!(rig.http.ask("GET", "/ws", &headers).await.status, 101);
}

/// The caps of the edge, in the words of the relay.
#[tokio::test]
async fn a_full_server() {
    let mut rig = Rig::start_alone(|config| {
        config.limits.connections_per_address = 1;
        config.limits.exempt_loopback = false;
    })
    .await;
    let _first = rig.socket("").await;
    let answer = rig.http.ask("GET", "/ws", &UPGRADE).await;
    assert_refused(&answer, 429, "too many connections");
}

/// findings O13: the error about a token that is too long names the limit; one of just that length works.
#[tokio::test]
async fn a_token_that_is_too_long_is_told_the_limit() {
    let mut rig = Rig::start(|_| {}).await;
    let (longest, long) = ("x".repeat(1_024), "x".repeat(1_025));
    let text = "token too long: it may have 1024 bytes";
    for token in [json!(long), json!({"id": long}), json!({"user_id": long})] {
        let body = json!({"event_name": "e", "subject": 1, "token": token}).to_string();
        assert_refused(&rig.post(&body).await, 400, text);
    }
    let error = json!({"event": "error", "data": {"msg": text}});
    let mut by_url = rig.socket(&format!("?token={long}")).await;
    assert_eq!(by_url.next().await, error);
    by_url.expect_close(4401).await;
    for token in [long, "x".repeat(10_000)] {
        let mut by_frame = rig.socket("").await;
        by_frame.identify(json!(token)).await;
        assert_eq!(by_frame.next().await, error);
        by_frame.expect_close(4401).await;
    }
    rig.until(0, 0).await;
    let mut user = rig.user(&longest).await;
    rig.push(json!({"event_name": "e", "subject": 1, "token": longest})).await;
    user.expect("e").await;
}
