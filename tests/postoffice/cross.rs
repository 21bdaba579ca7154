//! A mailbox is the channel `po:<name>` (docs/architecture.md §5): Ably clients whose key names it meet it there.

use serde_json::json;
use tempfile::TempDir;

use crate::{
    postoffice::{
        client::{Client, letter},
        server::PostOfficeServer,
    },
    support::{Http, ably::action},
};

const POST_KEY: &str = "shared.post:0123456789abcdef-post";
const ANY_KEY: &str = "shared.any:0123456789abcdef-any";

fn start(folder: &TempDir) -> PostOfficeServer {
    let file = folder.path().join("apps.yaml");
    let apps = r#"
apps:
  - id: shared
    keys:
      - id: post
        secret: 0123456789abcdef-post
        capability: '{"po:*":["*"]}'
      - id: any
        secret: 0123456789abcdef-any
        capability: '{"[*]*":["*"]}'
"#;
    std::fs::write(&file, apps).expect("a file");
    PostOfficeServer::start(|config| {
        config.ably.enabled = true;
        config.ably.apps_file = Some(file);
        config.ably.keys_over_http = true;
    })
}

async fn http(server: &PostOfficeServer) -> Http<tokio::net::TcpStream> {
    let stream = tokio::net::TcpStream::connect(server.shared).await;
    Http::over(stream.expect("it listens"), server.shared)
}

/// An Ably publish reaches the mailbox: a letter as it is, anything else as the content of one.
#[tokio::test]
async fn an_ably_publish_reaches_the_mailbox() {
    let folder = TempDir::new().expect("a folder");
    let server = start(&folder);
    let mut erp = Client::connect(&server, "erp").await;
    assert!(erp.received_so_far().await.is_empty());
    let mut http = http(&server).await;
    let target = format!("/channels/po%3Aerp/messages?key={POST_KEY}");
    let sent = letter("ably", "erp", "a letter");
    let message = json!({"name": "x", "data": sent.to_string(), "encoding": "json"});
    let answer = http.post(&target, &[], &message.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(erp.next().await, sent);
    let message = json!({"name": "greeting", "data": "hello", "clientId": "ann"});
    http.post(&target, &[], &message.to_string()).await;
    let expected = json!({"from": "ann", "to": "erp", "subject": "greeting", "content": "hello", "type": 1});
    assert_eq!(erp.next().await, expected);
    // A key that does not name the prefix does not reach it.
    let target = format!("/channels/po%3Aerp/messages?key={ANY_KEY}");
    assert_eq!(http.post(&target, &[], &message.to_string()).await.status, 401);
}

/// An Ably subscriber sees the letters of a mailbox, with the sender and the thread.
#[tokio::test]
async fn an_ably_subscriber_sees_letters() {
    let folder = TempDir::new().expect("a folder");
    let server = start(&folder);
    let url = format!("ws://{}/?key={POST_KEY}&v=5", server.shared);
    let mut ably = Client::open(&url, None, "ably").await.expect("an upgrade");
    assert_eq!(ably.next().await["action"], action::CONNECTED);
    ably.send(json!({"action": action::ATTACH, "channel": "po:erp"})).await;
    assert_eq!(ably.next().await["action"], action::ATTACHED);
    let mut erp = Client::connect(&server, "erp").await;
    let mut desk = Client::connect(&server, "desk").await;
    let mut sent = letter("desk", "erp", "order");
    sent["subjectId"] = json!("ord-1");
    desk.send(sent.clone()).await;
    assert_eq!(erp.next().await, sent);
    let frame = ably.next().await;
    let message = &frame["messages"][0];
    assert_eq!(message["name"], "order");
    assert_eq!(message["clientId"], "desk");
    assert_eq!(message["extras"]["headers"]["subjectId"], "ord-1");
    let data = message["data"].as_str().expect("JSON as text");
    assert_eq!(serde_json::from_str::<serde_json::Value>(data).expect("JSON"), sent);
}
