//! Answers that consist of a status and a text.

use std::fmt::Display;

use actix_web::{HttpResponse, HttpResponseBuilder, http::StatusCode};

/// An answer with a status from a table of ours.
pub fn build(status: u16) -> HttpResponseBuilder {
    HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
}

/// A line of text.
pub fn plain(status: u16, text: impl Display) -> HttpResponse {
    build(status).content_type("text/plain; charset=utf-8").body(format!("{text}\n"))
}
