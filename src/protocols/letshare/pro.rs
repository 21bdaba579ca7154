//! `POST /api/pro/activate`: a PRO token for whoever knows the invite code
//! (`docs/protocols/letshare.md §3.6`).

use std::{net::IpAddr, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, web};
use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, nanos::Nanos, state::keyed::DefaultKeyedStateStore};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::{
    actors::refusals::Reason,
    auth::{ProKey, ProToken},
    clock::Clock,
    config::Config,
    edge::{
        client_address::Source,
        http::{amend::NO_STORE, body},
    },
    error::{Reply, reply_table},
    limits,
    live::Live,
    protocols::letshare::handshake::{LetShare, json_error},
};

type Limiter = RateLimiter<Source, DefaultKeyedStateStore<Source>, Clock, NoOpMiddleware<Nanos>>;

/// Hands out PRO tokens; one for all worker threads.
pub struct Activation {
    terms: Live<Terms>,
    attempts: Limiter,
    clock: Clock,
}

/// What is read anew when the operator says so.
struct Terms {
    invite_code: SecretString,
    key: Arc<ProKey>,
    hours: u32,
}

impl Terms {
    fn new(config: &Config, key: Arc<ProKey>) -> Self {
        Self { invite_code: config.file_transfer.pro_invite_code.clone(), key, hours: config.jwt.expiration_hours }
    }
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    user_id: String,
    #[serde(default)]
    invite_code: String,
}

impl Activation {
    pub fn new(config: &Config, key: Arc<ProKey>, clock: Clock) -> Self {
        let quota = Quota::per_minute(limits::ACTIVATION_ATTEMPTS);
        Self {
            terms: Live::new(Terms::new(config, key)),
            attempts: RateLimiter::new(quota, DefaultKeyedStateStore::default(), clock.clone()),
            clock,
        }
    }

    /// Another code and another key from now on; tokens of the former key are worth nothing any more.
    pub fn set_keys(&self, config: &Config, key: Arc<ProKey>) {
        self.terms.set(Terms::new(config, key));
    }

    fn answer(&self, address: IpAddr, body: &[u8]) -> Result<HttpResponse, Refusal> {
        if self.attempts.check_key(&Source::of(address)).is_err() {
            return Err(Refusal::TooOften);
        }
        if self.attempts.len() > limits::ACTIVATION_ADDRESSES {
            self.attempts.retain_recent();
        }
        let body = match body.trim_ascii_start().first() {
            Some(b'{') => serde_json::from_slice::<Body>(body).ok(),
            _ => None,
        };
        let Body { user_id, invite_code } = body.ok_or(Refusal::BadBody)?;
        if user_id.is_empty() {
            return Err(Refusal::NoUser);
        }
        let terms = self.terms.get();
        if !terms.invites(&invite_code) {
            return Err(Refusal::WrongCode);
        }
        let minted = terms.key.mint(&user_id, terms.hours, self.clock.now()).map_err(|error| {
            tracing::error!(%error, "cannot sign a PRO token");
            Refusal::NotSigned
        });
        let ProToken { token, expires } = minted?;
        let expires_at = expires.rfc3339();
        Ok(HttpResponse::Ok().insert_header(NO_STORE).json(json!({ "token": token, "expires_at": expires_at })))
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
        let body = body::read(request.headers(), payload, limits::ACTIVATION_BODY_BYTES).await;
        // A body that cannot be read, or is beyond all measure, is as good as none.
        let answer = self.activation.answer(self.ingress.client_address(request), &body.unwrap_or_default());
        answer.unwrap_or_else(|refusal| {
            if refusal == Refusal::WrongCode {
                let why = || "LetShare: a wrong invite code for PRO".to_owned();
                self.ingress.note_refusal(request, Reason::Token, why);
            }
            json_error(&refusal.reply())
        })
    }
}

impl Terms {
    /// Without a code of its own the server invites nobody.
    fn invites(&self, invite_code: &str) -> bool {
        let expected = self.invite_code.expose_secret();
        !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(invite_code.as_bytes()))
    }
}
