//! Headers for an answer that somebody else gives, be it an answer or an error that becomes one.

use actix_web::{
    Error,
    body::MessageBody,
    dev::ServiceResponse,
    error::InternalError,
    http::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS},
};

/// For answers that hold a token or a key.
pub const NO_STORE: (HeaderName, HeaderValue) = (CACHE_CONTROL, HeaderValue::from_static("no-store"));

/// Lets `amend` change the headers of what is answered.
///
/// # Errors
/// Those of the handler, their answers amended like any other: without the CORS headers a page could not read
/// what went wrong.
pub async fn amended<B: MessageBody + 'static>(
    answer: impl Future<Output = Result<ServiceResponse<B>, Error>>,
    amend: impl FnOnce(&mut HeaderMap),
) -> Result<ServiceResponse<B>, Error> {
    match answer.await {
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
/// else.
pub fn for_browsers(headers: &mut HeaderMap) {
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}
