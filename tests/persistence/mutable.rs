//! What was done to messages survives (`docs/protocols/ably.md §9`): a version that was acknowledged is on disk.

use serde_json::{Value, json};

use super::{
    ground::{Ground, Rest, Subscriber, data_of},
    restart::End,
};

const CHANNEL: &str = "mutable:room";

async fn message(rest: &mut Rest, serial: &str) -> Value {
    let response = rest.get(&format!("/channels/{CHANNEL}/messages/{serial}")).await;
    assert_eq!(response.status, 200, "{response:?}");
    response.json()
}

/// After a stop and after a kill, with all of it in memory and with nothing: messages, history, versions, and what a client
/// gets that comes back; and they go on from there.
#[tokio::test]
async fn messages_are_what_they_were_before_the_server_ended() {
    for (end, settings) in [(End::Ordered, &[][..]), (End::Crash, &[]), (End::Crash, &[("HISTORY_WINDOW", "0s")])] {
        let ground = Ground::new();
        let server = ground.start_with(settings);
        let mut rest = Rest::connect(server.address).await;
        let story = rest.publish(CHANNEL, json!({"name": "story", "data": "once"})).await;
        let mut alice = Subscriber::connect(server.address, "&clientId=alice").await;
        alice.attach(CHANNEL).await;
        let away = alice.cut();
        let other = rest.publish(CHANNEL, json!({"name": "other", "data": "x"})).await;
        for part in [" upon", " a", " time"] {
            rest.change(CHANNEL, &story, json!({"action": 5, "data": part})).await;
        }
        rest.change(CHANNEL, &other, json!({"action": 1, "data": "y"})).await;
        let deleted = rest.change(CHANNEL, &other, json!({"action": 2})).await;
        end.of(server).await;

        let server = ground.start_with(settings);
        let mut rest = Rest::connect(server.address).await;
        let case = format!("{end:?} {settings:?}");
        let grown = message(&mut rest, &story).await;
        assert_eq!((&grown["data"], &grown["action"]), (&json!("once upon a time"), &json!(1)), "{case}");
        let gone = message(&mut rest, &other).await;
        assert_eq!((&gone["action"], &gone["version"]["serial"]), (&json!(2), &json!(deleted)), "{case}");
        assert_eq!(data_of(&rest.history(CHANNEL).await), ["once upon a time", "y"], "{case}");
        let versions = rest.get(&format!("/channels/{CHANNEL}/messages/{other}/versions")).await.json();
        assert_eq!(data_of(versions.as_array().expect("a list")), ["x", "y", "y"], "{case}");

        let mut alice = away.resume(server.address, "&clientId=alice").await;
        let (_, missed) = alice.attach_again(CHANNEL).await;
        assert_eq!(data_of(&missed), ["x", "once upon", " a", " time", "y", "y"], "{case}");
        let last = rest.change(CHANNEL, &story, json!({"action": 5, "data": "."})).await;
        assert!(last > deleted, "{case}");
        assert_eq!(message(&mut rest, &story).await["data"], "once upon a time.", "{case}");
        assert_eq!(data_of(&alice.hear(1).await), ["."], "{case}");
        end.of(server).await;
    }
}
