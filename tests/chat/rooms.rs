//! Rooms that are joined: `docs/protocols/chat.md §4, §5, §7`.

use serde_json::json;

use crate::{
    chat::{client::is_time, house::House},
    support::eventually,
};

#[tokio::test]
async fn whoever_has_joined_a_room_gets_its_messages() {
    let house = House::start(|_| {});
    let (mut ann, mut bob, mut eve) = (house.connect(7).await, house.connect(8).await, house.connect(9).await);
    for (client, user) in [(&mut ann, 7), (&mut bob, 8)] {
        for _ in 0..2 {
            client.send("join_room", json!({"room_id": "room_1"})).await;
            let data = client.data().await;
            assert!(is_time(&data["time"]));
            let expected = json!({
                "type": "join_room_success", "room_id": "room_1", "user_id": user, "time": data["time"],
            });
            assert_eq!(data, expected);
        }
    }
    let body = json!({"room_id": "room_1", "message_type": 1, "content": "hi"});
    let answer = house.post("/api/ws/send-message", 7, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let receipt = answer.json()["data"].take();
    assert_eq!((&receipt["type"], &receipt["room_id"]), (&json!("message_sent"), &json!("room_1")));
    let push = bob.data().await;
    let expected = json!({
        "type": "new_message", "from_user_id": 7, "to_user_id": 0, "content": "hi", "room_id": "room_1",
        "message_type": 1, "message_id": receipt["message_id"], "time": receipt["time"],
    });
    assert_eq!(push, expected);
    assert!(ann.received_so_far().await.is_empty(), "not to the sender");
    assert!(eve.received_so_far().await.is_empty());

    // Members read what was said; others do not, and members no more when they have left.
    let target = "/api/ws/messages?room_id=room_1";
    assert_eq!(house.get(target, 8).await.json()["data"]["total"], 1);
    assert_eq!(house.get(target, 9).await.status, 403);
    bob.send("leave_room", json!({"room_id": "room_1"})).await;
    let data = bob.data().await;
    assert_eq!((&data["type"], &data["user_id"]), (&json!("leave_room_success"), &json!(8)));
    assert_eq!(house.get(target, 8).await.status, 403);
    assert_eq!(house.post("/api/ws/send-message", 9, &body).await.status, 200);
    assert_eq!(ann.data().await["from_user_id"], 9);
    assert!(bob.received_so_far().await.is_empty());
    // In memory for the connection (§7).
    ann.leave().await;
    eventually(async || (house.get(target, 7).await.status == 403).then_some(())).await;
}

#[tokio::test]
async fn join_and_leave_refused() {
    let house = House::start(|_| {});
    let mut ann = house.connect(7).await;
    let (unreadable, empty) = ("房间参数解析失败", "房间ID不能为空");
    for (cmd, data, code, text) in [
        ("join_room", json!("room_1"), 2001, unreadable),
        ("join_room", json!({"room_id": 1}), 2001, unreadable),
        ("join_room", json!({"room_id": "private_8_9"}), 2001, unreadable),
        ("join_room", json!({}), 2002, empty),
        ("join_room", json!({"room_id": ""}), 2002, empty),
        ("leave_room", json!([1]), 2003, unreadable),
        ("leave_room", json!({"room_id": 1}), 2003, unreadable),
        ("leave_room", json!(null), 2004, empty),
        ("leave_room", json!({"room_id": ""}), 2004, empty),
    ] {
        ann.refused(cmd, data, code, text).await;
    }
    for number in 0..100 {
        ann.send("join_room", json!({"room_id": format!("room_{number}")})).await;
        assert_eq!(ann.data().await["type"], "join_room_success");
    }
    let answer = ann.asks("join_room", json!({"room_id": "one too many"})).await;
    assert_eq!(answer["code"], 2001);
}
