//! Proofs and acknowledgements of who a client is (`docs/protocols/relay.md §3, §5`, proposals).

use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{EncodingKey, Header, encode};
use letshare_server::config::Identify;
use sha2::Sha256;

use super::*;

const SECRET: &str = "a secret of at least thirty-two bytes";

async fn proving(how: Identify) -> Rig {
    Rig::start(|config| {
        config.relay.identify = how;
        config.relay.identify_secret = SECRET.to_owned().into();
    })
    .await
}

/// `identify_ack`
#[tokio::test]
async fn identify_is_acknowledged_on_wish() {
    let mut rig = Rig::start_alone(|config| config.relay.identify_ack = true).await;
    let mut first = rig.user("u-208").await;
    let mut second = rig.socket("").await;
    second.identify(json!("u-208")).await;
    assert_eq!(second.next().await, json!({"event": "identified", "data": {"token": "u-208", "connections": 2}}));
    first.identify(json!("u-208")).await;
    assert_eq!(first.expect("identified").await["connections"], 2);
}

/// `identify = "jwt"`: the `sub` is the user.
#[tokio::test]
async fn a_jwt_proves_its_subject() {
    let mut rig = proving(Identify::Jwt).await;
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let claims = json!({"sub": "u-208", "exp": 4_000_000_000_u64});
    let token = encode(&Header::default(), &claims, &key).expect("signed");
    let mut user = rig.user(&token).await;
    rig.push(json!({"event_name": "e", "subject": 1, "token": "u-208"})).await;
    user.expect("e").await;
    refused(&rig, "u-208").await;
}

/// `identify = "signed"`: `<id>.<hex HMAC-SHA256>`.
#[tokio::test]
async fn a_signature_proves_an_identifier() {
    let mut rig = proving(Identify::Signed).await;
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(b"u-208");
    let signature = hex::encode(mac.finalize().into_bytes());
    let mut user = rig.socket("").await;
    user.identify(json!(format!("u-208.{signature}"))).await;
    rig.until(1, 1).await;
    rig.push(json!({"event_name": "e", "subject": 1, "token": "u-208"})).await;
    user.expect("e").await;
    refused(&rig, &format!("u-209.{signature}")).await;
}

/// By the URL and by a frame: told, and closed with 4401.
async fn refused(rig: &Rig, token: &str) {
    let error = json!({"event": "error", "data": {"msg": "invalid token"}});
    let mut by_url = rig.socket(&format!("?token={token}")).await;
    assert_eq!(by_url.next().await, error);
    by_url.expect_close(4401).await;
    let mut by_frame = rig.socket("").await;
    by_frame.identify(json!(token)).await;
    assert_eq!(by_frame.next().await, error);
    by_frame.expect_close(4401).await;
}
