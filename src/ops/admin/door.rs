//! Who may use the admin API: whoever knows `console.password`; without one, whoever is on the machine of a server that was
//! started for trying out (MODE=local, on loopback). Nobody by a foreign `Host` or from a page of a foreign origin.
//!
//! A page has its session in a cookie that no script reads and no other site sends; programs send it, or the password if it is
//! no hash, as a bearer token.

use std::{
    collections::{HashSet, VecDeque},
    net::IpAddr,
    time::Duration,
};

use actix_web::{
    Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{AUTHORIZATION, COOKIE, HeaderMap, SET_COOKIE},
    },
    middleware::Next,
    web::{self, Json},
};
use argon2::{Argon2, PasswordHash, PasswordVerifier as _};
use governor::{Quota, RateLimiter, middleware::NoOpMiddleware, nanos::Nanos, state::keyed::HashMapStateStore};
use parking_lot::Mutex;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::{Admin, Refusal};
use crate::{actors::refusals::Reason, auth::json_body::Object, clock::Clock, ids::Network, limits, live::Live};

/// A network has tried more passwords than it may.
pub(super) const TOO_OFTEN: u32 = 42_900;

/// The cookie that holds the session of a page.
const NAME: &str = "letshare-admin";

/// Who asks, as far as the request tells.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub address: IpAddr,
    pub is_encrypted: bool,
    /// A program or page on this machine, without a proxy in between.
    pub is_local: bool,
}

/// What opens the door.
pub struct Door {
    password: Live<SecretString>,
    /// Without a password whoever is on this machine may.
    is_open: bool,
    sessions: Mutex<VecDeque<Session>>,
    /// Networks that have shown the password as a bearer token: showing it again costs no attempt.
    proven: Mutex<HashSet<Network>>,
    attempts: RateLimiter<Network, HashMapStateStore<Network>, Clock, NoOpMiddleware<Nanos>>,
    /// Judging a hash takes a processor for some hundredths of a second: one at a time.
    hashing: Semaphore,
    clock: Clock,
}

struct Session {
    digest: [u8; 32],
    ends: Duration,
}

impl Door {
    pub fn new(password: SecretString, is_open: bool, clock: Clock) -> Self {
        let quota = Quota::per_second(limits::LOGINS_PER_SECOND).allow_burst(limits::LOGIN_BURST);
        let attempts = RateLimiter::hashmap_with_clock(quota, clock.clone());
        Self {
            password: Live::new(password),
            is_open,
            sessions: Mutex::default(),
            proven: Mutex::default(),
            attempts,
            hashing: Semaphore::new(1),
            clock,
        }
    }

    /// Another password from now on, if it is another one: whoever has a session logs in again. Whether it is.
    pub fn set_password(&self, password: SecretString) -> bool {
        if self.is_password(password.expose_secret()) {
            return false;
        }
        self.password.set(password);
        self.sessions.lock().clear();
        self.proven.lock().clear();
        true
    }

    fn has_password(&self) -> bool {
        !self.password.get().expose_secret().is_empty()
    }

    fn is_hash(&self) -> bool {
        self.password.get().expose_secret().starts_with("$argon2")
    }

    /// # Errors
    /// Why not.
    fn admit(&self, request: &ServiceRequest, caller: Caller) -> Result<(), Refusal> {
        if !self.has_password() {
            return if self.is_open && caller.is_local {
                Ok(())
            } else {
                let why = "console.password is not set: without it this is for programs on the machine of a server with MODE=local \
                           that listens on loopback";
                Err(Refusal::new(40300, why))
            };
        }
        let refused = Refusal::new(40100, "log in by POST /admin/api/login, or show a bearer token");
        match shown(request.headers()) {
            Some(token) if self.knows(token) => Ok(()),
            Some(token) if !self.is_hash() => {
                self.try_password(token, Network::of(caller.address))?.then_some(()).ok_or(refused)
            }
            _ => Err(refused),
        }
    }

    /// Whether it is the password, which is no hash. What is not is an attempt, like one to log in.
    fn try_password(&self, text: &str, network: Network) -> Result<bool, Refusal> {
        let is_proven = self.proven.lock().contains(&network);
        let is_password = self.is_password(text);
        if is_proven && is_password {
            return Ok(true);
        }
        if !self.may_try(network) {
            self.proven.lock().remove(&network);
            return Err(too_many());
        }
        if is_password {
            let mut proven = self.proven.lock();
            if proven.len() >= limits::LOGIN_NETWORKS {
                proven.clear();
            }
            proven.insert(network);
        }
        Ok(is_password)
    }

    /// Whether it is a session that has not ended.
    fn knows(&self, token: &str) -> bool {
        let (digest, now) = (digest(token), self.clock.uptime());
        let sessions = self.sessions.lock();
        sessions.iter().any(|session| now < session.ends && session.digest.ct_eq(&digest).into())
    }

    /// For a password that is no hash.
    fn is_password(&self, text: &str) -> bool {
        digest(self.password.get().expose_secret()).ct_eq(&digest(text)).into()
    }

    async fn judge(&self, text: String) -> bool {
        // Nothing is no password, also where a hash of it was set.
        if text.is_empty() || !self.has_password() {
            return false;
        }
        if !self.is_hash() {
            return self.is_password(&text);
        }
        let Ok(_turn) = self.hashing.acquire().await else { return false };
        let hash = self.password.get();
        let judged = web::block(move || {
            let hash = PasswordHash::new(hash.expose_secret());
            hash.is_ok_and(|hash| Argon2::default().verify_password(text.as_bytes(), &hash).is_ok())
        });
        judged.await.unwrap_or(false)
    }

    /// Whether this network may try a password now.
    fn may_try(&self, network: Network) -> bool {
        if self.attempts.len() >= limits::LOGIN_NETWORKS {
            self.attempts.retain_recent();
        }
        self.attempts.len() < limits::LOGIN_NETWORKS && self.attempts.check_key(&network).is_ok()
    }

    /// A new session; the oldest goes if there are too many.
    fn open(&self) -> String {
        let token = hex::encode(rand::random::<[u8; 32]>());
        let session = Session { digest: digest(&token), ends: self.clock.uptime() + limits::ADMIN_SESSION };
        let mut sessions = self.sessions.lock();
        sessions.truncate(limits::ADMIN_SESSIONS - 1);
        sessions.push_front(session);
        token
    }

    fn close(&self, token: &str) {
        let digest = digest(token);
        self.sessions.lock().retain(|session| session.digest != digest);
    }
}

fn too_many() -> Refusal {
    Refusal::new(TOO_OFTEN, "too many attempts: wait a second for each")
}

/// What a request shows: a bearer token, or the session of a page.
fn shown(headers: &HeaderMap) -> Option<&str> {
    let header = headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
    let cookies = headers.get(COOKIE).and_then(|header| header.to_str().ok()).unwrap_or_default();
    let mut cookies = cookies.split("; ").filter_map(|cookie| cookie.split_once('='));
    let session = || cookies.find(|(name, _)| *name == NAME).map(|(_, value)| value);
    // The scheme is case-insensitive (RFC 9110 §11.1).
    let scheme = header.and_then(|header| header.split_once(' '));
    let bearer = scheme.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    bearer.map(|(_, token)| token.trim_start()).or_else(session)
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Stands in front of every path of the API.
///
/// # Errors
/// Those of the handlers; who may not is answered.
pub async fn guard<B: MessageBody + 'static>(
    mut request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    if *request.method() != Method::POST {
        // A body that nobody takes stops the connection, so it goes before anything is waited for.
        drop(request.take_payload());
    }
    let Some(admin) = request.app_data::<web::Data<Admin>>().cloned() else {
        return Err(Refusal::new(50000, "there is no admin API here").into());
    };
    let caller = admin.hooks.caller(request.request()).map_err(|why| Refusal::new(40300, why))?;
    request.extensions_mut().insert(caller);
    if request.path() != "/admin/api/login"
        && let Err(refusal) = admin.door.admit(&request, caller)
    {
        let reason = if refusal.is_too_often() { Reason::TooOften } else { Reason::Token };
        admin.broker.refused(reason, Some(caller.address), || format!("the admin API: {refusal}"));
        return Err(refusal.into());
    }
    next.call(request).await
}

#[derive(Deserialize, ToSchema)]
pub(super) struct Login {
    password: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoggedIn {
    /// For programs: `Authorization: Bearer …`. Pages have it in a cookie.
    token: String,
    expires_in_seconds: u64,
}

/// Begins a session.
#[utoipa::path(post, path = "/admin/api/login", request_body = Login, responses(
    (status = 200, body = LoggedIn), (status = 401, body = Refusal, description = "Wrong password"),
    (status = 429, body = Refusal, description = "Too many attempts")))]
pub(super) async fn log_in(
    request: HttpRequest,
    admin: web::Data<Admin>,
    login: Json<Object<Login>>,
) -> Result<HttpResponse, Refusal> {
    let Some(caller) = request.extensions().get::<Caller>().copied() else {
        return Err(Refusal::new(50000, "nobody asks"));
    };
    let turned_away = |reason, refusal: Refusal| {
        admin.broker.refused(reason, Some(caller.address), || format!("the admin API: {refusal}"));
        Err(refusal)
    };
    if !admin.door.may_try(Network::of(caller.address)) {
        return turned_away(Reason::TooOften, too_many());
    }
    if !admin.door.judge(login.into_inner().0.password).await {
        return turned_away(Reason::Token, Refusal::new(40100, "wrong password"));
    }
    let token = admin.door.open();
    let expires_in_seconds = limits::ADMIN_SESSION.as_secs();
    let cookie = cookie(&token, expires_in_seconds, caller);
    Ok(HttpResponse::Ok().insert_header((SET_COOKIE, cookie)).json(LoggedIn { token, expires_in_seconds }))
}

/// Ends the session that is shown.
#[utoipa::path(post, path = "/admin/api/logout", responses((status = 200, body = LoggedOut)))]
pub(super) async fn log_out(request: HttpRequest, admin: web::Data<Admin>, body: web::Payload) -> HttpResponse {
    drop(body);
    if let Some(token) = shown(request.headers()) {
        admin.door.close(token);
    }
    let caller = request.extensions().get::<Caller>().copied();
    let mut response = HttpResponse::Ok();
    if let Some(caller) = caller {
        response.insert_header((SET_COOKIE, cookie("", 0, caller)));
    }
    response.json(LoggedOut { logged_out: true })
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LoggedOut {
    logged_out: bool,
}

fn cookie(token: &str, seconds: u64, caller: Caller) -> String {
    let secure = if caller.is_encrypted { "; Secure" } else { "" };
    format!("{NAME}={token}; Path=/admin/api; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}
