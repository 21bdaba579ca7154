//! POST `/apps` and DELETE `/apps/{id}` (§11.13, T58).

use letshare_server::{auth::JwtKey, clock::Clock, config::Config};
use serde_json::{Value, json};

use super::sandbox::{EVERYTHING, SUBSCRIBE_ONLY, Sandbox, assert_refused};
use crate::support::{
    AblyClient, Http, Server,
    ably::{TestApp, action},
};

#[tokio::test]
async fn an_app_is_told_with_its_keys_and_its_place() {
    let sandbox = Sandbox::start().await;
    let app = &sandbox.app;
    let id = app["appId"].as_str().expect("an id");
    assert_eq!(id.len(), 6);
    assert_eq!(app["id"], id);
    assert_eq!(app["endpoint"], "127.0.0.1");
    assert_eq!(app["port"], sandbox.server.address.port());
    assert_eq!(app["tls"], false);
    for key in app["keys"].as_array().expect("keys") {
        let text = |name: &str| key[name].as_str().expect(name).to_owned();
        assert_eq!(text("keyName"), format!("{id}.{}", text("id")));
        assert_eq!(text("value"), text("keySecret"));
        assert_eq!(text("keyStr"), format!("{}:{}", text("keyName"), text("keySecret")));
    }
    // T58: sorted.
    let capability = |index: usize| app["keys"][index]["capability"].as_str();
    assert_eq!(capability(0), Some(r#"{"*":["*"]}"#));
    assert_eq!(capability(4), Some(r#"{"a:*":["history"],"z":["publish","subscribe"]}"#));
    assert_eq!(app["namespaces"][0], json!({"id": "persisted", "persisted": true}));
}

#[tokio::test]
async fn the_place_is_the_one_that_was_asked() {
    let server = Server::start(|config| config.ably.sandbox = true);
    let mut http = Http::connect(&server).await;
    let target = "/apps";
    // The first Host counts for the answer; a second one would be refused.
    let response = http.post(target, &[], "{}").await;
    assert_eq!(response.json()["endpoint"], "127.0.0.1");
    let response = http.post(target, &[], "[").await;
    assert_refused(&response, 400, 40001);
    let wrong = json!({"keys": [{"capability": "{\"*\":[]}"}]});
    let response = http.post(target, &[], &wrong.to_string()).await;
    assert_refused(&response, 400, 40000);
}

/// findings N12: what is off is told with the setting that turns it on, and what is wrong with its place; a token of
/// another protocol is recognised.
#[tokio::test]
async fn what_newcomers_try_first_is_explained() {
    let server = Server::start(|config| config.ably.sandbox = false);
    let mut http = Http::connect(&server).await;
    let response = http.post("/apps", &[], "{}").await;
    assert_refused(&response, 404, 40400);
    assert!(response.body.contains("/apps is off; set ably.sandbox to turn it on"), "{}", response.body);

    let key = JwtKey::new(&Config::defaults().expect("defaults").jwt.secret);
    let token = key.mint("anna", None, 1, Clock::system().now()).expect("signs");
    let bearer = format!("Bearer {token}");
    let response = http.ask("GET", "/channels/demo/messages", &[("authorization", &bearer)]).await;
    assert!(response.body.contains("this is a LetShare token"), "{}", response.body);

    let server = Server::start(|config| config.ably.sandbox = true);
    let response = Http::connect(&server).await.post("/apps", &[], "{\n  \"keys\": [}").await;
    assert!(response.body.contains("line 2 column 12"), "{}", response.body);
}

#[tokio::test]
async fn an_app_is_deleted_by_its_key() {
    let mut sandbox = Sandbox::start().await;
    let id = sandbox.app["appId"].as_str().expect("an id").to_owned();
    let other = sandbox.http.post("/apps", &[], "{}").await.json();
    let other: &Value = &other["appId"];
    let target = format!("/apps/{}", other.as_str().expect("an id"));
    let response = sandbox.ask_by(EVERYTHING, "DELETE", &target, &[], b"").await;
    assert_refused(&response, 401, 40160);

    let target = format!("/apps/{id}");
    let response = sandbox.http.ask("DELETE", &target, &[]).await;
    assert_refused(&response, 401, 40101);
    let response = sandbox.ask_by(SUBSCRIBE_ONLY, "DELETE", &target, &[], b"").await;
    assert_refused(&response, 401, 40160);
    let response = sandbox.ask_by(EVERYTHING, "DELETE", &target, &[], b"").await;
    assert_eq!((response.status, &*response.body), (204, ""));
    assert_eq!(response.header("content-type"), None);
    // T61: a well-formed app that there is not.
    assert_refused(&sandbox.get("/channels").await, 404, 40400);
}

/// Whoever is connected by a key of the app, or listens to a stream, is told that it is gone, and not to come back.
#[tokio::test]
async fn the_clients_of_an_app_end_with_it() {
    let server = Server::sandbox(|_| {});
    let app = TestApp::plain(&server).await;
    let other = TestApp::plain(&server).await;
    let mut client = AblyClient::connect(&server, &app.keys[0]).await;
    let mut stays = AblyClient::connect(&server, &other.keys[0]).await;
    let (_, header) = app.basic(0);
    let target = format!("/apps/{}", app.id);
    let told = Http::connect(&server).await.ask("DELETE", &target, &[("authorization", &header)]).await;
    assert_eq!(told.status, 204, "{}", told.body);
    let told = client.expect(action::ERROR).await;
    assert_eq!((&told["error"]["code"], told.get("channel")), (&json!(40400), None), "{told}");
    client.expect_end().await;
    stays.attach("room").await;
}

/// Without the sandbox nobody learns that there could be one.
#[tokio::test]
async fn without_a_sandbox_there_are_no_apps_to_make() {
    let server = Server::start(|_| {});
    let mut http = Http::connect(&server).await;
    assert_refused(&http.post("/apps", &[], "{}").await, 404, 40400);
    assert_refused(&http.ask("DELETE", "/apps/shared", &[]).await, 404, 40400);
}
