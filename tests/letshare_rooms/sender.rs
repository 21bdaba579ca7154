//! `docs/protocols/letshare.md §2.3` "`from`": `data` passes byte for byte, a missing `from` is appended to the
//! text, another's name is refused when `letshare.enforce_from` is on.

use crate::support::{Client, Server};

const FORGED: &str = "消息的 from 与当前用户不一致";

async fn publish_raw(client: &mut Client, data: &str) {
    client.send_text(&format!(r#"{{"type":"publish","channel":"demo1","event":"signal:all","data":{data}}}"#)).await;
}

/// The bytes of `data` in the next message.
async fn next_raw(client: &mut Client) -> String {
    let text = client.next_text().await;
    let data = text.strip_prefix(r#"{"type":"message","channel":"demo1","event":"signal:all","data":"#);
    let (data, timestamp) =
        data.and_then(|rest| rest.rsplit_once(r#","timestamp":"#)).unwrap_or_else(|| panic!("no message: {text}"));
    assert!(timestamp.trim_end_matches('}').parse::<u64>().is_ok());
    data.to_owned()
}

/// §2.3: the Go server sorts the keys, rounds the integers and escapes `<`, `>`, `&`, U+2028.
#[tokio::test]
async fn from_is_appended_and_every_other_byte_is_kept() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    for (sent, expected) in [
        ("{}", r#"{"from":"a:1"}"#),
        ("{ }", r#"{ "from":"a:1"}"#),
        (r#"{"z":12345678901234567890,"a":1}"#, r#"{"z":12345678901234567890,"a":1,"from":"a:1"}"#),
        (r#"{ "z" : 1.0 , "a":1e400, "z2": -0 }"#, r#"{ "z" : 1.0 , "a":1e400, "z2": -0 ,"from":"a:1"}"#),
        ("{\"s\":\"<b>&\u{2028}é\\u00e9\\/\\n\\\"\"}", "{\"s\":\"<b>&\u{2028}é\\u00e9\\/\\n\\\"\",\"from\":\"a:1\"}"),
        (r#"{"x":{"from":"b:2"},"k":"}"}"#, r#"{"x":{"from":"b:2"},"k":"}","from":"a:1"}"#),
        (r#"{"From":"b:2","d":1,"d":2}"#, r#"{"From":"b:2","d":1,"d":2,"from":"a:1"}"#),
    ] {
        publish_raw(&mut a, sent).await;
        assert_eq!(next_raw(&mut b).await, expected);
    }
}

/// §2.3: a `from` that is there passes as it stands, wherever and however it is written.
#[tokio::test]
async fn the_own_from_passes_byte_for_byte() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    for data in [
        r#"{"from":"a:1"}"#,
        r#"{"from":"a:1","big":12345678901234567890,"<":"&"}"#,
        r#"{ "b" : 1 , "from" : "\u0061:1" , "a" : 2 }"#,
        r#"{"\u0066rom":"a:1"}"#,
    ] {
        publish_raw(&mut a, data).await;
        assert_eq!(next_raw(&mut b).await, data);
    }
}

/// §2.3 `from`: the name that is filled in is the URL's, percent-decoded.
#[tokio::test]
async fn a_han_user_signs_with_its_name() {
    let server = Server::start(|_| {});
    let url = server.url("%E5%B0%8F%E6%98%8E:zz7aljb");
    let mut a = Client::try_connect(&url, "小明").await.expect("connects");
    a.subscribe("demo1", "signal:all").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    publish_raw(&mut a, "{}").await;
    assert_eq!(next_raw(&mut b).await, r#"{"from":"小明:zz7aljb"}"#);
}

/// §2.3 `enforce_from`: the Go server lets null and another's id pass.
#[tokio::test]
async fn a_forged_from_is_refused() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    for data in [
        r#"{"from":"b:2"}"#,
        r#"{"from":""}"#,
        r#"{"from":"a:1 "}"#,
        r#"{"from":"A:1"}"#,
        r#"{"from":null}"#,
        r#"{"from":1}"#,
        r#"{"from":["a:1"]}"#,
        r#"{"from":{"id":"a:1"}}"#,
        r#"{"type":"x","\u0066rom":"b:2"}"#,
    ] {
        publish_raw(&mut a, data).await;
        a.expect_error(403, FORGED).await;
    }
    assert!(b.received_so_far().await.is_empty());
}

/// §2.3: with `enforce_from` off it is as with the Go server, but for the re-encoding.
#[tokio::test]
async fn without_enforce_from_whatever_is_there_passes() {
    let server = Server::start(|config| config.letshare.enforce_from = false);
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    for data in [r#"{"from":"b:2"}"#, r#"{"from":null}"#, r#"{ "from" : 1}"#] {
        publish_raw(&mut a, data).await;
        assert_eq!(next_raw(&mut b).await, data);
    }
    publish_raw(&mut a, r#"{"n":1}"#).await;
    assert_eq!(next_raw(&mut b).await, r#"{"n":1,"from":"a:1"}"#);
    assert!(a.received_so_far().await.is_empty());
}
