//! Which port serves what (ARCHITECTURE §8).

use super::*;

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
    assert_eq!(
        http.post("/relay/api/push", &foreign, body).await.status,
        200
    );
    assert_eq!(http.ask("GET", "/ready", &foreign).await.status, 403);
}

/// On its own port there is nobody else, and on the shared port no relay.
#[tokio::test]
async fn on_its_own_port() {
    let mut rig = Rig::start(|_| {}).await;
    assert_ne!(rig.address, rig.server.address);
    for path in ["/ready", "/metrics", "/time", "/"] {
        let answer = rig.http.ask("GET", path, &[]).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (404, "404 page not found"),
            "{path}"
        );
    }
    let mut shared = Http::connect(&rig.server).await;
    for path in ["/api/push", "/ws"] {
        assert_eq!(shared.ask("GET", path, &[]).await.status, 404, "{path}");
    }
    assert_eq!(shared.ask("GET", "/ready", &[]).await.status, 200);
    assert_eq!(shared.ask("GET", "/time", &[]).await.status, 200);
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
