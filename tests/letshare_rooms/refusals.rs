//! `docs/protocols/letshare.md §2.2`: every error text that can arise, and that the connection goes on after
//! it (§1.4 "malformed JSON", §8: the Go server drops the connection or dies).
//!
//! `房间不存在` and `客户端不存在` of the Go server cannot arise: who is no member is told
//! `客户端未订阅房间`, and a connection always knows itself. Texts about room names are in `names`,
//! about full rooms in `cap`.

use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Server};

use futures_util::SinkExt as _;

/// Sends each text, expects the error for it, and shows that the connection is as good as before.
async fn expect_errors(cases: &[(&str, &str)]) {
    let server = Server::start(|_| {});
    let mut page = Client::join(&server, "a:1", "demo1").await;
    let mut other = Client::join(&server, "b:2", "demo1").await;
    for (request, text) in cases {
        page.send_text(request).await;
        page.expect_error(400, text).await;
    }
    page.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert_eq!(other.next().await["data"], json!({"n": 1, "from": "a:1"}));
    assert!(page.received_so_far().await.is_empty(), "one error each");
    assert!(other.received_so_far().await.is_empty());
}

/// §2.1, §2.2 `缺少频道名称`.
#[tokio::test]
async fn without_a_channel() {
    expect_errors(&[
        (r#"{"type":"subscribe"}"#, "缺少频道名称"),
        (r#"{"type":"subscribe","channel":"","event":"signal:all"}"#, "缺少频道名称"),
        (r#"{"type":"unsubscribe"}"#, "缺少频道名称"),
        (r#"{"type":"publish","data":{}}"#, "缺少频道名称"),
    ])
    .await;
}

/// §2.2 `缺少消息数据` (absent) and `消息数据格式错误` (anything but an object; `null` kills the Go
/// server's connection).
#[tokio::test]
async fn with_data_that_is_no_object() {
    let missing = r#"{"type":"publish","channel":"demo1","event":"signal:all"}"#;
    let mut cases = vec![(missing.to_owned(), "缺少消息数据")];
    for data in [
        "null",
        "[]",
        r#"[{"from":"a:1"}]"#,
        r#""text""#,
        r#""{}""#,
        "7",
        "-1.5e3",
        "true",
        r#"{"from":"a:1","from":"b:2"}"#,
    ] {
        let request = format!(r#"{{"type":"publish","channel":"demo1","event":"signal:all","data":{data}}}"#);
        cases.push((request, "消息数据格式错误"));
    }
    let cases: Vec<_> = cases.iter().map(|(r, t)| (r.as_str(), *t)).collect();
    expect_errors(&cases).await;
}

/// §2.1 "anything else": the type is named. A long one is cut, so that the answer is not as long.
#[tokio::test]
async fn with_an_unknown_type() {
    let long = format!(r#"{{"type":"{}"}}"#, "长".repeat(1000));
    let cut = format!("不支持的消息类型: {}", "长".repeat(64));
    expect_errors(&[
        (r#"{"type":"ping"}"#, "不支持的消息类型: ping"),
        (r#"{"type":"Subscribe","channel":"demo1"}"#, "不支持的消息类型: Subscribe"),
        (r#"{"type":"message","channel":"demo1","data":{}}"#, "不支持的消息类型: message"),
        ("{}", "不支持的消息类型: "),
        (r#"{"channel":"demo1","data":{}}"#, "不支持的消息类型: "),
        (&long, &cut),
    ])
    .await;
}

/// §2.1 "must be a member", §2.2 `客户端未订阅房间: X`: never joined, left, a name that no room has.
#[tokio::test]
async fn publishing_as_no_member() {
    expect_errors(&[
        (r#"{"type":"publish","channel":"other","event":"signal:all","data":{}}"#, "客户端未订阅房间: other"),
        (r#"{"type":"publish","channel":"Demo1","event":"signal:all","data":{}}"#, "客户端未订阅房间: Demo1"),
        (r#"{"type":"publish","channel":"x","data":{}}"#, "客户端未订阅房间: x"),
    ])
    .await;

    let server = Server::start(|_| {});
    let mut page = Client::join(&server, "a:1", "demo1").await;
    page.send(json!({"type": "unsubscribe", "channel": "demo1"})).await;
    assert_eq!(page.next().await["type"], "unsubscribed");
    page.publish("demo1", "signal:all", json!({})).await;
    page.expect_error(400, "客户端未订阅房间: demo1").await;
}

/// §1.4, §8 "malformed JSON": the Go server drops the connection; here an error, and it stays.
#[tokio::test]
async fn what_is_no_request() {
    let bad = [
        "",
        " ",
        "hello",
        "null",
        "7",
        r#""subscribe""#,
        "[]",
        r#"["subscribe","demo1","signal:all",{}]"#,
        r#"[{"type":"subscribe","channel":"demo1"}]"#,
        "{",
        r#"{"type":"subscribe","channel":"demo1""#,
        r#"{"type":"subscribe","channel":"demo1"} {}"#,
        r#"{"type":"subscribe","channel":"demo1"}x"#,
        r#"{'type':'subscribe'}"#,
        "{\"type\":\"subscribe\",\"channel\":\"de\nmo\"}",
        r#"{"type":"subscribe","channel":"\ud800x"}"#,
        // Wrong types.
        r#"{"type":1}"#,
        r#"{"type":null}"#,
        r#"{"type":["subscribe"],"channel":"demo1"}"#,
        r#"{"type":"subscribe","channel":1}"#,
        r#"{"type":"subscribe","channel":null}"#,
        r#"{"type":"subscribe","channel":{"name":"demo1"}}"#,
        r#"{"type":"subscribe","channel":"demo1","event":7}"#,
        r#"{"type":"publish","channel":"demo1","event":[],"data":{}}"#,
        // Duplicate keys: which of the two is meant is a guess.
        r#"{"type":"subscribe","type":"publish","channel":"demo1","data":{}}"#,
        r#"{"type":"publish","channel":"demo1","channel":"other","data":{}}"#,
        r#"{"type":"publish","channel":"demo1","event":"a","event":"b","data":{}}"#,
        r#"{"type":"publish","channel":"demo1","data":{},"data":{}}"#,
    ];
    let cases: Vec<_> = bad.iter().map(|text| (*text, "消息格式错误")).collect();
    expect_errors(&cases).await;
}

/// §2.1: fields that nobody knows, in any order, with space around, are no reason to refuse.
#[tokio::test]
async fn unknown_fields_and_space_are_fine() {
    let server = Server::start(|_| {});
    let mut page = Client::connect(&server, "a:1").await;
    for request in [
        r#"{"timestamp":1,"event":"signal:all","x":{"y":[null]},"channel":"demo1","type":"subscribe"}"#,
        " \r\n\t{ \"type\" : \"subscribe\" , \"channel\" : \"demo1\" } \n",
        r#"{"type":"subscribe","channel":"\u0064emo1","data":null}"#,
    ] {
        page.send_text(request).await;
        let answer = page.next().await;
        assert_eq!(answer["type"], "subscribed", "{request}: {answer}");
        assert_eq!(answer["channel"], "demo1");
    }
}

/// §1.4 "binary frame": the Go server finds no type in it, even when it holds a valid request.
#[tokio::test]
async fn binary_frames() {
    let server = Server::start(|_| {});
    let mut page = Client::join(&server, "a:1", "demo1").await;
    let mut other = Client::join(&server, "b:2", "demo1").await;
    let publish = br#"{"type":"publish","channel":"demo1","data":{}}"#;
    for payload in [&b""[..], &[0, 159, 255], publish, &[b'x'; 65_792]] {
        let frame = Message::binary(payload.to_vec());
        page.socket.send(frame).await.expect("open");
        page.expect_error(400, "不支持的消息类型: ").await;
    }
    assert!(page.received_so_far().await.is_empty());
    assert!(other.received_so_far().await.is_empty());
}
