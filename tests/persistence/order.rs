//! docs/goals.md §2: no acknowledgement leaves before the sync that covers it, and nobody sees a message that a crash
//! could take back. The kernel's own account of it, by `strace`.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde_json::{Value, json};

use super::{
    ground::{Ground, Rest, Subscriber},
    trace::{self, Published},
};
use crate::support::{ably::action, eventually, process::ServerProcess};

const CHANNEL: &str = "persisted:room";

#[tokio::test]
async fn nothing_is_told_before_the_sync_that_covers_it() {
    let ground = Ground::new();
    let file = ground.path().join("trace");
    let server = traced(&ground, &file);
    // Whatever it is told counts, too.
    let mut reader = Subscriber::connect(server.address, "").await;
    reader.attach(CHANNEL).await;
    let mut writer = Subscriber::connect(server.address, "&echo=false").await;
    let mut rest = Rest::connect(server.address).await;
    let mut published = Vec::new();
    let mut note = |number: u64, serial: &str| {
        published.push(Published { marker: marker(number), serial: serial.to_owned() });
    };
    // One at a time by both ways, then many at once.
    for number in 0..10 {
        let serial = rest.publish(CHANNEL, json!({"data": marker(number)})).await;
        note(number, &serial);
    }
    for number in 10..20 {
        let messages = json!([{"data": marker(number)}]);
        writer.client.publish(CHANNEL, messages).await;
        note(number, &serial_of(&writer.client.expect(action::ACK).await));
    }
    for number in 20..60 {
        let messages = json!([{"data": marker(number)}]);
        writer.client.publish(CHANNEL, messages).await;
    }
    for number in 20..60 {
        note(number, &serial_of(&writer.client.expect(action::ACK).await));
    }
    reader.hear(60).await;
    let id = server.id();
    server.kill().await;
    let trace = finished(&file, id).await;

    let violations = trace::violations(&trace, &published);
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn marker(number: u64) -> String {
    format!("marker-{number}-end")
}

fn serial_of(ack: &Value) -> String {
    let serial = ack["res"][0]["serials"][0].as_str();
    serial.expect("a serial").to_owned()
}

/// A server that is watched from its first moment. The tracer (`-D`: it is not the parent) ends with it.
fn traced(ground: &Ground, file: &Path) -> ServerProcess {
    let file = file.to_str().expect("a plain path");
    let strace = ["strace", "-D", "-f", "-yy", "-s", "1048576", "-e", trace::CALLS, "-o", file];
    ground.try_start(&strace, &[]).unwrap_or_else(|stderr| {
        panic!(
            "the order of system calls cannot be seen: the server does not start under strace. `tests/run install` installs \
             strace; a container needs the capability SYS_PTRACE, or a seccomp profile that lets ptrace through.\n{stderr}"
        )
    })
}

/// The whole trace of a process that was killed.
async fn finished(file: &Path, process: u32) -> String {
    // Short ids are padded.
    let last_line = format!("{process:<5} +++ killed by SIGKILL +++\n");
    eventually(async || {
        tokio::task::yield_now().await;
        let mut file = File::open(file).ok()?;
        let end = file.metadata().ok()?.len().saturating_sub(last_line.len() as u64);
        file.seek(SeekFrom::Start(end)).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        (text == last_line).then_some(())
    })
    .await;
    std::fs::read_to_string(file).expect("a trace")
}
