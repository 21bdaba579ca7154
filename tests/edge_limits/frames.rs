//! Frames and messages: the size limit of `docs/protocols/letshare.md §1.4` and what RFC 6455 asks of text.

use futures_util::SinkExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::{
    Message,
    protocol::frame::{
        Frame,
        coding::{Data, OpCode},
    },
};

use crate::support::{Client, Server};

const LIMIT: usize = 512 * 1024;

/// A publish request of exactly this many bytes.
fn publish_of(bytes: usize) -> String {
    let start = r#"{"type":"publish","channel":"demo1","data":{"s":""#;
    let end = r#""}}"#;
    let filling = "x".repeat(bytes - start.len() - end.len());
    format!("{start}{filling}{end}")
}

/// The fragments of one text message. Errors are for the reader: the server may close meanwhile.
async fn send_fragments<'a>(client: &mut Client, fragments: impl IntoIterator<Item = &'a [u8]>) {
    let mut fragments = fragments.into_iter().peekable();
    let mut kind = Data::Text;
    while let Some(fragment) = fragments.next() {
        let is_final = fragments.peek().is_none();
        let frame = Frame::message(fragment.to_vec(), OpCode::Data(kind), is_final);
        let _ = client.socket.send(Message::Frame(frame)).await;
        kind = Data::Continue;
    }
}

async fn expect_close_code(client: &mut Client, code: u16) {
    let close = client.expect_close().await.expect("a close frame with a code");
    assert_eq!(u16::from(close.code), code, "{close:?}");
    let end = client.next_frame().await;
    assert!(!matches!(end, Some(Ok(_))), "nothing follows: {end:?}");
}

/// §1.4 "512 KiB exactly is accepted", in one frame and in fragments.
#[tokio::test]
async fn a_message_of_the_limit_is_accepted() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let largest = publish_of(LIMIT);
    a.send_text(&largest).await;
    let length = |message: &serde_json::Value| message["data"]["s"].as_str().map(str::len);
    let first = length(&b.next().await);
    assert!(first.is_some_and(|bytes| bytes > LIMIT - 100));
    send_fragments(&mut a, largest.as_bytes().chunks(LIMIT / 8)).await;
    assert_eq!(length(&b.next().await), first);
    assert!(a.received_so_far().await.is_empty());
}

/// §1.4 "one byte more closes with 1009"; the others go on.
#[tokio::test]
async fn one_byte_more_closes_with_1009() {
    let server = Server::start(|_| {});
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let mut c = Client::join(&server, "c:3", "demo1").await;
    let too_big = publish_of(LIMIT + 1);
    for pieces in [1, 8] {
        let mut a = Client::join(&server, "a:1", "demo1").await;
        let piece = too_big.len().div_ceil(pieces);
        send_fragments(&mut a, too_big.as_bytes().chunks(piece)).await;
        expect_close_code(&mut a, 1009).await;
    }
    b.publish("demo1", "signal:all", json!({"n": 1})).await;
    assert_eq!(c.next().await["data"]["n"], 1);
    assert!(b.received_so_far().await.is_empty());
}

/// `websocket.max_message_bytes`.
#[tokio::test]
async fn the_limit_is_a_setting() {
    let server = Server::start(|config| config.websocket.max_message_bytes = 1024);
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    a.send_text(&publish_of(1024)).await;
    assert_eq!(b.next().await["type"], "message");
    send_fragments(&mut a, [publish_of(1025).as_bytes()]).await;
    expect_close_code(&mut a, 1009).await;
}

/// `websocket.max_fragments`: 64 are fine, one more closes with 1008.
#[tokio::test]
async fn the_number_of_fragments_is_limited() {
    let server = Server::start(|_| {});
    let mut a = Client::join(&server, "a:1", "demo1").await;
    let mut b = Client::join(&server, "b:2", "demo1").await;
    let request = publish_of(64 * 65);
    send_fragments(&mut a, request.as_bytes().chunks(65)).await;
    assert_eq!(b.next().await["type"], "message");
    send_fragments(&mut a, request.as_bytes().chunks(64)).await;
    expect_close_code(&mut a, 1008).await;
}

/// RFC 6455 §5.6, §8.1: text that is not UTF-8 closes with 1007 (the Go server drops the socket, §1.4).
#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007() {
    let server = Server::start(|_| {});
    let whole = b"{\"type\":\"subscribe\",\"channel\":\"\xff\xfe\"}";
    let cut_short = "{\"channel\":\"小".as_bytes();
    let cut_short = &cut_short[..cut_short.len() - 1];
    for fragments in
        [vec![&whole[..]], vec![&whole[..20], &whole[20..]], vec![cut_short], vec![b"\xed\xa0\x80"], vec![b"\xc0\xaf"]]
    {
        let mut a = Client::join(&server, "a:1", "demo1").await;
        send_fragments(&mut a, fragments).await;
        expect_close_code(&mut a, 1007).await;
    }
}

/// RFC 6455 §5.4: a character may be cut by fragments, and control frames may stand between them.
#[tokio::test]
async fn fragments_may_cut_characters_and_let_pings_through() {
    let server = Server::start(|_| {});
    let mut a = Client::connect(&server, "a:1").await;
    let request = r#"{"type":"subscribe","channel":"小明"}"#.as_bytes();
    let (start, rest) = request.split_at(32);
    assert!(std::str::from_utf8(start).is_err(), "cut in a character");
    let first = Frame::message(start.to_vec(), OpCode::Data(Data::Text), false);
    let last = Frame::message(rest.to_vec(), OpCode::Data(Data::Continue), true);
    for frame in [Message::Frame(first), Message::Ping("between".into()), Message::Frame(last)] {
        a.socket.send(frame).await.expect("open");
    }
    let pong = a.next_frame().await.expect("open").expect("a frame");
    assert_eq!(pong, Message::Pong("between".into()));
    assert_eq!(a.next().await["channel"], "小明");
}

/// RFC 6455 §5.5.1: the client's code comes back, and the server ends the TCP connection.
#[tokio::test]
async fn a_close_is_answered_with_its_code() {
    use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
    let server = Server::start(|_| {});
    for code in [CloseCode::Normal, CloseCode::Away, CloseCode::Library(4321)] {
        let mut a = Client::join(&server, "a:1", "demo1").await;
        let goodbye = CloseFrame { code, reason: "bye".into() };
        a.socket.close(Some(goodbye)).await.expect("open");
        expect_close_code(&mut a, code.into()).await;
    }
    let mut a = Client::join(&server, "a:1", "demo1").await;
    a.socket.close(None).await.expect("open");
    assert_eq!(a.expect_close().await, None);
    assert!(a.next_frame().await.is_none());
}
