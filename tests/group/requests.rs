//! Every frame that clients send, field by field, and every error code (`docs/protocols/group.md §3, §4, §5, §9`).

use tokio_tungstenite::tungstenite::Message;

use super::*;

const FORMAT: &str = "消息格式错误";

/// §4: `pong`, also before auth. §2: what health says.
#[tokio::test]
async fn ping_and_health() {
    let rig = Rig::start(|_| {});
    let mut client = rig.client().await;
    client.text(r#"{"type":"ping","timestamp":1760000000123}"#).await;
    let pong = client.expect("pong").await;
    assert_eq!(pong.get("data"), None, "§3: absent for ping and pong");
    let seconds = pong["timestamp"].as_u64().expect("a time");
    assert!((1_700_000_000..100_000_000_000).contains(&seconds), "{seconds}");
    // The document's Go client sends numbers (§3).
    client.text(r#"{"type":"ping","message_id":1760000000}"#).await;
    assert_eq!(client.expect("pong").await["message_id"], "1760000000");
    // The source reads both kinds of frames.
    client.frame(Message::binary(&br#"{"type":"ping","message_id":"b"}"#[..])).await;
    assert_eq!(client.expect("pong").await["message_id"], "b");
    let mut http = Http::connect_to(rig.address).await;
    let health = http.ask("GET", "/health", &[]).await;
    assert_eq!((health.status, &*health.body), (200, "OK"));
    assert_eq!(rig.stats().await, json!({"online_users": 0}));
}

/// §5: 401 for anything but `auth` and `ping` before auth.
#[tokio::test]
async fn nothing_goes_before_auth() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut client = rig.client().await;
    for kind in ["send_message", "join_group", "leave_group", "mark_read", "shout"] {
        client.send(kind, "c-1", json!({"group_id": "g"})).await;
        client.refused("c-1", 401, "未授权，请先认证").await;
    }
}

/// §5, 400: what is no envelope, no known type, or has wrong or missing fields. The connection stays.
#[tokio::test]
async fn bad_frames() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    for text in ["", "x", "[]", "null", r#"{"type":"ping"} {"type":"ping"}"#] {
        client.text(text).await;
        client.refused("", 400, FORMAT).await;
    }
    client.text(r#"{"type":7,"message_id":"c-1"}"#).await;
    client.refused("c-1", 400, FORMAT).await;
    client.frame(Message::binary(&[0xff, 0xfe][..])).await;
    client.refused("", 400, FORMAT).await;
    for (kind, data, text) in [
        ("shout", json!({}), "未知的消息类型"),
        ("send_message", json!(null), FORMAT),
        ("send_message", json!([]), FORMAT),
        ("send_message", json!({"group_id": 5, "msg_type": 1, "content": "x"}), FORMAT),
        ("send_message", json!({"msg_type": 1, "content": "x"}), "group_id 不能为空"),
        ("send_message", json!({"group_id": "g", "content": "x"}), "msg_type 不能为空"),
        ("send_message", json!({"group_id": "g", "msg_type": 3, "content": "x"}), FORMAT),
        ("send_message", json!({"group_id": "g", "msg_type": "1", "content": "x"}), FORMAT),
        ("send_message", json!({"group_id": "g", "msg_type": 1, "content": ""}), "content 不能为空"),
        ("send_message", json!({"group_id": "g", "msg_type": 1}), "content 不能为空"),
        ("send_message", json!({"group_id": "g", "msg_type": 2, "content": "x"}), "image_url 不能为空"),
        ("join_group", json!({}), "group_id 不能为空"),
        ("join_group", json!("g"), FORMAT),
        ("leave_group", json!({"group_id": ""}), "group_id 不能为空"),
        ("mark_read", json!({"message_id": "m"}), "group_id 不能为空"),
        ("mark_read", json!({"group_id": "g"}), "message_id 不能为空"),
        ("auth", json!({}), "token 不能为空"),
        ("auth", json!(null), FORMAT),
    ] {
        client.send(kind, "c-2", data).await;
        client.refused("c-2", 400, text).await;
    }
    client.says("c-3", "g", "still here").await;
}

/// §5, 403 and 404.
#[tokio::test]
async fn strangers_and_unknown_things() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut member = rig.user("7").await;
    let message = member.says("c-1", "g", "hi").await;
    let mut stranger = rig.user("8").await;
    let text = json!({"group_id": "g", "msg_type": 1, "content": "x", "message_id": message});
    for kind in ["send_message", "join_group", "mark_read"] {
        stranger.send(kind, "c-2", text.clone()).await;
        stranger.refused("c-2", 403, "不是群成员").await;
    }
    let mut nowhere = text.clone();
    nowhere["group_id"] = json!("none");
    for kind in ["send_message", "join_group", "mark_read"] {
        stranger.send(kind, "c-3", nowhere.clone()).await;
        // findings O14: whoever joins is told how groups are made.
        let text = if kind == "join_group" { NO_GROUP_TO_JOIN } else { "群聊不存在" };
        stranger.refused("c-3", 404, text).await;
    }
    // The channels of users are nobody's groups.
    nowhere["group_id"] = json!("u:7");
    stranger.send("join_group", "c-4", nowhere).await;
    stranger.refused("c-4", 404, NO_GROUP_TO_JOIN).await;
    member.send("mark_read", "c-5", json!({"group_id": "g", "message_id": "none"})).await;
    member.refused("c-5", 404, "消息不存在").await;
}

/// §9: a message of another group is as unknown as none.
#[tokio::test]
async fn a_foreign_message_is_not_marked() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    rig.group("h", &["7"]).await;
    let mut client = rig.user("7").await;
    let message = client.says("c-1", "h", "hi").await;
    client.message().await;
    client.send("mark_read", "c-2", json!({"group_id": "g", "message_id": message})).await;
    client.refused("c-2", 404, "消息不存在").await;
}

/// §5: above 512 KiB; §9: 600 KiB.
#[tokio::test]
async fn large_frames() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    let mut client = rig.user("7").await;
    let large = "x".repeat(512 * 1024);
    client.say("c-1", "g", &large).await;
    client.refused("c-1", 413, "消息过大").await;
    let fits = "x".repeat(512 * 1024 - 200);
    client.say("c-2", "g", &fits).await;
    client.acked("c-2").await;
    assert_eq!(client.message().await["content"], fits);
    let huge = format!(r#"{{"type":"ping","x":"{}"}}"#, "x".repeat(600 * 1024));
    client.text(&huge).await;
    client.closes(1009).await;
}
