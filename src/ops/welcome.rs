//! `GET /` of a browser: what this is and where to go from here. Programs, and whoever upgrades, get what the protocols
//! answer on that path.

use actix_web::{
    HttpResponse, guard,
    http::header::{ACCEPT, CONTENT_SECURITY_POLICY, LOCATION, VARY},
};

/// The page, for people only.
pub async fn welcome() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"))
        .insert_header((VARY, "Accept"))
        .body(include_str!("welcome.html").replace("{version}", env!("CARGO_PKG_VERSION")))
}

/// Where the console is served, people are led to it.
pub async fn to_console() -> HttpResponse {
    HttpResponse::SeeOther().insert_header((LOCATION, "/console")).insert_header((VARY, "Accept")).finish()
}

/// Whether a person looks on: browsers name HTML when they open a page, programs do not.
pub fn wants_a_page(asked: &guard::GuardContext<'_>) -> bool {
    let accept = asked.head().headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
