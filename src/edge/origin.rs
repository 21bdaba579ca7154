//! Which web pages may talk to this server: the Origin policy and the CORS headers that go with it,
//! for every route and also for the WebSocket upgrade (docs/protocols/letshare.md §4 "CORS", §1.2).
//!
//! Not actix-cors: that crate leaves upgrades alone, and browsers send no preflight before them.
//! A protocol with other pages has an [`OriginPolicy`] of its own.

use std::{net::Ipv4Addr, sync::Arc};

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderMap, HeaderValue, ORIGIN, VARY,
    },
    middleware::Next,
};

use crate::{
    config,
    edge::{
        http::cors,
        own_hosts::{OwnHosts, names_same_host},
    },
};

/// docs/protocols/letshare.md §4 "CORS".
const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET,POST,PUT,DELETE,OPTIONS");

/// The document writes the last ones as `Sec-WebSocket-*`; header lists know no such pattern, so
/// the request headers of RFC 6455 stand here by name.
const ALLOWED_HEADERS: HeaderValue = HeaderValue::from_static(
    "Origin,Content-Type,Authorization,Upgrade,Connection,Sec-WebSocket-Key,\
     Sec-WebSocket-Version,Sec-WebSocket-Protocol,Sec-WebSocket-Extensions",
);

/// What a request's `Origin` means for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No Origin, or a page of the server's own: answered without CORS headers.
    Plain,
    /// A page of another, allowed origin: answered with CORS headers.
    CrossOrigin,
    /// A page that may not talk to this server: 403, saying why.
    Refused,
}

/// The pages that may talk to a set of routes.
#[derive(Clone, Debug)]
pub struct OriginPolicy {
    /// The setting with the list.
    key: &'static str,
    /// As browsers send them: lower case, no slash at the end (RFC 6454 §6.2).
    allowed: Vec<String>,
    allow_lan: bool,
    /// Every page may.
    is_public: bool,
    own_hosts: OwnHosts,
    allowed_headers: HeaderValue,
}

impl OriginPolicy {
    /// The pages of `cors.allowed_origins`.
    pub fn new(cors: &config::Cors, own_hosts: &OwnHosts) -> Self {
        let listed = Self::listed("cors.allowed_origins", &cors.allowed_origins, own_hosts);
        Self { allow_lan: cors.allow_lan, ..listed }
    }

    /// The pages that the setting `key` lists, every one if `*` is among them, and those of the server's own hosts.
    ///
    /// Entries may be written with upper case or a slash at the end; browsers send neither, so both are taken off here
    /// and the comparison itself is exact.
    pub fn listed(key: &'static str, allowed: &[String], own_hosts: &OwnHosts) -> Self {
        let as_browsers_send_it = |origin: &String| {
            let origin = origin.trim();
            let without_slash = origin.strip_suffix('/').unwrap_or(origin);
            without_slash.to_ascii_lowercase()
        };
        Self {
            key,
            allowed: allowed.iter().map(as_browsers_send_it).collect(),
            allow_lan: false,
            is_public: allowed.iter().any(|origin| origin == "*"),
            own_hosts: own_hosts.clone(),
            allowed_headers: ALLOWED_HEADERS,
        }
    }

    /// Every page may where none is listed.
    #[must_use]
    pub fn or_public(self) -> Self {
        Self { is_public: self.is_public || self.allowed.is_empty(), ..self }
    }

    /// Pages may send these headers, too: those that the protocol's requests are made of.
    #[must_use]
    pub fn with_headers(self, names: &[&str]) -> Self {
        let headers = [self.allowed_headers.to_str().unwrap_or_default(), &names.join(",")].join(",");
        Self { allowed_headers: headers.parse().unwrap_or(ALLOWED_HEADERS), ..self }
    }

    /// `origin` and `host` are the values of those headers; `host` may carry a port.
    pub fn verdict(&self, origin: Option<&str>, host: Option<&str>) -> Verdict {
        match origin {
            None | Some("") => Verdict::Plain,
            Some(origin) if host.is_some_and(|host| self.own_hosts.is_own_page(origin, host)) => Verdict::Plain,
            Some(_) if self.is_public => Verdict::CrossOrigin,
            Some(origin) if self.allowed.iter().any(|allowed| allowed == origin) => Verdict::CrossOrigin,
            Some(origin) if self.allow_lan && is_lan_page(origin) => Verdict::CrossOrigin,
            Some(_) => Verdict::Refused,
        }
    }

    /// Why a page is refused, and what would allow it.
    fn refusal(&self, headers: &HeaderMap) -> String {
        let Ok(Some(origin)) = origin_of(headers) else {
            return "the header Origin is not one readable origin\n".to_owned();
        };
        let is_same = host_of(headers).is_some_and(|host| names_same_host(origin, host));
        let same = if is_same { ", and its host is not in server.public_hosts" } else { "" };
        format!("origin {} is not in {}{same}\n", shown::shown(headers), self.key)
    }
}

/// Two Origins are an error, too: whoever sent that is no browser, and which one to believe is a guess.
fn origin_of(headers: &HeaderMap) -> Result<Option<&str>, NotOneOrigin> {
    let mut origins = headers.get_all(ORIGIN);
    match (origins.next(), origins.next()) {
        (None, _) => Ok(None),
        (Some(one), None) => one.to_str().map(Some).map_err(|_| NotOneOrigin),
        (Some(_), Some(_)) => Err(NotOneOrigin),
    }
}

struct NotOneOrigin;

fn host_of(headers: &HeaderMap) -> Option<&str> {
    headers.get(HOST)?.to_str().ok()
}

/// Refuses, answers the preflight, or calls the handler and adds the CORS headers to its answer. `refused` is called with
/// the origin of a page that is refused, as far as that is one.
///
/// For `actix_web::middleware::from_fn`:
/// `.wrap(from_fn(move |request, next| enforce(policy.clone(), request, next, |_, _| {})))`.
/// Error: those of the wrapped handlers, their answers carrying the CORS headers too.
pub async fn enforce<B: MessageBody + 'static>(
    policy: Arc<OriginPolicy>,
    request: ServiceRequest,
    next: Next<B>,
    refused: impl FnOnce(&ServiceRequest, &str),
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let headers = request.headers();
    let verdict = match origin_of(headers) {
        Ok(origin) => policy.verdict(origin, host_of(headers)),
        Err(NotOneOrigin) => Verdict::Refused,
    };
    match verdict {
        Verdict::Plain => Ok(next.call(request).await?.map_into_left_body()),
        Verdict::Refused => {
            refused(&request, &shown::shown(headers));
            let refusal = policy.refusal(headers);
            let refusal = HttpResponse::Forbidden().content_type("text/plain; charset=utf-8").body(refusal);
            Ok(request.into_response(refusal).map_into_right_body())
        }
        Verdict::CrossOrigin => {
            let allowed = headers.get(ORIGIN).cloned().map(|origin| {
                [
                    (ACCESS_CONTROL_ALLOW_ORIGIN, origin),
                    (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
                    (VARY, HeaderValue::from_static("Origin")),
                ]
            });
            let lists = [
                (ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, policy.allowed_headers.clone()),
            ];
            cors::with_headers(request, next, allowed.into_iter().flatten().collect(), lists).await
        }
    }
}

/// `http(s)://192.168.1.*`, any port; the slash at the end is what the Go server let through.
///
/// The host is parsed as an address: compared as a prefix, `192.168.1.evil.example` would get in,
/// as it does there (docs/protocols/letshare.md §4 "CORS", §5 h).
fn is_lan_page(origin: &str) -> bool {
    let Some(authority) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = authority.split_once(':').unwrap_or((authority, "0"));
    let is_port = port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    is_port && host.parse::<Ipv4Addr>().is_ok_and(|address| matches!(address.octets(), [192, 168, 1, _]))
}

mod shown;
#[cfg(test)]
mod tests;
