//! `docs/protocols/chat.md §4, §5, §10`: what each frame of a client is answered. How each field is judged is shown beside the
//! code (src/older/chat/commands/tests.rs); here, that it is so on the wire.

use letshare_server::{clock::Clock, ids::Timestamp};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::chat::{
    client::{Client, is_message_id, is_time, without_reason},
    house::House,
};

#[tokio::test]
async fn a_message_reaches_the_other_user() {
    let house = House::start(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(42).await);
    ann.send_text(r#"{"cmd":"send_message","data":{"to_user_id":42,"message_type":1,"content":"ready?"}}"#).await;
    let receipt = ann.data().await;
    let (id, time) = (&receipt["message_id"], &receipt["time"]);
    assert!(is_message_id(id) && is_time(time), "{receipt}");
    let expected = json!({
        "type": "message_sent", "to_user_id": 42, "room_id": "private_7_42", "message_id": id,
        "message": "消息发送成功", "time": time,
    });
    assert_eq!(receipt, expected);
    let expected = json!({"code": 0, "message": "success", "data": {
        "type": "new_message", "from_user_id": 7, "to_user_id": 42, "content": "ready?", "room_id": "private_7_42",
        "message_type": 1, "message_id": id, "time": time,
    }});
    assert_eq!(bob.next().await, expected);
    assert!(ann.received_so_far().await.is_empty());
    assert!(bob.received_so_far().await.is_empty());
}

/// The order of members is the document's.
#[tokio::test]
async fn frames_are_written_as_in_the_document() {
    let house = House::start(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(9).await);
    ann.send("send_message", json!({"to_user_id": 9, "content": "<\u{1F600}>"})).await;
    let text = bob.next_text().await;
    let start = "{\"code\":0,\"message\":\"success\",\"data\":{\"type\":\"new_message\",\"from_user_id\":7,\"to_user_id\":9,\
                 \"content\":\"<\u{1F600}>\",\"room_id\":\"private_7_9\",\"message_type\":1,\"message_id\":\"";
    assert!(text.starts_with(start), "{text}");
}

/// §4: a message to oneself.
#[tokio::test]
async fn a_message_to_oneself() {
    let house = House::start(|_| {});
    let mut ann = house.connect(7).await;
    ann.send("send_message", json!({"to_user_id": 7, "content": "x"})).await;
    let push = ann.data().await;
    assert_eq!((&push["type"], &push["room_id"]), (&json!("new_message"), &json!("private_7_7")));
    assert_eq!(ann.data().await["type"], "message_sent");
}

#[tokio::test]
async fn frames_that_are_no_requests() {
    let house = House::start(|_| {});
    let mut ann = house.connect(7).await;
    let bad = json!({"code": 1001, "message": "请求参数错误", "data": null});
    for text in ["", "x", "[1,2]", "7", "null", "\"ping\"", "{"] {
        ann.send_text(text).await;
        assert_eq!(without_reason(ann.next().await), bad, "{text}");
    }
    // A binary frame is as good as text, if it is one.
    ann.send_frame(Message::binary(&br#"{"cmd":"ping"}"#[..])).await;
    assert_eq!(ann.data().await["type"], "pong");
    ann.send_frame(Message::binary(vec![0xff, 0xfe])).await;
    assert_eq!(without_reason(ann.next().await), bad);
    let unknown = json!({"code": 1000, "message": "未知命令", "data": null});
    for frame in [json!({}), json!({"cmd": "PING"}), json!({"cmd": "Send_Message"}), json!({"cmd": 1})] {
        ann.send_text(&frame.to_string()).await;
        assert_eq!(without_reason(ann.next().await), unknown, "{frame}");
    }
}

/// §10, the rows about one-to-one messages.
#[tokio::test]
async fn send_message_refused() {
    let house = House::start(|_| {});
    let mut ann = house.connect(7).await;
    let (unreadable, incomplete) = ("消息解析失败", "目标用户ID和消息内容不能为空");
    ann.send_text(r#"{"cmd":"send_message"}"#).await;
    assert_eq!(without_reason(ann.next().await), json!({"code": 10002, "message": incomplete, "data": null}));
    for to in [json!("2"), json!(-1), json!(1.5), json!([2])] {
        let data = json!({"to_user_id": to, "content": "x"});
        ann.refused("send_message", data, 10001, unreadable).await;
    }
    for data in [json!({"content": "x"}), json!({"to_user_id": 2}), json!({"to_user_id": 0, "content": "x"})] {
        ann.refused("send_message", data, 10002, incomplete).await;
    }
    let data = json!({"to_user_id": 2, "content": "x", "message_type": "1"});
    ann.refused("send_message", data, 10001, unreadable).await;
    // §7: with a text that says what is wrong.
    let long = ann.asks("send_message", json!({"to_user_id": 2, "content": "x".repeat(20_001)})).await;
    assert_eq!(long["code"], 10001);
    assert!(long["message"].as_str().is_some_and(|text| text.contains("20000")), "{long}");
}

/// §5: 10003; the message is stored first.
#[tokio::test]
async fn whoever_is_not_online_gets_nothing_and_the_sender_is_told() {
    let house = House::start(|_| {});
    let mut ann = house.connect(7).await;
    let answer = ann.asks("send_message", json!({"to_user_id": 42, "content": "  "})).await;
    let id = &answer["data"]["message_id"];
    assert!(is_message_id(id), "{answer}");
    let expected = json!({
        "code": 10003, "message": "目标用户不在线",
        "data": {"message_id": id, "room_id": "private_7_42", "stored": true},
    });
    assert_eq!(answer, expected);
    let page = house.get("/api/ws/messages?room_id=private_7_42", 7).await.json();
    let stored = &page["data"]["messages"][0];
    assert_eq!((&stored["message_id"], &stored["content"]), (id, &json!("  ")));
    let mut bob = house.connect(42).await;
    assert!(bob.received_so_far().await.is_empty());
}

#[tokio::test]
async fn types_of_messages_pass_through_unless_strict() {
    for strict in [false, true] {
        let house = House::start(|config| config.chat.strict_types = strict);
        let mut ann = house.connect(7).await;
        for (kind, is_known) in [(2, true), (3, true), (9, false)] {
            let data = json!({"to_user_id": 7, "content": "x", "message_type": kind});
            let answer = ann.asks("send_message", data).await;
            if is_known || !strict {
                assert_eq!(answer["data"]["message_type"], kind, "{answer}");
                assert_eq!(ann.data().await["type"], "message_sent");
            } else {
                assert_eq!(answer["code"], 10001);
            }
        }
    }
}

#[tokio::test]
async fn broadcasts_reach_everybody_online() {
    let house = House::start(|_| {});
    let mut all = Vec::new();
    for user in [7, 8, 9] {
        all.push(house.connect(user).await);
    }
    all[0].send("broadcast", json!({"message": "hello"})).await;
    for client in &mut all {
        let data = client.data().await;
        let time = &data["time"];
        assert!(is_time(time));
        let expected = json!({"type": "broadcast", "from_user_id": 7, "message": "hello", "time": time});
        assert_eq!(data, expected);
        assert!(client.received_so_far().await.is_empty());
    }
    let empty = "群发消息内容不能为空";
    all[0].refused("broadcast", json!({}), 10005, empty).await;
    all[0].refused("broadcast", json!({"message": ""}), 10005, empty).await;
    all[0].refused("broadcast", json!({"message": 7}), 10001, "消息解析失败").await;
    assert!(all[1].received_so_far().await.is_empty());
}

/// §4 [P]: a top-level `id` comes back; with the own copy of a broadcast, too.
#[tokio::test]
async fn ids_come_back() {
    let house = House::start(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(8).await);
    for (frame, code) in [
        (json!({"cmd": "ping", "id": 5}), 0),
        (json!({"cmd": "nothing", "id": 5}), 1000),
        (json!({"cmd": "send_message", "id": 5, "data": {}}), 10002),
        (json!({"cmd": "broadcast", "id": 5, "data": {"message": "x"}}), 0),
    ] {
        ann.send_text(&frame.to_string()).await;
        let answer = ann.next().await;
        assert_eq!((&answer["code"], &answer["id"]), (&json!(code), &json!(5)), "{answer}");
    }
    assert!(ann.received_so_far().await.is_empty(), "one copy only");
    assert_eq!(bob.next().await.get("id"), None);
}

#[tokio::test]
async fn ping_and_online() {
    let house = House::start(|_| {});
    let mut ann = house.connect(7).await;
    ann.send("ping", json!({})).await;
    let data = ann.data().await;
    assert!(is_time(&data["time"]));
    assert_eq!(data, json!({"type": "pong", "time": data["time"]}));
    ann.send("online", json!("anything")).await;
    let data = ann.data().await;
    let expected = json!({
        "type": "welcome", "message": "连接成功，自动上线！", "user_id": 7, "time": data["time"],
    });
    assert_eq!(data, expected);
}

/// §4: `compat = "source"`.
#[tokio::test]
async fn the_shapes_of_the_source() {
    let house = House::start(|config| config.chat.compat = letshare_server::config::ChatCompat::Source);
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(42).await);
    let answer = ann.asks("send_message", json!({"to_user_id": 42, "content": "x"})).await;
    assert_eq!(answer, json!({"code": 200, "message": "success", "data": "消息发送成功"}));
    let push = bob.next().await;
    assert_eq!((&push["code"], &push["data"]["type"]), (&json!(200), &json!("new_message")));
    ann.refused("send_message", json!({"to_user_id": 43, "content": "x"}), 10003, "目标用户不在线").await;
    ann.refused("broadcast", json!({"message": ""}), 10002, "广播消息不能为空").await;
    ann.refused("online", json!({}), 1000, "未知命令").await;
}

/// §7: one at a time per connection, so a sender's messages arrive in their order.
#[tokio::test]
async fn messages_of_a_sender_keep_their_order() {
    let house = House::start(|_| {});
    let (mut ann, mut bob) = (house.connect(7).await, house.connect(42).await);
    for round in 0..4 {
        let contents: Vec<String> = (0..50).map(|number| format!("{round}:{number}")).collect();
        for content in &contents {
            ann.send("send_message", json!({"to_user_id": 42, "content": content})).await;
        }
        let mut before = Value::Null;
        for content in &contents {
            let push = bob.data().await;
            assert_eq!(push["content"], *content);
            assert_ne!(push["message_id"], before);
            before = push["message_id"].clone();
            assert_eq!(ann.data().await["message_id"], before);
        }
    }
}

/// Over the bound of what may wait, a request is refused aloud, and what was accepted is done.
#[tokio::test]
async fn what_is_too_much_is_refused_aloud() {
    // No time passes, which would allow more.
    let clock = Clock::manual(Timestamp::from_millis(1_767_576_600_000));
    let house = House::start_at(clock, |config| config.limits.publish_burst = 5);
    let mut ann = house.connect(7).await;
    for _ in 0..50 {
        ann.send("ping", json!({})).await;
    }
    let (mut pongs, mut refused) = (0, 0);
    for _ in 0..50 {
        let answer = ann.next().await;
        if answer["code"] == 429 {
            refused += 1;
        } else {
            assert_eq!(answer["data"]["type"], "pong");
            pongs += 1;
        }
    }
    assert_eq!((pongs, refused), (5, 45));
}

/// §7: frames of 64 KiB at most.
#[tokio::test]
async fn large_frames_end_the_connection() {
    let house = House::start(|_| {});
    let mut ann: Client = house.connect(7).await;
    let padded = format!("{{\"cmd\":\"ping\",\"x\":\"{}\"}}", "x".repeat(60_000));
    ann.send_text(&padded).await;
    assert_eq!(ann.data().await["type"], "pong");
    ann.send_text(&"x".repeat(70_000)).await;
    assert_eq!(ann.expect_close().await.0, 1009);
}
