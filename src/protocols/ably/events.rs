//! Streams of events for those who only listen: server-sent events, and the same as lines of JSON
//! (`docs/protocols/ably.md §1.7`). From a request to an open stream; what is on it stands in `stream`.

mod stream;

use std::sync::Arc;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName},
    },
    web,
};
use bytes::Bytes;

use crate::{
    actors::transport::context::ProtocolHandler,
    auth::ably::{Access, AllowedClient},
    core::{capability::Operation, command::Start, modes::Modes, serial::Serial},
    edge::{
        self, Endpoint, Ingress, Refusal,
        handoff::BatchBody,
        http::{accept::accepted, query::Query},
        websocket,
    },
    error::{Fault, Found},
    ids::ConnectionId,
    protocols::ably::{
        Ably,
        events::stream::{EventStream, Subscribed},
        name::Name,
        params::ChannelParams,
        refusal,
        rest::{Form, credential, respond},
        version,
        wire::EventForm,
    },
};

const EVENT_STREAM: &str = "text/event-stream";

impl Ably {
    /// Answers any request for a stream of events.
    pub async fn events(&self, request: &HttpRequest, _: &mut web::Payload) -> HttpResponse {
        let query = Query::parse(request.query_string());
        let form = Form::of(request.headers(), &query);
        let refused = |fault| self.refused(request, form, fault);
        if !matches!(request.path(), "/sse" | "/event-stream") {
            return refused(Fault::NotFound { what: "path" });
        }
        if request.method() != Method::GET {
            return refused(Fault::MethodNotAllowed { allowed: "GET" });
        }
        let way_in = WayIn { ably: self.clone(), form };
        let taker = match edge::pump(&way_in, request, write, None).await {
            Ok(taker) => taker,
            Err(refusal) => return refusal,
        };
        // The stream begins with where it is, or with why it is not.
        let Some(first) = taker.batch().await else { return refused(Fault::Busy) };
        let content_type = if asks_for_events(request) { EVENT_STREAM } else { "application/json" };
        let mut response = HttpResponse::Ok();
        response.insert_header((CONTENT_TYPE, content_type)).insert_header((CACHE_CONTROL, "no-cache"));
        // nginx holds back what it has for a client until it is enough for a block.
        response.insert_header((HeaderName::from_static("x-accel-buffering"), "no"));
        // The connection has no place of its own any more.
        response.force_close().body(BatchBody::streamed(first, taker))
    }

    fn subscription(&self, request: &HttpRequest) -> Result<EventStream, Fault> {
        let query = Query::parse(request.query_string());
        let headers = request.headers();
        let named = headers.get("X-Ably-Version").and_then(|value| value.to_str().ok()).or_else(|| query.get("v"));
        if named.and_then(version::parse).is_none() {
            return Err(Fault::UnsupportedVersion { found: Found::optional(named) });
        }
        let broker = &self.ingress.worker.broker;
        let credential = credential(headers, &query)?;
        let is_tls = websocket::is_encrypted(request);
        let access = self.rest.shared.gate.check(credential.as_ref(), broker.clock.now(), is_tls)?;
        let identity = access.claim(query.get("clientId"))?;
        let form = EventForm {
            is_sse: asks_for_events(request),
            is_enveloped: flag(&query, "enveloped", true)?,
            has_heartbeats: flag(&query, "heartbeats", false)?,
        };
        let named = names(&query)?;
        let limit = broker.settings.get().channels_per_connection;
        if named.len() > limit {
            return Err(Fault::TooManyChannels { limit });
        }
        // What a browser sends when it comes back is newer than what stands in the address.
        let header = headers.get("Last-Event-ID").map(|id| id.to_str().unwrap_or_default());
        let last = header.filter(|id| !id.is_empty()).or_else(|| query.get("lastEvent")).filter(|id| !id.is_empty());
        let positions = last.map(|id| positions(id, named.len())).transpose()?;
        let channels = named.into_iter().enumerate().map(|(index, name)| {
            let after = positions.as_ref().and_then(|positions| positions.get(index)).copied();
            subscribed(&access, &identity, &query, name, after)
        });
        let channels = channels.collect::<Result<Vec<_>, Fault>>()?;
        Ok(EventStream::new(ConnectionId::random(), access, form, channels, Arc::clone(&self.rest.shared)))
    }
}

/// Joined as they are: each payload is whole events.
fn write(payloads: &[Bytes], body: &mut Vec<u8>) {
    payloads.iter().for_each(|payload| body.extend_from_slice(payload));
}

/// `/sse` is always server-sent events.
fn asks_for_events(request: &HttpRequest) -> bool {
    request.path() == "/sse" || accepted(request.headers(), &[EVENT_STREAM]).is_some()
}

fn flag(query: &Query, name: &'static str, otherwise: bool) -> Result<bool, Fault> {
    match query.get(name) {
        None => Ok(otherwise),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(Fault::BadParameter { name, found: Found::text(other), rule: "true or false" }),
    }
}

fn names(query: &Query) -> Result<Vec<Name>, Fault> {
    let separator = query.get("separator").filter(|separator| !separator.is_empty()).unwrap_or(",");
    let Some(all) = query.get_any(&["channels", "channel"]).filter(|all| !all.is_empty()) else {
        let rule = "one channel or more, with commas between them, or what the parameter separator names";
        return Err(Fault::BadParameter { name: "channels", found: Found::optional(None), rule });
    };
    all.split(separator).map(|name| Name::parse(name.to_owned())).collect()
}

/// Where each of so many channels was when the event with this id was sent.
fn positions(id: &str, channels: usize) -> Result<Vec<Serial>, Fault> {
    let serials = id.split_once(':').map(|(_, serials)| serials.split(',').map(Serial::parse));
    let serials = serials.and_then(|serials| serials.collect::<Option<Vec<_>>>());
    serials.filter(|serials| serials.len() == channels).ok_or_else(|| Fault::BadParameter {
        name: "lastEvent (or the header Last-Event-ID)",
        found: Found::text(id),
        rule: "the id of an event of a stream with the same channels",
    })
}

fn subscribed(
    access: &Access,
    identity: &AllowedClient,
    query: &Query,
    name: Name,
    after: Option<Serial>,
) -> Result<Subscribed, Fault> {
    let in_name = name.params.iter().map(|(key, value)| (&**key, &**value));
    let in_query = ["rewind", "rewindLimit"].into_iter().filter_map(|key| Some((key, query.get(key)?)));
    let params = ChannelParams::parse(in_query.chain(in_name))?;
    let resource = name.resource();
    let listening = Modes::SUBSCRIBE | Modes::PRESENCE_SUBSCRIBE;
    // Annotations come to those who ask for them, as in an ATTACH.
    let possible = listening | Modes::ANNOTATION_SUBSCRIBE;
    let wanted = params.modes.unwrap_or(listening) & possible;
    if wanted.is_empty() {
        let asked = name.params.iter().find(|(key, _)| key == "modes");
        let found = Found::optional(asked.map(|(_, modes)| &**modes));
        let rule = "modes that a stream of events can have: subscribe, presence_subscribe, annotation_subscribe";
        return Err(Fault::BadParameter { name: "modes", found, rule });
    }
    let modes = wanted & access.operations_on(&resource).modes();
    if modes.is_empty() {
        let is_listening = !(wanted & listening).is_empty();
        let operation = if is_listening { Operation::Subscribe } else { Operation::AnnotationSubscribe };
        return Err(access.not_permitted(operation.name(), &resource));
    }
    if params.occupancy.is_some() && !access.allows(&resource, Operation::ChannelMetadata) {
        return Err(access.not_permitted("channel-metadata (for the param occupancy)", &resource));
    }
    drop(resource);
    let channel = name.channel(access.app.id);
    if access.app.attributes_of(&channel).identified_only && *identity == AllowedClient::Anonymous {
        return Err(Fault::NotIdentified);
    }
    let start = match (after, params.rewind) {
        (Some(serial), _) => Start::After(Some(serial)),
        (None, Some(rewind)) => Start::Rewind(rewind),
        (None, None) => Start::Head,
    };
    let ChannelParams { occupancy, delta, .. } = params;
    Ok(Subscribed { name, channel, modes, occupancy, delta, start, position: after, chosen_by: None, deltas: None })
}

/// Where streams begin. Whatever is wrong before that is an answer of HTTP.
#[derive(Clone)]
struct WayIn {
    ably: Ably,
    form: Form,
}

impl AsRef<Ingress> for WayIn {
    fn as_ref(&self) -> &Ingress {
        &self.ably.ingress
    }
}

impl Endpoint for WayIn {
    const NAME: &'static str = "Ably events";
    type Accepted = EventStream;
    type Refused = Fault;

    fn check(&self, request: &HttpRequest) -> Result<EventStream, Fault> {
        self.ably.subscription(request)
    }

    async fn open(&self, _: &HttpRequest, stream: EventStream) -> Result<Box<dyn ProtocolHandler>, Fault> {
        Ok(Box::new(stream))
    }

    fn refuse(&self, refusal: &Refusal<Fault>) -> HttpResponse {
        let fault = match refusal {
            Refusal::Own(fault) => fault.clone(),
            other => refusal::of_admission(other),
        };
        respond(self.form, Err(fault))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        core::serial::{Epoch, Mint},
        ids::Timestamp,
    };

    #[test]
    fn ids_say_where_each_channel_is() {
        let mut mint = Mint::new(Epoch::new(7));
        let serials = [1, 2].map(|millis| mint.mint(Timestamp::from_millis(millis)));
        let [first, second] = serials;
        assert_eq!(positions(&format!("connection:{first}"), 1), Ok(vec![first]));
        assert_eq!(positions(&format!("connection:{first},{second}"), 2), Ok(vec![first, second]));
        let other_list = format!("connection:{first}");
        for (id, channels) in [("", 1), ("x", 1), ("connection:", 1), ("connection:x", 1), (&*other_list, 2)] {
            assert_eq!(positions(id, channels).unwrap_err().ably_code(), 40003, "{id}");
        }
    }

    #[test]
    fn channels_are_listed_with_a_separator() {
        let of = |query: &str| {
            let names = names(&Query::parse(query))?;
            Ok::<_, Fault>(names.into_iter().map(|name| name.whole.to_string()).collect::<Vec<_>>())
        };
        assert_eq!(of("channels=a,b:c"), Ok(vec!["a".to_owned(), "b:c".to_owned()]));
        assert_eq!(of("channel=fo,o|ba,r&separator=|"), Ok(vec!["fo,o".to_owned(), "ba,r".to_owned()]));
        for (query, code) in [("", 40003), ("channels=", 40003), ("channels=a,", 40010), ("channels=:x", 40010)] {
            assert_eq!(of(query).unwrap_err().ably_code(), code, "{query}");
        }
    }
}
