//! Files that are sent by way of the server and never end.

use serde_json::{Value, json};

use super::{Siege, besiege, text, texts};
use crate::support::raw::{BINARY, FIN, Raw, frame};

const CHUNK: usize = 64 * 1024;
const CHUNKS: usize = 800;

fn request(id: &str, to: &str, room: &str) -> Value {
    json!({
        "type": "file:transfer:request", "channel": room,
        "data": {
            "transfer_id": id, "file_name": "f".repeat(200), "file_size": CHUNK * CHUNKS, "file_type": "x",
            "chunk_size": CHUNK, "total_chunks": CHUNKS, "to_user_id": to, "flow_control": "receiver_ack_v1",
        },
    })
}

fn chunk(id: &str, index: usize) -> Vec<u8> {
    let header = json!({"transfer_id": id, "chunk_index": index, "chunk_size": CHUNK, "total_chunks": CHUNKS});
    let mut bytes = header.to_string().into_bytes();
    bytes.resize(256, 0);
    bytes.resize(256 + CHUNK, b'x');
    frame(FIN | BINARY, &bytes)
}

impl Siege {
    async fn member(&self, number: usize, room: &str) -> Option<Raw> {
        let mut raw = self.letshare(number).await?;
        raw.flood(&text(&json!({"type": "subscribe", "channel": room, "event": "signal:all"}))).await;
        raw.linger().await;
        Some(raw)
    }
}

/// The receiver accepts and is gone: what it has not got waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_to_receivers_that_have_gone() {
    besiege(&[], async |siege| {
        let attack = async |number: usize| {
            let room = format!("files-{number}");
            let (sender, receiver) = (2 * number, 2 * number + 1);
            let mut receiving = siege.member(receiver, &room).await?;
            let mut sending = siege.member(sender, &room).await?;
            let id = format!("f-{number}");
            sending.flood(&text(&request(&id, &format!("u{receiver}:x"), &room))).await;
            receiving.linger().await;
            let accept = json!({"type": "file:transfer:accept", "data": {"transfer_id": id}});
            receiving.flood(&text(&accept)).await;
            sending.linger().await;
            drop(receiving);
            for index in 0..20 {
                sending.flood(&chunk(&id, index)).await;
            }
            Some(sending)
        };
        siege.some(150, attack).await
    })
    .await;
}

/// Requests that are taken back at once are remembered for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_are_asked_for_and_cancelled() {
    besiege(&[], async |siege| {
        let attack = async |number: usize| {
            let room = format!("files-{number}");
            let receiving = siege.member(2 * number + 1, &room).await?;
            let mut sending = siege.member(2 * number, &room).await?;
            let to = format!("u{}:x", 2 * number + 1);
            let loops = (0..400).flat_map(|round| {
                let id = format!("{number}-{round}");
                let cancel = json!({"type": "file:transfer:cancel", "data": {"transfer_id": id}});
                [request(&id, &to, &room), cancel]
            });
            sending.flood(&texts(loops)).await;
            drop(receiving);
            Some(sending)
        };
        siege.some(200, attack).await
    })
    .await;
}
