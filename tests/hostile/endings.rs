//! Connections that end in unusual ways, and what is kept after an end.

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::support::{
    eventually,
    process::ServerProcess,
    raw::{BINARY, FIN, Raw, TEXT, frame},
};

const CLOSE: u8 = 0x8;

/// RFC 6455 §5.5.1: a close frame is answered, also when the client's FIN comes with it.
#[tokio::test]
async fn a_goodbye_with_fin_right_behind_it_is_answered() {
    let server = ServerProcess::start(&[]);
    for round in 0..30 {
        let mut client = Raw::open(&server, &format!("u:{round}")).await;
        client.write(&frame(FIN | CLOSE, &1000u16.to_be_bytes())).await.unwrap();
        client.writer.shutdown().await.unwrap();
        let answer = client.reader.frame().await.expect("a close frame");
        assert_eq!((answer.opcode, &answer.payload[..2]), (CLOSE, &1000u16.to_be_bytes()[..]));
    }
}

/// Whoever stops reading and then half-closes without a word is cut like any other that does not read.
#[tokio::test]
async fn readers_that_stop_and_half_close_cost_no_descriptor_for_good() {
    let server = ServerProcess::start(&[
        ("HISTORY_WINDOW", "0s"),
        ("LIMITS_PUBLISHES_PER_SECOND", "0"),
        ("LIMITS_OUTBOX_BYTES", "16000000"),
        ("WEBSOCKET_CLOSE_TIMEOUT", "500ms"),
    ]);
    let mut speaker = Raw::join(&server, "speaker", "demo1", "other").await;
    let before = server.descriptors();
    let mut stuck = Vec::new();
    for number in 0..10 {
        let narrow = Raw::connect_narrow(server.address).await;
        let mut client = narrow.upgrade(&server, &format!("s{number}")).await;
        client.subscribe("demo1", "big").await;
        stuck.push(client);
    }
    let ballast = "x".repeat(64 << 10);
    for _ in 0..120 {
        speaker.publish("demo1", "big", json!({ "ballast": ballast })).await;
    }
    speaker.answers_so_far().await;
    for client in &mut stuck {
        client.writer.shutdown().await.unwrap();
    }
    server.until_metric("active_connections", 1).await;
    eventually(async || {
        server.metrics().await;
        (server.descriptors() <= before).then_some(())
    })
    .await;
}

/// A request and a cancel keep nothing that a client chose the size of.
#[tokio::test]
async fn cancelled_transfers_with_long_names_cost_nothing() {
    let server = ServerProcess::start(&[("HISTORY_WINDOW", "0s")]);
    let mut sender = Raw::join(&server, "s:1", "demo1", "signal:all").await;
    let _receiver = Raw::join(&server, "r:1", "demo1", "signal:all").await;
    let name = "x".repeat(500_000);
    let before = server.memory();
    for number in 0..30 {
        let request = json!({
            "type": "file:transfer:request", "channel": "demo1",
            "data": {
                "transfer_id": format!("t{number}"), "file_name": name, "file_size": 0, "file_type": "x",
                "chunk_size": 1024, "total_chunks": 1, "to_user_id": "r:1",
            },
        });
        sender.send(request).await;
        let refusal = sender.message().await;
        assert_eq!(refusal["type"], "file:transfer:error", "{refusal}");
        assert_eq!(refusal["data"]["transfer_id"], format!("t{number}"));
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB for 15 MB of names");
}

/// A small frame that is kept does not keep the buffer that it was read into.
#[tokio::test]
async fn small_chunks_behind_large_texts_cost_what_they_are() {
    let server = ServerProcess::start(&[("HISTORY_WINDOW", "0s"), ("LIMITS_PUBLISHES_PER_SECOND", "0")]);
    let mut sender = Raw::join(&server, "s:1", "demo1", "signal:all").await;
    let mut receiver = Raw::join(&server, "r:1", "demo1", "signal:all").await;
    let text = frame(FIN | TEXT, format!("\"{}\"", "x".repeat(500_000)).as_bytes());
    for _ in 0..20 {
        sender.write(&text).await.unwrap();
        sender.message().await;
    }
    let request = json!({
        "type": "file:transfer:request", "channel": "demo1",
        "data": {
            "transfer_id": "t", "file_name": "f", "file_size": 40 * 1024, "file_type": "x",
            "chunk_size": 1024, "total_chunks": 40, "to_user_id": "r:1",
        },
    });
    sender.send(request).await;
    receiver.message().await;
    let accept = json!({"type": "file:transfer:accept", "data": {"transfer_id": "t"}});
    receiver.send(accept).await;
    assert_eq!(sender.message().await["type"], "file:transfer:accept");

    let before = server.memory();
    for index in 0..40 {
        let header = json!({"transfer_id": "t", "chunk_index": index, "chunk_size": 1024, "total_chunks": 40});
        let mut chunk = header.to_string().into_bytes();
        chunk.resize(256, 0);
        chunk.resize(256 + 1024, 7);
        let both = [text.clone(), frame(FIN | BINARY, &chunk)].concat();
        sender.write(&both).await.unwrap();
        sender.message().await;
        while receiver.reader.frame().await.expect("the chunk").opcode != BINARY {}
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB for a ring of 50 KiB");
}
