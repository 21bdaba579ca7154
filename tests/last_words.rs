//! What a client says right before its transport ends still counts: a LetShare page that is closed
//! says `leave` and is gone (`docs/protocols/letshare.md` §2.6), with a close frame or without.

use futures_util::SinkExt as _;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Client, Server};

/// Often enough to meet the message and the end of the stream in one read and in two.
const ROUNDS: usize = 50;

#[tokio::test]
async fn the_last_message_before_the_end_of_the_transport_is_delivered() {
    let server = Server::start(|_| {});
    let mut stays = Client::join(&server, "stays", "room").await;
    for round in 0..ROUNDS {
        let mut goes = Client::join(&server, "goes", "room").await;
        goes.publish("room", "signal:all", json!({"type": "leave", "from": "goes", "round": round})).await;
        if round % 2 == 0 {
            goes.socket.send(Message::Close(None)).await.unwrap();
        }
        goes.socket.get_mut().shutdown().await.unwrap();
        let heard = stays.next().await;
        assert_eq!(heard["data"]["round"], round, "{heard}");
    }
}
