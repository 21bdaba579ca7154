//! A server with one app, set up as the suites of the client libraries do it (§11.13).

use base64::{Engine as _, prelude::BASE64_STANDARD};
use letshare_server::clock::Clock;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::support::{Http, Response, Server};

/// What each key of the app may do.
pub const EVERYTHING: usize = 0;
pub const SUBSCRIBE_ONLY: usize = 1;
pub const PUBLISH_ONLY: usize = 2;
pub const ALSO_QUALIFIED: usize = 3;

pub struct Sandbox {
    pub server: Server,
    /// The answer to `POST /apps`.
    pub app: Value,
    pub http: Http<TcpStream>,
}

impl Sandbox {
    pub async fn start() -> Self {
        Self::start_at(Clock::system()).await
    }

    pub async fn start_at(clock: Clock) -> Self {
        let server = Server::sandbox_at(clock, |_| {});
        let mut http = Http::connect(&server).await;
        let response = http.post("/apps", &[], &setup().to_string()).await;
        assert_eq!(response.status, 201, "{response:?}");
        let app = response.json();
        Self { server, app, http }
    }

    /// `app.key:secret`
    pub fn key(&self, index: usize) -> &str {
        self.app["keys"][index]["keyStr"].as_str().expect("a key")
    }

    /// The value of an Authorization header.
    pub fn basic(&self, index: usize) -> String {
        format!("Basic {}", BASE64_STANDARD.encode(self.key(index)))
    }

    /// Asks as a current client with this key: JSON, version 6.
    pub async fn ask_by(
        &mut self,
        key: usize,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let (basic, length) = (self.basic(key), body.len().to_string());
        let defaults = [
            ("Authorization", basic.as_str()),
            ("X-Ably-Version", "6"),
            ("Accept", "application/json"),
            ("Content-Type", "application/json"),
            ("Content-Length", length.as_str()),
        ];
        let is_given = |name: &str| headers.iter().any(|(given, _)| *given == name);
        let mut all = headers.to_vec();
        all.extend(defaults.into_iter().filter(|(name, _)| !is_given(name)));
        // An empty value stands for none at all.
        all.retain(|(_, value)| !value.is_empty());
        self.http.ask_with(method, target, &all, body).await
    }

    pub async fn get(&mut self, target: &str) -> Response {
        self.ask_by(EVERYTHING, "GET", target, &[], b"").await
    }

    pub async fn post(&mut self, target: &str, body: &Value) -> Response {
        self.ask_by(EVERYTHING, "POST", target, &[], body.to_string().as_bytes()).await
    }

    /// A token of the key that may do everything.
    pub async fn token(&mut self, mut request: Value) -> String {
        let name = self.app["keys"][EVERYTHING]["keyName"].clone();
        let target = format!("/keys/{}/requestToken", name.as_str().expect("a name"));
        request["keyName"] = name;
        let response = self.post(&target, &request).await;
        assert_eq!(response.status, 201, "{response:?}");
        let details = response.json();
        details["token"].as_str().expect("a token").to_owned()
    }

    /// Publishes and gives back what it was answered.
    pub async fn publish(&mut self, channel: &str, body: Value) -> Value {
        let response = self.post(&format!("/channels/{channel}/messages"), &body).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json()
    }

    /// The whole history, as a page gives it.
    pub async fn history(&mut self, channel: &str) -> Vec<Value> {
        let response = self.get(&format!("/channels/{channel}/messages")).await;
        assert_eq!(response.status, 200, "{response:?}");
        response.json().as_array().expect("a list").clone()
    }
}

/// Status, code header and the error's own code and status agree, and this is the code.
#[track_caller]
pub fn assert_refused(response: &Response, status: u16, code: u32) {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("x-ably-errorcode"), Some(&*code.to_string()), "{response:?}");
    let message = response.header("x-ably-errormessage").expect("a message");
    assert!(message.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{message}");
    let error = &response.json()["error"];
    assert_eq!(error["code"], code, "{error}");
    assert_eq!(error["statusCode"], status, "{error}");
    assert!(error["message"].is_string(), "{error}");
}

/// The targets of the Link lines, by relation; each is relative, as clients want it (T10).
#[track_caller]
pub fn links(response: &Response, segment: &str) -> Vec<(String, String)> {
    let link = |line: &&str| {
        let (target, relation) = line.split_once(">; rel=\"").expect("a relation");
        let query = target.strip_prefix(&format!("<./{segment}?")).expect("relative");
        assert!(!query.is_empty() && !query.contains([',', '/', '.']), "{line}");
        let relation = relation.strip_suffix('"').expect("nothing behind the relation");
        (relation.to_owned(), query.to_owned())
    };
    response.lines("link").iter().map(link).collect()
}

#[track_caller]
pub fn link(response: &Response, segment: &str, relation: &str) -> Option<String> {
    let mut links = links(response, segment).into_iter();
    links.find(|(known, _)| known == relation).map(|(_, query)| query)
}

pub fn setup() -> Value {
    json!({
        "keys": [
            {},
            {"capability": r#"{"only:*":["subscribe"]}"#},
            {"capability": r#"{"*":["publish"]}"#},
            {"capability": r#"{"[*]*":["*"]}"#},
            {"capability": r#"{"z":["subscribe","publish"],"a:*":["history"]}"#},
        ],
        "namespaces": [
            {"id": "persisted", "persisted": true},
            {"id": "mutable", "mutableMessages": true},
            {"id": "known", "authenticated": true},
        ],
        "channels": [{
            "name": "persisted:presence_fixtures",
            "presence": [
                {"clientId": "client_bool", "data": "true"},
                {"clientId": "client_string", "data": "This is a string clientData payload"},
                {"clientId": "client_int", "data": "24"},
                {"clientId": "client_json", "data": "{\"test\":\"This is a JSONObject clientData payload\"}"},
                {"clientId": "client_decoded", "data": "{\"example\":{\"json\":\"Object\"}}", "encoding": "json"},
                {"clientId": "client_encoded", "data": "HO4cYSP8LybPYBPZPHQOtuD53yrD3YV3NBoTEYBh4U0N1QXHbtkfsDfTspKeLQFt", "encoding": "json/utf-8/cipher+aes-128-cbc/base64"}
            ],
        }],
    })
}
