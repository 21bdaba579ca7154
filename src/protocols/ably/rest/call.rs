//! One request: its headers and query, its credentials, and what they permit.

use std::{cell::Cell, sync::Arc};

use actix_web::{
    HttpRequest,
    http::header::{AUTHORIZATION, HeaderMap},
    web,
};
use bytes::Bytes;
use bytestring::ByteString;
use serde::Serialize;

use crate::{
    actors::{
        accounts::{Charge, Full, Kind},
        broker::Broker,
    },
    auth::{
        ably::{Access, AllowedClient, Credential},
        base64_text,
    },
    core::capability::Operation,
    edge::{
        Ingress,
        http::{
            body::{self, Body, NoBody},
            long::AnswerBody,
            query::Query,
        },
        websocket,
    },
    error::{Fault, Found},
    ids::{AppId, ChannelName, Timestamp},
    limits,
    protocols::ably::{
        name::Name,
        rest::{
            Rest,
            answer::RestAnswer,
            form::{self, Form},
        },
        wire::{self, Format},
    },
};

/// A request to one of the endpoints.
pub struct Call<'a> {
    pub rest: &'a Rest,
    ingress: &'a Ingress,
    pub http: &'a HttpRequest,
    pub query: Query,
    pub form: Form,
    /// Of the protocol; at least 2.
    pub version: u32,
    /// Whose request it is, as soon as its credentials are read.
    pub app: Cell<Option<AppId>>,
}

/// Whose credentials came with a request, and whom it speaks for.
pub struct Caller {
    pub access: Access,
    pub identity: AllowedClient,
}

impl<'a> Call<'a> {
    pub fn new(
        rest: &'a Rest,
        ingress: &'a Ingress,
        http: &'a HttpRequest,
        query: Query,
        form: Form,
    ) -> Result<Self, Fault> {
        let version = form::version(http.headers(), &query)?;
        Ok(Self { rest, ingress, http, query, form, version, app: Cell::new(None) })
    }

    pub fn now(&self) -> Timestamp {
        self.rest.worker.broker.clock.now()
    }

    /// The path as it stands on the wire.
    pub fn path(&self) -> &str {
        self.http.uri().path()
    }

    /// A body in the format of the answer.
    pub fn encode(&self, value: &impl Serialize) -> Bytes {
        wire::encode_value(self.form.body, value)
    }

    /// An answer that may be long: `bytes` of it are finished, and the caller's account pays for them.
    pub fn long_answer(&self, app: AppId, bytes: Bytes) -> Result<RestAnswer, Fault> {
        let charge = self.charge(app, bytes.len())?;
        Ok(RestAnswer::long(AnswerBody::whole(bytes).paid_by(charge)))
    }

    /// Pays for what is kept of an answer until the client has taken it.
    pub fn charge(&self, app: AppId, bytes: usize) -> Result<Charge, Fault> {
        let account = self.ingress.account_of_request(self.http, app);
        account.charge(Kind::Answer, bytes).map_err(Full::to_fault)
    }

    /// The body of at most `limit` bytes, and the format that it is in.
    pub async fn body(&self, payload: &mut web::Payload, limit: usize) -> Result<(Format, Body), Fault> {
        let format = form::body_format(self.http.headers(), &self.query);
        let body = body(self.http, payload, limit).await?;
        Ok((format, body))
    }

    /// The body of what a caller publishes, which its app pays for from now on.
    pub async fn body_of(&self, caller: &Caller, payload: &mut web::Payload) -> Result<(Format, Body), Fault> {
        body::charge_to(self.http, self.broker().accounts.app(caller.access.app.id));
        self.body(payload, limits::REQUEST_BODY_BYTES).await
    }

    pub fn is_tls(&self) -> bool {
        websocket::is_encrypted(self.http)
    }

    pub fn credential(&self) -> Result<Option<Credential>, Fault> {
        credential(self.http.headers(), &self.query)
    }

    /// Whose request it is.
    pub fn caller(&self) -> Result<Caller, Fault> {
        let gate = &self.rest.shared.gate;
        let credential = self.credential()?;
        let access = gate.check(credential.as_ref(), self.now(), self.is_tls())?;
        self.app.set(Some(access.app.id));
        let claimed = claimed_client(self.http.headers())?;
        let identity = access.claim(claimed.as_deref())?;
        Ok(Caller { access, identity })
    }

    /// A channel by its name, if the caller may do one of `operations` with it.
    pub fn channel(&self, name: String, operations: &[Operation]) -> Result<(Caller, Name, ChannelName), Fault> {
        let caller = self.caller()?;
        let (name, channel) = caller.channel(name, operations)?;
        Ok((caller, name, channel))
    }

    pub fn broker(&self) -> &Arc<Broker> {
        &self.rest.worker.broker
    }
}

impl Caller {
    /// A channel by its name, if one of `operations` is permitted with it.
    pub fn channel(&self, name: impl Into<ByteString>, operations: &[Operation]) -> Result<(Name, ChannelName), Fault> {
        let name = Name::parse(name)?;
        let resource = name.resource();
        if !operations.iter().any(|operation| self.access.allows(&resource, *operation)) {
            let operation = operations.first().map_or("this", |operation| operation.name());
            return Err(self.access.not_permitted(operation, &resource));
        }
        drop(resource);
        let channel = name.channel(self.access.app.id);
        Ok((name, channel))
    }
}

/// The body of a request, of at most `limit` bytes.
///
/// # Errors
/// [`Fault::TooLarge`], [`Fault::Malformed`], [`Fault::MemoryFull`]
pub async fn body(request: &HttpRequest, payload: &mut web::Payload, limit: usize) -> Result<Body, Fault> {
    let body = body::read(request, payload, limit).await;
    body.map_err(|no_body| match no_body {
        NoBody::TooLarge { size } => Fault::TooLarge { what: "the body", size, limit },
        NoBody::Broken => Fault::Malformed { what: "the body broke off".into() },
        NoBody::NoRoom(full) => full.to_fault(),
    })
}

/// The credential of a request: the header's before the query's (§1.8).
pub fn credential(headers: &HeaderMap, query: &Query) -> Result<Option<Credential>, Fault> {
    let header = headers.get(AUTHORIZATION).map(|header| header.to_str());
    let why = "the Authorization header is not ASCII";
    let header = header.map(|header| header.map_err(|_| Fault::UnreadableCredentials { why }));
    Credential::find(header.transpose()?, query.pairs())
}

/// The clientId that the request claims: in base64 (T64).
fn claimed_client(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(header) = headers.get("X-Ably-ClientId") else {
        return Ok(None);
    };
    let text = header.to_str().ok().map(str::trim);
    let client = text.map(str::as_bytes).and_then(base64_text::decode);
    let client = client.and_then(|client| String::from_utf8(client).ok());
    let rule = "the base64 of the clientId, in the header X-Ably-ClientId";
    client.map(Some).ok_or_else(|| {
        let found = text.map_or_else(|| Found::bytes(header.len()), Found::text);
        Fault::InvalidClientId { found, rule }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    /// T64; §1.8.
    #[test]
    fn the_client_is_named_in_base64() {
        let of = |header: Option<&str>| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                let name = HeaderName::from_static("x-ably-clientid");
                headers.insert(name, HeaderValue::from_str(header).unwrap());
            }
            claimed_client(&headers)
        };
        assert_eq!(of(None), Ok(None));
        for text in ["w7wvYm9i", "w7wvYm9i "] {
            assert_eq!(of(Some(text)), Ok(Some("ü/bob".to_owned())), "{text}");
        }
        for bad in ["!", "/w=="] {
            assert!(matches!(of(Some(bad)), Err(Fault::InvalidClientId { .. })), "{bad}");
        }
    }
}
