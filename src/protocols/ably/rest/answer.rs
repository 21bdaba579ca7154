//! Answers as they go out: body, headers, links, the form of a refusal, and the envelope around all of it
//! (`docs/protocols/ably.md §1.8`).

use std::collections::BTreeMap;

use actix_web::{
    HttpResponse,
    body::{BoxBody, MessageBody as _},
    http::{
        StatusCode,
        header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, LINK},
    },
};
use bytes::Bytes;

use crate::{
    edge::http::{amend::NO_STORE, long::AnswerBody},
    error::Fault,
    protocols::ably::{
        rest::{form::Form, links::Link},
        wire::{self, ErrorBody, ErrorInfo, Format},
    },
};

/// The answer of an endpoint. Its body is in the format of the request.
pub struct RestAnswer {
    status: StatusCode,
    /// None goes out as 204: several clients cannot read a 200 without a body (T12).
    body: Option<AnswerBody>,
    headers: Headers,
    is_secret: bool,
}

impl RestAnswer {
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    pub fn ok(body: Bytes) -> Self {
        Self::new(StatusCode::OK, AnswerBody::whole(body))
    }

    /// One that may be long.
    pub const fn long(body: AnswerBody) -> Self {
        Self::new(StatusCode::OK, body)
    }

    pub fn created(body: Bytes) -> Self {
        Self::new(StatusCode::CREATED, AnswerBody::whole(body))
    }

    pub const fn nothing() -> Self {
        Self { status: StatusCode::NO_CONTENT, body: None, headers: Vec::new(), is_secret: false }
    }

    const fn new(status: StatusCode, body: AnswerBody) -> Self {
        Self { status, body: Some(body), headers: Vec::new(), is_secret: false }
    }

    /// It holds a token or a key: no proxy may store it.
    pub fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    pub fn with_links(mut self, links: Vec<Link>) -> Self {
        // One line for each relation: some clients read one link a line (§8.3).
        self.headers.extend(links.iter().map(|link| (LINK, link.header())));
        self
    }

    /// The status and the headers of a refusal, with a body of its own.
    pub fn refused(fault: &Fault, body: Bytes) -> Self {
        // A status that is none would be a fault of ours.
        let status = StatusCode::from_u16(fault.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut headers = vec![
            // Browsers look at the body only if they can read this one (T8).
            (HeaderName::from_static("x-ably-errorcode"), fault.ably_code().to_string()),
            (HeaderName::from_static("x-ably-errormessage"), ascii_line(&fault.to_string())),
        ];
        if let Fault::MethodNotAllowed { allowed } = fault {
            headers.push((ALLOW, (*allowed).to_owned()));
        }
        Self { headers, ..Self::new(status, AnswerBody::whole(body)) }
    }
}

/// The response to a request that wants it in `form`.
pub fn respond(form: Form, outcome: Result<RestAnswer, Fault>) -> HttpResponse {
    let (answer, format) = match outcome {
        Ok(answer) => (answer, form.body),
        Err(fault) => (refuse(form.refusal, &fault), form.refusal),
    };
    if form.enveloped {
        let is_secret = answer.is_secret;
        let mut response = enveloped(format, answer);
        if is_secret {
            response.headers_mut().insert(NO_STORE.0, NO_STORE.1);
        }
        return response;
    }
    let mut response = HttpResponse::build(answer.status);
    if answer.is_secret {
        response.insert_header(NO_STORE);
    }
    for (name, value) in answer.headers {
        response.append_header((name, value));
    }
    match answer.body {
        Some(body) => {
            let media_type = HeaderValue::from_static(format.content_type());
            response.insert_header((CONTENT_TYPE, media_type)).body(body.boxed())
        }
        None => response.finish(),
    }
}

type Headers = Vec<(HeaderName, String)>;

fn refuse(format: Format, fault: &Fault) -> RestAnswer {
    let error = ErrorInfo::from(fault);
    RestAnswer::refused(fault, wire::encode_value(format, &ErrorBody { error: &error }))
}

/// A header value can hold: no line breaks, nothing beyond ASCII.
fn ascii_line(text: &str) -> String {
    let printable = |symbol: char| match symbol {
        ' '..='~' => symbol,
        _ => '?',
    };
    text.chars().map(printable).collect()
}

/// Status and headers of the answer in its body; the response itself is always a 200.
fn enveloped(format: Format, answer: RestAnswer) -> HttpResponse<BoxBody> {
    let mut flat: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &answer.headers {
        // Several links: as one line.
        flat.entry(name.as_str().to_owned())
            .and_modify(|line| {
                line.push_str(", ");
                line.push_str(value);
            })
            .or_insert_with(|| value.clone());
    }
    if answer.body.is_some() {
        flat.insert("content-type".to_owned(), format.content_type().to_owned());
    }
    let body = envelope(format, answer.status.as_u16(), &flat, answer.body);
    let media_type = HeaderValue::from_static(format.content_type());
    HttpResponse::Ok().insert_header((CONTENT_TYPE, media_type)).body(body.boxed())
}

/// `{statusCode, headers, response}` around a body.
fn envelope(
    format: Format,
    status: u16,
    headers: &BTreeMap<String, String>,
    response: Option<AnswerBody>,
) -> AnswerBody {
    /// Of a map of `n` entries, up to 15 (msgpack).
    const MAP: u8 = 0x80;
    let status = wire::encode_value(format, &status);
    let headers = wire::encode_value(format, headers);
    let members: [(&str, Option<&[u8]>); 3] =
        [("statusCode", Some(&status)), ("headers", Some(&headers)), ("response", response.as_ref().map(|_| &b""[..]))];
    let count = members.iter().filter(|(_, value)| value.is_some()).count();
    let mut head = Vec::with_capacity(64 + status.len() + headers.len());
    match format {
        Format::Json => head.push(b'{'),
        Format::Msgpack => head.push(MAP | count as u8),
    }
    for (index, (name, value)) in members.into_iter().filter_map(|(name, value)| Some((name, value?))).enumerate() {
        if format == Format::Json && index > 0 {
            head.push(b',');
        }
        head.extend_from_slice(&wire::encode_value(format, &name));
        if format == Format::Json {
            head.push(b':');
        }
        head.extend_from_slice(value);
    }
    let end: &[u8] = if format == Format::Json { b"}" } else { b"" };
    response.unwrap_or_else(|| AnswerBody::whole(Bytes::new())).between(head, end)
}
