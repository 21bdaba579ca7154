//! What pages may do here: whose they are, which rule they come under, and what answers tell browsers.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use letshare_server::{clock::Clock, config::Config, ids::Timestamp};
use serde_json::json;

use crate::support::{Http, Response, Server, UPGRADE};

const EVIL: &str = "https://evil.example";

async fn ask(server: &Server, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    Http::connect(server).await.ask(method, target, headers).await
}

/// A WebSocket handshake with these headers on top.
async fn shake(server: &Server, target: &str, headers: &[(&str, &str)]) -> Response {
    let headers = [&UPGRADE[..], headers].concat();
    ask(server, "GET", target, &headers).await
}

/// The same with a `Host` of its own.
async fn shake_as(server: &Server, host: &str, origin: &str) -> u16 {
    let target = server.target("a:1");
    let upgrade: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let head = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\n{upgrade}\r\n");
    status(server, &head).await
}

/// The status of the answer to a request written out.
async fn status(server: &Server, head: &str) -> u16 {
    let mut raw = crate::support::raw::Raw::connect(server.address).await;
    raw.write(head.as_bytes()).await.expect("the server reads");
    let answer = raw.reader.head().await;
    let status = answer.split(' ').nth(1).map(str::parse);
    status.expect("a status line").expect("a status")
}

/// findings S2: whose a request is, is decided once: Ably lets every page in, for its requests carry credentials;
/// LetShare's rooms are open to listed pages alone, however the query or the path is written.
#[tokio::test]
async fn no_spelling_of_a_request_brings_a_foreign_page_into_letshare() {
    let server = Server::start(|_| {});
    let token = &server.token;
    for target in [
        format!("/?token={token}&userId=a:1"),
        format!("/ws?token={token}&userId=a:1"),
        // Ably's parameter on a path that is LetShare's alone.
        format!("/ws?v=2&token={token}&userId=a:1"),
        format!("/%77s?v=2&token={token}&userId=a:1"),
        format!("/%77s?token={token}&userId=a:1"),
    ] {
        let answer = shake(&server, &target, &[("Origin", EVIL)]).await;
        assert_eq!(answer.status, 403, "{target}");
    }
    for version in ["v=2", "%76=2", "v", "%76"] {
        // Ably's, which upgrades and tells by a frame what is wrong; LetShare takes no such request.
        let target = format!("/?{version}&token={token}&userId=a:1");
        let mut client = crate::support::raw::Raw::connect(server.address).await;
        let upgrade: String = UPGRADE.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\nOrigin: {EVIL}\r\n{upgrade}\r\n");
        client.write(head.as_bytes()).await.expect("the server reads");
        assert!(client.reader.head().await.starts_with("HTTP/1.1 101"), "{target}");
        let first = client.reader.frame().await.expect("a frame");
        let first = String::from_utf8_lossy(&first.payload).into_owned();
        assert!(first.contains("\"action\":9"), "an Ably ERROR frame, and no word of LetShare: {target}: {first}");
    }
}

/// findings S2: a protocol's list of pages counts for its paths however they are written.
#[tokio::test]
async fn the_list_of_a_protocol_counts_for_every_spelling_of_its_paths() {
    let server = Server::start(|config| {
        config.group.enabled = true;
        config.group.allowed_origins = vec!["https://app.example".to_owned()];
    });
    for target in ["/group/ws", "/%67roup/ws", "/group/%77s"] {
        assert_eq!(shake(&server, target, &[("Origin", "https://app.example")]).await.status, 101, "{target}");
        // A page that may use LetShare.
        assert_eq!(shake(&server, target, &[("Origin", "https://letshare.fun")]).await.status, 403, "{target}");
    }
}

/// findings S7: a name that was pointed here (DNS rebinding) makes no page the server's own, and reads no metrics.
#[tokio::test]
async fn a_host_that_nobody_named_is_not_the_servers_own() {
    let server = Server::start(|_| {});
    let port = server.address.port();
    for host in ["evil.example".to_owned(), format!("evil.example:{port}"), format!("localhost.evil.example:{port}")] {
        assert_eq!(shake_as(&server, &host, &format!("http://{host}")).await, 403, "{host}");
        let metrics = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status(&server, &metrics).await, 403, "{host}");
        let health = format!("GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status(&server, &health).await, 200, "{host}");
    }
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "192.168.7.7:8080".to_owned()] {
        let metrics = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status(&server, &metrics).await, 200, "{host}");
    }
}

/// findings P5, S7: pages of `server.public_hosts` are the server's own, however the proxy writes the host.
#[tokio::test]
async fn behind_a_proxy_the_own_page_is_known_by_its_host() {
    let server = Server::start(|config| config.server.public_hosts = vec!["ex.com".to_owned()]);
    for host in ["ex.com", "ex.com:443", "EX.com", "Ex.Com:443"] {
        assert_eq!(shake_as(&server, host, "https://ex.com").await, 101, "{host}");
        let metrics = format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(status(&server, &metrics).await, 200, "{host}");
    }
    for (host, origin) in [("ex.com:8443", "https://ex.com"), ("ex.com", EVIL), ("ex.com:443", "http://ex.com")] {
        assert_eq!(shake_as(&server, host, origin).await, 403, "{host} {origin}");
    }
}

/// findings N3: the server's names on loopback are one origin, and whoever is refused reads why.
#[tokio::test]
async fn the_names_of_loopback_are_one_origin() {
    let server = Server::start(|_| {});
    let port = server.address.port();
    for page in ["localhost", "127.0.0.1", "[::1]"] {
        let origin = format!("http://{page}:{port}");
        assert_eq!(shake_as(&server, &format!("127.0.0.1:{port}"), &origin).await, 101, "{origin}");
        assert_eq!(shake_as(&server, &format!("localhost:{port}"), &origin).await, 101, "{origin}");
    }
    let refused = shake(&server, &server.target("a:1"), &[("Origin", "http://localhost:1")]).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.body, "origin http://localhost:1 is not in cors.allowed_origins\n");
}

/// findings S9: errors, upgrades, refusals and preflights too.
#[tokio::test]
async fn every_answer_tells_browsers_to_guess_no_type_and_pass_on_no_address() {
    let server = Server::start(|config| {
        config.relay.enabled = true;
        config.chat.enabled = true;
        config.group.enabled = true;
        config.postoffice.enabled = true;
    });
    let target = server.target("a:1");
    let page = [("Origin", "https://letshare.fun")];
    for (method, path, headers, status) in [
        ("GET", "/health", &[][..], 200),
        ("GET", "/metrics", &[], 200),
        ("GET", "/nothing", &[], 404),
        ("GET", "/ws?token=wrong", &UPGRADE, 401),
        ("GET", &*target, &UPGRADE, 101),
        ("GET", "/health", &[("Origin", EVIL)], 403),
        ("OPTIONS", "/ws", &page, 204),
        ("GET", "/time", &[], 200),
        ("GET", "/channels/a/messages", &[], 401),
        ("OPTIONS", "/channels/a/messages", &page, 204),
        ("GET", "/relay/health", &[], 200),
        ("POST", "/relay/api/push", &[], 401),
        ("GET", "/chat/health", &[], 200),
        ("GET", "/ws/chat", &UPGRADE, 401),
        ("GET", "/group/health", &[], 200),
        ("GET", "/group/ws", &UPGRADE, 101),
        ("GET", "/postoffice/stats", &[], 200),
        ("GET", "/postoffice/ws", &UPGRADE, 401),
    ] {
        let answer = ask(&server, method, path, headers).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{method} {path}");
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"), "{method} {path}");
    }
}

/// findings S9: nobody on the way keeps a token, a key, or the answer that holds them.
#[tokio::test]
async fn tokens_and_keys_are_not_stored_on_the_way() {
    const NOW: u64 = 1_800_000_000_000;
    let clock = Clock::manual(Timestamp::from_millis(NOW));
    let server = Server::sandbox_at(clock, |config| config.file_transfer.pro_invite_code = "let-me-in".into());
    let mut http = Http::connect(&server).await;
    let app = http.post("/apps", &[], r#"{"keys":[{}]}"#).await;
    assert_eq!((app.status, app.header("cache-control")), (201, Some("no-store")), "{app:?}");
    let key = app.json()["keys"][0]["keyStr"].as_str().expect("a key").to_owned();
    let (name, _) = key.split_once(':').expect("name and secret");
    let basic = format!("Basic {}", BASE64_STANDARD.encode(&key));
    let body = json!({"keyName": name, "timestamp": NOW}).to_string();
    for target in [format!("/keys/{name}/requestToken"), format!("/keys/{name}/requestToken?envelope=json")] {
        let token = http.post(&target, &[("Authorization", &basic)], &body).await;
        assert!(token.body.contains("\"token\":"), "{token:?}");
        assert_eq!(token.header("cache-control"), Some("no-store"), "{target}");
    }
    let pro = json!({"user_id": "a:1", "invite_code": "let-me-in"}).to_string();
    let pro = http.post("/api/pro/activate", &[], &pro).await;
    assert_eq!((pro.status, pro.header("cache-control")), (200, Some("no-store")), "{pro:?}");
}

fn every_protocol(config: &mut Config) {
    config.relay.enabled = true;
    config.relay.api_key = "a key of the test".to_owned().into();
    config.relay.stats_path = Some("/relay/stats".to_owned());
    config.chat.enabled = true;
    config.group.enabled = true;
    config.postoffice.enabled = true;
    config.postoffice.threads_path = Some("/postoffice/threads".to_owned());
}

/// findings O10: what answers GET answers HEAD, with the same status and no body.
#[tokio::test]
async fn every_page_answers_head_as_get() {
    let server = Server::start(every_protocol);
    let key = [("X-API-KEY", "a key of the test")];
    for path in [
        "/health",
        "/ready",
        "/metrics",
        "/time",
        "/is-the-internet-up.txt",
        "/channels",
        "/stats",
        "/relay/health",
        "/relay/stats",
        "/relay/api/push/scheduled",
        "/chat/health",
        "/chat/health?deep=1",
        "/api/ws/online-count",
        "/api/ws/messages",
        "/group/health",
        "/group/stats",
        "/group/api/messages",
        "/postoffice/health",
        "/postoffice/stats",
        "/postoffice/threads?clientID=erp&token=t&subjectId=s",
    ] {
        let get = ask(&server, "GET", path, &key).await;
        assert!(![404, 405].contains(&get.status), "{path}: {get:?}");
        let head = ask(&server, "HEAD", path, &key).await;
        assert_eq!((head.status, head.body.as_str()), (get.status, ""), "{path}");
    }
}

/// findings O9: a page that may connect may also call, with the headers that the protocol's requests carry.
#[tokio::test]
async fn a_page_that_may_connect_may_also_call() {
    let server = Server::start(|config| {
        every_protocol(config);
        config.group.allowed_origins = vec!["*".to_owned()];
        config.chat.allowed_origins = vec!["*".to_owned()];
        config.postoffice.allowed_origins = vec!["*".to_owned()];
    });
    let page = "https://shop.example";
    for (path, method, named) in [
        ("/relay/api/push", "POST", &["X-API-KEY", "API-KEY", "Content-Type"][..]),
        ("/relay/api/push/scheduled/x", "DELETE", &["X-API-KEY"]),
        ("/group/api/messages", "GET", &["Authorization", "X-Service-Key"]),
        ("/group/stats", "GET", &[]),
        ("/api/ws/send-message", "POST", &["x-token", "Authorization", "Content-Type"]),
        ("/postoffice/threads", "GET", &["Authorization"]),
    ] {
        let asked = [("Origin", page), ("Access-Control-Request-Method", method)];
        let preflight = ask(&server, "OPTIONS", path, &asked).await;
        assert_eq!(preflight.status, 204, "{path}: {preflight:?}");
        assert_eq!(preflight.header("access-control-allow-origin"), Some(page), "{path}");
        let methods = preflight.header("access-control-allow-methods").expect("methods");
        assert!(methods.split(',').any(|allowed| allowed == method), "{path}: {methods}");
        let headers = preflight.header("access-control-allow-headers").expect("headers");
        for name in named {
            let is_allowed = headers.split(',').any(|allowed| allowed.eq_ignore_ascii_case(name));
            assert!(is_allowed, "{path}: {name} in {headers}");
        }
        let answer = ask(&server, "GET", path, &[("Origin", page)]).await;
        assert_eq!(answer.header("access-control-allow-origin"), Some(page), "{path}: {answer:?}");
    }
}
