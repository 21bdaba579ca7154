//! A server with an app of several keys, and its clients.

use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jsonwebtoken::{EncodingKey, Header};
use letshare_server::{clock::Clock, config::Config};
use serde_json::{Value, json};

use crate::support::{
    AblyClient, Http, Server, TestApp,
    ably::{action, flag},
};

/// What each key of the app may do.
pub const EVERYTHING: usize = 0;
pub const SUBSCRIBE_ONLY: usize = 1;
pub const PUBLISH_ONLY: usize = 2;

/// The modes of an attachment that asks for none (§2.4).
pub const DEFAULT_MODES: u64 =
    flag::PRESENCE | flag::PUBLISH | flag::SUBSCRIBE | flag::PRESENCE_SUBSCRIBE | flag::ANNOTATION_PUBLISH;

pub struct Stage {
    pub server: Server,
    pub app: TestApp,
}

impl Stage {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::on(Server::sandbox(adjust)).await
    }

    /// With a clock that the test moves.
    pub async fn at(clock: &Clock) -> Self {
        Self::on(Server::sandbox_at(clock.clone(), |config| {
            // Channels look at the clock eight times in that time.
            config.history.window = Duration::from_secs(8);
        }))
        .await
    }

    pub async fn on(server: Server) -> Self {
        let setup = json!({
            "keys": [
                {},
                {"capability": r#"{"*":["subscribe"]}"#},
                {"capability": r#"{"*":["publish"]}"#},
            ],
            "namespaces": [{"id": "known", "authenticated": true}, {"id": "mutable", "mutableMessages": true}],
            "limits": {"presence": {"maxMembers": 250}},
        });
        let app = TestApp::create(&server, setup).await;
        Self { server, app }
    }

    /// The query of a current client with this key.
    pub fn query(&self, key: usize) -> String {
        format!("v=6&key={}", self.app.keys[key])
    }

    /// A client that is known by this name.
    pub async fn client(&self, client_id: &str) -> AblyClient {
        self.open(&format!("clientId={client_id}")).await.0
    }

    /// A client that may be anybody.
    pub async fn anybody(&self) -> AblyClient {
        AblyClient::connect(&self.server, &self.app.keys[EVERYTHING]).await
    }

    /// A client with these parameters besides its key, and its CONNECTED.
    pub async fn open(&self, more: &str) -> (AblyClient, Value) {
        let query = format!("{}&{more}", self.query(EVERYTHING));
        AblyClient::connect_with(&self.server, &query).await
    }

    /// A client that shows a token.
    pub async fn with_token(&self, token: &str) -> (AblyClient, Value) {
        let query = format!("v=6&access_token={token}");
        AblyClient::connect_with(&self.server, &query).await
    }

    /// A token of the key that may do everything, as HTTP gives it.
    pub async fn token(&self, mut request: Value) -> String {
        let (name, _) = self.app.keys[EVERYTHING].split_once(':').expect("a key");
        request["keyName"] = json!(name);
        let basic = BASE64_STANDARD.encode(&self.app.keys[EVERYTHING]);
        let basic = format!("Basic {basic}");
        let mut http = Http::connect(&self.server).await;
        let target = format!("/keys/{name}/requestToken");
        let headers = [("Authorization", basic.as_str())];
        let response = http.post(&target, &headers, &request.to_string()).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json()["token"].as_str().expect("a token").to_owned()
    }

    /// What somebody with a key may ask of HTTP.
    pub async fn get(&self, target: &str) -> Value {
        let basic = BASE64_STANDARD.encode(&self.app.keys[EVERYTHING]);
        let basic = format!("Basic {basic}");
        let mut http = Http::connect(&self.server).await;
        let headers = [("Authorization", basic.as_str()), ("X-Ably-Version", "6")];
        let response = http.ask("GET", target, &headers).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json()
    }
}

/// A JWT with these claims, by a key `app.key:secret` or something that looks like one.
pub fn jwt(key: &str, claims: &Value) -> String {
    let (name, secret) = key.split_once(':').expect("a key");
    let header = Header { kid: Some(name.to_owned()), ..Header::default() };
    let secret = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&header, claims, &secret).expect("a JWT")
}

/// The key by which the connection can be resumed.
pub fn connection_key(connected: &Value) -> &str {
    let details = &connected["connectionDetails"];
    details["connectionKey"].as_str().expect("a connection key")
}

pub fn attach(channel: &str) -> Value {
    json!({"action": action::ATTACH, "channel": channel})
}

/// ATTACH as after a reconnect.
pub fn attach_after(channel: &str, serial: &Value) -> Value {
    json!({"action": action::ATTACH, "channel": channel, "channelSerial": serial})
}

/// The flags of an ATTACHED that are no modes.
pub fn told(attached: &Value) -> u64 {
    attached["flags"].as_u64().expect("flags") & 0xFF
}

/// The names of the messages in these frames.
pub fn names(frames: &[Value]) -> Vec<&str> {
    let messages = frames.iter().filter_map(|frame| frame["messages"].as_array());
    messages.flatten().map(|message| message["name"].as_str().unwrap_or_default()).collect()
}

/// What members did in these frames.
pub fn events(frames: &[Value]) -> Vec<(u64, &str)> {
    let events = frames.iter().filter_map(|frame| frame["presence"].as_array());
    let event = |event| presence_event(event);
    events.flatten().map(event).collect()
}

fn presence_event(event: &Value) -> (u64, &str) {
    let action = event["action"].as_u64().expect("an action");
    (action, event["clientId"].as_str().expect("a clientId"))
}

/// An error has all that clients look at (T5).
#[track_caller]
pub fn assert_error(frame: &Value, code: u64, status: u64) {
    let error = &frame["error"];
    assert_eq!(error["code"], code, "{frame}");
    assert_eq!(error["statusCode"], status, "{frame}");
    assert!(error["message"].is_string(), "{frame}");
}
