//! `docs/protocols/postoffice.md §4` "Delays, history": the letters of a thread.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    postoffice::{
        client::{Client, letter},
        server::PostOfficeServer,
    },
    support::eventually,
};

const BEARER: &[(&str, &str)] = &[("Authorization", "Bearer any")];

fn start() -> PostOfficeServer {
    PostOfficeServer::start(|config| {
        config.postoffice.threads_path = Some("/threads".into());
        config.postoffice.mailboxes = vec!["erp".into(), "audit".into()];
    })
}

fn in_thread(subject: &str, to: &str, field: &str, thread: &str) -> Value {
    let mut sent = letter("desk", to, subject);
    sent[field] = json!(thread);
    sent
}

async fn thread(server: &PostOfficeServer, query: &str) -> Value {
    let answer = server.ask(&format!("/threads?{query}"), BEARER).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// As much as a page of history hands out at a time is less than a page.
#[tokio::test]
async fn a_thread_of_long_letters_is_whole() {
    let server = start();
    let mut desk = Client::connect(&server, "desk").await;
    for number in 0..6 {
        let mut sent = in_thread(&number.to_string(), "erp", "subjectId", "long");
        sent["content"] = json!("x".repeat(60_000));
        desk.send(sent).await;
    }
    server.until("stored", 6).await;
    let listed = thread(&server, "clientID=erp&subjectId=long").await;
    let letters = listed["letters"].as_array().expect("letters").iter();
    let subjects: Vec<_> = letters.map(|letter| letter["subject"].as_str().expect("a text")).collect();
    assert_eq!((subjects, &listed["has_more"]), (vec!["0", "1", "2", "3", "4", "5"], &json!(false)));
}

/// The letters of one mailbox that name it, in order, as they were delivered.
#[tokio::test]
async fn a_thread_is_listed() {
    let server = start();
    let mut desk = Client::connect(&server, "desk").await;
    let first = in_thread("first", "erp", "subjectId", "ord-1");
    let answer = in_thread("answer", "erp", "references", "ord-1");
    let last = in_thread("last", "erp", "subjectId", "ord-1");
    for sent in [
        first.clone(),
        in_thread("other", "erp", "subjectId", "ord-2"),
        letter("desk", "erp", "none"),
        answer.clone(),
        in_thread("elsewhere", "audit", "subjectId", "ord-1"),
        last.clone(),
    ] {
        desk.send(sent).await;
    }
    server.until("stored", 6).await;
    let expected = json!({"letters": [first, answer, last], "has_more": false});
    // A letter is in its mailbox before it is in the history.
    eventually(async || (thread(&server, "clientID=erp&subjectId=ord-1").await == expected).then_some(())).await;
    // The newest, and that there are older ones.
    let listed = thread(&server, "clientID=erp&subjectId=ord-1&limit=2").await;
    assert_eq!(listed, json!({"letters": [answer, last], "has_more": true}));
    let nothing = json!({"letters": [], "has_more": false});
    for query in ["clientID=erp&subjectId=ord-3", "clientID=nobody&subjectId=ord-1"] {
        assert_eq!(thread(&server, query).await, nothing, "{query}");
    }
    // What was read is in the history, too.
    let mut erp = Client::connect(&server, "erp").await;
    for subject in ["first", "other", "none", "answer", "last"] {
        assert_eq!(erp.next().await["subject"], subject);
    }
    erp.reads_until(server.until("stored", 1)).await;
    let listed = thread(&server, "clientID=erp&subjectId=ord-1").await;
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn only_whoever_may_open_the_mailbox_reads_it() {
    let server = PostOfficeServer::start(|config| {
        config.postoffice.threads_path = Some("/threads".into());
        config.postoffice.auth = letshare_server::config::PostOfficeAuth::Tokens;
        config.postoffice.tokens = vec!["a-long-random-token erp".to_owned().into()];
    });
    let good = &[("Authorization", "Bearer a-long-random-token")][..];
    for (target, headers, status, text) in [
        ("clientID=erp&subjectId=x", good, 200, ""),
        ("clientID=audit&subjectId=x", good, 401, "Unauthorized\n"),
        ("clientID=erp&subjectId=x", BEARER, 401, "Unauthorized\n"),
        ("clientID=erp&subjectId=x", &[], 401, "Unauthorized\n"),
        ("subjectId=x", good, 400, "Client ID is required\n"),
        ("clientID=erp", good, 400, "subjectId is required\n"),
        ("clientID=erp&subjectId=", good, 400, "subjectId is required\n"),
        ("clientID=erp&subjectId=x&limit=0", good, 400, "limit is a number from 1 to 1000\n"),
        ("clientID=erp&subjectId=x&limit=1001", good, 400, "limit is a number from 1 to 1000\n"),
    ] {
        let answer = server.ask(&format!("/threads?{target}"), headers).await;
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        if status != 200 {
            assert_eq!(answer.body, text);
        }
    }
}

/// With channels of `po:` persisted a restart keeps it.
#[tokio::test]
async fn a_persisted_thread_survives_a_restart() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("apps.yaml");
    let apps = "apps:\n  - id: shared\n    namespaces:\n      - id: po\n        persisted: true\n";
    fs::write(&file, apps).expect("a file");
    let adjust = |config: &mut letshare_server::config::Config| {
        config.postoffice.threads_path = Some("/threads".into());
        config.ably.apps_file = Some(file.clone());
    };
    let server = PostOfficeServer::start(adjust);
    let mut erp = Client::connect(&server, "erp").await;
    let sent = in_thread("first", "erp", "subjectId", "ord-1");
    let mut desk = Client::connect(&server, "desk").await;
    desk.send(sent.clone()).await;
    assert_eq!(erp.next().await, sent);
    drop((erp, desk));
    let server = server.restart(adjust);
    let listed = thread(&server, "clientID=erp&subjectId=ord-1").await;
    assert_eq!(listed, json!({"letters": [sent], "has_more": false}));
}
