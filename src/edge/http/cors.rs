//! CORS: a preflight is answered, and every answer carries the headers by which a page may read it.
//!
//! [`echo_origin`] is for interfaces that any page may use because every request carries credentials of its own: the
//! origin is echoed (`docs/protocols/ably.md §1.9`). Browsers send these requests with `credentials: include`, and a
//! wildcard is no answer to that. For LetShare, whose pages are listed, see [`crate::edge::origin`].

use actix_web::{
    Error, HttpResponse,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
            ACCESS_CONTROL_REQUEST_HEADERS, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY,
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

pub type Header = (HeaderName, HeaderValue);

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
    // Also without an Origin: a cache must not give this answer to a page.
    let mut headers = vec![(VARY, HeaderValue::from_static("Origin"))];
    if let Some(origin) = request.headers().get(ORIGIN) {
        headers.extend([
            (ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")),
            (ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED),
        ]);
    }
    let wanted = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
    let lists = [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, wanted.unwrap_or(HEADERS)),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    with_headers(request, next, headers, lists).await
}

/// Answers a preflight with `headers` and `lists`, or calls the handler and adds `headers` to its answer.
///
/// # Errors
/// Those of the wrapped handlers, their answers carrying the headers too.
pub async fn with_headers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
    headers: Vec<Header>,
    lists: impl IntoIterator<Item = Header>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    if request.method() == Method::OPTIONS {
        let mut preflight = HttpResponse::NoContent().finish();
        append(preflight.headers_mut(), headers.into_iter().chain(lists));
        return Ok(request.into_response(preflight).map_into_right_body());
    }
    let answered = amended(next.call(request), |map| append(map, headers)).await?;
    Ok(answered.map_into_left_body())
}

/// Appends, since a handler may have sent a `Vary` of its own.
fn append(map: &mut HeaderMap, headers: impl IntoIterator<Item = Header>) {
    for (name, value) in headers {
        map.append(name, value);
    }
}
