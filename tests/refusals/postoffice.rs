//! `docs/protocols/postoffice.md` §2, §3: the bodies are the document's, the header `refusal-reason` is ours.

use letshare_server::{
    clock::Clock,
    config::{Config, FromCheck, Protocol},
    ids::Timestamp,
};

use super::*;
use crate::support::Server;

const TOKEN: (&str, &str) = ("Authorization", "Bearer any");

fn start(adjust: impl FnOnce(&mut Config)) -> (Server, Client) {
    let server = Server::start_as("postoffice", Clock::manual(Timestamp::from_millis(0)), |config| {
        config.postoffice.port = Some(0);
        adjust(config);
    });
    let client = Client(server.address_of(Protocol::PostOffice));
    (server, client)
}

#[tokio::test]
async fn before_the_upgrade() {
    let (_server, client) = start(|_| {});
    let long = format!("/ws?clientID={}", "x".repeat(257));
    for (target, headers, status, words) in [
        ("/ws?clientID=a", &[][..], 401, ["Unauthorized", "postoffice.auth"]),
        ("/ws", &[TOKEN], 400, ["Client ID is required", "parameter clientID is missing"]),
        (&long, &[TOKEN], 400, ["Client ID is invalid", "256 bytes"]),
        ("/ws?clientID=a", &[TOKEN, EVIL], 403, ["evil.example", "postoffice.allowed_origins"]),
    ] {
        client.shuts(target, headers, status, &words).await;
    }
    client.names_bad_headers("/ws?clientID=a", &[TOKEN]).await;
    let _later = Socket::open(client, "/ws?clientID=a&startTime=2", &[TOKEN]).await;
    let words = ["newer connection exists", "later startTime"];
    client.shuts("/ws?clientID=a&startTime=1", &[TOKEN], 409, &words).await;
}

#[tokio::test]
async fn when_it_is_full() {
    let (_server, client) = start(|config| config.postoffice.max_connections = 1);
    let _first = Socket::open(client, "/ws?clientID=a", &[TOKEN]).await;
    let words = ["Connection limit reached", "1 connections are open", "postoffice.max_connections"];
    client.shuts("/ws?clientID=b", &[TOKEN], 503, &words).await;
    let (_server, client) = start(|config| config.postoffice.max_mailboxes = 1);
    let _first = Socket::open(client, "/ws?clientID=a", &[TOKEN]).await;
    let words = ["Connection limit reached", "1 mailboxes are known", "postoffice.max_mailboxes"];
    client.shuts("/ws?clientID=b", &[TOKEN], 503, &words).await;
    let (_server, client) = start(|config| config.limits.connections = 1);
    let _first = Socket::open(client, "/ws?clientID=a", &[TOKEN]).await;
    let words = ["Connection limit reached", "1 WebSockets are open", "limits.connections"];
    client.shuts("/ws?clientID=b", &[TOKEN], 503, &words).await;
}

#[tokio::test]
async fn letters() {
    let (_server, client) = start(|config| {
        config.postoffice.max_message_bytes = 1_024;
        config.postoffice.from_check = FromCheck::Strict;
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = 5;
    });
    let mut desk = Socket::open(client, "/ws?clientID=desk", &[TOKEN]).await;
    for (letter, words) in [
        ("x", ["bad_json", "JSON"]),
        ("{}", ["missing_to", "to"]),
        (r#"{"to":[5]}"#, ["invalid_field", "to[0]"]),
        (r#"{"to":"nobody","subjectId":"s"}"#, ["unknown_recipient", "no mailbox named nobody"]),
        (r#"{"to":"desk","from":"other"}"#, ["from_refused", "from"]),
        ("{}", ["rate_limited", "limits.publishes_per_second"]),
    ] {
        desk.refuses(letter, &words).await;
    }
    desk.send(&"x".repeat(1_025)).await;
    says(&desk.next_text().await, &["too_large", "1024 bytes", "postoffice.max_message_bytes"], "a large letter");
    desk.closes(1009, &["1024 bytes"]).await;
}

/// findings B6: new connections of one address are rated.
#[tokio::test]
async fn who_comes_too_often() {
    let (_server, client) = start(one_at_once);
    let _first = Socket::open(client, "/ws?clientID=a", &[TOKEN]).await;
    client.shuts("/ws?clientID=b", &[TOKEN], 429, &["Too Many Requests", TOO_MANY]).await;
}
