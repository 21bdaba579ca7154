//! §4.7: other credentials on a live connection.

use serde_json::{Value, json};

use super::stage::{DEFAULT_MODES, EVERYTHING, Stage, assert_error, attach, connection_key, events, told};
use crate::support::{
    AblyClient, TestApp,
    ably::{action, flag},
};

fn auth(token: &str) -> Value {
    json!({"action": action::AUTH, "auth": {"accessToken": token}})
}

fn capability(capability: &Value) -> Value {
    json!({"capability": capability.to_string(), "clientId": "alice"})
}

/// T2, T24: CONNECTED with all details and another key; nothing on the channels, as nothing has changed.
#[tokio::test]
async fn t2_t24_auth_is_answered_by_connected() {
    let stage = Stage::start().await;
    for format in ["json", "msgpack"] {
        let (mut alice, first) = stage.open(&format!("clientId=alice&format={format}")).await;
        alice.attach("room").await;
        let token = stage.token(json!({"clientId": "alice"})).await;
        let mut keys = vec![connection_key(&first).to_owned()];
        // Several at once are several answers.
        for _ in 0..4 {
            alice.send(auth(&token)).await;
        }
        for _ in 0..4 {
            let connected = alice.expect(action::CONNECTED).await;
            assert_eq!(connected["connectionId"], first["connectionId"]);
            assert_eq!(connected.get("error"), None);
            let key = connection_key(&connected).to_owned();
            assert!(!keys.contains(&key));
            keys.push(key);
            let mut details = connected["connectionDetails"].clone();
            details["connectionKey"] = first["connectionDetails"]["connectionKey"].clone();
            assert_eq!(details, first["connectionDetails"]);
        }
        assert!(alice.received_so_far().await.is_empty());
    }
}

#[tokio::test]
async fn an_upgrade_opens_channels_and_adds_modes() {
    let stage = Stage::start().await;
    let narrow = stage.token(capability(&json!({"a": ["subscribe"]}))).await;
    let (mut alice, _) = stage.with_token(&narrow).await;
    let attached = alice.attach("a").await;
    let subscribing = flag::SUBSCRIBE | flag::PRESENCE_SUBSCRIBE;
    assert_eq!(attached["flags"], subscribing);
    alice.send(attach("b")).await;
    assert_error(&alice.expect(action::ERROR).await, 40160, 401);
    let serial = alice.publish("a", json!([{}])).await;
    alice.nacked(serial, 40160).await;

    let wide = stage.token(capability(&json!({"*": ["*"]}))).await;
    alice.send(auth(&wide)).await;
    let (attached, connected) = both(&mut alice).await;
    assert_eq!(attached["channel"], "a");
    assert_eq!(attached["flags"], DEFAULT_MODES | flag::RESUMED);
    assert!(connected["connectionDetails"].is_object());
    alice.attach("b").await;
    for channel in ["a", "b"] {
        let serial = alice.publish(channel, json!([{}])).await;
        alice.acked(serial).await;
    }
}

/// ATTACHED and CONNECTED, whichever comes first.
async fn both(client: &mut AblyClient) -> (Value, Value) {
    let (first, second) = (client.next().await, client.next().await);
    let (attached, connected) = match first["action"] == action::CONNECTED {
        true => (second, first),
        false => (first, second),
    };
    assert_eq!(attached["action"], action::ATTACHED, "{attached}");
    assert_eq!(connected["action"], action::CONNECTED, "{connected}");
    (attached, connected)
}

#[tokio::test]
async fn a_downgrade_narrows_the_modes() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    let narrow = stage.token(capability(&json!({"room": ["subscribe"]}))).await;
    alice.send(auth(&narrow)).await;
    let (attached, _) = both(&mut alice).await;
    let subscribing = flag::SUBSCRIBE | flag::PRESENCE_SUBSCRIBE;
    assert_eq!(attached["flags"], subscribing | flag::RESUMED);
    // The capability is judged before the mode.
    let serial = alice.publish("room", json!([{}])).await;
    alice.nacked(serial, 40160).await;
    // Still attached.
    let mut bob = stage.client("bob").await;
    let serial = bob.publish("room", json!([{}])).await;
    bob.acked(serial).await;
    alice.expect(action::MESSAGE).await;
}

/// Who may not be present any more is not; its own leave is no fault of the client.
#[tokio::test]
async fn a_downgrade_takes_the_members_away() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    bob.attach("room").await;
    let (mut alice, connected) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    let serial = alice.presence("room", json!([{"action": 2, "data": "here"}])).await;
    alice.acked(serial).await;
    bob.expect(action::PRESENCE).await;

    let narrow = stage.token(capability(&json!({"room": ["subscribe"]}))).await;
    alice.send(auth(&narrow)).await;
    let leave = bob.expect(action::PRESENCE).await;
    assert_eq!(events(std::slice::from_ref(&leave)), [(3, "alice")]);
    let id = leave["presence"][0]["id"].as_str().unwrap();
    assert!(!id.starts_with(connected["connectionId"].as_str().unwrap()), "T44: {id}");
    assert_eq!(stage.get("/channels/room/presence").await, json!([]));

    let serial = alice.presence("room", json!([{"action": 3}])).await;
    alice.acked(serial).await;
    for refused in [json!([{"action": 2}]), json!([{"action": 3}, {"action": 2}])] {
        let serial = alice.presence("room", refused).await;
        alice.nacked(serial, 40160).await;
    }
    let serial = alice.presence("elsewhere", json!([{"action": 3}])).await;
    alice.nacked(serial, 40160).await;
}

/// The channel fails, its members leave, nothing more is heard from it; the connection goes on.
#[tokio::test]
async fn a_downgrade_that_leaves_nothing() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    bob.attach("room").await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    alice.attach("other").await;
    let serial = alice.presence("room", json!([{"action": 2}])).await;
    alice.acked(serial).await;
    bob.expect(action::PRESENCE).await;

    let narrow = stage.token(capability(&json!({"other": ["*"]}))).await;
    alice.send(auth(&narrow)).await;
    let mut error = alice.next().await;
    while error["action"] == action::PRESENCE {
        error = alice.next().await;
    }
    assert_eq!(error["action"], action::ERROR);
    assert_eq!(error["channel"], "room");
    assert_error(&error, 40160, 401);
    alice.expect(action::CONNECTED).await;
    assert_eq!(events(&[bob.expect(action::PRESENCE).await]), [(3, "alice")]);
    for channel in ["room", "other"] {
        let serial = bob.publish(channel, json!([{}])).await;
        bob.acked(serial).await;
    }
    let mut heard = alice.received_so_far().await;
    // The leave of its own member may have been on the way.
    heard.retain(|frame| frame["action"] == action::MESSAGE);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert_eq!(heard[0]["channel"], "other");
}

#[tokio::test]
async fn tokens_that_are_not_taken_end_the_connection() {
    let stage = Stage::start().await;
    let bob = stage.token(json!({"clientId": "bob"})).await;
    let nobody = stage.token(json!({})).await;
    let other = TestApp::plain(&stage.server).await;
    let other = Stage { app: other, server: stage.server };
    let foreign = other.token(json!({"clientId": "alice"})).await;
    let stage = Stage { app: stage.app, server: other.server };
    let (name, _) = stage.app.keys[EVERYTHING].split_once(':').unwrap();
    let expired = super::stage::jwt(&stage.app.keys[EVERYTHING], &json!({"iat": 1, "exp": 2}));
    let forged = super::stage::jwt(&format!("{name}:x"), &json!({"iat": 1, "exp": 2}));
    for (frame, code, status) in [
        (auth("invalid-token"), 40101, 401),
        (auth(&expired), 40142, 401),
        (auth(&forged), 40144, 401),
        (auth(&bob), 40102, 401),
        (auth(&nobody), 40102, 401),
        (auth(&foreign), 40102, 401),
        (json!({"action": action::AUTH}), 40101, 401),
        (json!({"action": action::AUTH, "auth": {}}), 40101, 401),
    ] {
        let mut alice = stage.client("alice").await;
        alice.send(frame).await;
        let error = alice.expect(action::ERROR).await;
        assert_error(&error, code, status);
        assert_eq!(error.get("channel"), None);
        alice.expect_end().await;
    }
}

/// Anonymous to somebody, once.
#[tokio::test]
async fn nobody_becomes_somebody() {
    let stage = Stage::start().await;
    let (mut client, connected) = stage.with_token(&stage.token(json!({})).await).await;
    assert_eq!(connected["connectionDetails"].get("clientId"), None);
    client.attach("room").await;
    let alice = stage.token(json!({"clientId": "alice"})).await;
    client.send(auth(&alice)).await;
    let connected = client.expect(action::CONNECTED).await;
    assert_eq!(connected["connectionDetails"]["clientId"], "alice");
    let serial = client.publish("room", json!([{}])).await;
    let before = client.acked(serial).await;
    let message = match before.first() {
        Some(message) => message.clone(),
        None => client.expect(action::MESSAGE).await,
    };
    assert_eq!(message["messages"][0]["clientId"], "alice");
    let bob = stage.token(json!({"clientId": "bob"})).await;
    client.send(auth(&bob)).await;
    assert_error(&client.expect(action::ERROR).await, 40102, 401);
}

/// The connection may be resumed by whom it became, and by nobody else.
#[tokio::test]
async fn a_connection_belongs_to_whom_it_became() {
    let stage = Stage::start().await;
    let (mut client, _) = stage.with_token(&stage.token(json!({})).await).await;
    let alice = stage.token(json!({"clientId": "alice"})).await;
    client.send(auth(&alice)).await;
    let connected = client.expect(action::CONNECTED).await;
    client.cut();
    let key = connection_key(&connected);
    let query = format!("{}&clientId=bob&resume={key}", stage.query(EVERYTHING));
    let mut bob = AblyClient::open(&stage.server, &query).await;
    assert_error(&bob.expect(action::ERROR).await, 40102, 401);
    let (_, again) = stage.open(&format!("clientId=alice&resume={key}")).await;
    assert_eq!(again["connectionId"], connected["connectionId"]);
}

/// T45 in passing: modes that a token gives back are those that were asked for, not more.
#[tokio::test]
async fn an_upgrade_gives_what_was_asked_for() {
    let stage = Stage::start().await;
    let narrow = stage.token(capability(&json!({"a": ["subscribe"]}))).await;
    let (mut alice, _) = stage.with_token(&narrow).await;
    let wanted = flag::PUBLISH | flag::SUBSCRIBE;
    let mut frame = attach("a");
    frame["flags"] = json!(wanted);
    assert_eq!(alice.attach_with(frame).await["flags"], flag::SUBSCRIBE);
    let wide = stage.token(capability(&json!({"*": ["*"]}))).await;
    alice.send(auth(&wide)).await;
    let (attached, _) = both(&mut alice).await;
    assert_eq!(attached["flags"], wanted | flag::RESUMED);
    assert_eq!(told(&attached), flag::RESUMED);
}
