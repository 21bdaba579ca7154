//! §7.4, §7.5: who is present, told at once (T41, T42, T47).

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::stage::{PUBLISH_ONLY, Stage, attach, attach_after, told};
use crate::support::{
    AblyClient,
    ably::{action, flag},
};

/// The pages of a sync, checked as clients read them: one id without `@` and `.` (T42), an empty cursor at the
/// end; and the members.
async fn read_sync(client: &mut AblyClient) -> (usize, Vec<Value>) {
    let (mut pages, mut members) = (0, Vec::new());
    let mut id = None;
    loop {
        let page = client.expect(action::SYNC).await;
        let (sync, cursor) = page["channelSerial"].as_str().unwrap().split_once(':').unwrap();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        assert!(!sync.is_empty() && sync.bytes().all(is_plain), "{sync}");
        assert_eq!(id.get_or_insert(sync.to_owned()), sync);
        assert!(page["timestamp"].is_u64());
        let items = page["presence"].as_array().expect("a list, be it empty");
        assert!(items.len() <= 100);
        assert!(page.to_string().len() < 128 * 1024);
        members.extend(items.iter().cloned());
        pages += 1;
        if cursor.is_empty() {
            return (pages, members);
        }
    }
}

/// T41: each with the id and time of its last event, so that nothing newer looks older.
#[tokio::test]
async fn t41_t42_250_members_in_pages() {
    let stage = Stage::start().await;
    let mut watcher = stage.client("watcher").await;
    watcher.attach("room").await;
    for format in ["json", "msgpack"] {
        let channel = format!("room-{format}");
        watcher.attach(&channel).await;
        let (mut anybody, _) = stage.open(&format!("format={format}")).await;
        anybody.attach(&channel).await;
        // 250 in three frames, as clients flush what they queued.
        let enter =
            |number: usize| json!({"action": 2, "clientId": format!("client{number}"), "data": "x".repeat(100)});
        for start in [0, 100, 200] {
            let items: Vec<Value> = (start..250.min(start + 100)).map(enter).collect();
            let serial = anybody.presence(&channel, json!(items)).await;
            anybody.acked(serial).await;
        }
        let update = json!([{"action": 4, "clientId": "client7", "data": "new"}]);
        let serial = anybody.presence(&channel, update).await;
        anybody.acked(serial).await;
        let mut expected = BTreeMap::new();
        for frame in watcher.received_so_far().await {
            for event in frame["presence"].as_array().unwrap() {
                let mut member = event.clone();
                member["action"] = json!(1);
                expected.insert(event["clientId"].to_string(), member);
            }
        }
        assert_eq!(expected.len(), 250);

        let (mut alice, _) = stage.open(&format!("format={format}")).await;
        let attached = alice.attach(&channel).await;
        assert_eq!(told(&attached), flag::HAS_PRESENCE);
        let (pages, members) = read_sync(&mut alice).await;
        assert!(pages >= 3);
        // As they were told live, to the last field.
        let members = members.into_iter().map(|member| (member["clientId"].to_string(), member));
        assert_eq!(members.collect::<BTreeMap<_, _>>(), expected);
        let over = json!([{"action": 2, "clientId": "one too many"}]);
        let serial = anybody.presence(&channel, over).await;
        anybody.received_so_far().await;
        let _ = serial;
    }
}

/// Large members: pages are cut by bytes.
#[tokio::test]
async fn pages_stay_small() {
    let stage = Stage::start().await;
    let mut anybody = stage.anybody().await;
    anybody.attach("room").await;
    for number in 0..12 {
        let data = "x".repeat(60_000);
        let client = format!("client{number}");
        let enter = json!([{"action": 2, "clientId": client, "data": data}]);
        let serial = anybody.presence("room", enter).await;
        anybody.acked(serial).await;
    }
    let mut alice = stage.anybody().await;
    alice.attach("room").await;
    let (pages, members) = read_sync(&mut alice).await;
    assert_eq!((pages, members.len()), (12, 12));
}

/// T47: after every ATTACHED with the flag a SYNC follows; also when it was resumed, because clients wait for
/// it then too.
#[tokio::test]
async fn t47_has_presence_means_that_a_sync_follows() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    let attached = alice.attach("room").await;
    assert_eq!(told(&attached), 0, "nobody is there");
    let serial = alice.presence("room", json!([{"action": 2}])).await;
    alice.acked(serial).await;
    alice.received_so_far().await;
    let head = alice.attach_with(attach("room")).await;
    assert_eq!(told(&head), flag::HAS_PRESENCE | flag::RESUMED);
    read_sync(&mut alice).await;
    let mut bob = stage.client("bob").await;
    let attached = bob.attach_with(attach_after("room", &head["channelSerial"])).await;
    assert_eq!(told(&attached), flag::HAS_PRESENCE | flag::RESUMED);
    let (_, members) = read_sync(&mut bob).await;
    assert_eq!(members[0]["clientId"], "alice");
    // Not for who does not get presence: it would wait for ever, or be told what it may not know.
    let mut bob = stage.client("bob").await;
    let frame = json!({"action": action::ATTACH, "channel": "room", "flags": flag::SUBSCRIBE});
    assert_eq!(told(&bob.attach_with(frame).await), 0);
    assert!(bob.received_so_far().await.is_empty());
}

/// A client may ask for it, also when nobody is there; each answer is a sync of its own.
#[tokio::test]
async fn a_sync_on_demand() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    let ask = json!({"action": action::SYNC, "channel": "room"});
    alice.send(ask.clone()).await;
    assert_eq!(read_sync(&mut alice).await, (1, vec![]));
    let serial = alice.presence("room", json!([{"action": 2}])).await;
    alice.acked(serial).await;
    alice.received_so_far().await;
    for cursor in [json!(null), json!("0:100"), json!("nonsense")] {
        let mut ask = ask.clone();
        ask["channelSerial"] = cursor;
        alice.send(ask).await;
        let (pages, members) = read_sync(&mut alice).await;
        assert_eq!((pages, members.len()), (1, 1));
    }
    alice.send(json!({"action": action::SYNC, "channel": "elsewhere"})).await;
    assert!(alice.received_so_far().await.is_empty());
}

/// Who may only publish is not told who is there, not even when it asks.
#[tokio::test]
async fn no_sync_for_who_may_not_know() {
    let stage = Stage::start().await;
    let mut alice = stage.client("alice").await;
    alice.attach("room").await;
    let serial = alice.presence("room", json!([{"action": 2}])).await;
    alice.acked(serial).await;
    let query = stage.query(PUBLISH_ONLY);
    let (mut writer, _) = AblyClient::connect_with(&stage.server, &query).await;
    assert_eq!(told(&writer.attach("room").await), 0);
    writer.send(json!({"action": action::SYNC, "channel": "room"})).await;
    let serial = writer.publish("room", json!([{}])).await;
    assert!(writer.acked(serial).await.is_empty());
}
