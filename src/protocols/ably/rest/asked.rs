//! One request: what it says about itself, who asks, and what it may.

use actix_web::{
    HttpRequest,
    http::header::{AUTHORIZATION, HeaderMap},
    web,
};
use base64::{
    Engine as _,
    alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use bytes::Bytes;
use serde::Serialize;

use crate::{
    actors::{channel::Channel, questions},
    auth::ably::{Access, Credential},
    core::capability::Operation,
    edge::http::{
        body::{self, NoBody},
        query::Query,
    },
    error::Fault,
    ids::{ChannelName, Timestamp},
    limits,
    protocols::ably::{
        name::Name,
        rest::{
            Rest,
            form::{self, Form},
        },
        wire::{self, Format},
    },
};

/// A request to one of the endpoints.
pub struct Asked<'a> {
    pub rest: &'a Rest,
    pub request: &'a HttpRequest,
    pub query: Query,
    pub form: Form,
    /// Of the protocol; at least 2.
    pub version: u32,
}

impl<'a> Asked<'a> {
    pub fn new(
        rest: &'a Rest,
        request: &'a HttpRequest,
        query: Query,
        form: Form,
    ) -> Result<Self, Fault> {
        let version = form::version(request.headers(), &query)?;
        Ok(Self {
            rest,
            request,
            query,
            form,
            version,
        })
    }

    pub fn now(&self) -> Timestamp {
        self.rest.worker.broker.clock.now()
    }

    /// The path as it stands on the wire.
    pub fn path(&self) -> &str {
        self.request.uri().path()
    }

    /// A body in the format of the answer.
    pub fn encode(&self, value: &impl Serialize) -> Bytes {
        wire::encode_value(self.form.body, value)
    }

    /// The body, and the format that it is in.
    pub async fn body(&self, payload: web::Payload) -> Result<(Format, Bytes), Fault> {
        let headers = self.request.headers();
        let format = form::body_format(headers, &self.query);
        let limit = limits::REQUEST_BODY_BYTES;
        let body = body::read(headers, payload, limit).await;
        let body = body.map_err(|no_body| match no_body {
            NoBody::TooLarge { size } => Fault::TooLarge { size, limit },
            NoBody::Broken => Fault::Malformed {
                what: "the body broke off",
            },
        })?;
        Ok((format, body))
    }

    pub fn is_tls(&self) -> bool {
        self.request.app_config().secure()
    }

    pub fn credential(&self) -> Result<Credential, Fault> {
        credential(self.request.headers(), &self.query)
    }

    /// What the credentials allow, for the client that the request says it comes from.
    pub fn access(&self) -> Result<Access, Fault> {
        let gate = &self.rest.shared.gate;
        let access = gate.check(&self.credential()?, self.now(), self.is_tls())?;
        access.claim(claimed_client(self.request.headers())?.as_deref())
    }

    /// A channel by its name, for somebody who may do one of these with it.
    pub fn channel(
        &self,
        name: String,
        operations: &[(Operation, &'static str)],
    ) -> Result<(Access, Name, ChannelName), Fault> {
        let access = self.access()?;
        let name = Name::parse(name)?;
        let resource = name.resource();
        let may = |(operation, _): &(Operation, _)| access.capability.allows(&resource, *operation);
        if !operations.iter().any(may) {
            let operation = operations.first().map_or("this", |(_, name)| name);
            return Err(Fault::NotPermitted { operation });
        }
        let channel = name.channel(access.app.id);
        Ok((access, name, channel))
    }

    /// Asks the actor of a channel.
    pub async fn ask<M, T>(&self, channel: &ChannelName, question: M) -> Result<T, Fault>
    where
        M: actix::Message<Result = Result<T, Fault>> + Send + 'static,
        T: Send + 'static,
        Channel: actix::Handler<M>,
        actix::Context<Channel>: actix::dev::ToEnvelope<Channel, M>,
    {
        let broker = &self.rest.worker.broker;
        let address = broker.directory.channel(channel, broker)?;
        questions::ask(Ok(address.recipient()), question).await
    }
}

/// Standard or URL-safe, with or without padding: clients write all four.
pub fn base64(text: &str) -> Option<Vec<u8>> {
    const LENIENT: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const ENGINE: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let standard = text.trim().replace('-', "+").replace('_', "/");
    ENGINE.decode(standard).ok()
}

/// The header's before the query's (§1.8).
fn credential(headers: &HeaderMap, query: &Query) -> Result<Credential, Fault> {
    if let Some(header) = headers.get(AUTHORIZATION) {
        let header = header.to_str().map_err(|_| Fault::UnreadableCredentials)?;
        let (scheme, value) = header.split_once(' ').ok_or(Fault::UnreadableCredentials)?;
        let value = value.trim();
        return match scheme.to_ascii_lowercase().as_str() {
            "basic" => {
                let key = base64(value).and_then(|key| String::from_utf8(key).ok());
                key.map(Credential::Key).ok_or(Fault::UnreadableCredentials)
            }
            "bearer" => Ok(Credential::Token(value.to_owned())),
            _ => Err(Fault::UnreadableCredentials),
        };
    }
    let token = query.get_any(&["accessToken", "access_token"]);
    Ok(match (token, query.get("key")) {
        (Some(token), _) => Credential::Token(token.to_owned()),
        (None, Some(key)) => Credential::Key(key.to_owned()),
        (None, None) => Credential::None,
    })
}

/// The client that the request comes from, as it says itself: in base64 (T64).
fn claimed_client(headers: &HeaderMap) -> Result<Option<String>, Fault> {
    let Some(header) = headers.get("X-Ably-ClientId") else {
        return Ok(None);
    };
    let client = header.to_str().ok().and_then(base64);
    let client = client.and_then(|client| String::from_utf8(client).ok());
    let rule = "X-Ably-ClientId is the base64 of the clientId";
    client.map(Some).ok_or(Fault::InvalidClientId { rule })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn base64_in_all_its_clothes() {
        for text in ["+/8=", "-_8=", "+/8", " -_8"] {
            assert_eq!(base64(text), Some(vec![0xfb, 0xff]), "{text}");
        }
        assert_eq!(base64("a"), None);
        assert_eq!(base64("a b"), None);
    }

    #[test]
    fn credentials_in_headers_and_queries() {
        let of = |header: Option<&str>, query| {
            let mut headers = HeaderMap::new();
            if let Some(header) = header {
                headers.insert(AUTHORIZATION, HeaderValue::from_str(header).unwrap());
            }
            credential(&headers, &Query::parse(query))
        };
        let key = |key: &str| Ok(Credential::Key(key.to_owned()));
        let token = |token: &str| Ok(Credential::Token(token.to_owned()));
        assert_eq!(of(Some("Basic YS5iOmM="), "key=x"), key("a.b:c"));
        assert_eq!(of(Some("basic YS5iOmM"), ""), key("a.b:c"));
        assert_eq!(of(Some("Bearer abc=="), "key=x"), token("abc=="));
        assert_eq!(of(None, "key=a.b%3Ac"), key("a.b:c"));
        assert_eq!(of(None, "accessToken=t"), token("t"));
        assert_eq!(of(None, "access_token=t&key=k"), token("t"));
        assert_eq!(of(None, ""), Ok(Credential::None));
        for bad in ["Basic", "Basic !", "Digest x"] {
            assert_eq!(of(Some(bad), ""), Err(Fault::UnreadableCredentials), "{bad}");
        }
    }
}
