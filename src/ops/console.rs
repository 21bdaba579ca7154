//! `/console`: a page that shows the server at work. It is a client like any other: it asks the admin API, `/metrics`, and Ably's
//! REST and event-stream interface with the key that its user gives it, or with a token of the admin API. So there is nothing here
//! but files.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName},
};

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The paths and what is there.
const FILES: [(&str, &str, &str); 12] = [
    ("/console", HTML, include_str!("console/index.html")),
    ("/console/console.css", "text/css; charset=utf-8", include_str!("console/console.css")),
    ("/console/console.js", SCRIPT, include_str!("console/console.js")),
    ("/console/api.js", SCRIPT, include_str!("console/api.js")),
    ("/console/overview.js", SCRIPT, include_str!("console/overview.js")),
    ("/console/connections.js", SCRIPT, include_str!("console/connections.js")),
    ("/console/login.js", SCRIPT, include_str!("console/login.js")),
    ("/console/channels.js", SCRIPT, include_str!("console/channels.js")),
    ("/console/tokens.js", SCRIPT, include_str!("console/tokens.js")),
    ("/console/try.js", SCRIPT, include_str!("console/try.js")),
    ("/console/call.js", SCRIPT, include_str!("console/call.js")),
    ("/console/plots.js", SCRIPT, include_str!("console/plots.js")),
];

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// GET and HEAD of `/console` and what is below it.
pub async fn console(request: HttpRequest) -> HttpResponse {
    let asked = request.path().trim_end_matches('/');
    let Some((_, kind, text)) = FILES.iter().find(|(path, ..)| *path == asked) else {
        return HttpResponse::NotFound().content_type("text/plain").body("404 page not found");
    };
    HttpResponse::Ok()
        .content_type(*kind)
        .insert_header((CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((HeaderName::from_static("cross-origin-opener-policy"), "same-origin"))
        // A new version of the server brings a new page.
        .insert_header((CACHE_CONTROL, "no-cache"))
        .body(text.replace("{version}", env!("CARGO_PKG_VERSION")))
}
