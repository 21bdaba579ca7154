//! Reading the body of a request: never more of it than allowed, never longer than `REQUEST_BODY_TIMEOUT`.

use actix_web::{
    http::header::{CONTENT_LENGTH, HeaderMap},
    rt::time::timeout,
    web,
};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

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
pub async fn read(headers: &HeaderMap, payload: &mut web::Payload, limit: usize) -> Result<Bytes, NoBody> {
    if let Some(size) = declared(headers).filter(|size| *size > limit) {
        return Err(NoBody::TooLarge { size });
    }
    let body = async {
        let mut body = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| NoBody::Broken)?;
            let size = body.len() + chunk.len();
            if size > limit {
                return Err(NoBody::TooLarge { size });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    };
    let in_time = timeout(limits::REQUEST_BODY_TIMEOUT, body).await;
    in_time.unwrap_or(Err(NoBody::Broken))
}

/// Reads what is left of a body that nobody wants: the server cuts a connection whose request was not read,
/// and the client's next request on it would be lost. Not for a body beyond `limit`: that one is cut.
pub async fn discard(headers: &HeaderMap, payload: &mut web::Payload, limit: usize) {
    if declared(headers).is_some_and(|size| size > limit) {
        return;
    }
    let rest = async {
        let mut size = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            size += chunk.len();
            if size > limit {
                break;
            }
        }
    };
    // Whoever is slower than that is cut, too.
    let _ = timeout(limits::REQUEST_BODY_TIMEOUT, rest).await;
}

fn declared(headers: &HeaderMap) -> Option<usize> {
    let length = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok()
}
