//! Responses that go on (§1.6): one line for each batch, no empty one.

use serde_json::{Value, json};

use super::client::{Lines, ask, frames_in};
use crate::{
    ably_realtime::stage::{EVERYTHING, Stage, connection_key, names},
    support::ably::action,
};

async fn next(lines: &mut Lines) -> Vec<Value> {
    let line = lines.line().await.expect("the body goes on");
    let frames = frames_in(&line).into();
    assert_ne!(line, "");
    frames
}

#[tokio::test]
async fn connect_is_the_first_stream_and_recv_the_next() {
    let stage = Stage::start().await;
    for stream in ["", "&stream=true"] {
        let target = format!("/comet/connect?{}{stream}", stage.query(EVERYTHING));
        let mut lines = Lines::open(stage.server.address, &target, "").await;
        assert!(lines.head.contains("transfer-encoding: chunked"), "{}", lines.head);
        let connected = next(&mut lines).await.remove(0);
        let path = format!("/comet/{}", connection_key(&connected));
        let send = async |frames: Value| {
            let answer = ask(stage.server.address, "POST", &format!("{path}/send"), &frames.to_string()).await;
            assert_eq!(answer.status, 204, "{answer:?}");
        };
        send(json!([{"action": action::ATTACH, "channel": "room"}])).await;
        assert_eq!(next(&mut lines).await[0]["action"], action::ATTACHED);
        // The next one takes over; what it gets, the first does not.
        let publish =
            json!([{"action": action::MESSAGE, "channel": "room", "msgSerial": 0, "messages": [{"name": "x"}]}]);
        let target = format!("{path}/recv");
        let second = Lines::open(stage.server.address, &target, "");
        let (mut second, ()) = tokio::join!(second, async {
            while let Some(line) = lines.line().await {
                assert_eq!(frames_in(&line), [] as [Value; 0]);
            }
            send(publish).await;
        });
        let mut got = Vec::new();
        while got.len() < 2 {
            got.extend(next(&mut second).await);
        }
        assert_eq!(names(&got), ["x"]);
        let answer = ask(stage.server.address, "GET", &format!("{path}/close"), "").await;
        assert_eq!(answer.status, 204);
        assert_eq!(next(&mut second).await, [json!({"action": action::CLOSED})]);
        assert_eq!(second.line().await, None, "the body ends behind it");
    }
}

/// The sign of life is a frame in a line, never an empty line.
#[tokio::test]
async fn a_stream_is_kept_alive_by_heartbeats() {
    let stage = Stage::start().await;
    let target = format!("/comet/connect?{}", stage.query(EVERYTHING));
    let mut lines = Lines::open(stage.server.address, &target, "").await;
    next(&mut lines).await;
    assert_eq!(lines.line().await.as_deref(), Some(r#"[{"action":0}]"#));
}
