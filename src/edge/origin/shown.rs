//! The origin of a page that is refused, for its answer and for the log.

use actix_web::http::header::HeaderMap;

use super::origin_of;

/// Longer ones are cut: browsers send a scheme, a host of 253 characters at most, and a port.
const SHOWN_CHARS: usize = 280;

/// What clients send may hold anything; only what looks like an origin is repeated.
pub(super) fn shown(headers: &HeaderMap) -> String {
    let Ok(Some(origin)) = origin_of(headers) else {
        return "(not one readable origin)".to_owned();
    };
    let is_of_origins = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/' | '[' | ']');
    let is_origin = match origin.split_once("://") {
        Some((scheme, host)) => !scheme.is_empty() && !host.trim_end_matches('/').contains('/'),
        None => origin == "null",
    };
    if is_origin && origin.len() <= SHOWN_CHARS && origin.chars().all(is_of_origins) {
        return origin.to_owned();
    }
    "(not an origin)".to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use actix_web::http::header::{HeaderValue, ORIGIN};

    use super::*;

    #[test]
    fn only_what_looks_like_an_origin_is_repeated() {
        for (origin, expected) in [
            ("https://evil.example", "https://evil.example"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("chrome-extension://abc", "chrome-extension://abc"),
            ("null", "null"),
            ("https://evil.example/?token=secret", "(not an origin)"),
            ("https://evil.example/path", "(not an origin)"),
            ("https://user:pass@evil.example", "(not an origin)"),
            ("secret", "(not an origin)"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(ORIGIN, HeaderValue::from_str(origin).unwrap());
            assert_eq!(shown(&headers), expected, "{origin}");
            headers.append(ORIGIN, HeaderValue::from_static("https://b.example"));
            assert_eq!(shown(&headers), "(not one readable origin)");
        }
    }
}
