//! `POST /api/pro/activate`: a PRO token for whoever knows the invite code
//! (`docs/protocols/letshare.md §3.6`).

use std::{net::IpAddr, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use bytes::Bytes;
use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, nanos::Nanos, state::keyed::DefaultKeyedStateStore};
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq as _;

use crate::{
    actors::{broker::Broker, refusals::Reason},
    auth::{ProKey, ProToken},
    clock::Clock,
    config::Config,
    edge::{
        client_address::{Source, client_address_of},
        http::amend::NO_STORE,
    },
    limits,
    live::Live,
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
    trusted_proxies: Vec<IpNet>,
}

impl Terms {
    fn new(config: &Config, key: Arc<ProKey>) -> Self {
        Self {
            invite_code: config.file_transfer.pro_invite_code.clone(),
            key,
            hours: config.jwt.expiration_hours,
            trusted_proxies: config.server.trusted_proxies.clone(),
        }
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

    fn activate(&self, address: IpAddr, body: &[u8]) -> HttpResponse {
        if self.attempts.check_key(&Source::of(address)).is_err() {
            return refuse(
                StatusCode::TOO_MANY_REQUESTS,
                "请求过于频繁，请1分钟后重试",
                "too many attempts: try again in a minute",
            );
        }
        if self.attempts.len() > limits::ACTIVATION_ADDRESSES {
            self.attempts.retain_recent();
        }
        let body = match body.trim_ascii_start().first() {
            Some(b'{') => serde_json::from_slice::<Body>(body).ok(),
            _ => None,
        };
        let Some(Body { user_id, invite_code }) = body else {
            return refuse(
                StatusCode::BAD_REQUEST,
                "请求格式错误",
                "the body must be a JSON object with the texts user_id and invite_code",
            );
        };
        if user_id.is_empty() {
            return refuse(StatusCode::BAD_REQUEST, "缺少用户ID", "user_id is missing");
        }
        let terms = self.terms.get();
        if !terms.invites(&invite_code) {
            return refuse(
                StatusCode::FORBIDDEN,
                "邀请码无效",
                "the invite_code is not the one that this server has been given",
            );
        }
        let now = self.clock.now();
        match terms.key.mint(&user_id, terms.hours, now) {
            Ok(ProToken { token, expires }) => {
                let expires_at = expires.rfc3339();
                HttpResponse::Ok().insert_header(NO_STORE).json(json!({ "token": token, "expires_at": expires_at }))
            }
            Err(error) => {
                tracing::error!(%error, "cannot sign a PRO token");
                refuse(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "内部服务器错误",
                    "the token cannot be signed; the log says why",
                )
            }
        }
    }
}

impl Terms {
    /// Without a code of its own the server invites nobody.
    fn invites(&self, invite_code: &str) -> bool {
        let expected = self.invite_code.expose_secret();
        !expected.is_empty() && bool::from(expected.as_bytes().ct_eq(invite_code.as_bytes()))
    }
}

/// Serves `/api/pro/activate`.
pub fn routes(config: &mut web::ServiceConfig, broker: &Arc<Broker>, activation: &Arc<Activation>) {
    let broker = Arc::clone(broker);
    let activation = Arc::clone(activation);
    let activate = move |request: HttpRequest, body: Result<Bytes, actix_web::Error>| {
        let address = client_address_of(&request, &activation.terms.get().trusted_proxies);
        // A body that cannot be read, or is beyond all measure, is as good as none.
        let response = activation.activate(address, &body.unwrap_or_default());
        if response.status() == StatusCode::FORBIDDEN {
            let why = || "LetShare: a wrong invite code for PRO".to_owned();
            broker.refused(Reason::Token, Some(address), why);
        }
        async move { response }
    };
    config.route("/api/pro/activate", web::post().to(activate));
}

fn refuse(status: StatusCode, error: &str, reason: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({ "error": error, "reason": reason }))
}
