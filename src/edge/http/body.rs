//! Reading the body of a request: never more of it than allowed, never longer than patience lasts.

use actix_web::{
    http::header::{CONTENT_LENGTH, HeaderMap},
    rt::time::timeout,
    web,
};
use bytes::Bytes;

use crate::limits;

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// More than allowed; the size as declared, or as far as it was looked at.
    TooLarge { size: usize },
    /// It broke off, or took too long.
    Broken,
}

/// The whole body, `limit` bytes at most.
///
/// # Errors
/// [`NoBody`]; a body that is declared too large is not read at all.
pub async fn read(
    headers: &HeaderMap,
    payload: web::Payload,
    limit: usize,
) -> Result<Bytes, NoBody> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok());
    let declared = declared.and_then(|length| length.parse::<usize>().ok());
    if let Some(size) = declared.filter(|size| *size > limit) {
        return Err(NoBody::TooLarge { size });
    }
    let body = payload.to_bytes_limited(limit);
    match timeout(limits::REQUEST_BODY_TIMEOUT, body).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Err(_over)) => Err(NoBody::TooLarge { size: limit + 1 }),
        Ok(Ok(Err(_))) | Err(_) => Err(NoBody::Broken),
    }
}
