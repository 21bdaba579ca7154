//! What clients of every protocol send and do not finish, and frames that mean nothing.

use serde_json::json;

use super::{SECRET, Siege, besiege, text};
use crate::{
    chat::house::signed_by,
    support::raw::{BINARY, FIN, PING, PONG, Raw, TEXT, frame, frame_head},
};

/// Of a message that each protocol takes.
const MUCH: u64 = 250_000;

/// Of a user of the chat.
pub fn chat_token(number: usize) -> String {
    signed_by(SECRET, &json!({"ID": number + 1}))
}

/// Of a user of the group protocol.
pub fn user_token(number: usize) -> String {
    signed_by(SECRET, &json!({"userId": format!("u{number}"), "exp": 4_000_000_000_u64}))
}

impl Siege {
    pub async fn letshare(&self, number: usize) -> Option<Raw> {
        let target = format!("/ws?token={}&userId=u{number}:x", self.server.token);
        self.upgrade(self.connect(number).await?, &target, "").await
    }

    pub async fn chat(&self, number: usize, raw: Raw) -> Option<Raw> {
        let token = chat_token(number);
        self.upgrade(raw, "/ws/chat", &format!("x-token: {token}\r\n")).await
    }

    /// Authenticated.
    pub async fn group(&self, number: usize, raw: Raw) -> Option<Raw> {
        let mut raw = self.upgrade(raw, "/group/ws", "").await?;
        raw.attack(&text(&json!({"type": "auth", "data": {"token": user_token(number)}}))).await;
        Some(raw)
    }

    pub async fn postoffice(&self, number: usize, raw: Raw) -> Option<Raw> {
        let target = format!("/postoffice/ws?clientID=box-{number}");
        self.upgrade(raw, &target, "Authorization: Bearer any\r\n").await
    }

    /// A WebSocket of one protocol after the other.
    async fn any(&self, number: usize) -> Option<Raw> {
        match number % 6 {
            0 => self.letshare(number).await,
            1 => self.ably(number, "").await,
            2 => self.upgrade(self.connect(number).await?, "/relay/ws", "").await,
            3 => self.chat(number, self.connect(number).await?).await,
            4 => self.group(number, self.connect(number).await?).await,
            _ => self.postoffice(number, self.connect(number).await?).await,
        }
    }

    /// Everybody sends the same.
    async fn all_send(&self, bytes: &[u8]) -> Vec<Raw> {
        let attack = async |number| {
            let mut raw = self.any(number).await?;
            raw.flood(bytes).await;
            Some(raw)
        };
        self.crowd(attack).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_do_not_end() {
    let mut begun = frame_head(FIN | TEXT, MUCH);
    begun.resize(MUCH as usize - 100, b'x');
    besiege(&[], async |siege| siege.all_send(&begun).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_without_a_last_one() {
    let part = vec![b'x'; 30_000];
    let fragments = [frame(BINARY, &part), frame(0, &part).repeat(7)].concat();
    besiege(&[], async |siege| siege.all_send(&fragments).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_and_pongs_and_nonsense() {
    let flood = [frame(FIN | PING, &[b'p'; 125]), frame(FIN | PONG, &[b'p'; 125]), frame(FIN | TEXT, b"{}")].concat();
    besiege(&[], async |siege| siege.all_send(&flood.repeat(50)).await).await;
}
