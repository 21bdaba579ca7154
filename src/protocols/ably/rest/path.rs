//! Which endpoint a request asks for (`docs/protocols/ably.md §11.1`).
//!
//! The path is read as it stands on the wire: a channel name is one segment, and `%2F` in it is part of
//! the name, which a router that decodes first would not see.

use actix_web::http::Method;
use percent_encoding::percent_decode_str;

use crate::{error::Fault, protocols::ably::rest::chat::Ask};

/// The endpoints. Names are decoded, but not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Time,
    /// A page that says `yes` (§1.10).
    Connectivity,
    RequestToken(String),
    RevokeTokens(String),
    Publish(String),
    BatchPublish,
    BatchPresence,
    Messages(String),
    /// One message of a channel, by its serial.
    Message(String, String),
    Change(String, String),
    Versions(String, String),
    PresenceHistory(String),
    Presence(String),
    /// Of a message by its serial.
    Annotations(String, String),
    Annotate(String, String),
    ClientSummary(String, String),
    /// The objects of a channel, or one by its id.
    Objects(String, Option<String>),
    Operate(String),
    Status(String),
    Channels,
    Stats,
    AddStats,
    CreateApp,
    DeleteApp(String),
    /// Of a room of Ably's chat.
    Chat(String, Ask),
}

/// First segments that are Ably's alone, whatever follows; not everything behind them is there yet.
pub use crate::config::ABLY_ROOTS as ROOTS;

impl Endpoint {
    /// # Errors
    /// [`Fault::NotFound`] for a path that there is not, [`Fault::MethodNotAllowed`] for a method that it does
    /// not have (§11.10), [`Fault::Malformed`] for one that is not UTF-8.
    pub fn of(method: &Method, path: &str) -> Result<Self, Fault> {
        let segments = path.strip_prefix('/').unwrap_or(path).split('/');
        let segments: Vec<String> = segments.map(decode).collect::<Result<_, _>>()?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let (read, write) = (matches!(*method, Method::GET | Method::HEAD), *method == Method::POST);
        let endpoint = match *segments {
            ["time"] => (read).then_some(Self::Time),
            ["is-the-internet-up.txt"] => read.then_some(Self::Connectivity),
            // Not 405: §11.3.
            ["keys", _, "requestToken"] if read => return Err(NO_PATH),
            ["keys", name, "requestToken"] => write.then(|| Self::RequestToken(name.to_owned())),
            ["keys", name, "revokeTokens"] => write.then(|| Self::RevokeTokens(name.to_owned())),
            ["channels"] => read.then_some(Self::Channels),
            ["messages"] => write.then_some(Self::BatchPublish),
            ["presence"] => read.then_some(Self::BatchPresence),
            ["stats"] if write => Some(Self::AddStats),
            ["stats"] => read.then_some(Self::Stats),
            ["channels", name] => read.then(|| Self::Status(name.to_owned())),
            ["channels", name, "messages"] if write => Some(Self::Publish(name.to_owned())),
            ["channels", name, "publish"] => write.then(|| Self::Publish(name.to_owned())),
            ["channels", name, "messages" | "history"] => read.then(|| Self::Messages(name.to_owned())),
            ["channels", _, "messages", ""] => return Err(NO_PATH),
            ["channels", name, "messages", serial] if *method == Method::PATCH => {
                Some(Self::Change(name.to_owned(), serial.to_owned()))
            }
            ["channels", name, "messages", serial] => read.then(|| Self::Message(name.to_owned(), serial.to_owned())),
            ["channels", name, "messages", serial, "versions"] => {
                read.then(|| Self::Versions(name.to_owned(), serial.to_owned()))
            }
            ["channels", name, "presence"] => read.then(|| Self::Presence(name.to_owned())),
            ["channels", name, "presence", "history"] => read.then(|| Self::PresenceHistory(name.to_owned())),
            ["channels", name, "messages", serial, "annotations"] => {
                let (name, serial) = (name.to_owned(), serial.to_owned());
                match write {
                    true => Some(Self::Annotate(name, serial)),
                    false => read.then_some(Self::Annotations(name, serial)),
                }
            }
            ["channels", name, "messages", serial, "client-summary"] => {
                read.then(|| Self::ClientSummary(name.to_owned(), serial.to_owned()))
            }
            ["channels", name, "object" | "objects"] if write => Some(Self::Operate(name.to_owned())),
            ["channels", name, "object" | "objects"] => read.then(|| Self::Objects(name.to_owned(), None)),
            ["channels", name, "object" | "objects", id] => {
                read.then(|| Self::Objects(name.to_owned(), Some(id.to_owned())))
            }
            ["chat", "v4", "rooms", room, ref path @ ..] => match Ask::of(method, path).ok_or(NO_PATH)? {
                Ok(ask) => Some(Self::Chat(room.to_owned(), ask)),
                Err(allowed) => return Err(Fault::MethodNotAllowed { allowed }),
            },
            ["apps"] => write.then_some(Self::CreateApp),
            ["apps", app] => (*method == Method::DELETE).then(|| Self::DeleteApp(app.to_owned())),
            _ => return Err(NO_PATH),
        };
        endpoint.ok_or_else(|| Fault::MethodNotAllowed { allowed: methods_of(&segments) })
    }
}

/// Of a path that there is.
fn methods_of(segments: &[&str]) -> &'static str {
    match segments {
        ["keys", ..] | ["apps"] | ["messages"] | ["channels", _, "publish"] => "POST",
        ["apps", _] => "DELETE",
        ["channels", _, "messages", _] => "GET, HEAD, PATCH",
        ["channels", _, "messages" | "object" | "objects"]
        | ["channels", _, "messages", _, "annotations"]
        | ["stats"] => "GET, HEAD, POST",
        _ => "GET, HEAD",
    }
}

const NO_PATH: Fault = Fault::NotFound { what: "path" };

fn decode(segment: &str) -> Result<String, Fault> {
    let decoded = percent_decode_str(segment).decode_utf8();
    let decoded = decoded.map_err(|_| Fault::Malformed { what: "the path is not percent-encoded UTF-8".into() })?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_channel_name_is_one_segment_of_the_raw_path() {
        let of = |path: &str| Endpoint::of(&Method::GET, path).unwrap();
        let channel = "a/b c?:[x]+%".to_owned();
        let encoded = "a%2Fb%20c%3F:%5Bx%5D+%25";
        assert_eq!(of(&format!("/channels/{encoded}/messages")), Endpoint::Messages(channel.clone()));
        assert_eq!(of(&format!("/channels/{encoded}/history")), Endpoint::Messages(channel.clone()));
        assert_eq!(of(&format!("/channels/{encoded}/presence/history")), Endpoint::PresenceHistory(channel.clone()));
        assert_eq!(of(&format!("/channels/{encoded}")), Endpoint::Status(channel));
    }

    #[test]
    fn unknown_paths_and_methods() {
        let of = |method: &str, path| Endpoint::of(&method.parse().unwrap(), path);
        for (method, path) in [
            ("GET", "/invalid"),
            ("GET", "/"),
            ("GET", "/time/"),
            ("GET", "/channels/a/b/messages"),
            ("GET", "/keys/x.y/requestToken"),
            ("POST", "/channels/a/messages/"),
        ] {
            assert_eq!(of(method, path), Err(NO_PATH), "{method} {path}");
        }
        for (method, path, allowed) in [
            ("POST", "/time", "GET, HEAD"),
            ("DELETE", "/channels/a/messages", "GET, HEAD, POST"),
            ("POST", "/channels/a/presence", "GET, HEAD"),
            ("POST", "/channels/a/history", "GET, HEAD"),
            ("GET", "/apps", "POST"),
            ("PUT", "/channels/a/messages/s", "GET, HEAD, PATCH"),
            ("POST", "/channels/a/messages/s/versions", "GET, HEAD"),
            ("GET", "/apps/x", "DELETE"),
            ("DELETE", "/keys/x.y/requestToken", "POST"),
            ("DELETE", "/channels/a/messages/b/annotations", "GET, HEAD, POST"),
            ("POST", "/channels/a/messages/b/client-summary", "GET, HEAD"),
            ("GET", "/messages", "POST"),
            ("GET", "/channels/a/publish", "POST"),
            ("POST", "/presence", "GET, HEAD"),
        ] {
            let refused = of(method, path);
            assert_eq!(refused, Err(Fault::MethodNotAllowed { allowed }), "{method} {path}");
        }
        assert!(matches!(of("GET", "/channels/%ff"), Err(Fault::Malformed { .. })));
    }
}
