//! §6.3, §6.5, §6.6: whose messages are whose.

use serde_json::{Value, json};

use super::stage::{Stage, connection_key, names};
use crate::support::{AblyClient, ably::action};

/// The publisher gets its own, unless it has asked not to; what others publish comes in any case.
#[tokio::test]
async fn echo() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    for (more, expected) in [
        ("", &["own", "bob's", "on behalf"][..]),
        ("echo=true", &["own", "bob's", "on behalf"]),
        ("echo=false", &["bob's"]),
    ] {
        let (mut alice, connected) = stage.open(&format!("clientId=alice&{more}")).await;
        alice.attach("room").await;
        let serial = alice.publish("room", json!([{"name": "own"}])).await;
        let mut received = alice.acked(serial).await;
        let serial = bob.publish("room", json!([{"name": "bob's"}])).await;
        bob.acked(serial).await;
        // Counts as the connection whose key it shows.
        let key = connection_key(&connected);
        let mut anybody = stage.anybody().await;
        let on_behalf = json!([{"name": "on behalf", "connectionKey": key}]);
        let serial = anybody.publish("room", on_behalf).await;
        anybody.acked(serial).await;
        received.extend(alice.received_so_far().await);
        assert_eq!(names(&received), expected, "{more}");
        if let Some(last) = received.iter().find(|frame| names(&[(*frame).clone()]) == ["on behalf"]) {
            assert_eq!(last["connectionId"], connected["connectionId"]);
            assert_eq!(last["messages"][0]["clientId"], "alice");
            assert_eq!(last["messages"][0].get("connectionKey"), None);
        }
    }
}

/// §6.5.
#[tokio::test]
async fn connections_that_a_message_may_name() {
    let stage = Stage::start().await;
    let (mut alice, connected) = stage.open("clientId=alice").await;
    let own = connected["connectionId"].clone();
    let serial = alice.publish("room", json!([{"connectionId": own}])).await;
    alice.acked(serial).await;
    let (_bob, bobs) = stage.open("clientId=bob").await;
    let key = connection_key(&bobs);
    for (message, code) in [
        (json!({"connectionId": bobs["connectionId"]}), 40006),
        (json!({"connectionKey": "fake"}), 40006),
        (json!({"connectionKey": ""}), 40006),
        (json!({"connectionKey": key, "clientId": "alice"}), 40012),
    ] {
        let serial = alice.publish("room", json!([message])).await;
        alice.nacked(serial, code).await;
    }
}

/// The table of §6.6: who is connected how, and whom a message names.
#[tokio::test]
async fn clients_that_a_message_may_name() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let identified = stage.token(json!({"clientId": "a"})).await;
    let wildcard = stage.token(json!({"clientId": "*"})).await;
    let anonymous = stage.token(json!({})).await;
    let none: Option<&str> = None;
    for (token, claim, outcome) in [
        (&identified, none, Ok(Some("a"))),
        (&identified, Some("a"), Ok(Some("a"))),
        (&identified, Some("b"), Err(40012)),
        (&identified, Some("*"), Err(40012)),
        (&identified, Some(""), Err(40012)),
        (&wildcard, none, Ok(None)),
        (&wildcard, Some("b"), Ok(Some("b"))),
        (&wildcard, Some("*"), Err(40012)),
        (&wildcard, Some(""), Err(40012)),
        (&anonymous, none, Ok(None)),
        (&anonymous, Some("b"), Err(40012)),
    ] {
        let (mut client, _) = stage.with_token(token).await;
        let message = match claim {
            Some(claim) => json!([{"clientId": claim}]),
            None => json!([{}]),
        };
        let serial = client.publish("room", message).await;
        match outcome {
            Ok(expected) => {
                client.acked(serial).await;
                let frame = watcher.expect(action::MESSAGE).await;
                let told = frame["messages"][0].get("clientId").and_then(Value::as_str);
                assert_eq!(told, expected, "{claim:?}");
            }
            Err(code) => {
                client.nacked(serial, code).await;
            }
        }
    }
    // A key without a claim is a wildcard, too.
    let mut key: AblyClient = stage.anybody().await;
    let serial = key.publish("room", json!([{"clientId": "c"}, {}])).await;
    key.acked(serial).await;
    let frame = watcher.expect(action::MESSAGE).await;
    assert_eq!(frame["messages"][0]["clientId"], "c");
    assert_eq!(frame["messages"][1].get("clientId"), None);
}
