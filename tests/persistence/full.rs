//! A disk that is full: publishers to persisted channels are told, nothing else suffers, and it ends by itself
//! when there is room again (docs/goals.md §2, `docs/protocols/ably.md §6.2`, code 50005).

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::ground::{Ground, Rest, Subscriber, data_of, messages_of};
use crate::support::{Response, ably::action, eventually, process::ServerProcess};

const CHANNEL: &str = "persisted:room";
/// Bytes of each message: a full disk shows soon.
const BALLAST: usize = 8_000;

/// A file system of its own, of 20 MiB, which goes with the server.
#[tokio::test]
async fn a_file_system_that_fills_up() {
    let Some(mount) = mount_namespace() else {
        eprintln!("no file system can be mounted here; a_file_that_may_not_grow shows the same by a limit");
        return;
    };
    let ground = Ground::new();
    fs::create_dir(ground.path().join("data")).expect("a folder");
    let script = "mount -t tmpfs -o size=20m none data && exec \"$@\"";
    let launcher = [mount, &["sh", "-c", script, "sh"]].concat();
    let server = ground.try_start(&launcher, &[]).unwrap_or_else(|stderr| panic!("{stderr}"));
    // As the server sees it.
    let root = format!("/proc/{}/root{}", server.id(), ground.path().display());
    let stuffing = PathBuf::from(root).join("data/stuffing");
    let fill = || {
        let mut file = File::create(&stuffing).expect("a file");
        let full = loop {
            if let Err(error) = file.write_all(&[0; 4_096]) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull, "{full}");
    };
    let empty = || fs::remove_file(&stuffing).expect("our file");
    fills_up_and_recovers(&server, fill, empty).await;
}

/// The words that run a command in a mount namespace of its own, if that is allowed.
fn mount_namespace() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [&["unshare", "--mount"], &["unshare", "--mount", "--map-root-user"]];
    ways.into_iter().find(|way| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["sh", "-c", "mount -t tmpfs none /mnt"]);
        let ended = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        ended.is_ok_and(|status| status.success())
    })
}

/// The same by a limit of the process (`ulimit -f`), where no file system can be mounted.
#[tokio::test]
async fn a_file_that_may_not_grow() {
    let ground = Ground::new();
    ground.start().terminate().await;
    // By default the signal would end the server.
    let launcher = ["env", "--ignore-signal=XFSZ"];
    let server = ground.try_start(&launcher, &[]).unwrap_or_else(|stderr| panic!("{stderr}"));
    let limit = |bytes: &str| {
        let (id, limit) = (server.id().to_string(), format!("--fsize={bytes}:"));
        let ended = Command::new("prlimit").args(["--pid", &id, &limit]).status();
        assert!(ended.expect("prlimit is part of util-linux").success());
    };
    let file = ground.path().join("data/letshare.redb");
    let fill = || limit(&fs::metadata(&file).expect("a data file").len().to_string());
    fills_up_and_recovers(&server, fill, || limit("unlimited")).await;
}

async fn fills_up_and_recovers(server: &ServerProcess, fill: impl Fn(), empty: impl Fn()) {
    let mut rest = Rest::connect(server.address).await;
    let mut reader = Subscriber::connect(server.address, "").await;
    reader.attach(CHANNEL).await;
    reader.attach("plain").await;
    let mut writer = Subscriber::connect(server.address, "&echo=false").await;
    let mut kept = Vec::new();
    for round in 0..2 {
        for number in 0..5 {
            let id = format!("{round}-before-{number}");
            assert_eq!(publish(&mut rest, &id).await.status, 201);
            kept.push(id);
        }
        fill();
        // What room the file has left is used up first.
        let mut number = 0;
        let refused = eventually(async || {
            let id = format!("{round}-while-{number}");
            let response = publish(&mut rest, &id).await;
            number += 1;
            if response.status == 201 {
                kept.push(id);
                return None;
            }
            Some((id, response))
        });
        let (refused_id, response) = refused.await;
        assert_eq!(response.status, 503, "{response:?}");
        assert_eq!(response.header("x-ably-errorcode"), Some("50005"), "{response:?}");
        assert_eq!(response.json()["error"]["statusCode"], 503);
        let frame = json!([{"id": refused_id, "data": refused_id, "name": "x".repeat(BALLAST)}]);
        let serial = writer.client.publish(CHANNEL, frame.clone()).await;
        writer.client.nacked(serial, 50005).await;

        // Reads go on, and other channels.
        assert_eq!(data_of(&rest.history(CHANNEL).await), kept);
        let serial = writer.client.publish("plain", json!([{"data": "not persisted"}])).await;
        writer.client.acked(serial).await;
        rest.publish("plain", json!({"data": "not persisted"})).await;
        let ready = rest.get("/health").await;
        assert_eq!(ready.status, 200, "{ready:?}");

        empty();
        // It recovers by itself; what was refused may come again under its id.
        let answer = eventually(async || {
            writer.client.publish(CHANNEL, frame.clone()).await;
            let answer = writer.client.next().await;
            (answer["action"] == action::ACK).then_some(answer)
        });
        let answer = answer.await;
        assert!(answer["res"][0]["serials"][0].is_string(), "{answer}");
        kept.push(refused_id);
    }
    assert_eq!(publish(&mut rest, "after").await.status, 201);
    kept.push("after".into());

    // Everybody has seen what is kept, in its order, and nothing that was refused.
    assert_eq!(data_of(&rest.history(CHANNEL).await), kept);
    let frames = reader.client.received_so_far().await;
    let on = |channel: &str| {
        let frames: Vec<Value> = frames.iter().filter(|frame| frame["channel"] == channel).cloned().collect();
        messages_of(&frames)
    };
    assert_eq!(data_of(&on(CHANNEL)), kept);
    assert_eq!(on("plain").len(), 4);
}

async fn publish(rest: &mut Rest, id: &str) -> Response {
    let body = json!({"id": id, "data": id, "name": "x".repeat(BALLAST)});
    rest.try_publish(CHANNEL, body).await
}
