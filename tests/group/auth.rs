//! Saying who one is (`docs/protocols/group.md §4, §5, §9`).

use std::time::Duration;

use letshare_server::ids::Timestamp;

use super::*;

async fn tried(rig: &Rig, claims: Value) -> Value {
    let mut client = rig.client().await;
    client.auth(&signed(claims)).await;
    client.next().await
}

/// §4: `userId` as a number or a text, in exact decimal digits; `exp` is honoured if present.
#[tokio::test]
async fn tokens_that_are_good() {
    let rig = Rig::start(|_| {});
    for (user, shown) in [
        (json!("7"), "7"),
        (json!(7), "7"),
        (json!(1_000_000), "1000000"),
        (json!(9_007_199_254_740_993_u64), "9007199254740993"),
        (json!("小明"), "小明"),
    ] {
        for claims in
            [json!({"userId": user, "role": "user", "iat": 1, "exp": 4_000_000_000_u64}), json!({"userId": user})]
        {
            let success = tried(&rig, claims).await;
            assert_eq!(success["type"], "auth_success", "{success}");
            assert_eq!(success["message_id"], "auth-1");
            assert_eq!(success["data"], json!({"user_id": shown}));
        }
    }
}

/// §5: `auth_failed` alone, with the source's text; the client may try again.
///
/// findings O15: a token of ours whose claim is missing or of another type is told which; any other, nothing.
#[tokio::test]
async fn tokens_that_are_not() {
    let rig = Rig::start(|_| {});
    for (claims, claim) in [
        (json!({"userId": "7", "exp": 1_000_000}), None),
        (json!({"userId": "7", "exp": "4000000000"}), Some("claim exp must be")),
        (json!({"userId": "7", "nbf": 4_000_000_000_u64}), None),
        (json!({"exp": 4_000_000_000_u64}), Some("claim userId")),
        (json!({"user_id": "7"}), Some("is missing; the token has user_id")),
        (json!({"userId": ""}), Some("claim userId must be")),
        (json!({"userId": null}), Some("claim userId must be")),
        (json!({"userId": 1.5}), Some("claim userId must be")),
        (json!({"userId": -1}), Some("claim userId must be")),
        (json!({"userId": ["7"]}), Some("claim userId must be")),
        (json!({"userId": "a\u{0}b"}), Some("claim userId must be")),
    ] {
        let mut failed = tried(&rig, claims.clone()).await;
        assert_eq!(failed["type"], "auth_failed", "{claims}");
        let reason = failed["data"].as_object_mut().and_then(|data| data.remove("reason"));
        assert_eq!(failed["data"], json!({"message": "Token 无效或已过期"}));
        match claim {
            None => assert_eq!(reason, None, "{claims}"),
            Some(claim) => assert!(reason.is_some_and(|text| text.to_string().contains(claim)), "{claims}"),
        }
        let bearer = format!("Bearer {}", signed(claims.clone()));
        let mut http = Http::connect_to(rig.address).await;
        let answer = http.ask("GET", "/api/notifications", &[("Authorization", &bearer)]).await;
        assert_eq!(answer.status, 401, "{claims}");
        assert!(answer.body.contains(claim.unwrap_or("Token 无效或已过期")), "{answer:?}");
    }
    let mut client = rig.client().await;
    let unsigned = "eyJhbGciOiJub25lIn0.eyJ1c2VySWQiOiI3In0.";
    let other = signed_with(json!({"userId": "7"}), "another secret that is long enough, too");
    for token in ["x", unsigned, &other] {
        client.auth(token).await;
        client.expect("auth_failed").await;
    }
    client.auth(&token(json!("7"))).await;
    client.expect("auth_success").await;
}

#[tokio::test]
async fn five_attempts() {
    let rig = Rig::start(|_| {});
    let mut client = rig.client().await;
    for _ in 0..5 {
        client.auth("x").await;
        client.expect("auth_failed").await;
    }
    client.expect_close(4401).await;
}

/// §1: 30 s, here three, in which a slow machine can still authenticate.
#[tokio::test]
async fn whoever_says_nothing_is_closed() {
    let rig = Rig::start(|config| config.group.auth_timeout = Duration::from_secs(3));
    let mut user = rig.user("7").await;
    let mut silent = rig.client().await;
    silent.text(r#"{"type":"ping"}"#).await;
    silent.expect("pong").await;
    silent.expect_close(4401).await;
    user.text(r#"{"type":"ping"}"#).await;
    user.expect("pong").await;
}

/// §9: the same user again, and another one.
#[tokio::test]
async fn auth_again() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    client.auth(&token(json!(7))).await;
    assert_eq!(client.expect("auth_success").await["data"], json!({"user_id": "7"}));
    client.auth(&token(json!("8"))).await;
    client.refused("auth-1", 400, "连接已属于其他用户").await;
    client.says("c-1", "g", "still me").await;
    assert_eq!(client.message().await["sender_id"], "7");
    assert_eq!(rig.stats().await["online_users"], 1);
}

/// §9: the token expires while connected.
#[tokio::test]
async fn a_token_ends() {
    let clock = Clock::manual(Timestamp::from_millis(1_760_000_000_000));
    let rig = Rig::start_at(clock.clone(), |_| {});
    let mut client = rig.client().await;
    client.auth(&signed(json!({"userId": "7", "exp": 1_760_000_001}))).await;
    client.expect("auth_success").await;
    clock.advance(Duration::from_secs(2));
    client.refused("", 401, "Token 无效或已过期").await;
    client.expect_close(4401).await;
    // By more than clocks may be off (findings P15).
    clock.advance(Duration::from_secs(29));
    let mut client = rig.client().await;
    client.auth(&signed(json!({"userId": "7", "exp": 1_760_000_001}))).await;
    client.expect("auth_failed").await;
}

/// A newer token of the same user counts from then on.
#[tokio::test]
async fn a_token_is_renewed() {
    let clock = Clock::manual(Timestamp::from_millis(1_760_000_000_000));
    let rig = Rig::start_at(clock.clone(), |config| {
        config.group.auth_timeout = Duration::from_secs(3);
    });
    let mut client = rig.client().await;
    client.auth(&signed(json!({"userId": "7", "exp": 1_760_000_001}))).await;
    client.expect("auth_success").await;
    client.auth(&signed(json!({"userId": "7", "exp": 1_760_000_100}))).await;
    client.expect("auth_success").await;
    clock.advance(Duration::from_secs(2));
    // The time of the older one is over when another connection is closed for its silence.
    rig.client().await.expect_close(4401).await;
    client.text(r#"{"type":"ping"}"#).await;
    client.expect("pong").await;
}

/// §6: several connections of one user are one user online.
#[tokio::test]
async fn users_are_counted() {
    let rig = Rig::start(|_| {});
    let first = rig.user("7").await;
    let second = rig.user("7").await;
    let third = rig.user("8").await;
    if rig.redis.is_some() {
        // It counts them a moment later.
        rig.until_online(2).await;
    }
    assert_eq!(rig.stats().await["online_users"], 2);
    drop(first);
    drop(third);
    rig.until_online(1).await;
    drop(second);
    rig.until_online(0).await;
}

/// findings P15: a token whose issuer's clock is a few seconds off lets in, by as much as the setting says.
#[tokio::test]
async fn the_clock_of_the_issuer_may_be_off() {
    const START: u64 = 1_760_000_000;
    let clock = Clock::manual(Timestamp::from_millis(START * 1_000));
    for leeway in [0, 30, 90] {
        let rig = Rig::start_at(clock.clone(), |config| config.auth.clock_leeway = Duration::from_secs(leeway));
        for (off, expected) in [(leeway, "auth_success"), (leeway + 1, "auth_failed")] {
            let ahead = json!({"userId": "7", "nbf": START + off, "exp": START + 600});
            assert_eq!(tried(&rig, ahead).await["type"], expected, "{leeway} {off}");
            // A token that ends now has ended, without leeway.
            let behind = json!({"userId": "7", "exp": START + 1 - off});
            assert_eq!(tried(&rig, behind).await["type"], expected, "{leeway} {off}");
        }
    }
}
