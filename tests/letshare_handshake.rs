//! The handshake: `docs/protocols/letshare.md §1`, row by row, and the Origin rule of §4 where it
//! concerns the upgrade.
//!
//! Not here: admission caps and size limits (`edge_limits`).

mod tokens;

use letshare_server::limits::USER_ID_BYTES;
use serde_json::json;

use crate::support::{Client, Http, Response, Server, UPGRADE};

async fn get(server: &Server, target: &str, headers: &[(&str, &str)]) -> Response {
    Http::connect(server).await.ask("GET", target, headers).await
}

/// A WebSocket handshake on `target`.
async fn upgrade(server: &Server, target: &str) -> Response {
    get(server, target, &UPGRADE).await
}

/// The client on `target`, which lets it in, has this user id: it is filled in as `from`.
async fn user_on(server: &Server, target: &str) -> String {
    let url = format!("ws://{}{target}", server.address);
    let mut client = Client::try_connect(&url, target).await.expect("connects");
    let mut listener = Client::connect(server, "listener").await;
    for member in [&mut client, &mut listener] {
        member.subscribe("demo1", "signal:all").await;
    }
    client.publish("demo1", "signal:all", json!({})).await;
    let message = listener.next().await;
    message["data"]["from"].as_str().expect("a text").to_owned()
}

/// §1.1: upgrade on `/` and on `/ws`, with the answer of RFC 6455 §4.2.2; no subprotocol, no extension.
#[tokio::test]
async fn both_paths_upgrade() {
    let server = Server::start(|_| {});
    for path in ["/", "/ws"] {
        let target = format!("{path}?token={}&userId=a:1", server.token);
        let mut headers = UPGRADE.to_vec();
        headers.push(("Sec-WebSocket-Extensions", "permessage-deflate"));
        headers.push(("Sec-WebSocket-Protocol", "chat"));
        let response = get(&server, &target, &headers).await;
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(response.header("sec-websocket-extensions"), None);
        assert_eq!(response.header("sec-websocket-protocol"), None);
        assert_eq!(user_on(&server, &target).await, "a:1");
    }
}

/// §1.1: browsers refuse the Go server's redirect of `/ws/`; here the path is unknown.
#[tokio::test]
async fn other_paths_are_unknown() {
    let server = Server::start(|_| {});
    for path in ["/ws/", "/WS", "/ws/x", "//", "/socket"] {
        let target = format!("{path}?token={}&userId=a:1", server.token);
        let response = upgrade(&server, &target).await;
        assert_eq!(response.status, 404, "{path}: {response:?}");
        assert_eq!(response.body, "404 page not found");
    }
}

/// §1.1: the `userId` is percent-decoded as UTF-8, a `+` is itself, other parameters are nobody's business,
/// and the order does not matter.
#[tokio::test]
async fn the_user_id_is_percent_decoded() {
    let server = Server::start(|_| {});
    let token = &server.token;
    for (query, user) in [
        ("userId=a:1", "a:1"),
        ("userId=%E5%B0%8F%E6%98%8E:zz7aljb", "小明:zz7aljb"),
        ("userId=%F0%9F%98%80%3aabc", "😀:abc"),
        ("userId=a+b:1", "a+b:1"),
        ("userId=a%2Bb%20c", "a+b c"),
        ("userId=a%26token%3Dx", "a&token=x"),
        ("userId=a=b", "a=b"),
        ("userId=100%", "100%"),
        ("userId=%2541", "%41"),
        ("userId=%22%5C%0A", "\"\\\n"),
        ("pro_token=x.y.z&userId=a:2&x", "a:2"),
        ("userId=first&userId=second", "first"),
        ("userid=wrong&UserId=wrong&userId=right", "right"),
    ] {
        let after = user_on(&server, &format!("/ws?token={token}&{query}")).await;
        assert_eq!(after, user, "{query}");
        let before = user_on(&server, &format!("/?{query}&token={token}")).await;
        assert_eq!(before, user, "{query}");
    }
}

/// §1.1: without a `userId` each connection gets an id of its own.
#[tokio::test]
async fn a_missing_user_id_is_made_up() {
    let server = Server::start(|_| {});
    let mut made_up = Vec::new();
    for query in ["", "&userId=", "&userId"] {
        let target = format!("/ws?token={}{query}", server.token);
        made_up.push(user_on(&server, &target).await);
    }
    assert!(made_up.iter().all(|user| !user.is_empty()));
    made_up.sort();
    made_up.dedup();
    assert_eq!(made_up.len(), 3);
}

/// §1.1: what cannot be decoded, or is far longer than any `uniqId`, is refused and not guessed at.
#[tokio::test]
async fn a_user_id_that_nobody_can_have_is_refused() {
    let server = Server::start(|_| {});
    for (user, error) in [
        ("%FF", "userId 不是有效的 UTF-8"),
        ("%E5%B0", "userId 不是有效的 UTF-8"),
        ("a%C0%AF", "userId 不是有效的 UTF-8"),
        ("%ED%A0%80", "userId 不是有效的 UTF-8"),
        (&"x".repeat(USER_ID_BYTES + 1), "userId 过长"),
        (&"%E5%B0%8F".repeat(USER_ID_BYTES / 3 + 1), "userId 过长"),
    ] {
        let response = upgrade(&server, &server.target(user)).await;
        assert_eq!(response.status, 400, "{user}: {response:?}");
        assert_eq!(response.json()["error"], error);
    }
    let longest = "x".repeat(USER_ID_BYTES);
    let target = server.target(&longest);
    assert_eq!(user_on(&server, &target).await, longest);
}

/// §1.2 "right token, not a WebSocket request"; RFC 6455 §4.2.1 and §4.4 for the halves of one.
#[tokio::test]
async fn with_a_token_but_no_websocket() {
    let server = Server::start(|_| {});
    let without = |name: &str| -> Vec<(&str, &str)> {
        let headers = UPGRADE.into_iter();
        headers.filter(|(known, _)| *known != name).collect()
    };
    let mut old = without("Sec-WebSocket-Version");
    old.push(("Sec-WebSocket-Version", "8"));
    for headers in [
        vec![],
        without("Connection"),
        without("Upgrade"),
        without("Sec-WebSocket-Version"),
        without("Sec-WebSocket-Key"),
        old,
    ] {
        for path in ["/", "/ws"] {
            let target = format!("{path}?token={}&userId=a:1", server.token);
            let response = get(&server, &target, &headers).await;
            assert_eq!(response.status, 400, "{headers:?}");
            assert_eq!(response.header("sec-websocket-version"), Some("13"));
            let content_type = response.header("content-type").expect("a type");
            assert!(content_type.starts_with("text/plain"), "{content_type}");
            // The end of line is that of Go's own error page.
            assert_eq!(response.body.trim_end(), "Bad Request");
        }
    }
}

/// §1.2, §4 "unknown path or method": only GET upgrades.
#[tokio::test]
async fn another_method_is_unknown() {
    let server = Server::start(|_| {});
    for path in ["/", "/ws"] {
        let target = format!("{path}?token={}&userId=a:1", server.token);
        for method in ["POST", "PUT", "DELETE"] {
            let mut http = Http::connect(&server).await;
            let response = http.ask(method, &target, &UPGRADE).await;
            assert_eq!(response.status, 404, "{method} {path}: {response:?}");
            assert_eq!(response.body, "404 page not found");
        }
    }
}

/// §4 "CORS", §1.2: which pages get the upgrade, and with which headers.
#[tokio::test]
async fn the_origin_decides_on_the_upgrade_too() {
    let server = Server::start(|_| {});
    let own = [format!("http://{}", server.address), format!("https://{}", server.address)];
    let target = server.target("a:1");
    let handshake = async |origin: &str| {
        let mut headers = UPGRADE.to_vec();
        headers.push(("Origin", origin));
        get(&server, &target, &headers).await
    };
    for origin in [
        "https://letshare.fun",
        "https://www.letshare.fun",
        "https://cdn.letshare.fun",
        "http://localhost:3000",
        "http://localhost:5173",
        "http://192.168.1.7",
        "https://192.168.1.255:8443",
    ] {
        let response = handshake(origin).await;
        assert_eq!(response.status, 101, "{origin}");
        let allowed = response.header("access-control-allow-origin");
        assert_eq!(allowed, Some(origin));
    }
    for origin in &own {
        let response = handshake(origin).await;
        assert_eq!(response.status, 101, "{origin}");
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
    for origin in [
        "null",
        "https://evil.example",
        "http://127.0.0.1:5173",
        "http://letshare.fun",
        "https://letshare.fun.evil.example",
        "https://letshare.fun:444",
        // §5 h: the Go server compares this one as a prefix.
        "http://192.168.1.evil.example",
        "http://192.168.1.7.evil.example",
        "http://192.168.2.7",
        "http://192.168.1.256",
    ] {
        let response = handshake(origin).await;
        assert_eq!(response.status, 403, "{origin}");
        assert_eq!(response.body, format!("origin {origin} is not in cors.allowed_origins\n"));
        assert_eq!(response.header("access-control-allow-origin"), None);
    }
}
