//! `docs/protocols/postoffice.md §3, §4, §6`: what is delivered, to whom, in which order.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::postoffice::{
    client::{Client, letter, subjects},
    server::PostOfficeServer,
};

async fn two(server: &PostOfficeServer) -> (Client, Client) {
    let mut erp = Client::connect(server, "erp").await;
    assert!(erp.received_so_far().await.is_empty());
    (Client::connect(server, "desk-7").await, erp)
}

/// §3: the example, byte for byte; numbers and unknown fields survive.
#[tokio::test]
async fn a_letter_arrives_as_it_was_written() {
    let server = PostOfficeServer::start(|_| {});
    let (mut desk, mut erp) = two(&server).await;
    for text in [
        r#"{"from":"desk-7","to":["erp"],"cc":"erp","subject":"order 4711","content":"b3JkZXIgcmVhZHk=",
 "type":1,"level":2,"tags":["order"],"subjectId":"ord-4711","createTime":1760000000,"fromTag":"APP"}"#,
        r#"{ "to" : "erp", "attachments": [12345678901234567890123, 1.10, {"a": 1e400}], "own": {"b":1,"a":2} }"#,
        r#"{"to":"erp","content":{"any":["value"]},"type":"wxLogin","contentType":"text/plain"}"#,
    ] {
        desk.send_text(text).await;
        assert_eq!(erp.next_text().await, text);
    }
}

/// §4: every name of `to` and `cc`, one copy each; everybody sees all of both.
#[tokio::test]
async fn each_recipient_gets_one_copy() {
    let server = PostOfficeServer::start(|_| {});
    let (mut desk, mut erp) = two(&server).await;
    let mut audit = Client::connect(&server, "audit").await;
    let mut chief = Client::connect(&server, "chief").await;
    let mut other = Client::connect(&server, "other").await;
    let text = json!({"to": ["erp", "audit", "erp"], "cc": ["chief", "audit"], "subject": "s"});
    desk.send(text.clone()).await;
    assert!(desk.received_so_far().await.is_empty(), "not named, no copy");
    for client in [&mut erp, &mut audit, &mut chief] {
        assert_eq!(client.received_so_far().await, std::slice::from_ref(&text));
    }
    assert!(other.received_so_far().await.is_empty());
    desk.send(json!({"to": "erp", "cc": "chief"})).await;
    assert_eq!(erp.next().await["cc"], "chief");
    assert_eq!(chief.next().await["to"], "erp");
}

/// §6: a letter to oneself. §4: `*` is an ordinary name.
#[tokio::test]
async fn to_oneself_and_to_nobody_special() {
    let server = PostOfficeServer::start(|_| {});
    let (mut desk, mut erp) = two(&server).await;
    desk.send(letter("desk-7", "desk-7", "note")).await;
    assert_eq!(desk.next().await["subject"], "note");
    desk.send(letter("desk-7", "*", "all")).await;
    desk.refused("unknown_recipient").await;
    assert!(erp.received_so_far().await.is_empty());
}

/// §6: with validation off a number is used as its text.
#[tokio::test]
async fn a_number_is_a_name() {
    let server = PostOfficeServer::start(|_| {});
    let mut seven = Client::connect(&server, "7").await;
    assert!(seven.received_so_far().await.is_empty());
    let mut desk = Client::connect(&server, "desk").await;
    desk.send(json!({"to": 7})).await;
    assert_eq!(seven.next().await, json!({"to": 7}));
}

/// §4: first in, first out from one sender to one mailbox; `level` does not reorder.
#[tokio::test]
async fn letters_keep_their_order() {
    let server = PostOfficeServer::start(|_| {});
    let (mut desk, mut erp) = two(&server).await;
    const COUNT: u64 = 700;
    for number in 0..COUNT {
        desk.send(json!({"to": "erp", "number": number, "level": number % 3})).await;
    }
    for number in 0..COUNT {
        assert_eq!(erp.next().await["number"], number);
    }
    assert!(erp.received_so_far().await.is_empty());
}

/// §1: the sender's token is not for its readers, unless `forward_token`.
#[tokio::test]
async fn the_token_is_removed() {
    let text = r#"{"to":"erp","token":"secret","n":1.10}"#;
    let server = PostOfficeServer::start(|_| {});
    let (mut desk, mut erp) = two(&server).await;
    desk.send_text(text).await;
    assert_eq!(erp.next_text().await, r#"{"to":"erp","n":1.10}"#);
    let server = PostOfficeServer::start(|config| config.postoffice.forward_token = true);
    let (mut desk, mut erp) = two(&server).await;
    desk.send_text(text).await;
    assert_eq!(erp.next_text().await, text);
}

/// §3: JSON in a binary frame is forwarded as text.
#[tokio::test]
async fn binary_frames_are_letters_too() {
    let server = PostOfficeServer::start(|_| {});
    let (mut desk, mut erp) = two(&server).await;
    let text = r#"{"to":"erp","content":"é"}"#;
    desk.send_frame(Message::binary(text.as_bytes().to_vec())).await;
    assert_eq!(erp.next_text().await, text);
    desk.send_frame(Message::binary(vec![0xFF, 0xFE])).await;
    desk.refused("bad_json").await;
}

/// §4: a heartbeat reaches who is there and is never stored.
#[tokio::test]
async fn heartbeats_are_for_now() {
    let server = PostOfficeServer::start(|config| config.postoffice.mailboxes = vec!["away".into()]);
    let (mut desk, mut erp) = two(&server).await;
    desk.send(json!({"to": ["erp", "away"], "type": "heartbeat"})).await;
    assert_eq!(erp.next().await["type"], "heartbeat");
    assert!(desk.received_so_far().await.is_empty());
    let mut away = Client::connect(&server, "away").await;
    assert!(away.received_so_far().await.is_empty());
}

/// §4: dedupe by sender and `id`, if the sender added one.
#[tokio::test]
async fn a_letter_with_an_id_is_delivered_once() {
    let server = PostOfficeServer::start(|_| {});
    let (mut desk, mut erp) = two(&server).await;
    let mut other = Client::connect(&server, "other").await;
    for _ in 0..2 {
        desk.send(json!({"to": "erp", "id": "m1", "subject": "once"})).await;
        desk.send(json!({"to": "erp", "subject": "each time"})).await;
    }
    assert!(desk.received_so_far().await.is_empty());
    other.send(json!({"to": "erp", "id": "m1", "subject": "of another"})).await;
    assert!(other.received_so_far().await.is_empty());
    let received: Vec<Value> = erp.received_so_far().await;
    let expected = ["once", "each time", "each time", "of another"];
    assert_eq!(subjects(&received), expected);
}

/// §1: `from_check` in its three forms.
#[tokio::test]
async fn nobody_writes_as_somebody_else() {
    use letshare_server::config::FromCheck;
    for (check, own, stranger, unknown, variant) in [
        (FromCheck::Known, true, false, true, false),
        (FromCheck::Strict, true, false, false, false),
        (FromCheck::Off, true, true, true, true),
    ] {
        let server = PostOfficeServer::start(|config| config.postoffice.from_check = check);
        let (mut desk, mut erp) = two(&server).await;
        for (from, passes) in [("desk-7", own), ("erp", stranger), ("js-client", unknown)] {
            desk.send(letter(from, "erp", "s")).await;
            if passes {
                assert_eq!(erp.next().await["from"], from, "{check:?}");
            } else {
                let (text, _) = desk.refused("from_refused").await;
                assert!(text.contains(from), "{text}");
            }
        }
        // Go's reader takes `From` for `from`.
        desk.send_text(r#"{"from":"desk-7","From":"erp","to":"erp"}"#).await;
        if variant {
            assert_eq!(erp.next().await["From"], "erp");
        } else {
            desk.refused("from_refused").await;
        }
        // Nobody says who: nothing to check.
        desk.send(json!({"to": "erp"})).await;
        assert_eq!(erp.next().await, json!({"to": "erp"}));
    }
}
