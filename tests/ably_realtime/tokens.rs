//! §4.7: tokens that end while their connection lives (T22).

use std::time::{SystemTime, UNIX_EPOCH};

use letshare_server::limits;
use serde_json::{Value, json};

use super::stage::{Stage, assert_error};
use crate::support::{AblyClient, ably::action};

async fn with_ttl(stage: &Stage, ttl: u64) -> (AblyClient, Value) {
    let token = stage.token(json!({"ttl": ttl, "clientId": "alice"})).await;
    stage.with_token(&token).await
}

/// No AUTH for one that ends too soon, else it would be asked for again and again.
#[tokio::test]
async fn t22_the_transport_ends_with_its_token() {
    let stage = Stage::start().await;
    let (mut alice, first) = with_ttl(&stage, 300).await;
    let disconnected = alice.expect(action::DISCONNECTED).await;
    assert_error(&disconnected, 40142, 401);
    alice.expect_end().await;
    // The connection is kept for who comes with another.
    let key = super::stage::connection_key(&first);
    let (_, again) = stage.open(&format!("clientId=alice&resume={key}")).await;
    assert_eq!(again["connectionId"], first["connectionId"]);
}

/// 30 s before the end the client is asked for another token, and goes on by that.
#[tokio::test]
async fn the_server_asks_for_another_token_in_time() {
    let stage = Stage::start().await;
    let (mut alice, first) = with_ttl(&stage, 30_400).await;
    let asked = alice.expect(action::AUTH).await;
    assert_eq!(asked, json!({"action": action::AUTH}));
    let token = stage.token(json!({"clientId": "alice"})).await;
    let frame = json!({"action": action::AUTH, "auth": {"accessToken": token}});
    alice.send(frame).await;
    let connected = alice.expect(action::CONNECTED).await;
    assert_eq!(connected["connectionId"], first["connectionId"]);
}

/// The old token ends, and nobody asks for it any more.
#[tokio::test]
async fn a_token_that_was_replaced_ends_nothing() {
    let stage = Stage::start().await;
    let (mut alice, _) = with_ttl(&stage, 400).await;
    let token = stage.token(json!({"clientId": "alice"})).await;
    let frame = json!({"action": action::AUTH, "auth": {"accessToken": token}});
    alice.send(frame).await;
    alice.expect(action::CONNECTED).await;
    // A token that ends later than that one did has ended.
    let (mut bob, _) = with_ttl(&stage, 500).await;
    bob.expect(action::DISCONNECTED).await;
    assert!(alice.received_so_far().await.is_empty());
}

/// A token whose capability lists hundreds of channels comes in the target, up to what a token may have.
#[tokio::test]
async fn a_token_of_many_channels_comes_in_the_target() {
    let stage = Stage::start().await;
    let channels: serde_json::Map<String, Value> =
        (0..140).map(|number| (format!("room-{number:>020}"), json!(["*"]))).collect();
    let capability = Value::Object(channels).to_string();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let claims = json!({"iat": now, "exp": now + 600, "x-ably-capability": capability});
    let token = super::stage::jwt(&stage.app.keys[super::stage::EVERYTHING], &claims);
    assert!((6_000..limits::TOKEN_BYTES).contains(&token.len()), "{}", token.len());
    let (mut client, _) = AblyClient::connect_with(&stage.server, &format!("v=6&access_token={token}")).await;
    client.attach(&format!("room-{:>020}", 139)).await;
}

/// A shorter one in place of a longer one counts, too.
#[tokio::test]
async fn a_shorter_token_ends_sooner() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    let token = stage.token(json!({"clientId": "alice", "ttl": 300})).await;
    let frame = json!({"action": action::AUTH, "auth": {"accessToken": token}});
    alice.send(frame).await;
    alice.expect(action::CONNECTED).await;
    assert_error(&alice.expect(action::DISCONNECTED).await, 40142, 401);
    alice.expect_end().await;
}
