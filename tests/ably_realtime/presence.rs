//! §7.1 - §7.3: entering, updating, leaving (T43, T45, T48).

use serde_json::{Value, json};

use super::stage::{PUBLISH_ONLY, SUBSCRIBE_ONLY, Stage, events};
use crate::support::{
    AblyClient, TestApp,
    ably::{action, flag},
};

async fn act(client: &mut AblyClient, channel: &str, items: Value) -> Vec<Value> {
    let serial = client.presence(channel, items).await;
    client.acked(serial).await
}

/// T43: with all that newness is judged by.
#[tokio::test]
async fn t43_what_members_do_is_told_with_id_and_time() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, connected) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    let connection = connected["connectionId"].as_str().unwrap();
    let extras = json!({"headers": {"k": 1}});
    for (serial, (item, expected, data)) in [
        // An update of who is not there is an enter.
        (json!({"action": 4, "data": "1"}), 2, "1"),
        (json!({"action": 4, "data": "2", "extras": extras}), 4, "2"),
        (json!({"action": 2, "data": "3"}), 2, "3"),
        // A leave without data tells the last.
        (json!({"action": 3}), 3, "3"),
        (json!({"action": 2, "data": "4"}), 2, "4"),
        (json!({"action": 3, "data": "5"}), 3, "5"),
    ]
    .into_iter()
    .enumerate()
    {
        act(&mut alice, "room", json!([item])).await;
        let frame = watcher.expect(action::PRESENCE).await;
        assert_eq!(frame["channel"], "room");
        assert!(frame["timestamp"].is_u64());
        assert!(frame["channelSerial"].is_string());
        let event = &frame["presence"][0];
        assert_eq!(event["action"], expected, "{frame}");
        assert_eq!(event["data"], data);
        assert_eq!(event["clientId"], "alice");
        assert_eq!(event["connectionId"], connection);
        assert_eq!(event["id"], format!("{connection}:{serial}:0"));
        assert!(event["timestamp"].is_u64());
        if let Some(extras) = item.get("extras") {
            assert_eq!(event["extras"], *extras);
        }
    }
    // A leave of who is not there is answered, and nothing else.
    act(&mut alice, "room", json!([{"action": 3}])).await;
    assert!(watcher.received_so_far().await.is_empty());
}

/// §6.6 for members.
#[tokio::test]
async fn clients_that_may_be_entered() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    act(&mut alice, "room", json!([{"action": 2, "clientId": "alice"}])).await;
    for name in ["bob", "*", ""] {
        let serial = alice.presence("room", json!([{"action": 2, "clientId": name}])).await;
        loop {
            let frame = alice.next().await;
            if frame["action"] == action::NACK {
                assert_eq!(frame["msgSerial"], serial);
                assert_eq!(frame["error"]["code"], 40012);
                break;
            }
        }
    }
    let (mut nobody, _) = stage.with_token(&stage.token(json!({})).await).await;
    nobody.attach("empty").await;
    let serial = nobody.presence("empty", json!([{"action": 2}])).await;
    nobody.nacked(serial, 91000).await;
    let serial = nobody.presence("empty", json!([{"action": 2, "clientId": "a"}])).await;
    nobody.nacked(serial, 40012).await;
    let mut anybody = stage.anybody().await;
    anybody.attach("empty").await;
    let serial = anybody.presence("empty", json!([{"action": 2}])).await;
    anybody.nacked(serial, 91000).await;
    act(&mut anybody, "empty", json!([{"action": 2, "clientId": "any"}])).await;
    assert!(nobody.received_so_far().await.len() == 1);
}

#[tokio::test]
async fn who_may_be_present() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    let enter = json!([{"action": 2}]);
    let serial = alice.presence("room", enter.clone()).await;
    alice.nacked(serial, 90001).await;
    let frame = json!({"action": action::ATTACH, "channel": "room", "flags": flag::SUBSCRIBE});
    alice.attach_with(frame).await;
    let serial = alice.presence("room", enter.clone()).await;
    alice.nacked(serial, 40165).await;
    for key in [SUBSCRIBE_ONLY, PUBLISH_ONLY] {
        let query = format!("{}&clientId=bob", stage.query(key));
        let (mut bob, _) = AblyClient::connect_with(&stage.server, &query).await;
        bob.attach("room").await;
        let serial = bob.presence("room", enter.clone()).await;
        bob.nacked(serial, 40160).await;
    }
    alice.attach("other").await;
    for bad in [json!({"action": 0}), json!({"action": 1}), json!({"action": 9}), json!({})] {
        let serial = alice.presence("other", json!([bad])).await;
        alice.nacked(serial, 40000).await;
    }
    for (item, code) in [
        (json!({"action": 2, "data": 7}), 40013),
        (json!({"action": 2, "extras": "x"}), 40032),
        (json!({"action": 2, "data": "x".repeat(70_000)}), 40009),
    ] {
        // One of them spoils the frame.
        let serial = alice.presence("other", json!([{"action": 2}, item])).await;
        alice.nacked(serial, code).await;
    }
    assert_eq!(stage.get("/channels/other/presence").await, json!([]));
}

/// T45: own events come whatever the modes, and in spite of `echo=false`; those of others do not.
#[tokio::test]
async fn t45_a_client_is_told_of_its_own_members() {
    let stage = Stage::start().await;
    let mut bob = stage.client("bob").await;
    bob.attach("room").await;
    let (mut alice, _) = stage.open("clientId=alice&echo=false").await;
    let frame = json!({"action": action::ATTACH, "channel": "room", "flags": flag::PRESENCE});
    assert_eq!(alice.attach_with(frame).await["flags"], flag::PRESENCE);
    let mut all = act(&mut bob, "room", json!([{"action": 2}])).await;
    let mut seen = act(&mut alice, "room", json!([{"action": 2}])).await;
    seen.extend(act(&mut alice, "room", json!([{"action": 3}])).await);
    seen.extend(alice.received_so_far().await);
    assert_eq!(events(&seen), [(2, "alice"), (3, "alice")]);
    all.extend(bob.received_so_far().await);
    assert_eq!(events(&all), [(2, "bob"), (2, "alice"), (3, "alice")]);
}

/// T48: an enter with the id that the member has is answered, and told to nobody.
#[tokio::test]
async fn t48_a_re_entry_is_no_event() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, connected) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    act(&mut alice, "room", json!([{"action": 2, "data": "x"}])).await;
    let id = format!("{}:0:0", connected["connectionId"].as_str().unwrap());
    act(&mut alice, "room", json!([{"action": 2, "id": id, "data": "x"}])).await;
    let seen = watcher.received_so_far().await;
    assert_eq!(events(&seen), [(2, "alice")]);
    assert_eq!(seen[0]["presence"][0]["id"], id);
    // After it has left, the same id is older than the leave (findings A3).
    act(&mut alice, "room", json!([{"action": 3}])).await;
    act(&mut alice, "room", json!([{"action": 2, "id": id, "data": "x"}])).await;
    assert_eq!(events(&watcher.received_so_far().await), [(3, "alice")]);
    // A new frame brings it back.
    act(&mut alice, "room", json!([{"action": 2, "data": "x"}])).await;
    assert_eq!(events(&watcher.received_so_far().await), [(2, "alice")]);
}

/// Ids that a client makes up would spoil how others judge newness.
#[tokio::test]
async fn ids_that_are_not_the_clients_own() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, connected) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    let connection = connected["connectionId"].as_str().unwrap();
    let made_up = [
        "someone:0:0".to_owned(),
        format!("{connection}:x:y"),
        format!("{connection}:1"),
        format!("{connection}:1:2:3"),
        format!("{connection}:-1:0"),
        connection.to_owned(),
        String::new(),
    ];
    for (serial, id) in made_up.iter().enumerate() {
        act(&mut alice, "room", json!([{"action": 4, "id": id}])).await;
        let event = watcher.expect(action::PRESENCE).await["presence"][0].clone();
        assert_eq!(event["id"], format!("{connection}:{serial}:0"), "{id}");
    }
}

/// Several in one frame come in one frame; their ids count them.
#[tokio::test]
async fn several_members_in_one_frame() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let mut anybody = stage.anybody().await;
    anybody.attach("room").await;
    let items = json!([
        {"action": 2, "clientId": "a"}, {"action": 2, "clientId": "b", "data": "x"},
        {"action": 4, "clientId": "a", "data": "y"}, {"action": 3, "clientId": "b"},
    ]);
    act(&mut anybody, "room", items).await;
    let frame = watcher.expect(action::PRESENCE).await;
    assert_eq!(events(std::slice::from_ref(&frame)), [(2, "a"), (2, "b"), (4, "a"), (3, "b")]);
    for (index, event) in frame["presence"].as_array().unwrap().iter().enumerate() {
        assert!(event["id"].as_str().unwrap().ends_with(&format!(":0:{index}")));
    }
    assert_eq!(frame["presence"][3]["data"], "x", "its last data");
    let members = stage.get("/channels/room/presence").await;
    assert_eq!(members.as_array().map(Vec::len), Some(1), "{members}");
    assert_eq!(members[0]["data"], "y");
}

/// 91003, and then nobody of the frame has entered.
#[tokio::test]
async fn there_are_only_so_many_members() {
    let stage = Stage::start().await;
    let setup = json!({"keys": [{}], "limits": {"presence": {"maxMembers": 3}}});
    let app = TestApp::create(&stage.server, setup).await;
    let mut anybody = AblyClient::connect(&stage.server, &app.keys[0]).await;
    anybody.attach("room").await;
    let enter = |name: &str| json!({"action": 2, "clientId": name});
    act(&mut anybody, "room", json!([enter("a"), enter("b")])).await;
    anybody.received_so_far().await;
    let serial = anybody.presence("room", json!([enter("c"), enter("d")])).await;
    anybody.nacked(serial, 91003).await;
    let leave = json!({"action": 3, "clientId": "a"});
    // Who leaves makes room once.
    for frame in
        [json!([leave, enter("a"), enter("c"), enter("d")]), json!([leave, leave, enter("c"), enter("d"), enter("e")])]
    {
        let serial = anybody.presence("room", frame).await;
        anybody.nacked(serial, 91003).await;
    }
    let mut told = act(&mut anybody, "room", json!([leave, enter("c"), enter("d")])).await;
    told.extend(anybody.received_so_far().await);
    assert_eq!(events(&told), [(3, "a"), (2, "c"), (2, "d")]);
    // Who is there already may always come again.
    act(&mut anybody, "room", json!([enter("b"), enter("c")])).await;
}
