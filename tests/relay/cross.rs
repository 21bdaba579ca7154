//! The relay and Ably on one channel, and the prefixes that a key has to name (docs/architecture.md §5).

use std::{fs, path::PathBuf};

use super::*;
use crate::support::{AblyClient, ably::action};

pub const RELAY_KEY: &str = "shared.relay:0123456789abcdef-relay";
const ANY_KEY: &str = "shared.any:0123456789abcdef-any";

/// The default app with a key that names the relay's channels, and one that names none.
pub fn apps(folder: &TempDir) -> PathBuf {
    let file = folder.path().join("apps.yaml");
    let apps = r#"
apps:
  - id: shared
    keys:
      - id: relay
        secret: 0123456789abcdef-relay
        capability: '{"relay:*":["*"],"[*]*":["channel-metadata"]}'
      - id: any
        secret: 0123456789abcdef-any
        capability: '{"[*]*":["*"]}'
"#;
    fs::write(&file, apps).expect("a file");
    file
}

pub fn with_apps(config: &mut Config, apps: &std::path::Path) {
    config.ably.apps_file = Some(apps.to_owned());
    config.ably.keys_over_http = true;
}

async fn rig() -> (Rig, TempDir) {
    let folder = TempDir::new().expect("a folder");
    let apps = apps(&folder);
    let rig = Rig::start(|config| with_apps(config, &apps)).await;
    (rig, folder)
}

fn path(channel: &str, key: &str) -> String {
    let channel = channel.replace(':', "%3A");
    format!("/channels/{channel}/messages?key={}", key)
}

/// The names of the messages of a channel, the oldest first.
pub async fn history(server: &Server, channel: &str) -> Vec<String> {
    let mut http = Http::connect(server).await;
    let target = format!("{}&direction=forwards", path(channel, RELAY_KEY));
    let page = http.ask("GET", &target, &[]).await;
    assert_eq!(page.status, 200, "{page:?}");
    let page = page.json();
    let messages = page.as_array().expect("a page").iter();
    let name = |message: &Value| message["name"].as_str().unwrap_or_default().to_owned();
    messages.map(name).collect()
}

/// A push is seen by an Ably subscriber of the user's channel and of the channel of all.
#[tokio::test]
async fn an_ably_subscriber_sees_pushes() {
    let (mut rig, _folder) = rig().await;
    let mut user = rig.user("u-208").await;
    let mut ably = AblyClient::connect(&rig.server, RELAY_KEY).await;
    ably.attach("relay:u:u-208").await;
    ably.attach("relay:all").await;
    let subject = json!({"no": 4711});
    rig.push(json!({"event_name": "order.ready", "subject": subject, "token": "u-208"})).await;
    rig.push(json!({"event_name": "news", "subject": "hello"})).await;
    let seen = ably.expect(action::MESSAGE).await;
    assert_eq!(seen["channel"], "relay:u:u-208");
    let message = &seen["messages"][0];
    assert_eq!(message["name"], "order.ready");
    assert_eq!(message["encoding"], "json");
    let data: Value = serde_json::from_str(message["data"].as_str().unwrap()).unwrap();
    assert_eq!(data, subject);
    let seen = ably.expect(action::MESSAGE).await;
    assert_eq!(seen["channel"], "relay:all");
    user.expect("order.ready").await;
    user.expect("news").await;
}

/// An Ably publish reaches the sockets of the user, or all of them.
#[tokio::test]
async fn an_ably_publish_reaches_sockets() {
    let (mut rig, _folder) = rig().await;
    let mut user = rig.user("u-208").await;
    let mut ably = AblyClient::connect(&rig.server, RELAY_KEY).await;
    let messages = json!([
        {"name": "a", "data": "text"},
        {"name": "b", "data": "{\"no\":1}", "encoding": "json"},
        {"name": "c", "data": "AQ==", "encoding": "base64"},
        {"name": "d"},
    ]);
    let serial = ably.publish("relay:u:u-208", messages).await;
    ably.acked(serial).await;
    for (event, subject) in [("a", json!("text")), ("b", json!({"no": 1})), ("c", json!("AQ==")), ("d", json!(null))] {
        let data = user.expect(event).await;
        assert_eq!(data["subject"], subject);
        assert_eq!(data["token"], "u-208");
        assert!(data["ts"].is_u64());
    }
    let serial = ably.publish("relay:all", json!([{"name": "e", "data": "x"}])).await;
    ably.acked(serial).await;
    assert_eq!(user.expect("e").await["token"], json!(null));
    // Presence is nothing that relay clients know.
    ably.attach("relay:u:u-208").await;
    let entered = ably.presence("relay:u:u-208", json!([{"action": 2, "clientId": "x"}])).await;
    ably.acked(entered).await;
    rig.fence().await;
    user.expect("fence").await;
}

/// docs/architecture.md §5: a key for everything does not reach the channels of the older protocols.
#[tokio::test]
async fn a_wildcard_does_not_reach_reserved_channels() {
    let (mut rig, _folder) = rig().await;
    let _user = rig.user("u-208").await;
    let mut http = Http::connect(&rig.server).await;
    let mut ably = AblyClient::connect(&rig.server, ANY_KEY).await;
    for channel in ["relay:all", "relay:u:u-208", "chat:x", "group:x", "po:x"] {
        for name in [channel.to_owned(), format!("[meta]{channel}")] {
            ably.send(json!({"action": action::ATTACH, "channel": name})).await;
            let refused = ably.expect(action::ERROR).await;
            assert_eq!(refused["error"]["code"], 40160, "{refused}");
        }
        let serial = ably.publish(channel, json!([{"name": "x"}])).await;
        ably.nacked(serial, 40160).await;
        let target = path(channel, ANY_KEY);
        let read = http.ask("GET", &target, &[]).await;
        assert_eq!(read.status, 401, "{channel}");
        let written = http.post(&target, &[], r#"{"name":"x"}"#).await;
        assert_eq!(written.status, 401, "{channel}");
    }
    for channel in ["relay", "relays:x", "chat", "other:relay:x"] {
        ably.attach(channel).await;
    }
    let listed = format!("/channels?by=id&key={}", ANY_KEY);
    let listed = http.ask("GET", &listed, &[]).await;
    assert!(!listed.body.contains("relay:u"), "{}", listed.body);
    assert!(listed.body.contains("relays:x"), "{}", listed.body);
}

/// A token cannot name what its key only reaches by a wildcard.
#[tokio::test]
async fn a_token_is_not_wider_than_its_key() {
    let (rig, _folder) = rig().await;
    let mut http = Http::connect(&rig.server).await;
    for (key, name, reaches) in [(ANY_KEY, "shared.any", false), (RELAY_KEY, "shared.relay", true)] {
        let target = format!("/keys/{name}/requestToken?key={}", key);
        let asked = json!({"keyName": name, "capability": "{\"relay:*\":[\"*\"]}"});
        let token = http.post(&target, &[], &asked.to_string()).await;
        assert_eq!(token.status, 201, "{token:?}");
        let token = token.json()["token"].as_str().unwrap().to_owned();
        let query = format!("v=6&access_token={token}");
        let (mut ably, _) = AblyClient::connect_with(&rig.server, &query).await;
        ably.send(json!({"action": action::ATTACH, "channel": "relay:all"})).await;
        let expected = if reaches { action::ATTACHED } else { action::ERROR };
        ably.expect(expected).await;
    }
}
