//! `POST {push_path}`: pushes to a user or to everybody, at once or later (`docs/protocols/relay.md §4`).

use std::{borrow::Cow, time::Duration};

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    config::{self, UnresolvedToken},
    core::json::{object, present},
    edge::http::body::{self, NoBody},
    ids::ChannelName,
    limits,
    older::relay::{
        delivery::Wait,
        endpoint::Relay,
        reply::{RelayError, done},
        target::{EVERYBODY, Target, user_channel},
    },
};

/// A push as it is carried out, and kept until then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Push {
    pub event_name: String,
    pub subject: Box<RawValue>,
    /// None = for everybody.
    pub user: Option<String>,
    /// As given.
    pub token: Option<Box<RawValue>>,
}

impl Push {
    pub fn channel(&self) -> ChannelName {
        self.user.as_deref().map_or_else(|| EVERYBODY.into(), user_channel)
    }
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    event_name: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    subject: Option<&'a RawValue>,
    delay_seconds: Option<i64>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
}

/// The push, and its delay in seconds, as given.
///
/// # Errors
/// The first rule that the body breaks.
fn read(body: &[u8], settings: &config::Relay) -> Result<(Push, i64), RelayError> {
    let body: Body<'_> = object(body).ok_or(RelayError::Json)?;
    let event_name = body.event_name.filter(|name| !name.is_empty());
    let event_name = event_name.ok_or(RelayError::NoEventName)?.into_owned();
    let subject = body.subject.or(settings.lenient_push.then_some(RawValue::NULL));
    let subject = subject.ok_or(RelayError::NoSubject)?.to_owned();
    let delay = body.delay_seconds.unwrap_or_default();
    if delay > limits::RELAY_DELAY.as_secs().cast_signed() {
        return Err(RelayError::DelayTooLarge);
    }
    let user = match Target::of(body.token) {
        Target::User(user) if user.len() > limits::RELAY_TOKEN_BYTES => {
            return Err(RelayError::TokenTooLong(limits::RELAY_TOKEN_BYTES));
        }
        Target::User(user) => Some(user),
        Target::Unresolved if settings.unresolved_token == UnresolvedToken::Reject => {
            return Err(RelayError::Unresolved);
        }
        Target::Everybody | Target::Unresolved => None,
    };
    let token = body.token.map(ToOwned::to_owned);
    Ok((Push { event_name, subject, user, token }, delay))
}

/// The fields of the older server in its order, and behind them what is new.
#[derive(Serialize)]
struct Pushed<'a> {
    event_name: &'a str,
    delay_seconds: i64,
    target_user_id: &'a str,
    broadcast: bool,
    parsed_user_raw: Option<&'a RawValue>,
    id: &'a str,
    /// None: it is delayed.
    connections: Option<usize>,
    /// It waits for its user; only where pushes are kept (`offline_ttl_seconds`).
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<bool>,
}

pub async fn push(
    relay: &Relay,
    request: &HttpRequest,
    payload: &mut web::Payload,
) -> Result<HttpResponse, RelayError> {
    let shared = &relay.shared;
    if shared.limiter.as_ref().is_some_and(|limiter| limiter.check().is_err()) {
        return Err(RelayError::TooManyRequests);
    }
    let body = body::read(request, payload, limits::RELAY_PUSH_BYTES).await;
    let body = body.map_err(|no_body| match no_body {
        NoBody::TooLarge { .. } => RelayError::TooLarge,
        NoBody::Broken => RelayError::Json,
        NoBody::NoRoom(_) => RelayError::Busy,
    })?;
    let (push, delay) = read(&body, &shared.settings)?;
    let id = shared.schedule.mint_id();
    let delivered = match u64::try_from(delay).unwrap_or_default() {
        0 => Some(shared.delivery.deliver(&push, &id, Wait::AsSet, &relay.ingress.worker.broker).await?),
        seconds => {
            shared.schedule.keep(&id, &push, Duration::from_secs(seconds)).await?;
            None
        }
    };
    // Sizes, not what is in it (§1).
    tracing::debug!(bytes = body.len(), delay, ?delivered, "pushed");
    Ok(done(Pushed {
        event_name: &push.event_name,
        delay_seconds: delay,
        target_user_id: push.user.as_deref().unwrap_or_default(),
        broadcast: push.user.is_none(),
        parsed_user_raw: push.token.as_deref(),
        id: &id,
        connections: delivered.map(|delivered| delivered.connections),
        kept: delivered.filter(|_| shared.delivery.keeps()).map(|delivered| delivered.is_kept),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let settings = config::Config::for_tests().relay;
        let parse = |body: &str| read(body.as_bytes(), &settings);
        let (push, delay) = parse(r#" {"event_name":"e","subject":{"no": 4711},"x":1}"#).expect("good");
        assert_eq!(delay, 0);
        assert_eq!(push.subject.get(), r#"{"no": 4711}"#);
        assert_eq!(push.user, None);
        let negative = parse(r#"{"event_name":"e","subject":null,"delay_seconds":-3}"#);
        assert_eq!(negative.expect("good").1, -3);
        for (body, fault) in [
            ("", RelayError::Json),
            ("x", RelayError::Json),
            (r#"["e",1,0,null]"#, RelayError::Json),
            ("null", RelayError::Json),
            (r#"{"event_name":5,"subject":1}"#, RelayError::Json),
            (r#"{"event_name":"e","subject":1,"delay_seconds":"5"}"#, RelayError::Json),
            (r#"{"event_name":"e","subject":1,"delay_seconds":1.5}"#, RelayError::Json),
            (r#"{"event_name":"e","subject":1} x"#, RelayError::Json),
            (r#"{"subject":1}"#, RelayError::NoEventName),
            (r#"{"event_name":"","subject":1}"#, RelayError::NoEventName),
            (r#"{"event_name":null,"subject":1}"#, RelayError::NoEventName),
            (r#"{"event_name":"e"}"#, RelayError::NoSubject),
            (r#"{"event_name":"e","subject":1,"delay_seconds":2592001}"#, RelayError::DelayTooLarge),
        ] {
            assert_eq!(parse(body).err(), Some(fault), "{body}");
        }
    }

    #[test]
    fn options() {
        let mut settings = config::Config::for_tests().relay;
        (settings.lenient_push, settings.unresolved_token) = (true, UnresolvedToken::Reject);
        let parse = |body: &str| read(body.as_bytes(), &settings);
        let (lenient, _) = parse(r#"{"event_name":"e"}"#).expect("good");
        assert_eq!(lenient.subject.get(), "null");
        let slip = parse(r#"{"event_name":"e","token":{"uid":7}}"#);
        assert_eq!(slip.err(), Some(RelayError::Unresolved));
        assert!(parse(r#"{"event_name":"e","token":""}"#).is_ok());
    }
}
