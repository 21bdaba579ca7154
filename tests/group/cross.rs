//! The group protocol and Ably on one channel (docs/architecture.md §5), and what stays private.

use std::{fs, path::PathBuf};

use tempfile::TempDir;

use super::*;
use crate::support::{AblyClient, ably::action};

const GROUP_KEY: &str = "shared.group:0123456789abcdef-group";
const ANY_KEY: &str = "shared.any:0123456789abcdef-any";

fn apps(folder: &TempDir) -> PathBuf {
    let file = folder.path().join("apps.yaml");
    let apps = r#"
apps:
  - id: shared
    keys:
      - id: group
        secret: 0123456789abcdef-group
        capability: '{"group:*":["*"],"group:u:7":["*"]}'
      - id: any
        secret: 0123456789abcdef-any
        capability: '{"*":["*"]}'
"#;
    fs::write(&file, apps).expect("a file");
    file
}

async fn rig() -> (Rig, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let apps = apps(&folder);
    let rig = Rig::start(|config| {
        config.ably.enabled = true;
        config.ably.apps_file = Some(apps);
        config.ably.keys_over_http = true;
    });
    rig.group("g", &["7", "8"]).await;
    (rig, folder)
}

#[tokio::test]
async fn an_ably_subscriber_watches_a_group() {
    let (rig, _folder) = rig().await;
    let mut ably = AblyClient::connect(&rig.server, GROUP_KEY).await;
    ably.attach("group:g").await;
    let mut client = rig.user("7").await;
    let id = client.says("c-1", "g", "hi").await;
    let seen = ably.expect(action::MESSAGE).await;
    let message = &seen["messages"][0];
    assert_eq!((&message["name"], &message["clientId"]), (&json!("new_message"), &json!("7")));
    let post: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    assert_eq!((&post["message_id"], &post["content"]), (&json!(id), &json!("hi")));
}

/// Who sent it is what Ably's credentials say, whatever the payload claims.
#[tokio::test]
async fn an_ably_publish_reaches_the_sockets() {
    let (rig, _folder) = rig().await;
    let mut client = rig.user("7").await;
    let mut ably = AblyClient::connect(&rig.server, GROUP_KEY).await;
    let forged = json!({"sender_id": "8", "content": "forged", "msg_type": 2, "image_url": "u"});
    let messages = json!([
        {"name": "new_message", "data": forged.to_string(), "encoding": "json", "clientId": "bot"},
        {"name": "x", "data": "text"},
        {"name": "y", "data": "[1,2]", "encoding": "json"},
        {"name": "z"},
    ]);
    let serial = ably.publish("group:g", messages).await;
    ably.acked(serial).await;
    let message = client.message().await;
    assert_eq!(message["content"], "forged");
    assert_eq!((&message["sender_id"], &message["group_id"]), (&json!("bot"), &json!("g")));
    assert_eq!((&message["msg_type"], &message["image_url"]), (&json!(2), &json!("u")));
    assert_eq!(client.contents(3).await, ["text", "[1,2]", ""]);
    assert_eq!(client.says("c-1", "g", "own").await.len(), 36);
}

/// A user's own channel is out of reach, also for a key that names it; a group for one that does not name it.
#[tokio::test]
async fn what_stays_private() {
    let (rig, _folder) = rig().await;
    let mut any = AblyClient::connect(&rig.server, ANY_KEY).await;
    let mut named = AblyClient::connect(&rig.server, GROUP_KEY).await;
    for channel in ["group:g", "group:u:7"] {
        refused(&mut any, channel).await;
    }
    for channel in ["group:u:7", "[meta]group:u:7"] {
        refused(&mut named, channel).await;
    }
    let mut client = rig.user("7").await;
    let serial = named.publish("group:u:7", json!([{"name": "notification", "data": "x"}])).await;
    named.nacked(serial, 40160).await;
    client.says("c-1", "g", "first").await;
    assert_eq!(client.message().await["content"], "first");
}

async fn refused(ably: &mut AblyClient, channel: &str) {
    ably.send(json!({"action": action::ATTACH, "channel": channel})).await;
    let refused = ably.expect(action::ERROR).await;
    assert_eq!(refused["error"]["code"], 40160, "{channel} {refused}");
}
