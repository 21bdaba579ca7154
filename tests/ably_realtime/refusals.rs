//! §4.2: who is not let in, and how it is told (T1, T5, T16, T23, T26).

use std::time::Duration;

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::json;

use super::stage::{EVERYTHING, Stage, assert_error, jwt};
use crate::support::{AblyClient, Server, TestApp, ably::action};

/// Upgraded (T16), one ERROR in the format that was asked for, then the end (T26).
async fn assert_refused(server: &Server, query: &str, code: u64, status: u64) {
    for format in ["", "&format=msgpack"] {
        let mut client = AblyClient::open(server, &format!("{query}{format}")).await;
        let error = client.expect(action::ERROR).await;
        assert_error(&error, code, status);
        // T1.
        assert_eq!(error.get("channel"), None, "{query}");
        client.expect_end().await;
    }
}

/// The first row: nobody can be asked about these, so they are never token errors.
#[tokio::test]
async fn credentials_without_an_app_or_with_a_wrong_secret() {
    let stage = Stage::start().await;
    let (name, _) = stage.app.keys[EVERYTHING].split_once(':').unwrap();
    for credential in [
        format!("key={name}:wrong"),
        "key=api:key".into(),
        "key=this.is:wrong".into(),
        "key=js9de7r:08sdnuvfasd".into(),
        "access_token=invalid-token".into(),
        "accessToken=invalid%20token".into(),
        "nothing=at-all".into(),
        "key=".into(),
    ] {
        assert_refused(&stage.server, &format!("v=6&{credential}"), 40101, 401).await;
    }
}

#[tokio::test]
async fn unknown_apps_and_keys() {
    let stage = Stage::start().await;
    let app = &stage.app.id;
    let claims = json!({"iat": 1, "exp": 2});
    for credential in [
        format!("key={app}.nobody:secret"),
        "key=nobody.nobody:secret".into(),
        format!("access_token={}", jwt("invalid.invalid:x", &claims)),
        format!("access_token={}", jwt("nobody.nobody:x", &claims)),
    ] {
        assert_refused(&stage.server, &format!("v=6&{credential}"), 40400, 404).await;
    }
}

/// T23: 401 with a code from 40140 to 40149, so that clients fetch another one.
#[tokio::test]
async fn tokens_that_are_worth_nothing_any_more() {
    let clock = Clock::manual(Timestamp::from_millis(1_800_000_000_000));
    let stage = Stage::at(&clock).await;
    let token = stage.token(json!({"ttl": 5})).await;
    clock.advance(Duration::from_millis(5));
    let expired = format!("v=6&access_token={token}");
    assert_refused(&stage.server, &expired, 40142, 401).await;

    let (name, _) = stage.app.keys[EVERYTHING].split_once(':').unwrap();
    let now = 1_800_000_000;
    let foreign = jwt(&format!("{name}:foreign"), &json!({"iat": now, "exp": now + 60}));
    let endless = jwt(&stage.app.keys[EVERYTHING], &json!({"iat": now}));
    // Clocks may be off by half a minute (findings P15).
    let over = jwt(&stage.app.keys[EVERYTHING], &json!({"iat": now - 39, "exp": now - 30}));
    for (token, code) in
        [(foreign, 40144), (endless, 40144), (over, 40142), (format!("{}.garbage", stage.app.id), 40101)]
    {
        assert_refused(&stage.server, &format!("v=6&access_token={token}"), code, 401).await;
    }
}

/// §12.6.
#[tokio::test]
async fn client_ids_that_the_credentials_do_not_give() {
    let stage = Stage::start().await;
    let alice = stage.token(json!({"clientId": "alice"})).await;
    let nobody = stage.token(json!({})).await;
    for (token, claim, code, status) in [
        (&alice, "bob", 40102, 401),
        (&nobody, "bob", 40102, 401),
        (&alice, "*", 40012, 400),
        (&nobody, "", 40012, 400),
    ] {
        let query = format!("v=6&access_token={token}&clientId={claim}");
        assert_refused(&stage.server, &query, code, status).await;
    }
    let wildcard = format!("{}&clientId=*", stage.query(EVERYTHING));
    assert_refused(&stage.server, &wildcard, 40012, 400).await;
}

#[tokio::test]
async fn versions_that_nobody_speaks() {
    let stage = Stage::start().await;
    let key = &stage.app.keys[EVERYTHING];
    for version in ["", "x", "0", "-1"] {
        let query = format!("v={version}&key={key}");
        assert_refused(&stage.server, &query, 40017, 400).await;
    }
    for version in ["1.2", "2", "3", "4", "5", "6", "7", "6.1"] {
        let query = format!("v={version}&key={key}");
        let (_, connected) = AblyClient::connect_with(&stage.server, &query).await;
        assert!(connected["connectionDetails"].is_object(), "{version}");
    }
}

/// §12.8: a key over plain HTTP, where that is not allowed; a token always may.
#[tokio::test]
async fn keys_that_others_could_have_read() {
    let server = Server::start(|config| config.ably.sandbox = true);
    let app = TestApp::plain(&server).await;
    assert_refused(&server, &format!("v=6&key={}", app.keys[0]), 40103, 401).await;
    let body = app.body["keys"][0].clone();
    let secret = body["keySecret"].as_str().unwrap();
    let key = format!("{}:{secret}", body["keyName"].as_str().unwrap());
    let now = jiff::Timestamp::now().as_second();
    let token = jwt(&key, &json!({"iat": now, "exp": now + 60}));
    AblyClient::connect_with(&server, &format!("v=6&access_token={token}")).await;
}

/// findings A10: JWTs of a server whose clock is 40 s off, either way, are taken: `iat` and `nbf` as far ahead as the
/// times of token requests, an `exp` that has passed within `auth.clock_leeway`. What is further off is refused, and the
/// error names by how much.
#[tokio::test]
async fn jwts_of_a_server_whose_clock_is_off() {
    let now: u64 = 1_800_000_000;
    let clock = Clock::manual(Timestamp::from_millis(now * 1_000));
    let stage = Stage::at(&clock).await;
    let key = &stage.app.keys[EVERYTHING];
    for claims in [
        json!({"iat": now + 40, "nbf": now + 40, "exp": now + 100}),
        json!({"iat": now + 120, "exp": now + 180}),
        json!({"iat": now - 40, "nbf": now - 40, "exp": now + 20}),
        json!({"iat": now - 60, "exp": now - 29}),
    ] {
        stage.with_token(&jwt(key, &claims)).await;
    }
    for (claims, code, said) in [
        (json!({"iat": now + 121, "exp": now + 180}), 40144, "iat is 121 s ahead"),
        (json!({"iat": now, "nbf": now + 600, "exp": now + 700}), 40144, "nbf is 600 s ahead"),
        (json!({"iat": now - 60, "exp": now - 30}), 40142, "expire"),
    ] {
        let query = format!("v=6&access_token={}", jwt(key, &claims));
        let mut client = AblyClient::open(&stage.server, &query).await;
        let error = client.expect(action::ERROR).await;
        assert_error(&error, code, 401);
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains(said), "{message}");
    }
    // A token that came in time ends on time, to the millisecond.
    let (mut client, _) = stage.with_token(&jwt(key, &json!({"iat": now, "exp": now + 1}))).await;
    clock.advance(Duration::from_secs(1));
    assert_error(&client.expect(action::DISCONNECTED).await, 40142, 401);
}
