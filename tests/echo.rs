//! The protocol of docs/adding-a-protocol.md: what its blocks do for it.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
};

use crate::support::{PATIENCE, echo_server::EchoServer, eventually, raw::get};

/// RFC 6455 §4.1, with a version that there is not.
const WRONG_VERSION: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 12\r\n\
                             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(server: &EchoServer, query: &str) -> Self {
        Self::try_connect(server, query).await.expect("the handshake succeeds")
    }

    async fn try_connect(server: &EchoServer, query: &str) -> Result<Self, Error> {
        connect_async(format!("ws://{}/?{query}", server.address)).await.map(|(socket, _)| Self(socket))
    }

    async fn say(&mut self, text: &str) {
        self.0.send(Message::text(text)).await.expect("open");
    }

    /// The next text; pings are answered on the way.
    async fn hear(&mut self) -> String {
        let text = async {
            loop {
                if let Message::Text(text) = self.0.next().await.expect("open").expect("a frame") {
                    return text.to_string();
                }
            }
        };
        tokio::time::timeout(PATIENCE, text).await.expect("it comes")
    }
}

#[actix_web::test]
async fn who_is_in_a_room_hears_what_is_said_there() {
    let server = EchoServer::start(9);
    let mut here = Client::connect(&server, "user=ann&room=hall").await;
    let mut there = Client::connect(&server, "user=bob&room=hall").await;
    let mut elsewhere = Client::connect(&server, "user=eve&room=attic").await;
    // The channel answers each attachment in its turn: who hears itself is in.
    there.say("hello").await;
    assert_eq!(there.hear().await, "hello");
    here.say("hi").await;
    elsewhere.say("hu").await;
    eventually(async || (here.hear().await == "hi").then_some(())).await;
    assert_eq!(there.hear().await, "hi");
    assert_eq!(elsewhere.hear().await, "hu");
    server.stop().await;
}

#[actix_web::test]
async fn a_message_for_one_user_waits_until_it_was_read() {
    let server = EchoServer::start(9);
    let mut ann = Client::connect(&server, "user=ann").await;
    ann.say("@bob one").await;
    ann.say("@bob two").await;
    ann.say("done").await;
    assert_eq!(ann.hear().await, "done");
    let mut bob = Client::connect(&server, "user=bob").await;
    assert_eq!((bob.hear().await, bob.hear().await), ("one".to_owned(), "two".to_owned()));
    ann.say("@bob three").await;
    assert_eq!(bob.hear().await, "three");
    // Each round lets it answer the ping that came behind a message.
    eventually(async || {
        bob.say("read").await;
        assert_eq!(bob.hear().await, "read");
        (server.inboxes.mailboxes.stored().await == Ok(0)).then_some(())
    })
    .await;
    let mut again = Client::connect(&server, "user=bob").await;
    again.say("nothing new").await;
    assert_eq!(again.hear().await, "nothing new");
    server.stop().await;
}

/// What stands around every endpoint: refusals are answered by the protocol, counted by reason, and take no place.
#[actix_web::test]
async fn refusals_are_answered_and_counted() {
    let server = EchoServer::start(1);
    let long = get(server.address, &format!("/?user={}", "x".repeat(65)), "").await;
    assert!(long.starts_with("HTTP/1.1 400") && long.ends_with("user may have 64 bytes"), "{long}");
    let plain = get(server.address, "/?user=ann", "").await;
    assert!(plain.starts_with("HTTP/1.1 400") && plain.contains("Upgrade must be websocket"), "{plain}");
    let version = get(server.address, "/?user=ann", WRONG_VERSION).await;
    assert!(version.to_ascii_lowercase().contains("sec-websocket-version: 13"), "{version}");
    let mut ann = Client::connect(&server, "user=ann").await;
    ann.say("in").await;
    assert_eq!(ann.hear().await, "in");
    assert!(Client::try_connect(&server, "user=bob").await.is_err());
    let counted: Vec<_> = server.broker.refusals.read().into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("full", 1), ("request", 3)]);
    // A plain page needs no place.
    let online = get(server.address, "/online", "").await;
    assert!(online.starts_with("HTTP/1.1 200") && online.ends_with('1'), "{online}");
    server.stop().await;
}
