//! What was acknowledged survives a restart and kill -9 (docs/architecture.md §6, promise 2).

use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::*;
use crate::support::process::ServerProcess;

/// A server in a working directory; its group address.
async fn start(folder: &TempDir) -> (ServerProcess, SocketAddr) {
    start_by(&[], folder, &[]).await
}

/// The same, started by another command and with more settings.
pub async fn start_by(launcher: &[&str], folder: &TempDir, more: &[(&str, &str)]) -> (ServerProcess, SocketAddr) {
    let settings = [("GROUP_PORT", "0"), ("GROUP_SERVICE_KEY", KEY), ("GROUP_MESSAGES_PER_SECOND", "0")];
    let settings = [&settings, more].concat();
    let server = ServerProcess::try_start(folder.path(), launcher, "group", &settings);
    let server = server.unwrap_or_else(|stderr| panic!("{stderr}"));
    let address = eventually(async || {
        tokio::task::yield_now().await;
        let lines = server.written();
        let lines = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut lines =
            lines.filter(|line| line["fields"]["protocols"].as_str().is_some_and(|text| text.contains("group")));
        let line = lines.next()?;
        line["fields"]["address"].as_str()?.parse().ok()
    })
    .await;
    (server, address)
}

/// Writes, marks, notifies; what has to be there afterwards.
async fn live(address: SocketAddr) -> (String, String) {
    make_group(address, "g", &["7", "8"]).await;
    let mut writer = Client::authenticated(address, "7").await;
    let first = writer.says("first", "g", "first").await;
    for index in 0..50 {
        writer.says(&format!("{index}"), "g", &format!("{index}")).await;
    }
    let last = writer.says("last", "g", "last").await;
    let mut reader = Client::authenticated(address, "8").await;
    reader.send("mark_read", "m", json!({"group_id": "g", "message_id": first})).await;
    reader.acked("m").await;
    for id in ["n1", "n2"] {
        let body = json!({"user_id": "8", "notification_id": id, "title": "t"});
        data(&service(address, "POST", "/api/notifications", body).await);
    }
    let read = json!({"user_id": "8", "notification_ids": ["n1"]});
    data(&service(address, "POST", "/api/notifications/read", read).await);
    data(&service(address, "DELETE", "/api/groups/g/members?user_id=9", json!({})).await);
    (first, last)
}

async fn check(address: SocketAddr, first: &str, last: &str) {
    let groups = data(&ask(address, "8", "/api/users/8/groups").await);
    assert_eq!(groups["groups"][0]["unread_count"], 51);
    assert_eq!(groups["groups"][0]["name"], "a group");
    let notices = data(&ask(address, "8", "/api/notifications").await);
    assert_eq!((&notices["total"], &notices["unread_count"]), (&json!(2), &json!(1)));
    assert_eq!(data(&ask(address, "8", "/api/users/status?user_id=8").await)["is_online"], false);
    let mut reader = Client::connect(address).await;
    let credentials = json!({"token": token(json!("8")), "last_message_id": first});
    reader.send("auth", "auth-1", credentials).await;
    assert_eq!(reader.expect("auth_success").await["data"]["missed"], 51);
    let mut expected: Vec<_> = (0..50).map(|index| index.to_string()).collect();
    expected.push("last".into());
    assert_eq!(reader.contents(51).await, expected);
    // Sent again after the crash: known.
    let mut writer = Client::authenticated(address, "7").await;
    assert_eq!(writer.says("last", "g", "last").await, last);
    let new = writer.says("new", "g", "new").await;
    assert_eq!(reader.message().await["message_id"], new);
    let mut marker = Client::authenticated(address, "8").await;
    marker.send("mark_read", "m", json!({"group_id": "g", "message_id": last})).await;
    marker.acked("m").await;
    let groups = data(&ask(address, "8", "/api/users/8/groups").await);
    assert_eq!(groups["groups"][0]["unread_count"], 1);
}

#[tokio::test]
async fn kill_9() {
    let folder = TempDir::new().expect("a folder");
    let (server, address) = start(&folder).await;
    let (first, last) = live(address).await;
    server.kill().await;
    let (server, address) = start(&folder).await;
    check(address, &first, &last).await;
    server.terminate().await;
}

#[tokio::test]
async fn a_restart() {
    let folder = TempDir::new().expect("a folder");
    let (server, address) = start(&folder).await;
    let (first, last) = live(address).await;
    server.terminate().await;
    let (server, address) = start(&folder).await;
    check(address, &first, &last).await;
    server.terminate().await;
}

/// Killed while messages flow: whatever was acknowledged is there, in order and once.
#[tokio::test]
async fn kill_9_under_load() {
    let folder = TempDir::new().expect("a folder");
    let (server, address) = start(&folder).await;
    make_group(address, "g", &["7"]).await;
    let mut writer = Client::authenticated(address, "7").await;
    let (told, mut acks) = tokio::sync::mpsc::unbounded_channel();
    let writing = tokio::spawn(async move {
        for index in 0..100_000 {
            writer.say(&index.to_string(), "g", &index.to_string()).await;
            if told.send((index.to_string(), writer.acked(&index.to_string()).await)).is_err() {
                break;
            }
        }
    });
    let mut acked = Vec::new();
    while acked.len() < 200 {
        acked.push(acks.recv().await.expect("an ack"));
    }
    server.signal(Signal::SIGKILL);
    let mut server = server;
    server.exit().await;
    // Its connection breaks in the middle of something.
    let _ = writing.await;
    while let Some(ack) = acks.recv().await {
        acked.push(ack);
    }
    drop(server);
    let (server, address) = start(&folder).await;
    let (mut seen, mut before) = (Vec::new(), String::new());
    loop {
        let target = format!("/api/messages?group_id=g&limit=100{before}");
        let page = data(&ask(address, "7", &target).await);
        for message in page["messages"].as_array().unwrap() {
            let text = |name: &str| message[name].as_str().unwrap().to_owned();
            seen.push((text("content"), text("message_id")));
        }
        if page["has_more"] == false {
            break;
        }
        before = format!("&before_id={}", seen.last().unwrap().1);
    }
    seen.reverse();
    assert!(seen.len() <= acked.len() + 1, "each once");
    assert_eq!(seen.get(..acked.len()), Some(&*acked));
    server.terminate().await;
}
