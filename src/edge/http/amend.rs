//! Headers for an answer that somebody else gives, be it an answer or an error that becomes one.

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
    middleware::Next,
};

/// For answers that hold a token or a key.
pub const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// Calls the wrapped handler and lets `amend` change the headers of what it answers.
///
/// # Errors
/// Those of the handler, their answers amended like any other: without the CORS headers a page could not read
/// what went wrong.
pub async fn amended<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
    amend: impl FnOnce(&mut HeaderMap),
) -> Result<ServiceResponse<B>, Error> {
    match next.call(request).await {
        Ok(mut response) => {
            amend(response.headers_mut());
            Ok(response)
        }
        Err(error) => {
            let mut response = error.error_response();
            amend(response.headers_mut());
            Err(InternalError::from_response(error, response).into())
        }
    }
}

/// What every answer says to browsers: it is what its type says, and addresses, which may hold tokens, go to nobody
/// else. For `actix_web::middleware::from_fn`, outside of everything else.
pub async fn for_browsers<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<B>, Error> {
    let amend = |headers: &mut HeaderMap| {
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    };
    amended(request, next, amend).await
}
