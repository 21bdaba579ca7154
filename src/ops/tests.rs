//! The operator's routes over HTTP (docs/protocols/letshare.md §1.2 and §4).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{sync::atomic::Ordering, time::Duration};

use actix_web::{
    App, HttpResponse,
    http::{Method, StatusCode, header},
    test::{TestRequest, call_service, init_service, read_body},
};
use futures_util::FutureExt as _;

use super::*;
use crate::ids::Timestamp;

struct Answer {
    status: StatusCode,
    content_type: String,
    body: String,
}

fn state() -> OpsState {
    let clock = Clock::manual(Timestamp::from_millis(0));
    clock.advance(Duration::from_millis(1500));
    let snapshot = Snapshot { connections: 3, ..Snapshot::default() };
    OpsState {
        clock,
        ready: Arc::new(AtomicBool::new(true)),
        why_not_ready: Arc::new(|| None),
        snapshot: Arc::new(move || async move { snapshot }.boxed_local()),
        may_see_metrics: Arc::new(|_| Ok(())),
    }
}

async fn ask(state: &OpsState, method: Method, path: &str, accept: &str) -> Answer {
    let fallback = || async { HttpResponse::NotFound().body("404 page not found") };
    let app = App::new()
        .app_data(web::Data::new(state.clone()))
        .configure(|app| routes(app, false))
        .default_service(web::to(fallback));
    let request = TestRequest::with_uri(path).method(method).insert_header((header::ACCEPT, accept));
    let response = call_service(&init_service(app).await, request.to_request()).await;
    let content_type = response.headers().get(header::CONTENT_TYPE);
    Answer {
        status: response.status(),
        content_type: content_type.map_or("", |value| value.to_str().unwrap()).to_owned(),
        body: String::from_utf8(read_body(response).await.to_vec()).unwrap(),
    }
}

#[actix_web::test]
async fn health_answers_get_and_head() {
    let get = ask(&state(), Method::GET, "/health", "*/*").await;
    assert_eq!((get.status, get.content_type.as_str()), (StatusCode::OK, "application/json"));
    assert!(get.body.contains(r#""status":"healthy""#), "{}", get.body);
    assert!(get.body.contains(r#""uptime":"1.5s""#), "{}", get.body);
    let head = ask(&state(), Method::HEAD, "/health", "*/*").await;
    assert_eq!(head.status, StatusCode::OK);
}

#[actix_web::test]
async fn other_methods_are_404_and_not_405() {
    for path in ["/health", "/ready", "/metrics"] {
        let answer = ask(&state(), Method::POST, path, "*/*").await;
        assert_eq!((answer.status, answer.body.as_str()), (StatusCode::NOT_FOUND, "404 page not found"));
    }
}

#[actix_web::test]
async fn ready_turns_off_while_health_stays() {
    let state = state();
    let before = ask(&state, Method::GET, "/ready", "*/*").await;
    assert_eq!((before.status, before.body.as_str()), (StatusCode::OK, r#"{"status":"ready"}"#));

    state.ready.store(false, Ordering::Relaxed);

    let after = ask(&state, Method::GET, "/ready", "*/*").await;
    assert_eq!((after.status, after.body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, r#"{"status":"draining"}"#));
    assert_eq!(ask(&state, Method::GET, "/health", "*/*").await.status, StatusCode::OK);
}

#[actix_web::test]
async fn metrics_come_in_the_form_that_accept_asks_for() {
    let table = [
        ("*/*", "application/json", r#""active_connections":3"#),
        ("chunk#;e", "application/json", r#""active_connections":3"#),
        ("text/plain", "text/plain; version=0.0.4; charset=utf-8", "\nletshare_open_connections 3\n"),
        (
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "\nletshare_open_connections 3\n",
        ),
    ];
    for (accept, content_type, part) in table {
        let answer = ask(&state(), Method::GET, "/metrics", accept).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.content_type, content_type, "Accept: {accept}");
        assert!(answer.body.contains(part), "{}", answer.body);
    }
}
