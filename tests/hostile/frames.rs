//! Frames that are not what they should be.

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::{MIB, ROOM, besiege};
use crate::support::{
    process::ServerProcess,
    raw::{BINARY, CLOSE, End, FIN, PING, PONG, Raw, TEXT, frame, frame_head, in_time},
};

/// docs/dependencies.md §0 fact 1: actix-ws alone would hold what is sent, here many hundred MiB.
#[tokio::test]
async fn a_frame_header_of_4_gib_costs_no_memory() {
    let server = ServerProcess::start(&[("WEBSOCKET_CLOSE_TIMEOUT", "300ms")]);
    let attacker = async |number: usize| {
        let mut raw = Raw::join(&server, &format!("bad:{number}"), ROOM, "x").await;
        raw.write(&frame_head(FIN | BINARY, 4 << 30)).await.expect("open");
        let chunk = vec![0x55; 64 << 10];
        let Raw { reader, writer } = &mut raw;
        // Until the server ends it: that must cut off who goes on sending, too.
        let flood = async { while writer.write_all(&chunk).await.is_ok() {} };
        let end = async {
            let end = reader.end().await;
            reader.eof().await;
            end
        };
        in_time(async { tokio::join!(flood, end).1 }).await
    };
    let ends = besiege(&server, 16 * MIB, join_all((0..8).map(attacker))).await;
    assert_eq!(ends, [End::Closed(1009); 8]);
}

/// docs/dependencies.md §0 fact 2: forty times their size, without a cap.
#[tokio::test]
async fn a_million_one_byte_fragments_cost_no_memory() {
    let server = ServerProcess::start(&[("WEBSOCKET_CLOSE_TIMEOUT", "300ms")]);
    let mut fragments = frame(TEXT, b"x");
    for _ in 1..1_000_000 {
        fragments.extend_from_slice(&frame(0, b"x"));
    }
    let attacker = async |number: usize| {
        let mut raw = Raw::join(&server, &format!("bad:{number}"), ROOM, "x").await;
        raw.provoke(&fragments).await
    };
    let ends = besiege(&server, 8 * MIB, join_all((0..4).map(attacker))).await;
    assert_eq!(ends, [End::Closed(1008); 4]);
}

/// A frame that breaks a rule ends the connection with the code that names the rule (RFC 6455 §7.4.1).
#[tokio::test]
async fn each_broken_rule_has_its_close_code() {
    let server = ServerProcess::start(&[("WEBSOCKET_CLOSE_TIMEOUT", "300ms")]);
    let two_frames = |first: &[u8], second: &[u8]| [first, second].concat();
    let table: Vec<(&str, Vec<u8>, &[u16])> = vec![
        // RFC 6455 §5.2: the top bit must be 0; too big as well.
        ("top bit of the length", frame_head(FIN | TEXT, 1 << 63), &[1002, 1009]),
        ("all bits of the length", frame_head(FIN | TEXT, u64::MAX), &[1002, 1009]),
        ("one byte above the limit", frame_head(FIN | TEXT, 524_289), &[1009]),
        (
            "fragments above the limit together",
            two_frames(&frame(TEXT, &[b'x'; 400_000]), &frame_head(FIN, 200_000)),
            &[1009],
        ),
        ("a huge control frame", frame_head(FIN | PING, 1 << 40), &[1002, 1009]),
        ("a control frame of 126 bytes", frame(FIN | PING, &[0; 126]), &[1002]),
        ("a fragmented control frame", frame(PING, b"x"), &[1002]),
        ("no mask", vec![FIN | TEXT, 1, b'x'], &[1002]),
        ("reserved bit", frame(FIN | 0x40 | TEXT, b"x"), &[1002]),
        ("reserved opcode", frame(FIN | 0x3, b"x"), &[1002]),
        ("reserved control opcode", frame(FIN | 0xB, b""), &[1002]),
        ("continues nothing", frame(FIN, b"x"), &[1002]),
        ("a text inside a text", two_frames(&frame(TEXT, b"x"), &frame(FIN | TEXT, b"x")), &[1002]),
        ("not UTF-8", frame(FIN | TEXT, b"\xF0\x28\x8C\x28"), &[1007]),
        ("a surrogate", frame(FIN | TEXT, b"\xED\xA0\x80"), &[1007]),
        ("not UTF-8 across fragments", two_frames(&frame(TEXT, b"\xE5\xB0"), &frame(FIN, b"\x28")), &[1007]),
        ("a close frame of one byte", frame(FIN | CLOSE, b"\x03"), &[1002]),
        ("a close code that must not be sent", frame(FIN | CLOSE, &1005u16.to_be_bytes()), &[1002]),
        ("a close reason that is not UTF-8", frame(FIN | CLOSE, b"\x03\xE8\xFF"), &[1002, 1007]),
    ];
    let attack = async {
        for (name, bytes, codes) in table {
            let mut raw = Raw::join(&server, "bad", ROOM, "x").await;
            let end = raw.provoke(&bytes).await;
            let is_right = matches!(end, End::Closed(code) if codes.contains(&code));
            assert!(is_right, "{name}: {end:?} instead of {codes:?}");
        }
    };
    besiege(&server, 8 * MIB, attack).await;
}

/// Invalid JSON and valid nonsense get an error each, and the connection stays
/// (`docs/protocols/letshare.md §2`).
#[tokio::test]
async fn nonsense_in_valid_frames_is_answered_and_the_connection_stays() {
    let server = ServerProcess::start(&[]);
    let deep = "[".repeat(100_000);
    let huge = format!(r#"{{"type":"publish","channel":"{ROOM}","event":"{}"#, "x".repeat(500_000));
    let many_keys: String = (0..20_000).map(|key| format!(r#""{key}":0,"#)).collect();
    let texts = [
        "",
        "{",
        "null",
        "[]",
        "\u{0}",
        &deep,
        &huge,
        &format!(r#"{{"type":{deep}}}"#),
        &format!(r#"{{"type":"publish","channel":"{ROOM}","data":{deep}}}"#),
        &format!(r#"{{"type":"publish","channel":"{ROOM}","data":{{"from":{deep}{}}}}}"#, "]".repeat(100_000)),
        &format!(r#"{{{many_keys}"type":7}}"#),
        r#"{"type":"publish","channel":"siege","data":1e999999}"#,
        r#"{"type":"subscribe","channel":"\ud800"}"#,
    ];
    let attack = async {
        let mut raw = Raw::join(&server, "bad", ROOM, "x").await;
        for text in texts {
            raw.send_text(text).await;
            let answer = raw.message().await;
            assert_eq!(answer["type"], "error", "{:.60}: {answer}", text);
        }
        raw.write(&frame(FIN | BINARY, &[0xFF; 500_000])).await.expect("open");
        assert_eq!(raw.message().await["type"], "error");
        let mut listener = Raw::join(&server, "curious", ROOM, "still").await;
        raw.publish(ROOM, "still", json!({"here": true})).await;
        assert_eq!(listener.message().await["data"]["here"], true);
    };
    besiege(&server, 16 * MIB, attack).await;
}

/// Valid JSON, as big and as deep as it may be, reaches the room unchanged.
#[tokio::test]
async fn the_deepest_and_the_biggest_message_pass() {
    let server = ServerProcess::start(&[]);
    let deep = format!(r#"{{"d":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let big = format!(r#"{{"d":"{}"}}"#, "x".repeat(520_000));
    let attack = async {
        let mut raw = Raw::join(&server, "bad", ROOM, "x").await;
        let mut listener = Raw::join(&server, "curious", ROOM, "deep").await;
        for data in [deep, big] {
            let text = format!(r#"{{"type":"publish","channel":"{ROOM}","event":"deep","data":{data}}}"#);
            raw.send_text(&text).await;
            let heard = listener.text().await;
            assert!(heard.contains(&data[..data.len() - 1]), "{heard:.80}");
        }
    };
    besiege(&server, 24 * MIB, attack).await;
}

/// Whatever comes after the upgrade, the server ends the connection properly or waits for more.
#[tokio::test]
async fn garbage_after_the_upgrade_is_refused_properly() {
    let server = ServerProcess::start(&[("WEBSOCKET_CLOSE_TIMEOUT", "300ms")]);
    let attacker = async |seed: u64| {
        let mut raw = Raw::join(&server, &format!("bad:{seed}"), ROOM, "x").await;
        let mut garbage = garbage(seed, 4_096);
        // Past any header that is left open.
        garbage.extend_from_slice(&frame(FIN | CLOSE, &[]));
        raw.write(&garbage).await.ok();
        raw.writer.shutdown().await.ok();
        let end = raw.reader.end().await;
        let known = [1002, 1005, 1007, 1008, 1009].map(End::Closed);
        assert!(end == End::Cut || known.contains(&end), "seed {seed}: {end:?}");
        raw.reader.eof().await;
    };
    let attack = async {
        for seeds in (1..=320).collect::<Vec<u64>>().chunks(40) {
            join_all(seeds.iter().map(|seed| attacker(*seed))).await;
        }
        // The good clients remain.
        server.until_metric("active_connections", 6).await;
    };
    besiege(&server, 16 * MIB, attack).await;
}

/// Pings are answered up to the rate limit; pongs that nobody asked for cost nothing (RFC 6455 §5.5.3).
#[tokio::test]
async fn floods_of_pings_and_pongs_do_not_harm() {
    let server = ServerProcess::start(&[("LIMITS_PUBLISHES_PER_SECOND", "500"), ("LIMITS_PUBLISH_BURST", "1000")]);
    let pings = frame(FIN | PING, &[b'p'; 125]).repeat(100_000);
    let pongs = frame(FIN | PONG, &[b'p'; 125]).repeat(100_000);
    let attacker = async |flood: &[u8]| {
        let mut raw = Raw::join(&server, "bad", ROOM, "x").await;
        let Raw { reader, writer } = &mut raw;
        // Whoever floods is cut off (findings B8), so not all of it can be written.
        let write = async { writer.write_all(flood).await };
        let read = async {
            let mut answered = 0;
            loop {
                let frame = reader.frame().await.expect("a close frame comes first");
                match frame.opcode {
                    PONG => answered += 1,
                    CLOSE => return (answered, u16::from_be_bytes([frame.payload[0], frame.payload[1]])),
                    _ => panic!("{frame:?}"),
                }
            }
        };
        in_time(async { tokio::join!(write, read).1 }).await
    };
    let attack = async { tokio::join!(attacker(&pings), attacker(&pongs)) };
    let ((answers, why), unasked) = besiege(&server, 8 * MIB, attack).await;
    assert!((1_000..50_000).contains(&answers) && why == 1008, "{answers} pongs, {why}");
    assert_eq!(unasked, (0, 1008));
}

/// Reproducible noise (xorshift64).
fn garbage(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let bytes = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    });
    bytes.flatten().take(length).collect()
}
