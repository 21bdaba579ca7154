//! Which of the forms that a server can give is the one that a client wants.

use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderMap};

/// The first of the client's media types that is among `known`, as it stands there. Parameters do not
/// count (`;charset`, `;q`): clients write what they like best first.
pub fn accepted<'a>(headers: &HeaderMap, known: &[&'a str]) -> Option<&'a str> {
    let lines = headers.get_all(ACCEPT).filter_map(|line| line.to_str().ok());
    let mut types = lines.flat_map(|line| line.split(','));
    types.find_map(|wanted| among(wanted, known))
}

/// What the body is said to be, if that is among `known`.
pub fn content_type<'a>(headers: &HeaderMap, known: &[&'a str]) -> Option<&'a str> {
    among(headers.get(CONTENT_TYPE)?.to_str().ok()?, known)
}

fn among<'a>(media_type: &str, known: &[&'a str]) -> Option<&'a str> {
    let (bare, _parameters) = media_type.split_once(';').unwrap_or((media_type, ""));
    let mut known = known.iter();
    known.find(|known| bare.trim().eq_ignore_ascii_case(known)).copied()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn the_first_known_type_wins() {
        let known = ["application/json", "application/x-msgpack"];
        let table: [(&[&str], Option<&str>); 8] = [
            (&[], None),
            (&["*/*"], None),
            (&["text/html"], None),
            (&["application/json"], Some(known[0])),
            (&["Application/X-Msgpack; charset=utf-8"], Some(known[1])),
            (&["text/html, application/x-msgpack,application/json"], Some(known[1])),
            (&["text/html", "application/json;q=0.5"], Some(known[0])),
            (&["application/json5"], None),
        ];
        for (lines, expected) in table {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT, HeaderValue::from_str(line).unwrap());
            }
            assert_eq!(accepted(&headers, &known), expected, "{lines:?}");
        }
    }
}
