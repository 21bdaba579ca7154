//! `docs/protocols/postoffice.md §3, §6`: every error reply.

use serde_json::json;

use crate::postoffice::{
    client::{Client, letter},
    server::PostOfficeServer,
};
use crate::support::nodes;

/// §3: the form of an error, as in the example.
#[tokio::test]
async fn an_error_names_what_it_is_about() {
    let server = PostOfficeServer::start(|_| {});
    let mut desk = Client::connect(&server, "desk-7").await;
    desk.send(json!({"to": "audit2", "subjectId": "ord-4711"})).await;
    let expected = r#"{"error":"no mailbox named audit2","code":"unknown_recipient","ref":{"subjectId":"ord-4711","to":"audit2"}}"#;
    assert_eq!(desk.next_text().await, expected);
    desk.send(json!({"to": "audit2", "id": 7})).await;
    let (_, about) = desk.refused("unknown_recipient").await;
    assert_eq!(about, json!({"id": "7", "to": "audit2"}));
}

/// §6: text that is not JSON, or not an object; the connection stays.
#[tokio::test]
async fn bad_json() {
    let server = PostOfficeServer::start(|_| {});
    let mut desk = Client::connect(&server, "desk").await;
    for text in ["", "hello", "[1]", "\"to\"", "7", "null", "{\"to\":\"a\"", "{'to':'a'}"] {
        desk.send_text(text).await;
        let (_, about) = desk.refused("bad_json").await;
        assert_eq!(about, json!({}), "{text}");
    }
    desk.send(letter("desk", "desk", "still here")).await;
    assert_eq!(desk.next().await["subject"], "still here");
}

/// §3, §6: no `to`; `cc` without `to`; an object.
#[tokio::test]
async fn missing_to() {
    let server = PostOfficeServer::start(|_| {});
    let mut desk = Client::connect(&server, "desk").await;
    for letter in [
        json!({}),
        json!({"to": ""}),
        json!({"to": []}),
        json!({"to": null}),
        json!({"to": {"name": "desk"}}),
        json!({"cc": "desk"}),
    ] {
        desk.send(letter).await;
        desk.refused("missing_to").await;
    }
}

/// §6: items that are no names are told, the others are served. §3: one reply per recipient.
#[tokio::test]
async fn part_of_the_recipients() {
    let server = PostOfficeServer::start(|_| {});
    let mut desk = Client::connect(&server, "desk").await;
    desk.send(json!({"to": ["no1", 5, "desk", {}, "no2"], "cc": {"a": 1}, "subject": "s"})).await;
    let mut invalid = Vec::new();
    for _ in 0..3 {
        invalid.push(desk.refused("invalid_field").await.0);
    }
    for (text, place) in invalid.iter().zip(["to[1]", "to[3]", "cc"]) {
        assert!(text.contains(&format!("field {place} ")), "{text}");
    }
    // The letter takes its own way.
    let mut rest = Vec::new();
    for _ in 0..3 {
        rest.push(desk.next().await);
    }
    let refused = |name| move |message: &&serde_json::Value| message["ref"]["to"] == name;
    for name in ["no1", "no2"] {
        let error = rest.iter().find(refused(name)).expect(name);
        assert_eq!(error["code"], "unknown_recipient");
    }
    assert!(rest.iter().any(|message| message["subject"] == "s"));
}

/// §6: up to `max_recipients`.
#[tokio::test]
async fn too_many_recipients() {
    let server = PostOfficeServer::start(|_| {});
    let mut desk = Client::connect(&server, "desk").await;
    let names = |count: usize| vec!["desk"; count];
    desk.send(json!({"to": names(10_000), "subject": "many"})).await;
    let (text, _) = desk.refused("invalid_field").await;
    assert!(text.contains("1000") && text.contains("10000"), "{text}");
    desk.send(json!({"to": names(600), "cc": names(401)})).await;
    desk.refused("invalid_field").await;
    desk.send(json!({"to": names(1_000), "subject": "enough"})).await;
    assert_eq!(desk.next().await["subject"], "enough");
}

/// §3: the rate limit is told, not silence.
#[tokio::test]
async fn rate_limited() {
    let server = PostOfficeServer::start(|config| {
        config.limits.publishes_per_second = 1;
        config.limits.publish_burst = 2;
    });
    let mut desk = Client::connect(&server, "desk").await;
    for _ in 0..3 {
        desk.send(json!({"to": "nobody"})).await;
    }
    let mut codes = [desk.next().await, desk.next().await, desk.next().await].map(|mut error| error["code"].take());
    // Nodes say who is unknown when their store has answered.
    if nodes::are_asked() {
        codes.sort_by_key(|code| code == "rate_limited");
    }
    assert_eq!(codes, ["unknown_recipient", "unknown_recipient", "rate_limited"]);
}

/// §1, §3: 1 MiB a frame, said before 1009.
#[tokio::test]
async fn too_large() {
    let server = PostOfficeServer::start(|_| {});
    let mut desk = Client::connect(&server, "desk").await;
    let fits = json!({"to": "desk", "content": "x".repeat(1_048_576 - 27)});
    assert_eq!(fits.to_string().len(), 1_048_576 - 1);
    desk.send(fits.clone()).await;
    assert_eq!(desk.next().await, fits);
    let _ = futures_util::SinkExt::send(
        &mut desk.socket,
        tokio_tungstenite::tungstenite::Message::text("x".repeat(1_048_577)),
    )
    .await;
    desk.refused("too_large").await;
    assert_eq!(desk.expect_close().await.0, 1009);
}

/// §3: `errors = "silent"`.
#[tokio::test]
async fn silence_as_in_the_original() {
    let server = PostOfficeServer::start(|config| {
        config.postoffice.errors = letshare_server::config::PostOfficeErrors::Silent;
    });
    let mut desk = Client::connect(&server, "desk").await;
    desk.send_text("no letter").await;
    desk.send(json!({})).await;
    desk.send(json!({"to": ["nobody", 1]})).await;
    assert!(desk.received_so_far().await.is_empty());
}
