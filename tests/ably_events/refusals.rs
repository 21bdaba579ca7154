//! Whatever is wrong before the stream is open is an answer of HTTP.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::json;

use super::server_sent::Events;
use crate::{
    ably_realtime::stage::{EVERYTHING, PUBLISH_ONLY, SUBSCRIBE_ONLY, Stage, assert_error},
    support::{Http, Response, Server},
};

#[track_caller]
fn assert_refused(response: &Response, status: u16, code: u64) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("x-ably-errorcode"), Some(&*code.to_string()), "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"), "{response:?}");
    assert_error(&response.json(), code, status.into());
}

#[tokio::test]
async fn wrong_forms() {
    let stage = Stage::start().await;
    let (all, publisher) = (&stage.app.keys[EVERYTHING], &stage.app.keys[PUBLISH_ONLY]);
    let good = format!("v=1.2&key={all}&channels=room");
    let mut http = Http::connect(&stage.server).await;
    for (query, status, code) in [
        (format!("key={all}&channels=room"), 400, 40017),
        (format!("v=x&key={all}&channels=room"), 400, 40017),
        ("v=1.2&channels=room".to_owned(), 401, 40101),
        ("v=1.2&channels=room&key=api:key".to_owned(), 401, 40101),
        (format!("v=1.2&key={}.nobody:x&channels=room", stage.app.id), 401, 40400),
        (format!("v=1.2&key={all}"), 400, 40003),
        (format!("v=1.2&key={all}&channels="), 400, 40003),
        (format!("v=1.2&key={all}&channels=room,"), 400, 40010),
        (format!("v=1.2&key={all}&channels=:hell"), 400, 40010),
        (format!("{good}&clientId=*"), 400, 40012),
        (format!("{good}&rewind=abc"), 400, 40003),
        (format!("{good}&enveloped=perhaps"), 400, 40003),
        (format!("{good}&heartbeats=1"), 400, 40003),
        (format!("{good}&lastEvent=x"), 400, 40003),
        (format!("{good}&lastEvent=connection:5"), 400, 40003),
        (format!("v=1.2&key={publisher}&channels=room"), 401, 40160),
        // No stream has such modes, whatever the key allows.
        (format!("v=1.2&key={all}&channels=[?modes=publish]room"), 400, 40003),
        (format!("v=1.2&key={all}&channels={}", ["x"; 201].join(",")), 400, 90010),
    ] {
        for path in ["/sse", "/event-stream"] {
            let accept = [("Accept", "text/event-stream")];
            assert_refused(&http.ask("GET", &format!("{path}?{query}"), &accept).await, status, code);
        }
    }
    for (method, target, status, code) in
        [("POST", "/sse", 405, 40500), ("DELETE", "/event-stream", 405, 40500), ("GET", "/sse/x", 404, 40400)]
    {
        let length = [("Content-Length", "0")];
        assert_refused(&http.ask(method, &format!("{target}?{good}"), &length).await, status, code);
    }
}

/// Credentials may come by a header, as curl's `--user` sends them; who may only listen, may listen.
#[tokio::test]
async fn whoever_may_listen_gets_a_stream() {
    let stage = Stage::start().await;
    let basic = BASE64_STANDARD.encode(&stage.app.keys[SUBSCRIBE_ONLY]);
    for headers in
        [format!("Authorization: Basic {basic}\r\n"), format!("Authorization: Basic {basic}\r\nX-Ably-Version: 2\r\n")]
    {
        let query = if headers.contains("Version") { "" } else { "&v=1.2" };
        Events::at(&stage, &format!("/sse?channel=room{query}"), &headers).await.begun().await;
    }
    // The channel is one for clients that are known.
    let token = stage.token(json!({})).await;
    let mut http = Http::connect(&stage.server).await;
    let target = format!("/sse?v=1.2&channels=known:x&accessToken={token}");
    assert_refused(&http.ask("GET", &target, &[]).await, 401, 40161);
    let token = stage.token(json!({"clientId": "alice"})).await;
    let target = format!("/sse?v=1.2&channels=known:x&accessToken={token}");
    Events::at(&stage, &target, "").await.begun().await;
}

/// Streams take places as WebSockets do, and pages of any origin may open them.
#[tokio::test]
async fn streams_take_places() {
    let stage = Stage::on(Server::sandbox(|config| config.limits.connections = 1)).await;
    let _events = Events::open(&stage, "channels=room").await.begun().await;
    let mut http = Http::connect(&stage.server).await;
    let origin = ("Origin", "https://anywhere.example");
    let refused = http.ask("GET", &Events::target(&stage, "/sse", "channels=room"), &[origin]).await;
    assert_refused(&refused, 503, 50003);
    assert_eq!(refused.lines("access-control-allow-origin"), [origin.1]);
}
