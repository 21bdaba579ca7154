//! The HTTP side: `docs/protocols/letshare.md §4`, and §1.2 "unknown path or method".
//!
//! Not here: the upgrade and its refusals (`letshare_handshake`), the text forms of the metrics in detail
//! (beside `ops`).

use std::time::Duration;

use letshare_server::config::Config;
use serde_json::{Value, json};

use crate::support::{Client, Http, Response, Server, eventually};

async fn ask(server: &Server, method: &str, path: &str) -> Response {
    Http::connect(server).await.ask(method, path, &[]).await
}

/// The counters are reported as often as connections are looked at, and that follows the shortest of
/// their limits.
fn report_often(config: &mut Config) {
    config.websocket.ping_interval = Duration::from_millis(40);
}

/// The keys of a JSON object, sorted.
fn keys(object: &Value) -> Vec<&str> {
    let object = object.as_object().expect("an object");
    let mut keys: Vec<&str> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// §4 `GET /health`: the documented shape; HEAD too, which the Go server answers with 404.
#[tokio::test]
async fn health() {
    let server = Server::start(|_| {});
    let response = ask(&server, "GET", "/health").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let page = response.json();
    assert_eq!(keys(&page), ["goroutines", "memory", "status", "timestamp", "uptime"]);
    assert_eq!(page["status"], "healthy");
    let timestamp = page["timestamp"].as_str().expect("a text");
    assert!(timestamp.contains('T') && timestamp.ends_with('Z'));
    assert!(page["uptime"].as_str().is_some_and(|up| up.ends_with('s')));
    assert!(page["goroutines"].as_u64().is_some_and(|tasks| tasks > 0));
    let memory = &page["memory"];
    assert_eq!(keys(memory), ["alloc_mb", "num_gc", "sys_mb", "total_alloc_mb"]);
    for (key, value) in memory.as_object().expect("an object") {
        assert!(value.is_u64(), "{key}: {value}");
    }

    let head = ask(&server, "HEAD", "/health").await;
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("application/json"));
    assert_eq!(head.body, "");
}

/// §4, docs/architecture.md §8: `/ready` beside it.
#[tokio::test]
async fn ready() {
    let server = Server::start(|_| {});
    let response = ask(&server, "GET", "/ready").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.body, r#"{"status":"ready"}"#);
    let head = ask(&server, "HEAD", "/ready").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

/// docs/protocols/letshare.md §1.2 "unknown path or method": 404 in plain text, also where only the method is wrong.
#[tokio::test]
async fn what_is_unknown_is_not_found() {
    let server = Server::start(|_| {});
    for (method, path) in [
        ("GET", "/nothing"),
        ("GET", "/health/"),
        ("GET", "/health/x"),
        ("GET", "/Health"),
        ("GET", "/%2e%2e/etc/passwd"),
        ("POST", "/health"),
        ("PUT", "/health"),
        ("DELETE", "/ready"),
        ("POST", "/metrics"),
        ("POST", "/nothing"),
        ("OPTIONS", "/health"),
    ] {
        let response = ask(&server, method, path).await;
        assert_eq!(response.status, 404, "{method} {path}: {response:?}");
        let content_type = response.header("content-type").expect("a type");
        assert!(content_type.starts_with("text/plain"), "{content_type}");
        assert_eq!(response.body, "404 page not found");
    }
    let head = ask(&server, "HEAD", "/nothing").await;
    assert_eq!((head.status, head.body.as_str()), (404, ""));
}

/// §4 `GET /metrics`: the documented keys, all there.
#[tokio::test]
async fn metrics_have_the_documented_keys() {
    let server = Server::start(|_| {});
    let response = ask(&server, "GET", "/metrics").await;
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json"));
    let page = response.json();
    // `kept`, `log` and `refusals` are not of the Go server (findings P9, P19).
    assert_eq!(keys(&page), ["kept", "log", "refusals", "relay", "server", "store", "system", "websocket"]);
    assert!(page["server"]["uptime"].is_string());
    assert!(page["server"]["uptime_seconds"].is_u64());
    assert!(page["server"]["timestamp"].is_string());
    for key in ["active_connections", "total_rooms", "messages_in", "messages_out"] {
        assert_eq!(page["websocket"][key], 0, "{key}");
    }
    let system = &page["system"];
    for key in ["alloc_mb", "total_alloc_mb", "sys_mb", "num_gc", "heap_alloc_mb", "heap_sys_mb"] {
        assert!(system["memory"][key].is_u64(), "{key}");
    }
    assert!(system["goroutines"].as_u64().is_some_and(|n| n > 0));
    assert!(system["cpu_count"].as_u64().is_some_and(|n| n > 0));
    assert!(system["go_version"].is_string());

    let head = ask(&server, "HEAD", "/metrics").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

/// §4 "add `websocket.messages_in/out`": the counters follow what happens.
#[tokio::test]
async fn metrics_count() {
    let server = Server::start(report_often);
    let wrong = format!("ws://{}/?token=wrong", server.address);
    assert!(Client::try_connect(&wrong, "nobody").await.is_err());
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let mut c = Client::join(&server, "c:3", "demo2").await;
    a.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert_eq!(b.next().await["data"]["n"], 1);
    a.send_text("bad").await;
    a.expect_error(400, "消息格式错误").await;

    let mut http = Http::connect(&server).await;
    let mut expect = async |expected: Value| {
        eventually(async || {
            let page = http.ask("GET", "/metrics", &[]).await.json();
            let websocket = &page["websocket"];
            let mut expected = expected.as_object().expect("an object").iter();
            expected.all(|(key, value)| websocket[key] == *value).then_some(())
        })
        .await;
    };
    expect(json!({
        "active_connections": 3,
        "connections_opened": 3,
        "connections_closed": 0,
        "connections_refused": 1,
        "total_rooms": 2,
        // Six subscriptions, a message, a bad one; six confirmations, a delivery, an error.
        "messages_in": 8,
        "messages_out": 8,
        "published": 1,
        "errors_told": 1,
    }))
    .await;

    c.socket.close(None).await.expect("open");
    drop((b, c));
    expect(json!({"active_connections": 1, "connections_opened": 3, "connections_closed": 2})).await;
}

/// §4 "Prometheus text on `Accept: text/plain`".
#[tokio::test]
async fn metrics_for_prometheus() {
    let server = Server::start(report_often);
    let _a = Client::join(&server, "a:1", "demo1").await;
    let mut http = Http::connect(&server).await;
    let accepts = [
        ("text/plain", "text/plain; version=0.0.4"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0"),
    ];
    for (accept, content_type) in accepts {
        let text = eventually(async || {
            let response = http.ask("GET", "/metrics", &[("Accept", accept)]).await;
            assert_eq!(response.status, 200);
            let its_type = response.header("content-type").expect("a type");
            assert!(its_type.starts_with(content_type), "{its_type}");
            response.body.contains("\nletshare_received_messages_total 2\n").then_some(response.body)
        })
        .await;
        assert!(!text.contains("demo1"), "no room name as a label");
        assert_eq!(text.ends_with("# EOF\n"), accept.starts_with("application"), "{text}");
    }
}

/// §4 "CORS": which origins get which answer, on any route.
#[tokio::test]
async fn the_origin_decides() {
    let server = Server::start(|config| {
        config.cors.allowed_origins = vec!["https://share.example".to_owned()];
    });
    let mut http = Http::connect(&server).await;
    for path in ["/health", "/nothing"] {
        let status = if path == "/health" { 200 } else { 404 };
        for origin in ["https://share.example", "http://192.168.1.20:5173"] {
            let response = http.ask("GET", path, &[("Origin", origin)]).await;
            assert_eq!(response.status, status);
            for (header, value) in [
                ("access-control-allow-origin", origin),
                ("access-control-allow-credentials", "true"),
                ("vary", "Origin"),
            ] {
                assert_eq!(response.header(header), Some(value), "{origin}");
            }
        }
        let own = format!("http://{}", server.address);
        let response = http.ask("GET", path, &[("Origin", &own)]).await;
        assert_eq!(response.status, status);
        assert_eq!(response.header("access-control-allow-origin"), None);
        for origin in ["https://letshare.fun", "null", "http://192.168.1.evil.example"] {
            for method in ["GET", "POST", "OPTIONS"] {
                let response = http.ask(method, path, &[("Origin", origin)]).await;
                assert_eq!(response.status, 403, "{method} {origin}");
                let why = format!("origin {origin} is not in cors.allowed_origins\n");
                assert_eq!(response.body, why);
            }
        }
    }
}

/// §4 `cors.allow_lan`: pages of 192.168.1.* are a setting.
#[tokio::test]
async fn pages_of_the_lan_can_be_shut_out() {
    let server = Server::start(|config| config.cors.allow_lan = false);
    let origin = [("Origin", "http://192.168.1.20:5173")];
    let response = Http::connect(&server).await.ask("GET", "/health", &origin).await;
    assert_eq!(response.status, 403);
}

/// §4 "Preflight": 204 with the methods and the header list.
#[tokio::test]
async fn a_preflight_is_answered() {
    let server = Server::start(|_| {});
    let mut http = Http::connect(&server).await;
    let headers = [
        ("Origin", "https://letshare.fun"),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    for path in ["/api/pro/activate", "/ws", "/health"] {
        let response = http.ask("OPTIONS", path, &headers).await;
        assert_eq!(response.status, 204, "{path}");
        let header = |name: &str| response.header(name).unwrap_or_default();
        assert_eq!(header("access-control-allow-origin"), "https://letshare.fun");
        assert_eq!(header("access-control-allow-credentials"), "true");
        assert_eq!(header("access-control-allow-methods"), "GET,POST,PUT,DELETE,OPTIONS");
        let allowed = header("access-control-allow-headers");
        for name in ["Origin", "Content-Type", "Authorization", "Upgrade", "Connection"] {
            assert!(allowed.split(',').any(|one| one == name), "{allowed}");
        }
        assert!(allowed.contains("Sec-WebSocket-"), "{allowed}");
    }
}

/// §5 (o): who may not see the metrics reads why; whoever came through a known proxy counts as itself.
#[tokio::test]
async fn metrics_are_for_the_networks_that_are_named() {
    let server = Server::start(|config| {
        config.server.metrics_from = vec!["10.0.0.0/8".parse().unwrap()];
        config.server.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let mut http = Http::connect(&server).await;
    for (forwarded, status) in [("10.1.2.3", 200), ("203.0.113.9", 403), ("::ffff:10.1.2.3", 200)] {
        let response = http.ask("GET", "/metrics", &[("X-Forwarded-For", forwarded)]).await;
        assert_eq!(response.status, status, "{forwarded}");
        let why = "this address is not in server.metrics_from\n";
        assert_eq!(response.body == why, status == 403);
    }
    assert_eq!(http.ask("GET", "/metrics", &[]).await.status, 403);
    assert_eq!(http.ask("GET", "/health", &[]).await.status, 200);
}

/// findings N4: a browser that opens the address gets a page; programs get what the protocols say there.
#[tokio::test]
async fn a_browser_gets_a_page_at_the_root() {
    let server = Server::start(|_| {});
    let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
    let page = Http::connect(&server).await.ask("GET", "/", &[("accept", accept)]).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    for told in ["letshare-server", env!("CARGO_PKG_VERSION"), "/health", "Ably.Realtime"] {
        assert!(page.body.contains(told), "{told} is not in {}", page.body);
    }
    let program = Http::connect(&server).await.ask("GET", "/", &[("accept", "*/*")]).await;
    assert_eq!(program.status, 401);
}
