//! §7.2: what a client says late does not undo what it said after that; the members are those that clients know of.

use serde_json::{Value, json};

use super::stage::{Stage, connection_key, events};
use crate::support::{AblyClient, ably::action};

/// Alice is present with `v1` and loses her transport; the next one is attached. What she said first has the id that is
/// given here.
async fn back_from_a_cut(stage: &Stage) -> (AblyClient, String) {
    let (mut first, connected) = stage.open("clientId=alice").await;
    first.attach("room").await;
    say(&mut first, 0, json!({"action": 2, "data": "v1"})).await;
    first.cut();
    let query = format!("clientId=alice&resume={}", connection_key(&connected));
    let (mut second, again) = stage.open(&query).await;
    assert_eq!(again["connectionId"], connected["connectionId"]);
    second.attach("room").await;
    (second, format!("{}:0:0", connected["connectionId"].as_str().unwrap()))
}

/// One event as the frame `serial`, until its ACK.
async fn say(client: &mut AblyClient, serial: u64, event: Value) {
    client.push_again(serial, action::PRESENCE, "presence", "room", json!([event])).await;
    client.acked(serial).await;
}

/// The members as a newcomer gets them.
async fn members(stage: &Stage) -> Value {
    stage.get("/channels/room/presence").await
}

/// findings A3: the automatic re-ENTER that follows a leave is ACKed and without effect; nobody becomes a ghost.
#[tokio::test]
async fn a_re_entry_that_is_older_than_the_leave_brings_nobody_back() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, id) = back_from_a_cut(&stage).await;
    say(&mut alice, 1, json!({"action": 3})).await;
    say(&mut alice, 2, json!({"action": 2, "id": id, "data": "v1"})).await;
    assert_eq!(members(&stage).await, json!([]));
    assert_eq!(events(&watcher.received_so_far().await), [(2, "alice"), (3, "alice")]);
    // Who enters by a new frame is back.
    say(&mut alice, 3, json!({"action": 2, "data": "v2"})).await;
    assert_eq!(members(&stage).await[0]["data"], "v2");
}

/// findings A3: the automatic re-ENTER that follows an update is ACKed; newcomers get the updated data.
#[tokio::test]
async fn a_re_entry_that_is_older_than_the_update_changes_nothing() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    let (mut alice, id) = back_from_a_cut(&stage).await;
    say(&mut alice, 1, json!({"action": 4, "data": "v2"})).await;
    say(&mut alice, 2, json!({"action": 2, "id": id, "data": "v1"})).await;
    let present = members(&stage).await;
    assert_eq!(present.as_array().map(Vec::len), Some(1));
    assert_eq!(present[0]["data"], "v2");
    assert_eq!(events(&watcher.received_so_far().await), [(2, "alice"), (4, "alice")]);
}

/// findings A3: serials and indexes are numbers, and each event of a frame sees those before it.
#[tokio::test]
async fn newness_goes_by_number_and_within_a_frame() {
    let stage = Stage::start().await;
    let (mut alice, connected) = stage.open("clientId=alice").await;
    let id = |place: &str| format!("{}:{place}", connected["connectionId"].as_str().unwrap());
    alice.attach("room").await;
    say(&mut alice, 10, json!({"action": 2, "data": "ten"})).await;
    say(&mut alice, 11, json!({"action": 2, "id": id("9:5"), "data": "nine"})).await;
    assert_eq!(members(&stage).await[0]["data"], "ten");
    say(&mut alice, 12, json!({"action": 3, "id": id("9:9")})).await;
    assert_eq!(members(&stage).await[0]["data"], "ten", "an older leave is without effect too");
    let items = json!([{"action": 3}, {"action": 2, "id": id("13:0"), "data": "old"}, {"action": 2, "data": "new"}]);
    alice.push_again(13, action::PRESENCE, "presence", "room", items).await;
    alice.acked(13).await;
    let present = members(&stage).await;
    assert_eq!((&present[0]["data"], &present[0]["id"]), (&json!("new"), &json!(id("13:2"))));
}

/// findings A3: after a synthesized leave the same re-ENTER works, as the clients' own maps have it; an explicit leave is
/// remembered also of a member already gone.
#[tokio::test]
async fn a_re_entry_after_a_synthesized_leave_works_unless_its_client_has_left() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    for leaves in [false, true] {
        let (mut first, connected) = stage.open("clientId=alice&remainPresentFor=0").await;
        first.attach("room").await;
        say(&mut first, 0, json!({"action": 2, "data": "v1"})).await;
        first.cut();
        let seen = [watcher.expect(action::PRESENCE).await, watcher.expect(action::PRESENCE).await];
        assert_eq!(events(&seen), [(2, "alice"), (3, "alice")]);

        let query = format!("clientId=alice&remainPresentFor=0&resume={}", connection_key(&connected));
        let (mut second, _) = stage.open(&query).await;
        second.attach("room").await;
        if leaves {
            say(&mut second, 1, json!({"action": 3})).await;
        }
        let id = format!("{}:0:0", connected["connectionId"].as_str().unwrap());
        say(&mut second, 2, json!({"action": 2, "id": id, "data": "v1"})).await;
        let told = watcher.received_so_far().await;
        if leaves {
            assert_eq!(events(&told), []);
            assert_eq!(members(&stage).await, json!([]));
        } else {
            assert_eq!(events(&told), [(2, "alice")]);
            assert_eq!(members(&stage).await[0]["id"], id);
        }
        second.cut();
        if !leaves {
            watcher.expect(action::PRESENCE).await;
        }
    }
}

/// findings A3: a leave outlives the transport that it came by, as long as its client may come back.
#[tokio::test]
async fn a_leave_is_remembered_across_transports() {
    let stage = Stage::start().await;
    let (mut alice, connected) = stage.open("clientId=alice").await;
    alice.attach("room").await;
    say(&mut alice, 0, json!({"action": 2})).await;
    say(&mut alice, 1, json!({"action": 3})).await;
    let id = format!("{}:0:0", connected["connectionId"].as_str().unwrap());
    for serial in 2..5 {
        alice.cut();
        let query = format!("clientId=alice&resume={}", connection_key(&connected));
        alice = stage.open(&query).await.0;
        alice.attach("room").await;
        say(&mut alice, serial, json!({"action": 2, "id": id})).await;
        assert_eq!(members(&stage).await, json!([]));
    }
}
