//! Reading the body of a request: never more of it than allowed, never longer than `REQUEST_BODY_TIMEOUT`, and paid for as it
//! comes. That it comes at a least rate is the business of the stream below ([`crate::edge::stream`]).

use std::ops::Deref;

use actix_web::{
    HttpMessage as _, HttpRequest,
    http::header::{CONTENT_LENGTH, HeaderMap},
    rt::time::timeout,
    web,
};
use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::{
    actors::accounts::{Account, Charge, Full, Kind},
    limits,
};

/// Why there is no body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoBody {
    /// More than allowed; the size as declared, or as far as it was looked at.
    TooLarge { size: usize },
    /// It broke off, or came too slowly.
    Broken,
    /// Whoever sends it has no room for it.
    NoRoom(Full),
}

/// A body, which is paid for until it is dropped.
#[derive(Debug, Default)]
pub struct Body {
    bytes: Bytes,
    _charge: Option<Charge>,
}

#[cfg(test)]
impl Body {
    pub fn unpaid(bytes: &'static (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { bytes: Bytes::from_static(bytes.as_ref()), _charge: None }
    }
}

impl Deref for Body {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

/// Who pays for the body of a request; an extension of it.
struct Payer(Account);

/// From now on `account` pays for the body of `request`.
pub fn charge_to(request: &HttpRequest, account: Account) {
    request.extensions_mut().insert(Payer(account));
}

/// Who pays for the body of `request`, and for what is made of it before its app is known.
pub fn payer(request: &HttpRequest) -> Option<Account> {
    request.extensions().get::<Payer>().map(|Payer(account)| account.clone())
}

/// The whole body, `limit` bytes at most.
///
/// # Errors
/// [`NoBody`]; a body that is declared too large is not read at all.
pub async fn read(request: &HttpRequest, payload: &mut web::Payload, limit: usize) -> Result<Body, NoBody> {
    if let Some(size) = declared(request.headers()).filter(|size| *size > limit) {
        return Err(NoBody::TooLarge { size });
    }
    let account = payer(request);
    let body = async {
        let (mut body, mut charge) = (Vec::new(), None);
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|_| NoBody::Broken)?;
            let size = body.len() + chunk.len();
            if size > limit {
                return Err(NoBody::TooLarge { size });
            }
            if size > body.capacity() {
                let room = size.max(2 * body.capacity()).min(limit);
                pay(account.as_ref(), &mut charge, room).map_err(NoBody::NoRoom)?;
                body.reserve_exact(room - body.len());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Body { bytes: body.into(), _charge: charge })
    };
    let in_time = timeout(limits::REQUEST_BODY_TIMEOUT, body).await;
    in_time.unwrap_or(Err(NoBody::Broken))
}

fn pay(account: Option<&Account>, charge: &mut Option<Charge>, bytes: usize) -> Result<(), Full> {
    match (account, charge) {
        (Some(_), Some(charge)) => charge.set(bytes),
        (Some(account), charge) => {
            *charge = Some(account.charge(Kind::RequestBody, bytes)?);
            Ok(())
        }
        (None, _) => Ok(()),
    }
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
