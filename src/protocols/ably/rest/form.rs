//! The format of the answer to a request, of its body, and its protocol version (`docs/protocols/ably.md §1.3, §1.8`).

use actix_web::http::header::HeaderMap;

use crate::{
    edge::http::{
        accept::{accepted, content_type},
        query::Query,
    },
    error::{Fault, Found},
    protocols::ably::{version, wire::Format},
};

const MEDIA_TYPES: [&str; 2] = [Format::Json.content_type(), Format::Msgpack.content_type()];

/// How the answer has to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    pub body: Format,
    /// Of refusals: JSON unless `Accept` names another. ably-rust sends msgpack without `Accept`, and reads errors as
    /// JSON only.
    pub refusal: Format,
    /// Status and headers go into the body, too: for clients that cannot read them.
    pub enveloped: bool,
}

impl Form {
    /// `envelope` wins over `Accept`, that over `format`, that over JSON.
    pub fn of(headers: &HeaderMap, query: &Query) -> Self {
        if let Some(format) = query.get("envelope").and_then(by_name) {
            return Self { body: format, refusal: format, enveloped: true };
        }
        let accepted = accepted(headers, &MEDIA_TYPES).map(by_media_type);
        let named = query.get("format").and_then(by_name);
        Self {
            body: accepted.or(named).unwrap_or(Format::Json),
            refusal: accepted.unwrap_or(Format::Json),
            enveloped: false,
        }
    }
}

/// Whether `Accept` asks for one of the formats, as no browser does for a page.
pub fn names_a_format(headers: &HeaderMap) -> bool {
    accepted(headers, &MEDIA_TYPES).is_some()
}

/// The format of the request's body: by `Content-Type`, else by `format`, else JSON.
pub fn body_format(headers: &HeaderMap, query: &Query) -> Format {
    let said = content_type(headers, &MEDIA_TYPES).map(by_media_type);
    let named = || query.get("format").and_then(by_name);
    said.or_else(named).unwrap_or(Format::Json)
}

fn by_media_type(media_type: &str) -> Format {
    if media_type == Format::Msgpack.content_type() { Format::Msgpack } else { Format::Json }
}

fn by_name(name: &str) -> Option<Format> {
    match name {
        "json" => Some(Format::Json),
        "msgpack" => Some(Format::Msgpack),
        _ => None,
    }
}

/// The protocol version of the request: the number that `X-Ably-Version` or `v` begins with. Who names
/// none, such as a person with curl, gets the oldest.
/// Error: [`Fault::UnsupportedVersion`] when it is no number.
pub fn version(headers: &HeaderMap, query: &Query) -> Result<u32, Fault> {
    let header = headers.get("X-Ably-Version");
    let unsupported = |found| Fault::UnsupportedVersion { found };
    let header = header.map(|value| value.to_str().map_err(|_| unsupported(Found::bytes(value.len()))));
    let Some(text) = header.transpose()?.or_else(|| query.get("v")) else {
        return Ok(version::OLDEST);
    };
    version::parse(text).ok_or_else(|| unsupported(Found::text(text)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use actix_web::http::header::{ACCEPT, HeaderName, HeaderValue};

    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let line = |(name, value): &(&str, &str)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(line).collect()
    }

    /// docs/protocols/ably.md §1.8.
    #[test]
    fn accept_wins_over_format_and_json_is_the_default() {
        use Format::{Json, Msgpack};
        let table = [
            (None, "", (Json, Json, false)),
            (None, "format=msgpack", (Msgpack, Json, false)),
            (Some("*/*"), "format=msgpack", (Msgpack, Json, false)),
            (Some("application/x-msgpack"), "format=json", (Msgpack, Msgpack, false)),
            (Some("application/json; charset=utf-8"), "format=msgpack", (Json, Json, false)),
            (Some("text/html"), "format=xml", (Json, Json, false)),
            (Some("application/x-msgpack"), "envelope=json", (Json, Json, true)),
            (None, "envelope=msgpack", (Msgpack, Msgpack, true)),
        ];
        for (accept, query, (body, refusal, enveloped)) in table {
            let lines: Vec<_> = accept.map(|accept| (ACCEPT.as_str(), accept)).into_iter().collect();
            let form = Form::of(&headers(&lines), &Query::parse(query));
            let expected = Form { body, refusal, enveloped };
            assert_eq!(form, expected, "{accept:?} {query}");
        }
    }

    #[test]
    fn versions() {
        let of = |header: Option<&str>, query| {
            let lines: Vec<_> = header.map(|v| ("x-ably-version", v)).into_iter().collect();
            version(&headers(&lines), &Query::parse(query))
        };
        for (header, query, expected) in
            [(None, "", 2), (Some("1.2"), "", 2), (Some("3"), "v=6", 3), (None, "v=6", 6), (Some("5.0"), "", 5)]
        {
            assert_eq!(of(header, query), Ok(expected), "{header:?} {query}");
        }
        for bad in ["", "x", "-1", "99999999999"] {
            assert!(matches!(of(Some(bad), ""), Err(Fault::UnsupportedVersion { .. })), "{bad}");
        }
    }
}
