//! `docs/protocols/letshare.md §1.2`, §1.3: which tokens let in, whom, and what the others are told.

use letshare_server::{
    auth::JwtKey,
    clock::Clock,
    config::{AuthMode, Config},
    ids::Timestamp,
};
use serde_json::json;

use super::{get, upgrade, user_on};
use crate::support::{Client, Server, UPGRADE};

const JWT_SECRET: &str = "a secret of the handshake tests, long enough";

fn jwt(user: &str, room: Option<&str>, hours: u32, now: Timestamp) -> String {
    let key = JwtKey::new(&JWT_SECRET.into());
    key.mint(user, room, hours, now).expect("minted")
}

fn now() -> Timestamp {
    Clock::system().now()
}

fn with_jwt(config: &mut Config) {
    config.jwt.secret = JWT_SECRET.into();
}

/// §1.2 "no or empty token".
#[tokio::test]
async fn without_a_token() {
    let server = Server::start(|_| {});
    for target in ["/ws", "/", "/ws?userId=a:1", "/?token=&userId=a:1", "/ws?token"] {
        for headers in [&UPGRADE[..], &[]] {
            let response = get(&server, target, headers).await;
            assert_eq!(response.status, 401, "{target}: {response:?}");
            assert_eq!(response.header("content-type"), Some("application/json"));
            assert_eq!(response.json()["error"], "缺少认证token");
        }
    }
}

/// §1.2 "wrong token".
#[tokio::test]
async fn with_a_wrong_token() {
    let server = Server::start(|_| {});
    let upper = server.token.to_uppercase();
    let short = &server.token[..63];
    let long = format!("{}0", server.token);
    for token in ["wrong", "0", &upper, short, &long, "sever_auth_123"] {
        let response = upgrade(&server, &format!("/ws?token={token}&userId=a:1")).await;
        assert_eq!(response.status, 401, "{token}: {response:?}");
        assert_eq!(response.json()["error"], "token验证失败: token验证失败");
    }
}

/// §1.3 DOC: the texts for JWTs.
#[tokio::test]
async fn with_a_bad_jwt() {
    let server = Server::start(with_jwt);
    let good = jwt("a", None, 1, now());
    let of_others = JwtKey::new(&"the secret of another server, also long".into());
    let of_others = of_others.mint("a", None, 1, now()).expect("minted");
    let expired = jwt("a", None, 1, Timestamp::from_millis(1_700_000_000_000));
    let (_, signature) = good.rsplit_once('.').expect("three parts");
    // {"alg":"none"}
    let unsigned = "eyJhbGciOiJub25lIn0.eyJ1c2VyX2lkIjoiYSJ9.";
    let tampered = format!("eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoiYiJ9.{signature}");
    for (token, error) in [
        ("a.b.c", "token验证失败: token解析失败: token is malformed"),
        (unsigned, "token验证失败: token解析失败: token is malformed"),
        (&of_others, "token验证失败: token解析失败: signature is invalid"),
        (&tampered, "token验证失败: token解析失败: signature is invalid"),
        (&expired, "token验证失败: token已过期"),
    ] {
        let response = upgrade(&server, &format!("/ws?token={token}&userId=a:1")).await;
        assert_eq!(response.status, 401, "{error}: {response:?}");
        assert_eq!(response.json()["error"], error);
    }
}

/// findings O15: a JWT of ours whose claim has another name or type is told which claim it is.
#[tokio::test]
async fn the_claim_that_is_missing_is_named() {
    let server = Server::start(with_jwt);
    let key = jsonwebtoken::EncodingKey::from_secret(JWT_SECRET.as_bytes());
    for (claims, error, reason) in [
        (
            json!({"userId": "a", "exp": 4_000_000_000_u64}),
            "token中缺少user_id",
            "is missing; the token has exp, userId",
        ),
        (json!({"user_id": 7, "exp": 4_000_000_000_u64}), "claims解析失败", "claim user_id must be a text"),
        (json!({"user_id": "a"}), "token无效", "claim exp is missing"),
    ] {
        let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).expect("a token");
        let response = upgrade(&server, &format!("/ws?token={token}")).await;
        let body = response.json();
        assert_eq!((response.status, &body["error"]), (401, &json!(format!("token验证失败: {error}"))));
        assert!(body["reason"].as_str().is_some_and(|told| told.contains(reason)), "{body}");
    }
}

/// §1.3 [rec]: a JWT of user X lets in `X` and `X:<anything>`, and nobody else; without a `userId`, X.
#[tokio::test]
async fn a_jwt_binds_the_user_id() {
    let server = Server::start(with_jwt);
    let token = jwt("小明", None, 1, now());
    for (query, user) in
        [("", "小明"), ("&userId=%E5%B0%8F%E6%98%8E", "小明"), ("&userId=%E5%B0%8F%E6%98%8E:zz7alj", "小明:zz7alj")]
    {
        let target = format!("/ws?token={token}{query}");
        assert_eq!(user_on(&server, &target).await, user);
    }
    for other in ["b:1", "%E5%B0%8F", "%E5%B0%8F%E6%98%8E2", "x%E5%B0%8F%E6%98%8E"] {
        let response = upgrade(&server, &format!("/ws?token={token}&userId={other}")).await;
        assert_eq!(response.status, 401, "{other}");
        assert_eq!(response.json()["error"], "token验证失败: token与userId不匹配");
    }
}

/// §1.3 [rec]: a JWT with `room_id` allows that room only.
#[tokio::test]
async fn a_jwt_with_a_room_allows_that_room_only() {
    let server = Server::start(with_jwt);
    let token = jwt("a", Some("demo1"), 1, now());
    let url = format!("ws://{}/?token={token}&userId=a:1", server.address);
    let mut client = Client::try_connect(&url, "a:1").await.expect("connects");
    let mut other = Client::join(&server, "b:2", "demo1").await;
    for room in ["demo2", "Demo1"] {
        client.send(json!({"type": "subscribe", "channel": room})).await;
        let text = format!("token 不允许加入房间: {room}");
        client.expect_error(403, &text).await;
        client.publish(room, "signal:all", json!({})).await;
        let text = format!("客户端未订阅房间: {room}");
        client.expect_error(400, &text).await;
    }
    client.subscribe("demo1", "signal:all").await;
    client.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert_eq!(other.next().await["data"]["n"], 1);
}

/// §1.3 `auth`: `static` knows no JWT, `jwt` no shared token, `both` takes either.
#[tokio::test]
async fn the_mode_chooses_the_kinds_of_token() {
    for (mode, takes_static, takes_jwt) in
        [(AuthMode::Static, true, false), (AuthMode::Jwt, false, true), (AuthMode::Both, true, true)]
    {
        let server = Server::start(|config| {
            with_jwt(config);
            config.auth.mode = mode;
        });
        let jwt = jwt("a", None, 1, now());
        for (token, is_taken) in [(&server.token, takes_static), (&jwt, takes_jwt)] {
            let response = upgrade(&server, &format!("/ws?token={token}&userId=a:1")).await;
            let expected = if is_taken { 101 } else { 401 };
            assert_eq!(response.status, expected, "{mode:?}: {response:?}");
        }
    }
}
