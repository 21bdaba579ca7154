//! Groups: `docs/protocols/chat.md §4, §5, §7`.

use letshare_server::config::{ChatCompat, UnknownGroup};
use serde_json::json;

use crate::chat::{
    client::{Client, is_message_id, is_time},
    house::House,
};

async fn create(client: &mut Client, members: &[u64]) -> String {
    let data = json!({"group_name": "crew", "member_ids": members, "description": "d"});
    client.send("create_group", data).await;
    let made = client.data().await;
    assert_eq!(made["type"], "create_group_success", "{made}");
    made["group_id"].as_str().expect("an id").to_owned()
}

#[tokio::test]
async fn members_get_the_messages_of_their_group() {
    let house = House::start(|_| {});
    let (mut ann, mut bob, mut eve) = (house.connect(7).await, house.connect(8).await, house.connect(9).await);
    ann.send("create_group", json!({"group_name": "crew", "member_ids": [8, 10, 8]})).await;
    let made = ann.data().await;
    let id = made["group_id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("group_") && id.ends_with("_7"), "{id}");
    assert_eq!(made["member_ids"], json!([7, 8, 10]));
    assert!(is_time(&made["time"]) && made["group_name"] == "crew");

    // Bob was online when it was made.
    let data = json!({"group_id": id, "content": "hi", "message_type": 2});
    ann.send("send_group_message", data.clone()).await;
    let receipt = ann.data().await;
    let message_id = &receipt["message_id"];
    assert!(is_message_id(message_id));
    let expected = json!({
        "type": "group_message_sent", "group_id": id, "message_id": message_id, "sent_count": 1,
        "message": "群聊消息已发送",
    });
    assert_eq!(receipt, expected);
    let push = bob.data().await;
    let expected = json!({
        "type": "group_message", "group_id": id, "from_user_id": 7, "content": "hi", "message_type": 2,
        "message_id": message_id, "time": push["time"], "group_name": "crew",
    });
    assert_eq!(push, expected);

    // Who comes later gets them, too.
    let mut cid = house.connect(10).await;
    bob.send("send_group_message", data).await;
    assert_eq!(bob.data().await["sent_count"], 2);
    for client in [&mut ann, &mut cid] {
        assert_eq!(client.data().await["from_user_id"], 8);
    }
    // Nobody else, and not the sender.
    for client in [&mut ann, &mut bob, &mut cid, &mut eve] {
        assert!(client.received_so_far().await.is_empty());
    }
    // Only members may send.
    let text = "群聊不存在或您不是该群聊成员";
    let data = json!({"group_id": id, "content": "let me in"});
    eve.refused("send_group_message", data, 3006, text).await;
    assert!(ann.received_so_far().await.is_empty());
}

#[tokio::test]
async fn send_group_message_refused() {
    let house = House::start(|config| config.chat.unknown_group = UnknownGroup::Reject);
    let mut ann = house.connect(7).await;
    for (data, code, text) in [
        (json!("x"), 3004, "群聊消息解析失败"),
        (json!({"group_id": 1, "content": "x"}), 3004, "群聊消息解析失败"),
        (json!({"group_id": "group_1", "content": {}}), 3004, "群聊消息解析失败"),
        (json!({"content": "x"}), 3005, "群聊ID和消息内容不能为空"),
        (json!({"group_id": "group_1"}), 3005, "群聊ID和消息内容不能为空"),
        (json!({"group_id": "abc", "content": "x"}), 3006, "群聊ID格式无效"),
        (json!({"group_id": "group_1", "content": "x"}), 3006, "群聊不存在或您不是该群聊成员"),
    ] {
        ann.refused("send_group_message", data, code, text).await;
    }
}

#[tokio::test]
async fn create_group_refused() {
    let house = House::start(|_| {});
    let mut ann = house.connect(7).await;
    for (data, code, text) in [
        (json!([]), 3001, "群聊参数解析失败"),
        (json!({"group_name": "g", "member_ids": "8"}), 3001, "群聊参数解析失败"),
        (json!({"member_ids": [8]}), 3002, "群聊名称不能为空"),
        (json!({"group_name": "g", "member_ids": []}), 3003, "群成员列表不能为空"),
    ] {
        ann.refused("create_group", data, code, text).await;
    }
}

#[tokio::test]
async fn nobody_makes_groups_without_end() {
    let house = House::start(|config| config.limits.publish_burst = 1_000);
    let mut ann = house.connect(7).await;
    for _ in 0..200 {
        create(&mut ann, &[8]).await;
    }
    let answer = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    assert_eq!(answer["code"], 3001, "{answer}");
}

/// §7: as documented, a group that is not known here is everybody online.
#[tokio::test]
async fn an_unknown_group_is_everybody_online() {
    let house = House::start(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    let data = json!({"group_id": "group_1720000000000000000", "content": "hi"});
    ann.send("send_group_message", data).await;
    assert_eq!(ann.data().await["sent_count"], 1);
    let push = bob.data().await;
    assert_eq!(push["type"], "group_message");
    assert_eq!(push.get("group_name"), None);
    for client in [&mut ann, &mut bob] {
        assert!(client.received_so_far().await.is_empty());
    }
}

/// §7: other devices of the sender do not get it either.
#[tokio::test]
async fn no_device_of_the_sender_gets_it() {
    let house = House::start(|config| config.chat.multi_device = true);
    let (mut ann, mut phone) = (house.connect(7).await, house.connect(7).await);
    let (mut bob, mut tablet) = (house.connect(8).await, house.connect(8).await);
    let id = create(&mut ann, &[8]).await;
    ann.send("send_group_message", json!({"group_id": id, "content": "hi"})).await;
    // Users, not connections.
    assert_eq!(ann.data().await["sent_count"], 1);
    for client in [&mut bob, &mut tablet] {
        assert_eq!(client.data().await["content"], "hi");
    }
    assert!(phone.received_so_far().await.is_empty());
}

#[tokio::test]
async fn groups_in_the_words_of_the_source() {
    let house = House::start(|config| {
        config.chat.compat = ChatCompat::Source;
        config.chat.unknown_group = UnknownGroup::Reject;
    });
    let mut ann = house.connect(7).await;
    let data = json!({"group_id": "group_1", "content": "x"});
    ann.refused("send_group_message", data, 3006, "群聊不存在或您不是该群聊成员").await;
    let made = ann.asks("create_group", json!({"group_name": "g", "member_ids": [8]})).await;
    assert_eq!(made["code"], 200);
    let data = json!({"group_id": made["data"]["group_id"], "content": "x"});
    let sent = ann.asks("send_group_message", data).await;
    assert_eq!((&sent["code"], &sent["data"]["sent_count"]), (&json!(200), &json!(0)));
}
