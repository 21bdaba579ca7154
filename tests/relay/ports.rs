//! Which port serves what (docs/architecture.md §8).

use super::*;
use crate::support::process::ServerProcess;

/// On the shared port the relay has paths that collide with nobody's.
#[tokio::test]
async fn on_the_shared_port() {
    let server = Server::start(|config| {
        config.relay.enabled = true;
        config.relay.api_key = KEY.to_owned().into();
    });
    assert_eq!(server.address_of(Protocol::Relay), server.address);
    let mut http = Http::connect(&server).await;
    let mut socket = Socket::connect(&format!("ws://{}/relay/ws", server.address)).await;
    let body = r#"{"event_name":"e","subject":1}"#;
    eventually(async || {
        let headers = [("X-API-KEY", KEY)];
        let pushed = http.post("/relay/api/push", &headers, body).await;
        (pushed.json()["data"]["connections"] == 1).then_some(())
    })
    .await;
    socket.expect("e").await;
    let health = http.ask("GET", "/relay/health", &[]).await;
    assert_eq!(health.body, r#"{"status":"ok"}"#);
    let own = http.ask("GET", "/health", &[]).await;
    assert_eq!(own.json()["status"], "healthy");
    // Pages of anywhere may push to the relay, and not connect to LetShare.
    let foreign = [("Origin", "https://anywhere.example"), ("X-API-KEY", KEY)];
    assert_eq!(http.post("/relay/api/push", &foreign, body).await.status, 200);
    assert_eq!(http.ask("GET", "/ready", &foreign).await.status, 403);
}

/// On its own port there is nobody else, and on the shared port no relay.
#[tokio::test]
async fn on_its_own_port() {
    let mut rig = Rig::start(|_| {}).await;
    assert_ne!(rig.address, rig.server.address);
    for path in ["/ready", "/metrics", "/time", "/"] {
        let answer = rig.http.ask("GET", path, &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found"), "{path}");
    }
    let mut shared = Http::connect(&rig.server).await;
    for path in ["/api/push", "/ws"] {
        assert_eq!(shared.ask("GET", path, &[]).await.status, 404, "{path}");
    }
    assert_eq!(shared.ask("GET", "/ready", &[]).await.status, 200);
    assert_eq!(shared.ask("GET", "/time", &[]).await.status, 200);
}

/// docs/protocols/relay.md §1: without any configuration there is a random key in the data folder afterwards, and the
/// start tells where everything is; the key and what is pushed are in no log.
#[tokio::test]
async fn the_first_start_of_the_drop_in() {
    const CANARY: &str = "CANARY-subject-5d21";
    let settings = [("RELAY_PORT", "0"), ("LOG_LEVEL", "trace")];
    let server = ServerProcess::start_in("relay", &settings);
    let address: SocketAddr = eventually(async || {
        let written = server.written();
        let (_, rest) = written.split_once("relay listening on http://")?;
        rest.split_once(", WebSocket path = /ws, Push API path = /api/push")?.0.parse().ok()
    })
    .await;
    let file = std::fs::read_to_string(server.folder().join("data/relay-key.json")).expect("written");
    let file: Value = serde_json::from_str(&file).expect("JSON");
    let key = file["api_key"].as_str().expect("a key");
    let mut http = Http::connect_to(address).await;
    let body = json!({"event_name": "e", "subject": CANARY}).to_string();
    let pushed = http.post("/api/push", &[("X-API-KEY", key)], &body).await;
    assert_eq!(pushed.status, 200, "{pushed:?}");
    let wrong = [("X-API-KEY", "CANARY-wrong-key")];
    assert_eq!(http.post("/api/push", &wrong, &body).await.status, 401);
    let query = format!("/api/push?api_key={key}");
    assert_eq!(http.post(&query, &[], &body).await.status, 200);
    let written = eventually(async || {
        let written = server.written();
        written.contains("has its key in the URL").then_some(written)
    })
    .await;
    assert!(!written.contains(key) && !written.contains("CANARY-wrong"), "{written}");
    assert!(!written.contains(CANARY), "{written}");
    assert!(written.contains("relay.ws_path = /ws, set by"), "{written}");
    assert!(written.contains("relay.identify is open"), "{written}");
}

/// findings P4: the working directory need not be writable; the key is where everything else is that must survive a
/// restart, and stays the same.
#[tokio::test]
async fn the_key_of_the_relay_lives_in_the_data_folder() {
    // Nobody can make a file there, not even root.
    let unwritable = std::path::Path::new("/proc");
    let folder = tempfile::tempdir().expect("a folder");
    let (data, logs) = (folder.path().join("data"), folder.path().join("logs"));
    let settings = [
        ("RELAY_PORT", "0"),
        ("DATA_DIR", data.to_str().expect("a path")),
        ("LOG_DIR", logs.to_str().expect("a path")),
    ];
    let mut keys = Vec::new();
    for _ in 0..2 {
        let server = ServerProcess::try_start(unwritable, &[], "relay", &settings).expect("it starts");
        let address: SocketAddr = eventually(async || {
            let written = server.written();
            let (_, rest) = written.split_once("relay listening on http://")?;
            rest.split_once(", WebSocket path")?.0.parse().ok()
        })
        .await;
        let file = std::fs::read_to_string(data.join("relay-key.json")).expect("written");
        let file: Value = serde_json::from_str(&file).expect("JSON");
        let key = file["api_key"].as_str().expect("a key").to_owned();
        let body = json!({"event_name": "e", "subject": "s"}).to_string();
        let pushed = Http::connect_to(address).await.post("/api/push", &[("X-API-KEY", &key)], &body).await;
        assert_eq!(pushed.status, 200, "{pushed:?}");
        keys.push(key);
        server.terminate().await;
    }
    assert_eq!(keys[0], keys[1]);
}

/// findings P4: a relay whose key cannot be kept does not start, instead of running without a use.
#[tokio::test]
async fn a_relay_without_a_place_for_its_key_does_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("data"), "in the way").expect("a file");
    let refused = ServerProcess::try_start(folder.path(), &[], "relay", &[("RELAY_PORT", "0")]);
    let told = refused.err().expect("refused");
    assert!(told.contains("data.dir"), "{told}");
}

/// The drain reaches the connections of every port.
#[tokio::test]
async fn a_drain_closes_relay_clients() {
    let mut rig = Rig::start(|_| {}).await;
    let mut user = rig.user("u-208").await;
    rig.server.begin_drain();
    user.expect_close(1001).await;
    drop(user);
    rig.server.join();
}
