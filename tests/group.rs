//! The group protocol over real sockets and HTTP, against the drop-in profile with the original paths
//! (`docs/protocols/group.md`).

mod api;
mod auth;
mod brought;
pub mod client;
mod cross;
mod delivery;
mod guard;
mod hang_ups;
mod instances;
mod membership;
mod nodes;
mod notices;
mod outages;
mod reading;
mod requests;
mod resume;
mod survival;

use std::net::SocketAddr;

use letshare_server::{
    clock::Clock,
    config::{Config, Engine, GROUP_SAMPLE_SECRET, Protocol},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{
    Http, Response, Server, eventually,
    redis::{RedisServer, join_if_asked},
};
use client::Client;

/// What services show.
pub const KEY: &str = "a key that only services know";

/// A group server and a service that talks to it.
struct Rig {
    server: Server,
    address: SocketAddr,
    /// Where it is a node.
    redis: Option<RedisServer>,
}

impl Rig {
    fn start(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_at(Clock::system(), adjust)
    }

    fn start_at(clock: Clock, adjust: impl FnOnce(&mut Config)) -> Self {
        let (mut redis, mut is_node) = (None, false);
        let server = Server::start_as("group", clock, |config| {
            config.group.port = Some(0);
            config.group.service_key = KEY.to_owned().into();
            let fresh = config.data.dir.clone();
            adjust(config);
            // A folder that was filled before is a server's alone.
            if config.data.dir == fresh && config.group.redis.is_none() && config.cluster.engine == Engine::None {
                redis = join_if_asked(config);
            }
            is_node = config.cluster.engine != Engine::None;
        });
        let address = server.address_of(Protocol::Group);
        // A node is ready when it has read the groups.
        if is_node {
            let ready = move || Runtime::new().expect("a runtime").block_on(until_ready(address));
            std::thread::spawn(ready).join().expect("the groups are read");
        }
        Self { server, address, redis }
    }

    /// A group with these members.
    async fn group(&self, group: &str, members: &[&str]) {
        make_group(self.address, group, members).await;
    }

    async fn client(&self) -> Client {
        Client::connect(self.address).await
    }

    /// A connection that is authenticated.
    async fn user(&self, user: &str) -> Client {
        Client::authenticated(self.address, user).await
    }

    async fn service(&self, method: &str, target: &str, body: Value) -> Response {
        service(self.address, method, target, body).await
    }

    /// What a user asks for.
    async fn ask(&self, user: &str, target: &str) -> Response {
        ask(self.address, user, target).await
    }

    async fn stats(&self) -> Value {
        let mut http = Http::connect_to(self.address).await;
        http.ask("GET", "/stats", &[]).await.json()
    }

    /// Waits until so many users are online.
    async fn until_online(&self, users: u64) {
        eventually(async || (self.stats().await["online_users"] == users).then_some(())).await;
    }
}

async fn until_ready(address: SocketAddr) {
    eventually(async || {
        let told = service(address, "GET", "/api/groups/none", json!({})).await;
        (told.status != 503).then_some(())
    })
    .await;
}

async fn make_group(address: SocketAddr, group: &str, members: &[&str]) {
    let body = json!({"group_id": group, "name": "a group", "members": members});
    let made = service(address, "POST", "/api/groups", body).await;
    assert_eq!(made.status, 200, "{made:?}");
}

async fn service(address: SocketAddr, method: &str, target: &str, body: Value) -> Response {
    let body = body.to_string();
    let length = body.len().to_string();
    let headers = [("X-Service-Key", KEY), ("Content-Type", "application/json"), ("Content-Length", &length)];
    let mut http = Http::connect_to(address).await;
    http.ask_with(method, target, &headers, body.as_bytes()).await
}

async fn ask(address: SocketAddr, user: &str, target: &str) -> Response {
    let bearer = format!("Bearer {}", token(json!(user)));
    let mut http = Http::connect_to(address).await;
    http.ask("GET", target, &[("Authorization", &bearer)]).await
}

/// What a join of a group that nobody has made is told.
const NO_GROUP_TO_JOIN: &str = "群聊不存在：群聊由服务端以 X-Service-Key 调用 POST /api/groups 创建，或由 group.open_groups 允许用户加入时创建 (a \
                                service makes groups by POST /api/groups; with group.open_groups a join does)";

/// The `data` of an answer that is good.
fn data(response: &Response) -> Value {
    assert_eq!(response.status, 200, "{response:?}");
    let answer = response.json();
    assert_eq!(answer["code"], 0, "{answer}");
    assert_eq!(answer["message"], "success");
    answer["data"].clone()
}

/// A token of the older services: claims `userId`, `role`, `iat`, `exp`.
pub fn token(user: Value) -> String {
    signed(json!({"userId": user, "role": "user", "iat": 1_700_000_000, "exp": 4_000_000_000_u64}))
}

fn signed(claims: Value) -> String {
    signed_with(claims, GROUP_SAMPLE_SECRET)
}

fn signed_with(claims: Value, secret: &str) -> String {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let key = EncodingKey::from_secret(secret.as_bytes());
    encode(&Header::default(), &claims, &key).expect("a token")
}
