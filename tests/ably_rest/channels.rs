//! GET `/channels/{c}` and `/channels` (§11.6, §11.7).

use serde_json::json;

use super::sandbox::{EVERYTHING, PUBLISH_ONLY, Sandbox, assert_refused, link};

#[tokio::test]
async fn the_status_of_a_channel() {
    let mut sandbox = Sandbox::start().await;
    let zeros = json!({
        "connections": 0, "publishers": 0, "subscribers": 0, "presenceConnections": 0,
        "presenceMembers": 6, "presenceSubscribers": 0, "objectPublishers": 0, "objectSubscribers": 0,
    });
    let response = sandbox.get("/channels/persisted%3Apresence_fixtures").await;
    assert_eq!(response.status, 200, "{response:?}");
    let expected = json!({
        "channelId": "persisted:presence_fixtures",
        "name": "persisted:presence_fixtures",
        "status": {"isActive": true, "occupancy": {"metrics": zeros}},
    });
    assert_eq!(response.json(), expected);
    // As ably-js asks.
    let response = sandbox.get("/channels/a%2Fb?envelope=json").await;
    assert_eq!(response.json()["response"]["channelId"], "a/b");
    let response = sandbox.ask_by(PUBLISH_ONLY, "GET", "/channels/x", &[], b"").await;
    assert_refused(&response, 401, 40160);
    assert_refused(&sandbox.get("/channels/:hell").await, 400, 40010);
}

#[tokio::test]
async fn the_channels_of_the_app() {
    let mut sandbox = Sandbox::start().await;
    for name in ["b:2", "a", "b:1", "b:3"] {
        sandbox.publish(name, json!({})).await;
    }
    let response = sandbox.get("/channels").await;
    assert_eq!(response.json(), json!(["a", "b:1", "b:2", "b:3"]));
    let response = sandbox.get("/channels?prefix=b%3A&limit=2").await;
    assert_eq!(response.json(), json!(["b:1", "b:2"]));
    let next = link(&response, "channels", "next").expect("more");
    let response = sandbox.get(&format!("/channels?{next}")).await;
    assert_eq!(response.json(), json!(["b:3"]));
    assert_eq!(link(&response, "channels", "next"), None);

    let response = sandbox.get("/channels?by=value&limit=1").await;
    assert_eq!(response.json()[0]["channelId"], "a");
    assert_eq!(response.json()[0]["status"]["isActive"], true);
    // §1.3: until version 3 that was the default.
    let headers = [("X-Ably-Version", "2")];
    let response = sandbox.ask_by(EVERYTHING, "GET", "/channels", &headers, b"").await;
    assert_eq!(response.json()[0]["channelId"], "a");
    assert_refused(&sandbox.get("/channels?by=name").await, 400, 40003);
    let response = sandbox.ask_by(PUBLISH_ONLY, "GET", "/channels", &[], b"").await;
    assert_refused(&response, 401, 40160);
}

/// Apps do not see each other.
#[tokio::test]
async fn an_app_has_channels_of_its_own() {
    let mut sandbox = Sandbox::start().await;
    sandbox.publish("room", json!({"name": "mine"})).await;
    let other = sandbox.http.post("/apps", &[], &super::sandbox::setup().to_string()).await;
    sandbox.app = other.json();
    assert_eq!(sandbox.get("/channels").await.json(), json!([]));
    assert!(sandbox.history("room").await.is_empty());
}
