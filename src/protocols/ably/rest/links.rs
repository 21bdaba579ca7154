//! The links from page to page of a list (`docs/protocols/ably.md §8.3`).
//!
//! Clients take them apart with patterns of their own, so every detail counts: relative to the last
//! segment of the path, nothing in the query but unreserved characters, one header line each.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    edge::http::query::Query,
    error::{Fault, Found},
};

/// Everything but letters, digits, `-` and `_`: commas end a link for some clients, slashes and dots are
/// cleaned away by others.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// Parameters for the form of the answer, which belong to every page.
const KEPT: [&str; 3] = ["format", "envelope", "v"];

/// A link: its relation and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    relation: &'static str,
    target: String,
}

impl Link {
    /// As a header line.
    pub fn header(&self) -> String {
        format!("<{}>; rel=\"{}\"", self.target, self.relation)
    }
}

/// The links of one page. A place is what a list goes on behind; the first page has none.
#[derive(Clone, Copy, Debug)]
pub struct Pages<'a> {
    /// The path of the request as it was sent.
    pub path: &'a str,
    pub query: &'a Query,
    /// For people who read the link; what counts stands in the cursors.
    pub shown: &'a [(&'static str, &'a str)],
}

impl Pages<'_> {
    /// `first` and `current` always, `next` only when there is more. Each cursor holds all that the list
    /// was asked for, so that pages do not shift under what is published meanwhile.
    /// Error: [`Fault::Internal`] when a cursor cannot be written.
    pub fn links<C: Serialize>(self, first: &C, current: &C, next: Option<&C>) -> Result<Vec<Link>, Fault> {
        let all = [("first", Some(first)), ("current", Some(current)), ("next", next)];
        let link = |(relation, cursor): (&'static str, Option<&C>)| {
            let cursor = cursor?;
            let target = self.target(cursor);
            Some(target.map(|target| Link { relation, target }))
        };
        all.into_iter().filter_map(link).collect()
    }

    fn target<C: Serialize>(self, cursor: &C) -> Result<String, Fault> {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        let mut target = format!("./{last}?");
        let kept = KEPT.iter();
        let kept = kept.filter_map(|name| Some((*name, self.query.get(name)?)));
        for (name, value) in self.shown.iter().copied().chain(kept) {
            // Cannot fail: writing to a string.
            let _ = write!(target, "{name}={}&", utf8_percent_encode(value, ESCAPED));
        }
        let cursor = serde_json::to_vec(cursor).map_err(|_| Fault::Internal)?;
        target.push_str("cursor=");
        BASE64_URL_SAFE_NO_PAD.encode_string(cursor, &mut target);
        Ok(target)
    }
}

/// The cursor of a link; none on the first request.
/// Error: [`Fault::BadParameter`] when it is not one of ours.
pub fn cursor<C: DeserializeOwned>(query: &Query) -> Result<Option<C>, Fault> {
    let Some(text) = query.get("cursor") else {
        return Ok(None);
    };
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok();
    let cursor = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    cursor.map(Some).ok_or_else(|| bad_cursor(text))
}

pub fn bad_cursor(found: &str) -> Fault {
    let rule = "what stands in a Link header, unchanged";
    Fault::BadParameter { name: "cursor", found: Found::text(found), rule }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn links_are_what_every_client_can_read() {
        let query = Query::parse("rnd=5&key=secret&format=a,b/c.d");
        let pages = Pages { path: "/channels/a%2Fb/presence/history", query: &query, shown: &[("limit", "2")] };
        let links = pages.links(&("f", "//"), &("c", ","), Some(&("n", "??>"))).unwrap();
        let lines: Vec<String> = links.iter().map(Link::header).collect();
        assert_eq!(lines.len(), 3);
        for (line, relation) in lines.iter().zip(["first", "current", "next"]) {
            assert!(line.ends_with(&format!(">; rel=\"{relation}\"")), "{line}");
            let target = line.strip_prefix("<./history?").unwrap();
            let query = target.split_once('>').unwrap().0;
            assert!(!query.contains([',', '/', '.', '+']), "{line}");
            assert!(!line.contains("secret") && !line.contains("rnd"), "{line}");
            let query = Query::parse(query);
            assert_eq!(query.get("format"), Some("a,b/c.d"));
            assert_eq!(query.get("limit"), Some("2"));
            assert!(cursor::<(String, String)>(&query).unwrap().is_some());
        }
        assert!(pages.links(&1, &1, None).unwrap().len() == 2);
    }

    #[test]
    fn a_foreign_cursor_is_refused() {
        for bad in ["cursor=", "cursor=!", "cursor=e30"] {
            let refused = cursor::<(String, String)>(&Query::parse(bad));
            assert!(matches!(refused, Err(Fault::BadParameter { name: "cursor", .. })), "{bad}");
        }
        assert_eq!(cursor::<u8>(&Query::parse("a=1")), Ok(None));
    }
}
