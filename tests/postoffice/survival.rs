//! `docs/protocols/postoffice.md §4`: stored letters survive a restart and kill -9.

use nix::sys::signal::Signal;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    postoffice::{
        client::Client,
        server::{self, PostOfficeServer},
    },
    support::process::ServerProcess,
};

async fn post(desk: &mut Client, to: &str, subject: &str) {
    desk.send(json!({"to": to, "subject": subject, "n": 1.10})).await;
}

#[tokio::test]
async fn letters_survive_a_restart() {
    let server = PostOfficeServer::start(|_| {});
    Client::connect(&server, "erp").await.leave().await;
    server.until("connections", 0).await;
    let mut desk = Client::connect(&server, "desk").await;
    for subject in ["1", "2"] {
        post(&mut desk, "erp", subject).await;
    }
    server.until("stored", 2).await;
    desk.leave().await;
    let server = server.restart(|_| {});
    let stats = server.stats().await;
    assert_eq!((&stats["stored"], &stats["mailboxes"]), (&json!(2), &json!(2)));
    // It goes on behind what waits.
    let mut desk = Client::connect(&server, "desk").await;
    post(&mut desk, "erp", "3").await;
    server.until("stored", 3).await;
    let mut erp = Client::connect(&server, "erp").await;
    for subject in ["1", "2", "3"] {
        assert_eq!(erp.next().await["subject"], subject);
    }
    // Reading on answers the ping.
    assert!(erp.received_so_far().await.is_empty());
    erp.reads_until(server.until("stored", 0)).await;
    erp.leave().await;
    let server = server.restart(|_| {});
    let mut erp = Client::connect(&server, "erp").await;
    assert!(erp.received_so_far().await.is_empty(), "each comes once");
}

/// What was on the way to a client that is cut off with the server is not lost either.
#[tokio::test]
async fn a_stop_keeps_what_was_not_confirmed() {
    let server = PostOfficeServer::start(|config| {
        config.shutdown.grace = std::time::Duration::from_secs(1);
        config.websocket.close_timeout = std::time::Duration::from_millis(100);
    });
    let erp = Client::connect(&server, "erp").await;
    let mut desk = Client::connect(&server, "desk").await;
    assert!(desk.received_so_far().await.is_empty());
    post(&mut desk, "erp", "on the way").await;
    assert!(desk.received_so_far().await.is_empty());
    drop(desk);
    // Keeps its socket, and never reads.
    let server = tokio::task::spawn_blocking(|| server.restart(|_| {})).await;
    let server = server.expect("it stops");
    drop(erp);
    let mut erp = Client::connect(&server, "erp").await;
    assert_eq!(erp.next().await["subject"], "on the way");
}

#[tokio::test]
async fn letters_survive_kill_9() {
    let data = TempDir::new().expect("a folder");
    let folder = data.path().to_str().expect("UTF-8");
    let settings = [("POSTOFFICE_PORT", "0"), ("DATA_DIR", folder)];
    let mut server = ServerProcess::start_in("postoffice", &settings);
    let address = server.address;
    Client::connect_to(address, "erp").await.leave().await;
    server::until(address, "connections", 0).await;
    let mut desk = Client::connect_to(address, "desk").await;
    for number in 0..50 {
        post(&mut desk, "erp", &number.to_string()).await;
    }
    server::until(address, "stored", 50).await;
    server.signal(Signal::SIGKILL);
    server.exit().await;
    drop(server);

    let server = ServerProcess::start_in("postoffice", &settings);
    let address = server.address;
    assert_eq!(server::stats(address).await["stored"], 50);
    let mut erp = Client::connect_to(address, "erp").await;
    for number in 0..50 {
        assert_eq!(erp.next().await["subject"], number.to_string());
    }
    assert!(erp.received_so_far().await.is_empty());
    server::until(address, "stored", 0).await;
}

/// §1: a start with the older server's file, environment and variables; the address is the file's port.
#[tokio::test]
async fn a_start_with_the_settings_file_of_the_older_server() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("config-zhycit.json");
    std::fs::write(&file, r#"{"socketPort": 0, "maxWebSocketConnections": 1}"#).expect("written");
    let mut server = std::process::Command::new(env!("CARGO_BIN_EXE_letshare-server"));
    let shown = server
        .current_dir(folder.path())
        .env_clear()
        .env("MODE", "postoffice")
        .args(["config", "show", "--config", "config-zhycit.json"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&shown.stdout);
    let line = |key: &str| text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    assert!(line("postoffice.max_connections = 1 ").contains("config-zhycit.json:1"), "{text}");
    assert!(line("postoffice.port = 0 ").contains("config-zhycit.json:1"), "{text}");
}
