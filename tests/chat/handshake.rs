//! `docs/protocols/chat.md §2, §7`: who gets in, what the others are told, and one connection for each user.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use letshare_server::{clock::Clock, config::ChatCompat, ids::Timestamp};
use serde_json::{Value, json};

use crate::{
    chat::{
        client::{Client, is_time},
        house::{House, signed, signed_by, token},
    },
    support::{Response, eventually},
};

const CHAT: &str = "/ws/chat";
const AUTH: &str = "authorization";

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// Seconds since 1970, of a clock that stands until it is told to go on: no handshake is too slow for its token.
const START: u64 = 1_767_576_600;

fn standing() -> Clock {
    Clock::manual(Timestamp::from_millis(START * 1_000))
}

fn refusal(text: &str) -> Value {
    json!({"code": 401, "message": text, "data": null, "msg": text})
}

fn is_401(answer: &Response, body: &Value) {
    assert_eq!((answer.status, &answer.json()), (401, body), "{answer:?}");
}

#[tokio::test]
async fn the_welcome() {
    let house = House::start(|_| {});
    let url = format!("ws://{}{CHAT}", house.address);
    let mut ann = Client::open(&url, &[("x-token", &token(7))], 7).await.expect("an upgrade");
    let data = ann.data().await;
    assert!(is_time(&data["time"]));
    let expected = json!({
        "type": "welcome", "message": "连接成功，自动上线！", "user_id": 7, "time": data["time"],
    });
    assert_eq!(data, expected);
    assert_eq!(house.users(7).await, json!([7]));
}

/// §2, the table, on the socket and by HTTP.
#[tokio::test]
async fn the_three_refusals() {
    let house = House::start(|_| {});
    // By more than clocks may be off (findings P15).
    let expired = signed(&json!({"ID": 7, "exp": now() - 31}));
    let bad = [
        "nonsense".to_owned(),
        signed_by("another secret that is long enough.", &json!({"ID": 7})),
        // {"alg":"none"}
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{}.", token(7).split('.').nth(1).unwrap()),
    ];
    for target in [CHAT, "/api/ws/online-users", "/api/ws/messages?room_id=private_7_8"] {
        is_401(&house.shake(target, &[]).await, &refusal("请登录"));
        is_401(&house.shake(target, &[("x-token", "")]).await, &refusal("请登录"));
        is_401(&house.shake(target, &[("x-token", &expired)]).await, &refusal("授权已过期"));
        for token in &bad {
            is_401(&house.shake(target, &[("x-token", token)]).await, &refusal("未登陆"));
        }
    }
    for target in ["/api/ws/send-message", "/api/ws/broadcast"] {
        is_401(&house.ask("POST", target, &[]).await, &refusal("请登录"));
    }
    // Not by default.
    let target = format!("{CHAT}?token={}", token(7));
    is_401(&house.shake(&target, &[]).await, &refusal("请登录"));
}

/// findings O15: a token of ours whose claim has another name or type is told which claim it is.
#[tokio::test]
async fn the_claim_that_is_missing_is_named() {
    let house = House::start_at(standing(), |_| {});
    for (claims, reason) in [
        (json!({"ID": 0}), "claim ID must be a whole number from 1 to 2^63-1"),
        (json!({"ID": "7"}), "claim ID must be a whole number from 1 to 2^63-1"),
        (
            json!({"NickName": "nobody", "uid": 7}),
            "claim ID (a whole number from 1 to 2^63-1) is missing; the token has NickName, uid",
        ),
        (json!({"ID": 7, "exp": "soon"}), "claim exp must be a number of seconds"),
        (json!({"ID": 7, "exp": -1}), "claim exp must be a number of seconds from 1970 on"),
        (
            json!({"ID": 7, "nbf": START + 1_000}),
            "claim nbf: the token is not valid for another 1000 s; 30 s are allowed (auth.clock_leeway)",
        ),
    ] {
        for target in [CHAT, "/api/ws/online-users"] {
            let mut expected = refusal("未登陆");
            expected["reason"] = reason.into();
            let answer = house.shake(target, &[("x-token", &signed(&claims))]).await;
            is_401(&answer, &expected);
            assert_eq!(answer.header("refusal-reason"), Some(reason), "{claims}");
        }
    }
    let house = House::start(|config| config.chat.compat = ChatCompat::Source);
    let answer = house.shake(CHAT, &[("x-token", &signed(&json!({"ID": 0})))]).await;
    is_401(&answer, &json!("未登陆"));
    assert_eq!(answer.header("refusal-reason"), Some("claim ID must be a whole number from 1 to 2^63-1"));
}

#[tokio::test]
async fn the_refusals_of_the_source() {
    let house = House::start(|config| config.chat.compat = ChatCompat::Source);
    let expired = signed(&json!({"ID": 7, "exp": now() - 31}));
    is_401(&house.shake(CHAT, &[]).await, &json!({"msg": "请登录"}));
    is_401(&house.shake(CHAT, &[("x-token", &expired)]).await, &json!({"msg": "授权已过期"}));
    is_401(&house.shake(CHAT, &[("x-token", "x")]).await, &json!("未登陆"));
}

/// §2: where a token may stand, and which claims name the user.
#[tokio::test]
async fn tokens_come_by_many_ways() {
    let house = House::start(|config| config.chat.token_in_query = true);
    let bearer = format!("Bearer {}", token(7));
    assert_eq!(house.shake(CHAT, &[(AUTH, &bearer)]).await.status, 101);
    assert_eq!(house.shake(CHAT, &[("X-Token", &token(7))]).await.status, 101);
    let offered = format!("x-token, {}", token(7));
    let answer = house.shake(CHAT, &[("Sec-WebSocket-Protocol", &offered)]).await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, Some("x-token")));
    let answer = house.shake(&format!("{CHAT}?token={}", token(7)), &[]).await;
    assert_eq!((answer.status, answer.header("sec-websocket-protocol")), (101, None));
    for claims in [
        json!({"id": 7}),
        json!({"user_id": 7}),
        json!({"userId": 7}),
        json!({"sub": "7"}),
        json!({"ID": 7, "aud": "web", "iss": "zulme", "exp": now() + 1_000}),
    ] {
        let answer = house.shake(CHAT, &[("x-token", &signed(&claims))]).await;
        assert_eq!(answer.status, 101, "{claims}");
    }
}

/// §2 [P]: with `require_exp`, tokens end, and so do the connections that they opened.
#[tokio::test]
async fn tokens_end() {
    let clock = standing();
    let house = House::start_at(clock.clone(), |config| config.chat.require_exp = true);
    // findings O15: the claim that is missing is named.
    let mut endless = refusal("未登陆");
    endless["reason"] = "claim exp is missing".into();
    is_401(&house.shake(CHAT, &[("x-token", &token(7))]).await, &endless);
    let token = signed(&json!({"ID": 7, "exp": START + 1}));
    let url = format!("ws://{}{CHAT}", house.address);
    let mut ann = Client::open(&url, &[("x-token", &token)], 7).await.expect("an upgrade");
    assert_eq!(ann.data().await["type"], "welcome");
    clock.advance(Duration::from_secs(1));
    let (code, reason) = ann.expect_close().await;
    assert_eq!((code, &*reason), (4401, "the token has expired"));
}

/// §2 [S]: otherwise a connection outlives its token.
#[tokio::test]
async fn connections_outlive_their_tokens() {
    let clock = standing();
    let house = House::start_at(clock.clone(), |config| config.auth.clock_leeway = Duration::ZERO);
    let token = signed(&json!({"ID": 7, "exp": START + 1}));
    let url = format!("ws://{}{CHAT}", house.address);
    let mut ann = Client::open(&url, &[("x-token", &token)], 7).await.expect("an upgrade");
    assert_eq!(ann.data().await["type"], "welcome");
    clock.advance(Duration::from_secs(1));
    let headers = [("x-token", &*token)];
    let answer = house.ask("GET", "/api/ws/online-users", &headers).await;
    assert_eq!(answer.status, 401);
    assert!(ann.received_so_far().await.is_empty());
}

/// §7: a new connection closes the old one, whose clean-up does not remove the new one.
#[tokio::test]
async fn a_new_connection_takes_the_place_of_the_old() {
    let house = House::start(|_| {});
    let (mut old, mut bob) = (house.connect(7).await, house.connect(8).await);
    let mut new = house.connect(7).await;
    let (code, reason) = old.expect_close().await;
    assert_eq!((code, &*reason), (4001, "replaced by a newer connection"));
    old.leave().await;
    assert_eq!(house.users(8).await, json!([7, 8]));
    bob.send("send_message", json!({"to_user_id": 7, "content": "x"})).await;
    assert_eq!(bob.data().await["type"], "message_sent");
    assert_eq!(new.data().await["type"], "new_message");
    new.leave().await;
    eventually(async || (house.users(8).await == json!([8])).then_some(())).await;
}

/// §7, §10: several devices, one entry.
#[tokio::test]
async fn several_devices() {
    let house = House::start(|config| config.chat.multi_device = true);
    let (mut one, mut other) = (house.connect(7).await, house.connect(7).await);
    assert_eq!(house.users(7).await, json!([7]));
    let count = house.ask("GET", "/api/ws/online-count", &[]).await.json();
    assert_eq!(count["data"], json!({"count": 1}));
    let mut bob = house.connect(8).await;
    bob.send("send_message", json!({"to_user_id": 7, "content": "x"})).await;
    for client in [&mut one, &mut other] {
        assert_eq!(client.data().await["content"], "x");
    }
    one.leave().await;
    assert_eq!(house.users(8).await, json!([7, 8]));
    other.leave().await;
    eventually(async || (house.users(8).await == json!([8])).then_some(())).await;
}

/// §1: the list of pages counts for WebSockets, too.
#[tokio::test]
async fn pages_of_other_origins() {
    let house = House::start(|_| {});
    let token = token(7);
    let from = |origin| [("x-token", &*token), ("Origin", origin)];
    let good = "http://localhost:3000";
    assert_eq!(house.shake(CHAT, &from(good)).await.status, 101);
    assert_eq!(house.shake(CHAT, &from("http://evil.example")).await.status, 403);
    let answer = house.ask("GET", "/api/ws/online-count", &[("Origin", good)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(good));
    let preflight = [
        ("Origin", good),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "x-token,content-type"),
    ];
    let answer = house.ask("OPTIONS", "/api/ws/send-message", &preflight).await;
    assert_eq!(answer.status, 204);
    let allowed = answer.header("access-control-allow-headers").expect("a list");
    let allowed = allowed.to_ascii_lowercase();
    for name in ["x-token", "authorization", "content-type"] {
        assert!(allowed.split(',').any(|item| item.trim() == name), "{allowed}");
    }

    let open = House::start(|config| config.chat.allowed_origins = vec!["*".into()]);
    let anywhere = "http://evil.example";
    assert_eq!(open.shake(CHAT, &from(anywhere)).await.status, 101);
    let answer = open.ask("GET", "/api/ws/online-count", &[("Origin", anywhere)]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some(anywhere));
}

#[tokio::test]
async fn what_is_no_handshake() {
    let house = House::start(|_| {});
    let answer = house.ask("GET", CHAT, &[("x-token", &token(7))]).await;
    assert_eq!((answer.status, answer.header("sec-websocket-version")), (400, Some("13")));
    assert_eq!(answer.json()["code"], 1001);
    assert_eq!(house.ask("POST", CHAT, &[("x-token", &token(7))]).await.status, 405);
    assert_eq!(house.users(7).await, json!([]));
}

/// findings P15: a token whose issuer's clock is a few seconds off lets in, and its connection ends with the leeway.
#[tokio::test]
async fn the_clock_of_the_issuer_may_be_off() {
    let clock = standing();
    let house = House::start_at(clock.clone(), |config| config.chat.require_exp = true);
    for claims in [json!({"ID": 7, "exp": START - 30}), json!({"ID": 7, "nbf": START + 31, "exp": START + 90})] {
        let refused = house.shake(CHAT, &[("x-token", &signed(&claims))]).await;
        assert_eq!(refused.status, 401, "{claims}");
    }
    let url = format!("ws://{}{CHAT}", house.address);
    let ahead = signed(&json!({"ID": 8, "nbf": START + 30, "exp": START + 90}));
    let mut bob = Client::open(&url, &[("x-token", &ahead)], 8).await.expect("an upgrade");
    assert_eq!(bob.data().await["type"], "welcome");
    let behind = signed(&json!({"ID": 7, "exp": START - 29}));
    let mut ann = Client::open(&url, &[("x-token", &behind)], 7).await.expect("an upgrade");
    assert_eq!(ann.data().await["type"], "welcome");
    clock.advance(Duration::from_secs(1));
    assert_eq!(ann.expect_close().await.0, 4401);
}
