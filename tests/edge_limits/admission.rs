//! How many WebSockets may be open: `limits.connections`, `limits.connections_per_address`,
//! `limits.exempt_loopback`, `server.trusted_proxies` of `configs/default.yaml`.

use letshare_server::limits::PLAIN_BESIDE;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Client, Http, PATIENCE, Response, Server, UPGRADE, eventually};

/// A handshake; the connection lives as long as what comes back.
async fn upgrade(server: &Server, headers: &[(&str, &str)]) -> (Http<TcpStream>, Response) {
    let mut http = Http::connect(server).await;
    let headers: Vec<_> = UPGRADE.iter().chain(headers).copied().collect();
    let response = http.ask("GET", &server.target("x:1"), &headers).await;
    (http, response)
}

async fn expect_refusal(server: &Server, status: u16, error: &str) {
    let (_, response) = upgrade(server, &[]).await;
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    assert_eq!(response.json()["error"], error);
}

/// Once a place is free, a client gets it.
async fn eventually_connects(server: &Server) -> Client {
    eventually(async || {
        let url = server.url("late:1");
        Client::try_connect(&url, "late:1").await.ok()
    })
    .await
}

async fn is_capped(server: Server, status: u16, error: &str) {
    let mut a = Client::connect(&server, "a:1").await;
    let b = Client::connect(&server, "b:2").await;
    expect_refusal(&server, status, error).await;
    // Whoever asks over HTTP is not refused, and those inside notice nothing.
    let mut http = Http::connect(&server).await;
    assert_eq!(http.ask("GET", "/health", &[]).await.status, 200);
    a.subscribe("demo1", "signal:all").await;
    // A place is free after a disconnect without a word, and after a goodbye.
    drop(b);
    let mut late = eventually_connects(&server).await;
    expect_refusal(&server, status, error).await;
    late.socket.close(None).await.expect("open");
    while late.next_frame().await.is_some() {}
    drop(late);
    let _later = eventually_connects(&server).await;
    expect_refusal(&server, status, error).await;
}

/// `limits.connections_per_address`: 429.
#[tokio::test]
async fn the_cap_of_one_address() {
    let server = Server::start(|config| config.limits.connections_per_address = 2);
    is_capped(server, 429, "该地址的连接数已达上限").await;
}

/// `limits.connections`: 503.
#[tokio::test]
async fn the_cap_in_all() {
    let server = Server::start(|config| config.limits.connections = 2);
    is_capped(server, 503, "服务器连接数已达上限，请稍后重试").await;
}

/// `limits.exempt_loopback`.
#[tokio::test]
async fn clients_on_this_machine_can_be_exempt() {
    let server = Server::start(|config| {
        config.limits.connections_per_address = 1;
        config.limits.exempt_loopback = true;
    });
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(Client::connect(&server, "a:1").await);
    }
}

/// Whoever is refused for another reason takes no place.
#[tokio::test]
async fn refused_requests_take_no_place() {
    let server = Server::start(|config| config.limits.connections = 1);
    for _ in 0..3 {
        let mut http = Http::connect(&server).await;
        let no_websocket = http.ask("GET", &server.target("a:1"), &[]).await;
        assert_eq!(no_websocket.status, 400);
        let wrong_token = http.ask("GET", "/ws?token=wrong", &UPGRADE).await;
        assert_eq!(wrong_token.status, 401);
        let (_, foreign) = upgrade(&server, &[("Origin", "https://evil.example")]).await;
        assert_eq!(foreign.status, 403);
    }
    let _client = Client::connect(&server, "a:1").await;
}

/// `server.trusted_proxies`: behind one, each client is counted by its own address; from anybody else
/// `X-Forwarded-For` is not believed.
#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_told_apart() {
    let from = |address| [("X-Forwarded-For", address)];
    let behind_proxy = Server::start(|config| {
        config.limits.connections_per_address = 1;
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    });
    let mut open = Vec::new();
    for (address, status) in
        [("203.0.113.1", 101), ("203.0.113.2", 101), ("203.0.113.1", 429), ("198.51.100.9, 203.0.113.2", 429)]
    {
        let (http, response) = upgrade(&behind_proxy, &from(address)).await;
        assert_eq!(response.status, status, "{address}");
        open.push(http);
    }

    let direct = Server::start(|config| config.limits.connections_per_address = 1);
    let (_open, response) = upgrade(&direct, &from("203.0.113.1")).await;
    assert_eq!(response.status, 101);
    let (_, response) = upgrade(&direct, &from("203.0.113.2")).await;
    assert_eq!(response.status, 429);
}

/// findings B3: plain connections of an address are counted from their first moment on: as many as WebSockets, and 32 more. A
/// WebSocket is none any more.
#[tokio::test]
async fn plain_connections_of_one_address() {
    let server = Server::start(|config| config.limits.connections_per_address = 2);
    let _web_sockets = [Client::connect(&server, "a:1").await, Client::connect(&server, "b:2").await];
    let ask = async |http: &mut Http<TcpStream>| http.ask("GET", "/health", &[]).await.status;
    let mut kept = Vec::new();
    for _ in 0..PLAIN_BESIDE + 2 {
        let mut http = Http::connect(&server).await;
        assert_eq!(ask(&mut http).await, 200);
        kept.push(http);
    }
    let closed = async || {
        let mut one_more = TcpStream::connect(server.address).await.expect("the server listens");
        let request = b"GET /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
        let _ = one_more.write_all(request).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, one_more.read_to_end(&mut answer)).await.expect("an end");
        answer.is_empty()
    };
    assert!(closed().await, "there is no place for it");
    assert_eq!(ask(&mut kept[0]).await, 200);
    drop(kept);
    eventually(async || (!closed().await).then_some(())).await;
}
