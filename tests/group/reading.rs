//! `mark_read` and what is unread (`docs/protocols/group.md §4, §6, §9`).

use super::*;

async fn unread(rig: &Rig, user: &str) -> Value {
    let groups = data(&rig.ask(user, &format!("/api/users/{user}/groups")).await);
    groups["groups"][0]["unread_count"].clone()
}

async fn mark(client: &mut Client, message: &str) {
    client.send("mark_read", "m-1", json!({"group_id": "g", "message_id": message})).await;
    loop {
        let frame = client.next().await;
        if frame["type"] == "ack" && frame["message_id"] == "m-1" {
            return assert_eq!(frame["data"], json!({"message_id": "m-1", "success": true}));
        }
        assert_ne!(frame["type"], "error", "{frame}");
    }
}

#[tokio::test]
async fn markers_move_forward_only() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7", "8"]).await;
    let mut writer = rig.user("7").await;
    let mut ids = Vec::new();
    for content in ["a", "b", "c", "d"] {
        ids.push(writer.says(content, "g", content).await);
    }
    let mut reader = rig.user("8").await;
    assert_eq!(unread(&rig, "8").await, 4);
    assert_eq!(unread(&rig, "7").await, 0, "one's own messages are not unread");
    for (message, left) in [(&ids[1], 2), (&ids[0], 2), (&ids[1], 2), (&ids[3], 0), (&ids[2], 0)] {
        mark(&mut reader, message).await;
        assert_eq!(unread(&rig, "8").await, left);
    }
    writer.says("e", "g", "e").await;
    assert_eq!(unread(&rig, "8").await, 1);
    let list = data(&rig.ask("8", "/api/users/8/groups").await);
    assert_eq!(list["groups"][0]["last_message"], "e");
}

/// What was said before somebody joined is not unread.
#[tokio::test]
async fn who_joins_later_has_nothing_unread() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut writer = rig.user("7").await;
    writer.says("a", "g", "a").await;
    data(&rig.service("POST", "/api/groups/g/members", json!({"user_id": "8"})).await);
    assert_eq!(unread(&rig, "8").await, 0);
    writer.says("b", "g", "b").await;
    assert_eq!(unread(&rig, "8").await, 1);
}

/// §6: other connections of the user get nothing unless `read_events` says so.
#[tokio::test]
async fn read_events() {
    for is_on in [false, true] {
        let rig = Rig::start(|config| config.group.read_events = is_on);
        rig.group("g", &["7"]).await;
        let mut client = rig.user("7").await;
        let mut device = rig.user("7").await;
        let id = client.says("a", "g", "a").await;
        device.message().await;
        mark(&mut client, &id).await;
        mark(&mut client, &id).await;
        client.says("b", "g", "b").await;
        if is_on {
            let event = device.expect("read").await;
            assert_eq!(event["data"], json!({"group_id": "g", "message_id": id}));
        }
        assert_eq!(device.message().await["content"], "b", "once, and not to others");
    }
}
