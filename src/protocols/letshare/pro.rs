//! `POST /api/pro/activate`: a PRO token for whoever knows the invite code
//! (`docs/protocols/letshare.md §3.6`).

use std::net::IpAddr;

use actix_web::{HttpRequest, HttpResponse, web};
use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, nanos::Nanos, state::keyed::DefaultKeyedStateStore};
use secrecy::ExposeSecret as _;
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::{
    actors::refusals::Reason,
    auth::ProToken,
    clock::Clock,
    core::json::object,
    edge::http::{
        amend::NO_STORE,
        body::{self, NoBody},
    },
    error::{Reply, reply_table},
    ids::Network,
    limits,
    protocols::letshare::handshake::{LetShare, Shared, json_error},
};

pub type ActivationLimiter = RateLimiter<Network, DefaultKeyedStateStore<Network>, Clock, NoOpMiddleware<Nanos>>;

/// For the attempts of each address.
pub fn limiter(clock: Clock) -> ActivationLimiter {
    let quota = Quota::per_minute(limits::ACTIVATION_ATTEMPTS);
    RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock)
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    invite_code: String,
}

impl Shared {
    /// A PRO token, if the body has the invite code.
    fn activate(&self, address: IpAddr, body: &[u8]) -> Result<ProToken, Refusal> {
        if self.activations.check_key(&Network::of(address)).is_err() {
            return Err(Refusal::TooOften);
        }
        if self.activations.len() > limits::ACTIVATION_ADDRESSES {
            self.activations.retain_recent();
        }
        let Body { user_id, invite_code } = object(body).ok_or(Refusal::BadBody)?;
        if user_id.is_empty() {
            return Err(Refusal::NoUser);
        }
        let terms = self.terms.get();
        let expected = terms.invite_code.expose_secret();
        // A server without an invite code gives out no PRO tokens.
        if expected.is_empty() || !bool::from(expected.as_bytes().ct_eq(invite_code.as_bytes())) {
            return Err(Refusal::WrongCode);
        }
        terms.pro.mint(&user_id, terms.pro_hours, self.clock.now()).map_err(|error| {
            tracing::error!(%error, "cannot sign a PRO token");
            Refusal::NotSigned
        })
    }
}

reply_table! {
    /// Why there is no PRO token.
    #[derive(PartialEq, Eq)]
    enum Refusal {
        TooOften => Reply::new(429, "请求过于频繁，请1分钟后重试", "too many attempts: try again in a minute"),
        BadBody => Reply::new(
            400,
            "请求格式错误",
            "the body must be a JSON object with the texts user_id and invite_code",
        ),
        NoUser => Reply::new(400, "缺少用户ID", "user_id is missing"),
        WrongCode => Reply::new(403, "邀请码无效", "the invite_code is not the one that this server has been given"),
        NotSigned => Reply::new(500, "内部服务器错误", "the token cannot be signed; the log says why"),
    }
    fn reply(&self) -> Reply;
}

impl LetShare {
    /// Answers `POST /api/pro/activate`.
    pub(super) async fn activate(&self, request: &HttpRequest, payload: &mut web::Payload) -> HttpResponse {
        let body = body::read(request, payload, limits::ACTIVATION_BODY_BYTES).await;
        if let Err(NoBody::NoRoom(full)) = body {
            return json_error(&Reply::new(429, "服务器繁忙，请稍后重试", full.to_string()));
        }
        // A body that cannot be read or is too large is answered like an empty one.
        let address = self.ingress.client_address(request);
        match self.shared.activate(address, &body.unwrap_or_default()) {
            Ok(ProToken { token, expires }) => {
                let body = json!({ "token": token, "expires_at": expires.rfc3339() });
                HttpResponse::Ok().insert_header(NO_STORE).json(body)
            }
            Err(refusal) => {
                if refusal == Refusal::WrongCode {
                    let why = || "LetShare: a wrong invite code for PRO".to_owned();
                    self.ingress.note_refusal(request, Reason::Token, why);
                }
                json_error(&refusal.reply())
            }
        }
    }
}
