//! `docs/protocols/postoffice.md §1, §2, §5`: paths, checks in their order, the cap, the pages for people.

use serde_json::json;

use crate::postoffice::{
    client::{Client, TOKEN, letter},
    server::PostOfficeServer,
};
use crate::support::Http;

fn refusal(response: &crate::support::Response) -> (u16, &str) {
    let kind = response.header("content-type");
    assert_eq!(kind, Some("text/plain; charset=utf-8"), "{response:?}");
    (response.status, &response.body)
}

/// §2: both paths on an own port; the token by header or in the query; names like paths.
#[tokio::test]
async fn both_paths_and_both_ways_of_the_token() {
    let server = PostOfficeServer::start(|_| {});
    for (target, token) in [
        ("/ws?clientID=a1", Some("Bearer x")),
        ("/?clientID=a2", Some("Bearer x")),
        ("/ws?clientID=a3&token=x", None),
        ("/ws?clientID=%2Fservice%2Ferp%2Fcompany%2F001", Some("Bearer x")),
    ] {
        let url = format!("ws://{}{target}", server.address);
        let mut client = Client::open(&url, token, "someone").await.expect(target);
        client.send_text("no letter").await;
        client.refused("bad_json").await;
    }
    let mut clerk = Client::connect(&server, "clerk").await;
    clerk.send(letter("clerk", "/service/erp/company/001", "hello")).await;
    assert_eq!(clerk.received_so_far().await, [json!(null); 0], "it is known");
    assert_eq!(server.shake("/other?clientID=a", &[TOKEN]).await.status, 404);
}

/// §2: `any_path`.
#[tokio::test]
async fn every_path_when_asked_for() {
    let server = PostOfficeServer::start(|config| config.postoffice.any_path = true);
    let url = format!("ws://{}/some/where?clientID=a", server.address);
    let mut client = Client::open(&url, Some(TOKEN.1), "a").await.expect("any path");
    client.send_text("no letter").await;
    client.refused("bad_json").await;
    for (headers, refused) in [(&[][..], (401, "Unauthorized\n")), (&[TOKEN], (400, "Bad Request\n"))] {
        let posted = Http::connect_to(server.address).await.ask("POST", "/some/where?clientID=a", headers).await;
        assert_eq!(refusal(&posted), refused, "by any method");
    }
    assert_eq!(server.ask("/health", &[]).await.body, r#"{"status":"ok"}"#);
}

/// §2: the table, in its order, with its bodies.
#[tokio::test]
async fn refusals_in_their_order() {
    let server = PostOfficeServer::start(|_| {});
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str);
    let cases: [Case<'_>; 8] = [
        ("/ws", &[], 401, "Unauthorized\n"),
        ("/ws?clientID=a", &[], 401, "Unauthorized\n"),
        ("/ws?clientID=a", &[("Authorization", "Bearer ")], 401, "Unauthorized\n"),
        ("/ws?clientID=a", &[("Authorization", "Basic abc")], 401, "Unauthorized\n"),
        ("/ws", &[TOKEN], 400, "Client ID is required\n"),
        ("/ws?clientID=", &[TOKEN], 400, "Client ID is required\n"),
        ("/ws?clientID=a%0Ab", &[TOKEN], 400, "Client ID is invalid\n"),
        // Not UTF-8: any two such names would be one.
        ("/ws?clientID=%D3%C3", &[TOKEN], 400, "Client ID is invalid\n"),
    ];
    for (target, headers, status, body) in cases {
        let response = server.shake(target, headers).await;
        assert_eq!(refusal(&response), (status, body), "{target}");
    }
    // §6: 5 kB; the limit is 256 bytes.
    let long = format!("/ws?clientID={}", "x".repeat(5_000));
    let response = server.shake(&long, &[TOKEN]).await;
    assert_eq!(refusal(&response), (400, "Client ID is invalid\n"));
    let response = server.shake(&format!("/ws?clientID={}", "x".repeat(257)), &[TOKEN]).await;
    assert_eq!(response.status, 400);
    let response = server.shake(&format!("/ws?clientID={}", "x".repeat(256)), &[TOKEN]).await;
    assert_eq!(response.status, 101);
    let response = server.ask("/ws?clientID=a", &[TOKEN]).await;
    assert_eq!(refusal(&response), (400, "Bad Request\n"));
}

/// §2, §6: the cap, its order before 401, and the replacement that is allowed although it is reached.
#[tokio::test]
async fn the_cap_counts_connections_and_lets_replacements_in() {
    let server = PostOfficeServer::start_alone(|config| config.postoffice.max_connections = 2);
    let mut first = Client::connect(&server, "a").await;
    let second = Client::connect(&server, "b").await;
    for (target, headers) in [("/ws?clientID=c", &[TOKEN][..]), ("/ws", &[]), ("/ws?clientID=a", &[])] {
        let response = server.shake(target, headers).await;
        assert_eq!(refusal(&response), (503, "Connection limit reached\n"), "{target}");
    }
    // Asking without an upgrade takes nothing away.
    assert_eq!(server.ask("/ws?clientID=a", &[TOKEN]).await.status, 400);
    let again = Client::connect(&server, "a").await;
    assert_eq!(first.expect_close().await, (4009, "replaced".into()));
    server.until("connections", 2).await;
    assert_eq!(server.shake("/ws?clientID=c", &[TOKEN]).await.status, 503);
    second.leave().await;
    server.until("connections", 1).await;
    let third = Client::connect(&server, "c").await;
    for client in [again, third] {
        client.leave().await;
    }
    server.until("connections", 0).await;
}

/// §2: a burst does not pass the limit.
#[tokio::test]
async fn a_burst_does_not_pass_the_cap() {
    let server = PostOfficeServer::start_alone(|config| config.postoffice.max_connections = 5);
    let attempts = (0..20).map(|number| {
        let url = format!("ws://{}/ws?clientID=m{number}", server.address);
        async move { Client::open(&url, Some(TOKEN.1), "m").await }
    });
    let clients = futures_util::future::join_all(attempts).await;
    assert_eq!(clients.iter().filter(|client| client.is_ok()).count(), 5);
    assert_eq!(server.stats().await["connections"], 5);
}

/// §2, §4: who started later wins when both say when they started.
#[tokio::test]
async fn an_older_start_is_refused() {
    let server = PostOfficeServer::start(|_| {});
    let url = |started| format!("ws://{}/ws?clientID=a&startTime={started}", server.address);
    let mut first = Client::open(&url(100), Some(TOKEN.1), "a").await.expect("the first");
    for started in [99, 100] {
        let target = format!("/ws?clientID=a&startTime={started}");
        let response = server.shake(&target, &[TOKEN]).await;
        let body = "Connection rejected: newer connection exists\n";
        assert_eq!(refusal(&response), (409, body));
    }
    let _later = Client::open(&url(101), Some(TOKEN.1), "a").await.expect("a later one");
    assert_eq!(first.expect_close().await.0, 4009);
    // Without a start, the newest wins, also within one second.
    let mut newest = Client::connect(&server, "a").await;
    let mut again = Client::connect(&server, "a").await;
    assert_eq!(newest.expect_close().await.0, 4009);
    again.send(letter("a", "a", "me")).await;
    assert_eq!(again.next().await["subject"], "me");
}

/// §4: `multi_device` delivers to all.
#[tokio::test]
async fn several_connections_of_one_mailbox_when_asked_for() {
    let server = PostOfficeServer::start(|config| config.postoffice.multi_device = true);
    let mut first = Client::connect(&server, "a").await;
    let mut second = Client::connect(&server, "a").await;
    let mut sender = Client::connect(&server, "b").await;
    for client in [&mut first, &mut second] {
        client.send(letter("a", "b", "ready")).await;
        assert_eq!(sender.next().await["subject"], "ready");
    }
    sender.send(letter("b", "a", "both")).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.next().await["subject"], "both");
    }
}

/// §1: `tokens`: each opens its mailboxes; a letter may come from any of these.
#[tokio::test]
async fn listed_tokens() {
    let server = PostOfficeServer::start(|config| {
        config.postoffice.auth = letshare_server::config::PostOfficeAuth::Tokens;
        config.postoffice.tokens = ["s3cret erp desk-*", "other audit"].map(|line| line.to_owned().into()).into();
    });
    let shake = async |name: &str, token: &str| {
        let target = format!("/ws?clientID={name}");
        server.shake(&target, &[("Authorization", token)]).await.status
    };
    assert_eq!(shake("erp", "Bearer s3cret").await, 101);
    assert_eq!(shake("desk-7", "Bearer s3cret").await, 101);
    assert_eq!(shake("audit", "Bearer s3cret").await, 401);
    assert_eq!(shake("audit", "Bearer nobody").await, 401);
    let url = |name| format!("ws://{}/ws?clientID={name}", server.address);
    let mut audit = Client::open(&url("audit"), Some("Bearer other"), "audit").await.expect("audit");
    let mut erp = Client::open(&url("erp"), Some("Bearer s3cret"), "erp").await.expect("erp");
    erp.send(letter("desk-7", "audit", "for my other box")).await;
    assert_eq!(audit.next().await["subject"], "for my other box");
    audit.send(letter("erp", "desk-7", "forged")).await;
    audit.refused("from_refused").await;
}

/// §1: `jwt`: HS256, `sub` or `clientID` is the mailbox.
#[tokio::test]
async fn signed_tokens() {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    let server = PostOfficeServer::start(|config| {
        config.postoffice.auth = letshare_server::config::PostOfficeAuth::Jwt;
        config.postoffice.jwt_secret = SECRET.to_owned().into();
    });
    let sign = |claims: serde_json::Value, secret: &str| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key);
        format!("Bearer {}", token.expect("signed"))
    };
    const LATER: u64 = 4_000_000_000;
    for (claims, secret, status) in [
        (json!({"sub": "erp", "exp": LATER}), SECRET, 101),
        (json!({"clientID": "erp", "sub": "x", "exp": LATER}), SECRET, 101),
        (json!({"sub": "audit", "exp": LATER}), SECRET, 401),
        (json!({"exp": LATER}), SECRET, 401),
        (json!({"sub": "erp", "exp": 1}), SECRET, 401),
        (json!({"sub": "erp", "exp": LATER}), "another secret of thirty-two bytes", 401),
    ] {
        let token = sign(claims.clone(), secret);
        let response = server.shake("/ws?clientID=erp", &[("Authorization", &token)]).await;
        assert_eq!(response.status, status, "{claims}");
    }
}

/// §1: programs always, pages of the same host, pages that are listed; `*` is the original.
#[tokio::test]
async fn pages_of_other_hosts_have_to_be_listed() {
    let shake = async |server: &PostOfficeServer, origin: &str| {
        let headers = [TOKEN, ("Origin", origin)];
        server.shake("/ws?clientID=a", &headers).await.status
    };
    let server = PostOfficeServer::start(|config| {
        config.postoffice.allowed_origins = vec!["https://desk.example".into()];
    });
    let own = format!("http://{}", server.address);
    assert_eq!(shake(&server, &own).await, 101);
    assert_eq!(shake(&server, "https://desk.example").await, 101);
    assert_eq!(shake(&server, "https://evil.example").await, 403);
    let server = PostOfficeServer::start(|config| config.postoffice.allowed_origins = vec!["*".into()]);
    assert_eq!(shake(&server, "https://evil.example").await, 101);
}

/// §5: `/health` and `/stats`.
#[tokio::test]
async fn pages_for_people() {
    let server = PostOfficeServer::start_alone(|config| config.postoffice.mailboxes = vec!["later".into()]);
    let _client = Client::connect(&server, "a").await;
    assert_eq!(server.ask("/health", &[]).await.json(), json!({"status": "ok"}));
    let stats = server.stats().await;
    let expected = json!({
        "connections": 1, "max_connections": 20_000, "mailboxes": 2, "stored": 0, "dropped": 0,
    });
    assert_eq!(stats, expected);
}

/// §5: 1001 to everybody, then the end.
#[tokio::test]
async fn a_server_that_stops_says_so() {
    let mut server = PostOfficeServer::start(|_| {});
    let mut client = Client::connect(&server, "a").await;
    client.send_text("no letter").await;
    client.refused("bad_json").await;
    server.begin_drain();
    assert_eq!(client.expect_close().await.0, 1001);
}
