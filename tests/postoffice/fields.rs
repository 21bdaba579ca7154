//! `docs/protocols/postoffice.md §3, §6`: the field rules at each level of validation.

use letshare_server::config::Validation;
use serde_json::{Value, json};

use crate::postoffice::{
    client::{Client, letter},
    server::PostOfficeServer,
};

/// Field, a wrong value, a right one; for both levels.
fn rows() -> Vec<(&'static str, Value, Value)> {
    vec![
        ("from", json!(1), json!("desk")),
        ("subject", json!(1), json!("")),
        ("content", Value::Null, json!("b2s=")),
        ("type", json!(5), json!(4)),
        ("cc", json!(7), json!(["desk"])),
        ("contentType", json!(true), json!(2)),
        ("charset", json!(1), json!("UTF-8")),
        ("level", json!("1"), json!(1)),
        ("tags", json!(["a", 1]), json!(["a"])),
        ("attachments", json!("a"), json!([1, {}])),
        ("references", json!(1), json!("r")),
        ("inReplyTo", json!(1), json!("i")),
        ("subjectId", json!(1), json!("s")),
        ("createTime", json!("now"), json!(1_760_000_000)),
        ("lastUpdateTime", json!(1.5), json!(1_760_000_000)),
        ("state", json!("sent"), json!(0)),
        ("token", json!(1), json!("t")),
        ("fromTag", json!(1), json!("QQ")),
    ]
}

async fn desk(server: &PostOfficeServer) -> Client {
    Client::connect(server, "desk").await
}

fn start(level: Validation) -> PostOfficeServer {
    PostOfficeServer::start(|config| {
        config.postoffice.validation = level;
        config.postoffice.require_base64 = true;
        config.postoffice.from_check = letshare_server::config::FromCheck::Off;
        config.postoffice.forward_token = true;
    })
}

#[tokio::test]
async fn each_field_is_judged_when_validation_is_on() {
    for level in [Validation::Lenient, Validation::Strict] {
        let server = start(level);
        let mut desk = desk(&server).await;
        for (field, wrong, right) in rows() {
            let mut bad = letter("desk", "desk", "s");
            bad[field] = wrong;
            desk.send(bad).await;
            let (text, _) = desk.refused("invalid_field").await;
            assert!(text.contains(&format!("field {field} ")), "{text}");
            let mut good = letter("desk", "desk", "s");
            good[field] = right;
            desk.send(good.clone()).await;
            assert_eq!(desk.next().await, good, "{field}");
        }
        // §6: a number or an object.
        for to in [json!(7), json!({})] {
            desk.send(letter("desk", to, "s")).await;
            let (text, _) = desk.refused("invalid_field").await;
            assert!(text.contains("field to "), "{text}");
        }
        desk.send(json!({"from": "desk", "cc": "desk", "subject": "s", "content": "", "type": 1})).await;
        desk.refused("missing_to").await;
    }
}

#[tokio::test]
async fn required_fields() {
    for level in [Validation::Lenient, Validation::Strict] {
        let server = start(level);
        let mut desk = desk(&server).await;
        for field in ["from", "subject", "content", "type"] {
            let mut bad = letter("desk", "desk", "s");
            bad.as_object_mut().expect("an object").remove(field);
            desk.send(bad).await;
            let (text, _) = desk.refused("invalid_field").await;
            assert_eq!(text, format!("field {field} is missing"));
        }
    }
}

/// What later clients send, and §6: content that is not base64.
#[tokio::test]
async fn strict_is_the_document_and_lenient_what_is_sent() {
    let later = [
        ("type", json!("msg")),
        ("contentType", json!("text/plain")),
        ("content", json!({"any": "value"})),
        ("content", json!("not base64!")),
    ];
    for (level, passes) in [(Validation::Lenient, true), (Validation::Strict, false)] {
        let server = start(level);
        let mut desk = desk(&server).await;
        for (field, value) in &later {
            let mut sent = letter("desk", "desk", "s");
            sent[*field] = value.clone();
            desk.send(sent.clone()).await;
            if passes {
                assert_eq!(desk.next().await, sent);
            } else {
                desk.refused("invalid_field").await;
            }
        }
    }
}

/// Only `to` is needed.
#[tokio::test]
async fn off_by_default() {
    let server = PostOfficeServer::start(|_| {});
    let mut desk = desk(&server).await;
    for (field, wrong, _) in rows() {
        if field == "from" || field == "cc" || field == "token" {
            continue;
        }
        let sent = json!({"to": "desk", field: wrong});
        desk.send(sent.clone()).await;
        assert_eq!(desk.next().await, sent);
    }
}
