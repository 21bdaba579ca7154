//! The admin API (docs/operate.md): who may, what it shows and does, and that its document says so.

mod commands;
mod connections;
mod door;
mod openapi;

use letshare_server::config::Config;
use serde_json::{Value, json};

use crate::support::{AblyClient, Http, Response, Server, ably::TestApp};

const PASSWORD: &str = "correct horse battery";

/// A server whose console has a password.
fn server(adjust: impl FnOnce(&mut Config)) -> Server {
    Server::sandbox(|config| {
        config.console.enabled = true;
        config.console.password = PASSWORD.into();
        config.server.workers = 2;
        adjust(config);
    })
}

struct Operator<'a>(&'a Server);

impl Operator<'_> {
    async fn ask(&self, method: &str, path: &str) -> Response {
        let bearer = format!("Bearer {PASSWORD}");
        let headers = [("Authorization", &*bearer)];
        Http::connect(self.0).await.ask(method, &format!("/admin/api/{path}"), &headers).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    async fn post(&self, path: &str, body: Value) -> Response {
        let bearer = format!("Bearer {PASSWORD}");
        let headers = [("Authorization", &*bearer)];
        Http::connect(self.0).await.post(&format!("/admin/api/{path}"), &headers, &body.to_string()).await
    }
}

/// A client of an app, by a key of it.
async fn client(server: &Server, app: &TestApp, name: &str) -> AblyClient {
    let query = format!("v=6&key={}&clientId={name}&agent=ably-js%2F2.28.0", app.keys[0]);
    AblyClient::connect_with(server, &query).await.0
}

/// By a token that can be revoked.
async fn token(server: &Server, app: &TestApp, name: &str) -> String {
    let (key, basic) = app.basic(0);
    let body = json!({"keyName": key, "clientId": name, "timestamp": 0}).to_string();
    let body = body.replace(":0", &format!(":{}", letshare_server::clock::Clock::system().now().millis()));
    let target = format!("/keys/{key}/requestToken");
    let answer = Http::connect(server).await.post(&target, &[("Authorization", &basic)], &body).await;
    answer.json()["token"].as_str().expect("a token").to_owned()
}
