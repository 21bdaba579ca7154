//! POST `/keys/{keyName}/revokeTokens` (§11.4, §12.7).

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::sandbox::assert_refused;
use crate::support::{
    AblyClient, Http, Response, Server,
    ably::{TestApp, action},
};

/// An app whose first key has tokens that can be revoked, and its second key has not.
struct Stage {
    server: Server,
    app: TestApp,
}

impl Stage {
    async fn set() -> Self {
        let server = Server::sandbox(|_| {});
        let app = TestApp::create(&server, json!({"keys": [{"revocableTokens": true}, {}]})).await;
        Self { server, app }
    }

    fn name(&self, key: usize) -> &str {
        self.app.keys[key].split(':').next().expect("a name")
    }

    async fn revoke(&self, key: usize, body: Value) -> Response {
        let target = format!("/keys/{}/revokeTokens?key={}", self.name(key), self.app.keys[key]);
        self.post(&target, body).await
    }

    async fn post(&self, target: &str, body: Value) -> Response {
        let mut http = Http::connect(&self.server).await;
        http.post(target, &[("X-Ably-Version", "3")], &body.to_string()).await
    }

    async fn token(&self, client: &str) -> String {
        let target = format!("/keys/{}/requestToken?key={}", self.name(0), self.app.keys[0]);
        let body = json!({"keyName": self.name(0), "clientId": client, "timestamp": now(),
            "nonce": format!("nonce-of-{client}-and-more")});
        let response = self.post(&target, body).await;
        assert_eq!(response.status, 201, "{response:?}");
        response.json()["token"].as_str().expect("a token").to_owned()
    }

    /// A JWT with a revocation key.
    fn jwt(&self, revocation_key: &str) -> String {
        self.jwt_ahead(revocation_key, 0)
    }

    /// One of a customer whose clock is ahead by so many seconds.
    fn jwt_ahead(&self, revocation_key: &str, ahead: u64) -> String {
        let part = |json: Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
        let header = part(json!({"typ": "JWT", "alg": "HS256", "kid": self.name(0)}));
        let now = now() / 1_000 + ahead;
        let claims = json!({"iat": now, "exp": now + 600, "x-ably-revocation-key": revocation_key,
            "ably.channel.chat:*": "moderator"});
        let signed = format!("{header}.{}", part(claims));
        let (_, secret) = self.app.keys[0].split_once(':').expect("a secret");
        let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        let mac = mac.chain_update(&signed).finalize().into_bytes();
        format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac))
    }

    async fn stats(&self, token: &str) -> Response {
        let mut http = Http::connect(&self.server).await;
        http.ask("GET", &format!("/stats?accessToken={token}"), &[]).await
    }
}

fn now() -> u64 {
    letshare_server::clock::Clock::system().now().millis()
}

#[tokio::test]
async fn revoked_tokens_end_at_once_and_others_live_on() {
    let stage = Stage::set().await;
    let (alice, bob) = (stage.token("alice").await, stage.token("bob").await);
    let by_key = stage.jwt("group-7");
    let query = |token: &str| format!("v=6&accessToken={token}");
    let (mut alice_live, _) = AblyClient::connect_with(&stage.server, &query(&alice)).await;
    let (mut bob_live, _) = AblyClient::connect_with(&stage.server, &query(&bob)).await;
    let (mut jwt_live, _) = AblyClient::connect_with(&stage.server, &query(&by_key)).await;

    let targets = json!({"targets": ["clientId:alice", "nonsense", "revocationKey:group-7"]});
    let response = stage.revoke(0, targets).await;
    assert_eq!(response.status, 201, "{response:?}");
    let body = response.json();
    assert_eq!((&body["successCount"], &body["failureCount"]), (&json!(2), &json!(1)));
    assert_eq!(body["results"][0]["target"], "clientId:alice");
    assert_eq!(body["results"][0]["appliesAt"], body["results"][0]["issuedBefore"]);
    assert_eq!(body["results"][1]["error"]["statusCode"], 400);

    for gone in [&mut alice_live, &mut jwt_live] {
        let frame = gone.expect(action::DISCONNECTED).await;
        assert_eq!(frame["error"]["code"], 40141, "{frame}");
        assert_eq!(frame["error"]["statusCode"], 401);
        gone.expect_end().await;
    }
    assert!(bob_live.received_so_far().await.is_empty());
    assert_refused(&stage.stats(&alice).await, 401, 40141);
    assert_refused(&stage.stats(&by_key).await, 401, 40141);
    assert_eq!(stage.stats(&bob).await.status, 200);
    let mut back = AblyClient::open(&stage.server, &query(&alice)).await;
    assert_eq!(back.expect(action::ERROR).await["error"]["code"], 40141);
}

/// With `allowReauthMargin` whoever is connected is asked for another token first.
#[tokio::test]
async fn a_margin_gives_time_for_another_token() {
    let stage = Stage::set().await;
    let query = format!("v=6&accessToken={}", stage.token("alice").await);
    let (mut live, _) = AblyClient::connect_with(&stage.server, &query).await;
    let body = json!({"targets": ["clientId:alice"], "allowReauthMargin": true});
    let body = stage.revoke(0, body).await.json();
    let applies = body["results"][0]["appliesAt"].as_u64().unwrap();
    assert_eq!(applies - body["results"][0]["issuedBefore"].as_u64().unwrap(), 30_000);
    live.expect(action::AUTH).await;
    let other = stage.jwt("another");
    live.send(json!({"action": action::AUTH, "auth": {"accessToken": other}})).await;
    // Not the same client: the token names none.
    let answer = live.next().await;
    assert_eq!(answer["error"]["code"], 40102, "{answer}");
}

#[tokio::test]
async fn who_may_not_revoke() {
    let stage = Stage::set().await;
    let body = json!({"targets": ["clientId:alice"]});
    assert_refused(&stage.revoke(1, body.clone()).await, 401, 40163);
    let other = format!("/keys/{}/revokeTokens?key={}", stage.name(0), stage.app.keys[1]);
    assert_refused(&stage.post(&other, body.clone()).await, 401, 40133);
    let token = stage.token("alice").await;
    let by_token = format!("/keys/{}/revokeTokens?accessToken={token}", stage.name(0));
    assert_refused(&stage.post(&by_token, body.clone()).await, 401, 40162);
    for bad in [
        json!({"targets": ["clientId:a"], "issuedBefore": now() + 60_000}),
        json!({"targets": ["clientId:a"], "issuedBefore": now() - 7_200_000}),
        json!({"targets": vec!["clientId:a"; 101]}),
    ] {
        assert_refused(&stage.revoke(0, bad).await, 400, 40003);
    }
    assert_refused(&stage.revoke(0, json!({"targets": 1})).await, 400, 40001);
}

/// §12.4: what a token says about its holder stands in what he publishes, and only that.
#[tokio::test]
async fn a_user_claim_is_written_by_the_server() {
    let stage = Stage::set().await;
    let mut http = Http::connect(&stage.server).await;
    let target = |channel| format!("/channels/{channel}/messages?accessToken={}", stage.jwt("x"));
    for channel in ["chat:a", "other"] {
        let response = http.post(&target(channel), &[], r#"{"data":"hi"}"#).await;
        assert_eq!(response.status, 201, "{response:?}");
    }
    let chat = http.ask("GET", &target("chat:a"), &[]).await.json();
    assert_eq!(chat[0]["extras"]["userClaim"], "moderator");
    let other = http.ask("GET", &target("other"), &[]).await.json();
    assert_eq!(other[0].get("extras"), None);
    let forged = r#"{"data":"hi","extras":{"userClaim":"moderator"}}"#;
    assert_refused(&http.post(&target("other"), &[], forged).await, 400, 40032);
}

/// findings G0, A10: whoever is connected by a token of a clock that is ahead is reached by a revocation too.
#[tokio::test]
async fn a_token_from_the_future_is_revoked() {
    let stage = Stage::set().await;
    let query = |token: &str| format!("v=6&accessToken={token}");
    let (mut ahead, _) = AblyClient::connect_with(&stage.server, &query(&stage.jwt_ahead("group-7", 100))).await;
    let (mut other, _) = AblyClient::connect_with(&stage.server, &query(&stage.jwt_ahead("group-8", 100))).await;
    let response = stage.revoke(0, json!({"targets": ["revocationKey:group-7"], "issuedBefore": now()})).await;
    assert_eq!(response.status, 201, "{response:?}");
    assert_eq!(ahead.expect(action::DISCONNECTED).await["error"]["code"], 40141);
    ahead.expect_end().await;
    assert!(other.received_so_far().await.is_empty());
}
