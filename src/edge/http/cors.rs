//! CORS for interfaces that any page may use because every request carries credentials of its own: the
//! origin is echoed (`docs/protocols/ably.md §1.9`). Browsers send these requests with `credentials:
//! include`, and a wildcard is no answer to that.
//!
//! Not for LetShare, whose pages are listed: see [`crate::edge::origin`].

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_HEADERS, HeaderMap, HeaderValue, ORIGIN, VARY,
        },
    },
    middleware::Next,
};

use crate::edge::http::amend::amended;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Accept, X-Ably-Version, Ably-Agent, X-Ably-ClientId, \
     X-Ably-DeviceToken, X-Ably-DeviceSecret, X-Ably-Lib, X-Requested-With, Cache-Control",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Link, Transfer-Encoding, Content-Length, X-Ably-ErrorCode, X-Ably-ErrorMessage, \
     X-Ably-Version, X-Ably-ServerId, Server",
);
/// Seconds: what Chromium takes at most.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Answers preflights, and lets the page that asks read every answer, refusals included.
///
/// For `actix_web::middleware::from_fn`.
///
/// # Errors
/// Those of the wrapped handlers, their answers carrying the headers too.
pub async fn echo_origin<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let origin = request.headers().get(ORIGIN).cloned();
    if request.method() == Method::OPTIONS {
        let mut preflight = HttpResponse::NoContent().finish();
        let wanted = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS);
        let allowed = wanted.cloned().unwrap_or(HEADERS);
        let headers = preflight.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        allow(headers, origin);
        return Ok(request.into_response(preflight).map_into_right_body());
    }
    let answered = amended(request, next, |headers| allow(headers, origin)).await?;
    Ok(answered.map_into_left_body())
}

fn allow(headers: &mut HeaderMap, origin: Option<HeaderValue>) {
    // Also without an Origin: a cache must not give this answer to a page.
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else {
        return;
    };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
}
