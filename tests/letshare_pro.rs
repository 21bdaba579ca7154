//! PRO over real sockets: `docs/protocols/letshare.md §3.6`.
//!
//! Not here: how large a file may be with it and without (`letshare_relay::requests`).

use std::time::Duration;

use letshare_server::{auth::ProKey, clock::Clock, config::Config, ids::Timestamp};
use serde_json::json;

use crate::support::{Client, Http, Response, Server};

const PATH: &str = "/api/pro/activate";
const INVITE_CODE: &str = "let-me-in";
const USER: &str = "a:1";
const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const ORIGIN: &str = "https://letshare.fun";

fn invites(config: &mut Config) {
    config.file_transfer.pro_invite_code = INVITE_CODE.into();
}

/// What the app sends.
fn invited(user: &str) -> String {
    json!({"user_id": user, "invite_code": INVITE_CODE}).to_string()
}

async fn activate(server: &Server, body: &str) -> Response {
    Http::connect(server).await.post(PATH, &[], body).await
}

/// Activates, and takes the token out of the answer.
async fn token(server: &Server, user: &str) -> String {
    let response = activate(server, &invited(user)).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["token"].as_str().expect("a text").to_owned()
}

/// Whether `user`, who connects with this `pro_token`, may send 50 MiB and a byte.
async fn is_pro(server: &Server, user: &str, pro_token: &str) -> bool {
    let url = format!("{}&pro_token={pro_token}", server.url(user));
    let mut sender = Client::try_connect(&url, user).await.expect("no refusal");
    sender.subscribe("demo1", "signal:all").await;
    let _receiver = Client::join(server, "receiver", "demo1").await;
    let file_size = (50 << 20) + 1;
    let data = json!({
        "transfer_id": "t",
        "file_size": file_size,
        "chunk_size": 65_536,
        "total_chunks": 801,
        "to_user_id": "receiver",
    });
    sender.send(json!({"type": "file:transfer:request", "channel": "demo1", "data": data})).await;
    sender.send(json!({"type": "file:transfer:cancel", "data": {"transfer_id": "t"}})).await;
    sender.send(json!({"type": "file:transfer:resume-query", "data": {"transfer_id": "t"}})).await;
    let answer = sender.next().await;
    match answer["type"].as_str() {
        Some("file:transfer:resume-state") => true,
        Some("file:transfer:error") if answer["data"]["code"] == 403 => false,
        _ => panic!("{answer}"),
    }
}

/// 200 `{"token","expires_at"}` (RFC 3339), 720 h, `is_pro`, `sub`.
#[tokio::test]
async fn who_knows_the_code_gets_a_token() {
    let server = Server::start_at(Clock::manual(START), |config| {
        invites(config);
        config.jwt.secret = "of the PRO tests".into();
    });
    let response = activate(&server, &invited("小明:zz7aljb")).await;
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let body = response.json();
    assert_eq!(body.as_object().expect("an object").len(), 2);
    let hours_720 = Timestamp::from_millis(START.millis() + 720 * 3_600_000);
    assert_eq!(body["expires_at"], hours_720.rfc3339());
    let token = body["token"].as_str().expect("a text");
    let key = ProKey::new(&"of the PRO tests".into());
    assert!(key.is_pro(token, "小明:zz7aljb", START));
    assert!(!key.is_pro(token, "小明:zz7aljb", hours_720));
}

/// 400 and 403, word by word.
#[tokio::test]
async fn what_the_others_are_told() {
    let server = Server::start(|config| {
        invites(config);
        // Each attempt from an address of its own.
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    });
    let mut http = Http::connect(&server).await;
    let (bad, no_user, no_code) = ("请求格式错误", "缺少用户ID", "邀请码无效");
    let long = format!(r#"{{"user_id":"a","invite_code":"{}"}}"#, "x".repeat(100_000));
    let table: [(&str, u16, &str); 19] = [
        ("", 400, bad),
        ("{", 400, bad),
        ("null", 400, bad),
        ("[]", 400, bad),
        (r#"["a:1","let-me-in"]"#, 400, bad),
        (r#""a""#, 400, bad),
        (r#"{"user_id":7,"invite_code":"let-me-in"}"#, 400, bad),
        (r#"{"user_id":"a:1","invite_code":7}"#, 400, bad),
        ("user_id=a&invite_code=let-me-in", 400, bad),
        ("{}", 400, no_user),
        (r#"{"invite_code":"let-me-in"}"#, 400, no_user),
        (r#"{"user_id":"","invite_code":"let-me-in"}"#, 400, no_user),
        (r#"{"user_id":"a:1"}"#, 403, no_code),
        (r#"{"user_id":"a:1","invite_code":""}"#, 403, no_code),
        (r#"{"user_id":"a:1","invite_code":"let-me-i"}"#, 403, no_code),
        (r#"{"user_id":"a:1","invite_code":"let-me-in "}"#, 403, no_code),
        (r#"{"user_id":"a:1","invite_code":"Let-me-in"}"#, 403, no_code),
        (r#"{"user_id":"a:1","invite_code":"\u0000"}"#, 403, no_code),
        (&long, 403, no_code),
    ];
    for (number, (body, status, error)) in table.into_iter().enumerate() {
        let address = format!("203.0.113.{number}");
        let headers = [("X-Forwarded-For", address.as_str())];
        let response = http.post(PATH, &headers, body).await;
        assert_eq!(response.status, status, "{body}: {response:?}");
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(response.json()["error"], error, "{body}");
    }
}

/// Whoever configured no code invites nobody, not even with an empty one.
#[tokio::test]
async fn without_a_code_nobody_is_invited() {
    let server = Server::start(|_| {});
    for code in ["", "x"] {
        let body = json!({"user_id": USER, "invite_code": code}).to_string();
        let response = activate(&server, &body).await;
        assert_eq!((response.status, &response.json()["error"]), (403, &json!("邀请码无效")));
    }
}

#[tokio::test]
async fn a_body_beyond_all_measure() {
    let server = Server::start(invites);
    let body = " ".repeat(300_000) + &invited(USER);
    let response = activate(&server, &body).await;
    assert_eq!((response.status, &response.json()["error"]), (400, &json!("请求格式错误")));
}

/// §1.2: other methods are not found.
#[tokio::test]
async fn only_post() {
    let server = Server::start(invites);
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let response = Http::connect(&server).await.ask(method, PATH, &[]).await;
        assert_eq!(response.status, 404, "{method}");
    }
}

/// 5 per minute and address, whatever they asked for.
#[tokio::test]
async fn the_sixth_attempt_of_a_minute_is_refused() {
    let clock = Clock::manual(START);
    let server = Server::start_at(clock.clone(), invites);
    for _ in 0..2 {
        for body in ["", "{}", r#"{"user_id":"a:1"}"#, &invited(USER), &invited(USER)] {
            assert_ne!(activate(&server, body).await.status, 429);
        }
        for body in ["", &invited(USER)] {
            let response = activate(&server, body).await;
            assert_eq!(response.status, 429);
            assert_eq!(response.json()["error"], "请求过于频繁，请1分钟后重试");
        }
        clock.advance(Duration::from_secs(60));
    }
}

/// `X-Forwarded-For` of whom nobody trusts is worth nothing; of a trusted proxy it is the address.
#[tokio::test]
async fn the_limit_is_for_an_address_that_can_be_believed() {
    for is_trusted in [false, true] {
        let server = Server::start(|config| {
            invites(config);
            if is_trusted {
                config.server.trusted_proxies = vec!["127.0.0.1/32".parse().expect("a network")];
            }
        });
        let mut http = Http::connect(&server).await;
        let mut refused = 0;
        for client in 0..12 {
            let address = format!("203.0.113.{client}");
            let headers = [("X-Forwarded-For", address.as_str())];
            let response = http.post(PATH, &headers, &invited(USER)).await;
            refused += usize::from(response.status == 429);
        }
        assert_eq!(refused, if is_trusted { 0 } else { 7 });
    }
}

/// "Needs CORS with preflight (JSON content type)".
#[tokio::test]
async fn pages_of_allowed_origins_may_activate() {
    let server = Server::start(invites);
    let mut http = Http::connect(&server).await;
    let asked = [
        ("Origin", ORIGIN),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    let preflight = http.ask("OPTIONS", PATH, &asked).await;
    assert_eq!(preflight.status, 204);
    let header = |name: &str| preflight.header(name).unwrap_or_default();
    assert_eq!(header("access-control-allow-origin"), ORIGIN);
    assert!(header("access-control-allow-methods").contains("POST"));
    assert!(header("access-control-allow-headers").contains("Content-Type"));

    let mut statuses = Vec::new();
    for body in [&invited(USER), "", "{}", "{}", "{}", "{}"] {
        let response = http.post(PATH, &[("Origin", ORIGIN)], body).await;
        // The page must be able to read the refusals too.
        assert_eq!(response.header("access-control-allow-origin"), Some(ORIGIN));
        statuses.push(response.status);
    }
    assert_eq!(statuses, [200, 400, 400, 400, 400, 429]);

    let foreign = [("Origin", "https://evil.example")];
    let response = http.post(PATH, &foreign, &invited(USER)).await;
    let why = "origin https://evil.example is not in cors.allowed_origins\n";
    assert_eq!((response.status, &*response.body), (403, why));
}

/// "Valid only when `sub == userId`. An invalid one is **not** a refusal: connect as free user."
#[tokio::test]
async fn a_token_is_good_for_its_user_and_its_time() {
    let clock = Clock::manual(START);
    let server = Server::start_at(clock.clone(), invites);
    let pro = token(&server, USER).await;
    assert!(is_pro(&server, USER, &pro).await);
    assert!(!is_pro(&server, "a:2", &pro).await, "somebody else");
    assert!(!is_pro(&server, "a", &pro).await, "the name without its suffix");
    let (head, _) = pro.rsplit_once('.').expect("three parts");
    for bad in ["", "x", "a.b.c", "%FF", &format!("{head}."), &"x".repeat(9_000)] {
        assert!(!is_pro(&server, USER, bad).await, "{bad}");
    }
    clock.advance(Duration::from_secs(720 * 3_600));
    assert!(!is_pro(&server, USER, &pro).await, "expired");
}

/// §1.1: names of Han characters come percent-encoded, the token's `sub` does not.
#[tokio::test]
async fn a_token_of_a_user_with_a_han_name() {
    let server = Server::start(invites);
    let pro = token(&server, "小明:zz7aljb").await;
    assert!(is_pro(&server, "%E5%B0%8F%E6%98%8E:zz7aljb", &pro).await);
}

/// findings S5: whoever has a /64 of IPv6 has one address for all limits, not 2^64.
#[tokio::test]
async fn attempts_are_counted_by_network() {
    let server = Server::start(|config| {
        invites(config);
        config.server.trusted_proxies = vec!["127.0.0.0/8".parse().expect("a network")];
    });
    let mut http = Http::connect(&server).await;
    let body = json!({"user_id": USER, "invite_code": "guessed"}).to_string();
    let mut statuses = Vec::new();
    for host in 1..=20 {
        let address = format!("2001:db8:0:1::{host:x}");
        statuses.push(http.post(PATH, &[("X-Forwarded-For", &address)], &body).await.status);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    let elsewhere = http.post(PATH, &[("X-Forwarded-For", "2001:db8:0:2::1")], &body).await;
    assert_eq!(elsewhere.status, 403);
}
