//! Token requests and revocations.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::{NO_RIGHTS, REVOCABLE, Siege, besiege};
use crate::support::Http;

impl Siege {
    /// Many requests behind each other on one connection.
    async fn posts(
        &self,
        number: usize,
        requests: impl Iterator<Item = (String, String)>,
    ) -> Option<crate::support::raw::Raw> {
        let requests: String = requests
            .map(|(target, body)| {
                let length = body.len();
                format!(
                    "POST {target} HTTP/1.1\r\nHost: x\r\nX-Ably-Version: 6\r\nContent-Type: application/json\r\n\
                     Content-Length: {length}\r\n\r\n{body}"
                )
            })
            .collect();
        let mut raw = self.plain(number, requests.as_bytes()).await?;
        raw.linger().await;
        Some(raw)
    }
}

/// findings B5: what a key without rights signs is refused, and costs others nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn token_requests_by_a_key_without_rights() {
    besiege(&[], async |siege| {
        let mut http = Http::connect_to(siege.server.address).await;
        let now = http.ask("GET", "/time", &[]).await.json()[0].as_u64().expect("milliseconds");
        let (name, secret) = siege.app.keys[NO_RIGHTS].split_once(':').expect("a key");
        let request = |capability: &str, nonce: String| {
            let lines = format!("{name}\n\n{capability}\n\n{now}\n{nonce}\n");
            let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length").chain_update(lines);
            let mac = BASE64_STANDARD.encode(mac.finalize().into_bytes());
            let body: Value =
                json!({"keyName": name, "capability": capability, "timestamp": now, "nonce": nonce, "mac": mac});
            (format!("/keys/{name}/requestToken"), body.to_string())
        };
        let attack = async |number: usize| {
            let requests = (0..200).map(|nonce| {
                // Half of them ask for what the key has not, half for the little that it has.
                let capability = [r#"{"*":["publish"]}"#, r#"{"nowhere":["subscribe"]}"#][nonce % 2];
                request(capability, format!("nonce-of-the-siege-{number}-{nonce}"))
            });
            siege.posts(number, requests).await
        };
        siege.some(50, attack).await
    })
    .await;
}

/// findings B10: what a revocation names is bounded, and charged to its app.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revocations_of_long_targets() {
    besiege(&[], async |siege| {
        let key = &siege.app.keys[REVOCABLE];
        let (name, _) = siege.app.basic(REVOCABLE);
        let target = format!("/keys/{name}/revokeTokens?key={key}");
        let attack = async |number: usize| {
            let requests = (0..40).map(|request| {
                let long = |length| format!("clientId:{number}-{request}-{}", "x".repeat(length));
                // One of 65 kB, or many.
                let targets: Vec<String> = match request % 2 {
                    0 => vec![long(65_000)],
                    _ => (0..90).map(|more| format!("{}-{more}", long(240))).collect(),
                };
                (target.clone(), json!({"targets": targets}).to_string())
            });
            siege.posts(number, requests).await
        };
        siege.some(50, attack).await
    })
    .await;
}
