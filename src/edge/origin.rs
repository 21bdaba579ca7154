//! Which web pages may talk to this server: the Origin policy and the CORS headers that go with it,
//! for every route and also for the WebSocket upgrade (docs/protocols/letshare.md §4 "CORS", §1.2).
//!
//! Not actix-cors: that crate leaves upgrades alone, and browsers send no preflight before them.
//! A protocol with another policy wraps its own scope with its own [`OriginPolicy`].

use std::{net::Ipv4Addr, sync::Arc};

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::{
        Method,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
        },
    },
    middleware::Next,
};

use crate::config;

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
    /// No Origin, or the server's own host: answered without CORS headers.
    Plain,
    /// A page of another, allowed origin: answered with CORS headers.
    CrossOrigin,
    /// A page that may not talk to this server: 403, empty.
    Refused,
}

/// The pages that may talk to a set of routes.
#[derive(Clone, Debug)]
pub struct OriginPolicy {
    /// As browsers send them: lower case, no slash at the end (RFC 6454 §6.2).
    allowed: Vec<String>,
    allow_lan: bool,
    /// Nobody is listed: every page may, as if it were the server's own.
    is_open: bool,
    /// Every page may, and is told so.
    is_public: bool,
    allowed_headers: HeaderValue,
}

impl OriginPolicy {
    /// Entries of the list may be written with upper case or a slash at the end; browsers send
    /// neither, so both are taken off here and the comparison itself is exact.
    pub fn new(cors: &config::Cors) -> Self {
        let as_browsers_send_it = |origin: &String| {
            let origin = origin.trim();
            let without_slash = origin.strip_suffix('/').unwrap_or(origin);
            without_slash.to_ascii_lowercase()
        };
        Self {
            allowed: cors.allowed_origins.iter().map(as_browsers_send_it).collect(),
            allow_lan: cors.allow_lan,
            is_open: false,
            is_public: false,
            allowed_headers: ALLOWED_HEADERS,
        }
    }

    /// These pages; every page when there are none.
    pub fn listed(allowed: &[String]) -> Self {
        Self {
            allowed: allowed.to_vec(),
            allow_lan: false,
            is_open: allowed.is_empty(),
            is_public: false,
            allowed_headers: ALLOWED_HEADERS,
        }
    }

    /// These pages, every one if `*` is among them; none when there are none. They may send the header `name`, too.
    pub fn listed_with_header(allowed: &[String], name: &str) -> Self {
        let headers = format!("{},{name}", ALLOWED_HEADERS.to_str().unwrap_or_default());
        Self {
            allowed: allowed.to_vec(),
            allow_lan: false,
            is_open: false,
            is_public: allowed.iter().any(|origin| origin == "*"),
            allowed_headers: headers.parse().unwrap_or(ALLOWED_HEADERS),
        }
    }

    /// `origin` and `host` are the values of those headers; `host` may carry a port.
    pub fn verdict(&self, origin: Option<&str>, host: Option<&str>) -> Verdict {
        match origin {
            None | Some("") => Verdict::Plain,
            Some(_) if self.is_open => Verdict::Plain,
            Some(origin) if host.is_some_and(|host| is_same_host(origin, host)) => Verdict::Plain,
            Some(_) if self.is_public => Verdict::CrossOrigin,
            Some(origin) if self.allowed.iter().any(|allowed| allowed == origin) => Verdict::CrossOrigin,
            Some(origin) if self.allow_lan && is_lan_page(origin) => Verdict::CrossOrigin,
            Some(_) => Verdict::Refused,
        }
    }

    fn verdict_on(&self, headers: &HeaderMap) -> Verdict {
        let mut origins = headers.get_all(ORIGIN);
        let origin = match (origins.next(), origins.next()) {
            (None, _) => None,
            (Some(one), None) => match one.to_str() {
                Ok(origin) => Some(origin),
                Err(_) => return Verdict::Refused,
            },
            // Two Origins: whoever sent that is no browser, and which one to believe is a guess.
            (Some(_), Some(_)) => return Verdict::Refused,
        };
        let host = headers.get(HOST).and_then(|host| host.to_str().ok());
        self.verdict(origin, host)
    }
}

/// Refuses, answers the preflight, or calls the handler and adds the CORS headers to its answer.
///
/// For `actix_web::middleware::from_fn`:
/// `.wrap(from_fn(move |request, next| enforce(policy.clone(), request, next)))`.
///
/// # Errors
/// Those of the wrapped handlers, their answers carrying the CORS headers too.
pub async fn enforce<B: MessageBody + 'static>(
    policy: Arc<OriginPolicy>,
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    match policy.verdict_on(request.headers()) {
        Verdict::Plain => Ok(next.call(request).await?.map_into_left_body()),
        Verdict::Refused => {
            let refusal = request.into_response(HttpResponse::Forbidden().finish());
            Ok(refusal.map_into_right_body())
        }
        Verdict::CrossOrigin => {
            // `verdict_on` found exactly one.
            let origin = request.headers().get(ORIGIN).cloned();
            let cors_headers = origin.into_iter().flat_map(cross_origin_headers);
            if request.method() == Method::OPTIONS {
                let mut preflight = HttpResponse::NoContent().finish();
                let lists = [
                    (ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
                    (ACCESS_CONTROL_ALLOW_HEADERS, policy.allowed_headers.clone()),
                ];
                append(preflight.headers_mut(), cors_headers.chain(lists));
                return Ok(request.into_response(preflight).map_into_right_body());
            }
            match next.call(request).await {
                Ok(mut response) => {
                    append(response.headers_mut(), cors_headers);
                    Ok(response.map_into_left_body())
                }
                // Without the headers a page could not read what went wrong.
                Err(error) => {
                    let mut response = error.error_response();
                    append(response.headers_mut(), cors_headers);
                    Err(InternalError::from_response(error, response).into())
                }
            }
        }
    }
}

fn cross_origin_headers(origin: HeaderValue) -> [(HeaderName, HeaderValue); 3] {
    [
        (ACCESS_CONTROL_ALLOW_ORIGIN, origin),
        (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
        (VARY, HeaderValue::from_static("Origin")),
    ]
}

/// Appends, since a handler may already have sent a `Vary` of its own.
fn append(headers: &mut HeaderMap, more: impl Iterator<Item = (HeaderName, HeaderValue)>) {
    for (name, value) in more {
        headers.append(name, value);
    }
}

fn is_same_host(origin: &str, host: &str) -> bool {
    without_scheme(origin).is_some_and(|page_host| page_host == host)
}

/// `http(s)://192.168.1.*`, any port; the slash at the end is what the Go server let through.
///
/// The host is parsed as an address: compared as a prefix, `192.168.1.evil.example` would get in,
/// as it does there (docs/protocols/letshare.md §4 "CORS", §5 h).
fn is_lan_page(origin: &str) -> bool {
    let Some(authority) = without_scheme(origin) else {
        return false;
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
    port.is_none_or(is_port)
        && host.parse::<Ipv4Addr>().is_ok_and(|address| matches!(address.octets(), [192, 168, 1, _]))
}

fn without_scheme(origin: &str) -> Option<&str> {
    origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"))
}

#[cfg(test)]
mod tests;
mod told;
