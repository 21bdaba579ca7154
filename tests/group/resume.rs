//! What a client missed (`docs/protocols/group.md §6`, `data.last_message_id`).

use super::*;

pub async fn resumes(rig: &Rig, user: &str, last: &str) -> (Client, Value) {
    let mut client = rig.client().await;
    let credentials = json!({"token": token(json!(user)), "last_message_id": last});
    client.send("auth", "auth-1", credentials).await;
    let success = client.expect("auth_success").await;
    assert_eq!(success["message_id"], "auth-1");
    (client, success["data"].clone())
}

/// In order over all groups, each once, and live messages behind them.
#[tokio::test]
async fn missed_messages_follow_in_order() {
    let rig = Rig::start(|_| {});
    for group in ["g", "h"] {
        rig.group(group, &["7", "8"]).await;
    }
    rig.group("other", &["8"]).await;
    let mut writer = rig.user("8").await;
    let last = writer.says("0", "g", "seen").await;
    let mut expected = Vec::new();
    for index in 0..6 {
        let (group, content) = (["g", "h", "other"][index % 3], format!("m{index}"));
        writer.says(&content, group, &content).await;
        if group != "other" {
            expected.push(content);
        }
    }
    let (mut client, told) = resumes(&rig, "7", &last).await;
    assert_eq!(told, json!({"user_id": "7", "missed": 4, "has_more": false}));
    writer.says("live", "h", "live").await;
    expected.push("live".into());
    assert_eq!(client.contents(5).await, expected);
    let (mut client, told) = resumes(&rig, "7", &last).await;
    assert_eq!(told["missed"], 5);
    assert_eq!(client.contents(5).await, expected);
}

#[tokio::test]
async fn five_hundred_at_most() {
    let rig = Rig::start(|config| config.group.messages_per_second = 0);
    rig.group("g", &["7", "8"]).await;
    let mut writer = rig.user("8").await;
    let last = writer.says("first", "g", "first").await;
    for index in 0..510 {
        writer.say(&format!("{index}"), "g", &format!("{index}")).await;
    }
    // On its way to everybody who is connected: what comes later is only sent to who resumes.
    while writer.message().await["content"] != "509" {}
    let (mut client, told) = resumes(&rig, "7", &last).await;
    assert_eq!(told, json!({"user_id": "7", "missed": 500, "has_more": true}));
    let expected: Vec<_> = (0..500).map(|index| index.to_string()).collect();
    assert_eq!(client.contents(500).await, expected);
    writer.says("live", "g", "live").await;
    assert_eq!(client.message().await["content"], "live");
}

/// As many bytes as fit, and then the rest behind the last of them.
#[tokio::test]
async fn large_messages_come_in_parts() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7", "8"]).await;
    let mut writer = rig.user("8").await;
    let mut last = writer.says("first", "g", "first").await;
    let contents: Vec<_> = (0..24).map(|index| format!("{index} {}", "x".repeat(400 * 1_024))).collect();
    for (index, content) in contents.iter().enumerate() {
        writer.says(&index.to_string(), "g", content).await;
    }
    let mut got = Vec::new();
    loop {
        let (mut client, told) = resumes(&rig, "7", &last).await;
        for _ in 0..told["missed"].as_u64().expect("a number") {
            let message = client.message().await;
            last = message["message_id"].as_str().expect("an id").to_owned();
            got.push(message["content"].as_str().expect("a text").to_owned());
        }
        if told["has_more"] == false {
            break;
        }
        assert_eq!(told["missed"], 10);
    }
    assert!(got == contents, "{} of {}", got.len(), contents.len());
}

/// Never a hole in silence: what cannot be resumed is told.
#[tokio::test]
async fn a_message_that_is_not_known() {
    let rig = Rig::start(|_| {});
    rig.group("g", &["7"]).await;
    rig.group("h", &["8"]).await;
    let foreign = rig.user("8").await.says("1", "h", "x").await;
    for last in ["none", &foreign] {
        let (mut client, told) = resumes(&rig, "7", last).await;
        assert_eq!(told, json!({"user_id": "7"}));
        client.refused("auth-1", 404, "消息不存在").await;
        client.says(last, "g", last).await;
        assert_eq!(client.message().await["content"], last);
    }
}

/// While others write all the time: nothing twice, nothing missing.
#[tokio::test]
async fn under_load() {
    let rig = Rig::start(|config| config.group.messages_per_second = 0);
    rig.group("g", &["7", "8"]).await;
    let mut writer = rig.user("8").await;
    let last = writer.says("first", "g", "first").await;
    let address = rig.address;
    let writing = tokio::spawn(async move {
        for index in 0..400 {
            writer.say(&format!("{index}"), "g", &format!("{index}")).await;
            if index % 20 == 19 {
                writer.acked(&format!("{index}")).await;
            }
        }
        writer
    });
    let mut seen: Vec<String> = Vec::new();
    let mut last = last;
    while seen.len() < 400 {
        let mut client = Client::connect(address).await;
        let credentials = json!({"token": token(json!("7")), "last_message_id": last});
        client.send("auth", "auth-1", credentials).await;
        client.expect("auth_success").await;
        for _ in 0..25.min(400 - seen.len()) {
            let message = client.message().await;
            last = message["message_id"].as_str().unwrap().to_owned();
            seen.push(message["content"].as_str().unwrap().to_owned());
        }
    }
    let expected: Vec<_> = (0..400).map(|index| index.to_string()).collect();
    assert_eq!(seen, expected);
    writing.await.expect("the writer is well");
}
