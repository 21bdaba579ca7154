//! Every wrong form of a comet request (§1.6, §1.8, §4.2).

use letshare_server::{clock::Clock, ids::Timestamp, limits};
use serde_json::json;

use super::client::{Comet, ask, frames_of};
use crate::{
    ably_realtime::stage::{EVERYTHING, Stage, assert_error},
    support::{AblyClient, Http, Response, Server, ably::action},
};

#[track_caller]
fn assert_refused(response: &Response, status: u16, code: u64) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("x-ably-errorcode"), Some(&*code.to_string()), "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "T7: {response:?}");
    assert_error(&response.json(), code, status.into());
}

/// §4.2: by a frame, as with a WebSocket: 200, so that every client reads it.
#[tokio::test]
async fn who_is_refused_gets_a_frame() {
    let stage = Stage::start().await;
    let key = &stage.app.keys[EVERYTHING];
    for (query, code, status) in [
        ("key=".to_owned() + key, 40017, 400),
        (format!("v=x&key={key}"), 40017, 400),
        ("v=6".to_owned(), 40101, 401),
        ("v=6&key=api:key".to_owned(), 40101, 401),
        (format!("v=6&key={}.nobody:x", stage.app.id), 40400, 404),
        ("v=6&access_token=invalid-token".to_owned(), 40101, 401),
        (format!("v=6&key={key}&clientId=*"), 40012, 400),
        (format!("v=6&key=api:key&resume={}", "x".repeat(40)), 40101, 401),
    ] {
        for stream in ["&stream=false", "&stream=true", ""] {
            let target = format!("/comet/connect?{query}{stream}");
            let error = match stream {
                "&stream=false" => frames_of(&ask(stage.server.address, "GET", &target, "").await),
                _ => {
                    let mut lines = super::client::Lines::open(stage.server.address, &target, "").await;
                    assert!(lines.head.starts_with("HTTP/1.1 200"), "{}", lines.head);
                    let line = lines.line().await.expect("a line");
                    assert_eq!(lines.line().await, None, "the body ends behind it");
                    super::client::frames_in(&line)
                }
            };
            assert_eq!((error.len(), &error[0]["action"]), (1, &json!(action::ERROR)), "{target}: {error:?}");
            assert_error(&error[0], code, status);
            assert_eq!(error[0].get("channel"), None, "T1");
        }
    }
}

#[tokio::test]
async fn wrong_requests_are_refused_by_http() {
    let stage = Stage::start().await;
    let (comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    for (method, what, body, status, code) in [
        ("POST", "send", "", 400, 40001),
        ("POST", "send", "{}", 400, 40001),
        ("POST", "send", "[1,", 400, 40001),
        ("POST", "send", "\"x\"", 400, 40001),
        ("POST", "recv", "", 405, 40500),
        ("GET", "send", "", 405, 40500),
        ("POST", "close", "", 405, 40500),
        ("GET", "nothing", "", 404, 40400),
        ("GET", "recv/more", "", 404, 40400),
    ] {
        assert_refused(&comet.ask(method, what, body).await, status, code);
    }
    let limit = limits::ABLY_FRAME_BYTES;
    let large = comet.ask("POST", "send", &format!("[{}]", " ".repeat(limit))).await;
    assert_refused(&large, 413, 40009);
    assert!(large.body.contains(&limit.to_string()), "{large:?}");
    // It goes on all the same.
    assert_eq!(comet.ask("POST", "send", &format!("[{}]", " ".repeat(limit - 2))).await.status, 204);
    for target in ["/comet", "/comet/", "/comet/connect/x"] {
        assert_refused(&ask(stage.server.address, "GET", target, "").await, 404, 40400);
    }
    assert_refused(&ask(stage.server.address, "POST", "/comet/connect?v=6", "").await, 405, 40500);
}

/// A key that nobody has: made up, forged, of a connection on a WebSocket.
#[tokio::test]
async fn an_unknown_key_is_410() {
    let stage = Stage::start().await;
    let (comet, _) = Comet::connect(&stage.server, &stage.query(EVERYTHING)).await;
    let (_client, connected): (AblyClient, _) = stage.open("").await;
    let forged = format!("{}x", &comet.key[..comet.key.len() - 1]);
    for key in ["some-key", &forged, crate::ably_realtime::stage::connection_key(&connected), "%20", "ü"] {
        for (method, what) in [("GET", "recv"), ("POST", "send"), ("GET", "close"), ("GET", "disconnect")] {
            let target = format!("/comet/{key}/{what}?key={}", stage.app.keys[EVERYTHING]);
            assert_refused(&ask(stage.server.address, method, &target, "[]").await, 410, 80022);
        }
    }
}

/// No place: by HTTP, with a code by which clients come back.
#[tokio::test]
async fn who_finds_no_place_comes_back_later() {
    let full = Stage::on(Server::sandbox(|config| config.limits.connections = 1)).await;
    let (_comet, _) = Comet::connect(&full.server, &full.query(EVERYTHING)).await;
    let refused = Comet::open(full.server.address, &full.query(EVERYTHING)).await;
    assert_refused(&refused, 503, 50003);
    assert!(refused.body.contains("limits.connections"), "{refused:?}");

    let crowded = Stage::on(Server::sandbox(|config| {
        config.limits.connections_per_address = 1;
        config.limits.exempt_loopback = false;
    }))
    .await;
    let (_comet, _) = Comet::connect(&crowded.server, &crowded.query(EVERYTHING)).await;
    let refused = Comet::open(crowded.server.address, &crowded.query(EVERYTHING)).await;
    assert_refused(&refused, 429, 80021);
    assert!(refused.body.contains("limits.connections_per_address"), "{refused:?}");

    let hasty = Stage::on(Server::sandbox_at(Clock::manual(Timestamp::from_millis(0)), |config| {
        config.limits.connects_per_second = 1;
        config.limits.connect_burst = 1;
        config.limits.exempt_loopback = false;
    }))
    .await;
    let (_comet, _) = Comet::connect(&hasty.server, &hasty.query(EVERYTHING)).await;
    let refused = Comet::open(hasty.server.address, &hasty.query(EVERYTHING)).await;
    assert_refused(&refused, 429, 80021);
    assert!(refused.body.contains("limits.connects_per_second"), "{refused:?}");
}

/// §1.9, T8, T9: pages of any origin, refusals included.
#[tokio::test]
async fn any_page_may_read_every_answer() {
    let stage = Stage::start().await;
    let origin = ("Origin", "https://anywhere.example");
    let mut http = Http::connect(&stage.server).await;
    let target = format!("/comet/connect?{}&stream=false", stage.query(EVERYTHING));
    for target in [&*target, "/comet/unknown/recv"] {
        let response = http.ask("GET", target, &[origin]).await;
        assert_eq!(response.lines("access-control-allow-origin"), [origin.1]);
        assert_eq!(response.lines("access-control-allow-credentials"), ["true"]);
        assert!(response.header("access-control-expose-headers").expect("a list").contains("X-Ably-ErrorCode"));
        assert_eq!(response.header("cache-control").is_some(), response.status == 200, "it holds a key");
    }
    let wanted = ("Access-Control-Request-Headers", "content-type");
    let preflight = http.ask("OPTIONS", "/comet/some-key/send", &[origin, wanted]).await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-headers")), (204, Some(wanted.1)));
}
