//! What the value of a key must look like, and how it is read.

use std::{fmt, net::IpAddr, path::Path, time::Duration};

use actix_web::http::header::HeaderName;
use figment::value::Value;
use ipnet::IpNet;
use jiff::tz::TimeZone;
use serde::Serialize;
use tracing_subscriber::EnvFilter;
use url::{Host, Url};

use super::yaml::Raw;
use crate::limits;

/// What a value must look like. `Display` says it to the operator.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Switch,
    /// Smallest and largest number.
    Whole(u64, u64),
    /// Shortest and longest, as `limits` in words and as values.
    Span(&'static str, Duration, &'static str, Duration),
    OneOf(&'static [&'static str]),
    Address,
    Networks,
    /// Names of hosts, without ports.
    Hosts,
    Origins,
    /// The same, or `*` for every page.
    OriginsOrAny,
    /// Tokens with the mailboxes that they open. Secret.
    Grants,
    /// Names of mailboxes.
    Names,
    /// A port, or empty for the shared one.
    OwnPort,
    /// The path of a URL.
    Path,
    /// The same, or nothing.
    OptionalPath,
    /// Host and port, or nothing.
    Endpoint,
    Filter,
    Secret,
    /// A text to be kept from others; any length, or empty.
    Code,
    /// A word that may be shown, or empty.
    Text,
    /// The name or address of a machine, or empty.
    Host,
    /// The name of an HTTP header.
    Header,
    /// The name of a time zone, or empty.
    Zone,
    /// Where a service is.
    HttpUrl,
    Folder,
    /// A file or nothing.
    File,
    /// Accepted and ignored while it has the first value; the second says what to do instead.
    Ignored(&'static str, &'static str),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("true or false"),
            Self::Whole(min, max) => write!(f, "a whole number from {min} to {max}"),
            Self::Span(min, _, max, _) => write!(f, "a duration from {min} to {max}"),
            Self::OneOf(words) => match words.split_last() {
                Some((last, rest)) => write!(f, "{} or {last}", rest.join(", ")),
                None => Ok(()),
            },
            Self::Address => f.write_str("an IP address such as 127.0.0.1, 0.0.0.0 or ::1"),
            Self::Networks => f.write_str("a list of IP networks such as 10.0.0.0/8 or 127.0.0.1"),
            Self::Hosts => f.write_str("a list of host names such as broker.example, without scheme and port"),
            Self::Origins => f.write_str("a list of origins, each scheme://host or scheme://host:port"),
            Self::OriginsOrAny => {
                f.write_str("a list of origins, each scheme://host or scheme://host:port, or * for every page")
            }
            Self::Grants => {
                f.write_str("a list of tokens, each followed by the mailboxes that it opens: TOKEN erp desk-*")
            }
            Self::Names => f.write_str("a list of names, each of at most 256 bytes"),
            Self::OwnPort => f.write_str("a whole number from 0 to 65535, or empty for server.port"),
            Self::Path => f.write_str("the path of a URL such as /ws, without { } ? #"),
            Self::OptionalPath => write!(f, "{}, or empty", Self::Path),
            Self::Endpoint => f.write_str("a host and a port such as 127.0.0.1:6379, or empty"),
            Self::Filter => f.write_str(
                "trace, debug, info, warn, error or off, or filter directives such as \
                 info,letshare_server::edge=debug",
            ),
            Self::Secret => f.write_str("a secret of at least 32 bytes; shorter or published ones on loopback only"),
            Self::Code => f.write_str("a text, or empty"),
            Self::Text => f.write_str("a text without spaces, or empty"),
            Self::Host => f.write_str("the name or address of a machine, or empty"),
            Self::Header => f.write_str("the name of a header"),
            Self::Zone => f.write_str("the name of a time zone such as Asia/Shanghai, or empty"),
            Self::HttpUrl => f.write_str("a URL that begins with http:// or https://"),
            Self::Folder => f.write_str("the path of a folder"),
            Self::File => f.write_str("the path of a readable file, or empty"),
            Self::Ignored("", instead) => write!(f, "empty (not supported: {instead})"),
            Self::Ignored(only, instead) => write!(f, "{only} (not supported: {instead})"),
        }
    }
}

impl Kind {
    /// Turns what was written into what the typed settings take; `None` leaves the key out.
    ///
    /// # Errors
    /// What is wrong with the value, in words; the value itself is not repeated.
    pub fn read(&self, raw: &Raw, base: &Path) -> Result<Option<Value>, String> {
        let text = match (self, raw) {
            (Self::Networks | Self::Hosts | Self::Origins | Self::OriginsOrAny | Self::Grants | Self::Names, _) => {
                return self.read_list(&items(raw));
            }
            (_, Raw::Text(text)) => text,
            (_, Raw::List(_)) => return Err("a list where a single value belongs".into()),
        };
        let value = match self {
            Self::Switch => match text.as_str() {
                "true" => value(true)?,
                "false" => value(false)?,
                _ => return Err("neither true nor false".into()),
            },
            Self::Whole(min, max) => match text.parse::<u64>() {
                Ok(number) if (*min..=*max).contains(&number) => value(number)?,
                Ok(_) => return Err("out of range".into()),
                Err(_) => return Err("not a whole number, or out of range".into()),
            },
            Self::Span(_, min, _, max) => value(span(text, *min, *max)?)?,
            Self::OneOf(words) if words.contains(&text.as_str()) => value(text)?,
            Self::OneOf(_) => return Err("not one of the known words".into()),
            Self::Address => match text.parse::<IpAddr>() {
                Ok(address) => value(address)?,
                Err(_) if text == "localhost" => return Err("a name; write 127.0.0.1".into()),
                Err(_) => return Err("not an IP address".into()),
            },
            Self::OwnPort if text.is_empty() => return Ok(None),
            Self::OwnPort => match text.parse::<u16>() {
                Ok(port) => value(port)?,
                Err(_) => return Err("not a port".into()),
            },
            Self::OptionalPath | Self::Endpoint if text.is_empty() => return Ok(None),
            Self::Path | Self::OptionalPath => value(path(text)?)?,
            Self::Endpoint => value(endpoint(text)?)?,
            Self::Filter => value(filter(text)?)?,
            Self::Secret | Self::Code => value(self.secret(text)?)?,
            Self::Text if text.contains(char::is_whitespace) => {
                return Err("contains a space".into());
            }
            Self::Text => value(text)?,
            Self::Host if text.contains(|c: char| c.is_whitespace() || "/@".contains(c)) => {
                return Err("not the name of a machine alone".into());
            }
            Self::Host => value(text)?,
            Self::Header => match HeaderName::try_from(text.as_str()) {
                Ok(name) => value(name.as_str())?,
                Err(_) => return Err("not the name of a header".into()),
            },
            Self::Zone if text.is_empty() || TimeZone::get(text).is_ok() => value(text)?,
            Self::Zone => return Err("not a known time zone".into()),
            Self::HttpUrl => match Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => {
                    value(text.trim_end_matches('/'))?
                }
                _ => return Err("not a URL that begins with http:// or https://".into()),
            },
            Self::Folder | Self::File if text.is_empty() => match self {
                Self::File => return Ok(None),
                _ => return Err("empty".into()),
            },
            Self::Folder | Self::File => value(base.join(text))?,
            Self::Ignored(..) => return Ok(None),
            Self::Networks | Self::Hosts | Self::Origins | Self::OriginsOrAny | Self::Grants | Self::Names => {
                return Err("not a list".into());
            }
        };
        Ok(Some(value))
    }

    /// Whether its values must never be shown.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Code | Self::Grants)
    }

    /// A value as it may be shown.
    pub fn shown(self, raw: &Raw) -> String {
        let text = match raw {
            Raw::Text(text) => text.clone(),
            Raw::List(items) => items.join(","),
        };
        if self.is_secret() { format!("****** ({} bytes)", text.len()) } else { self.without_login(&text) }
    }

    /// A name and password in an address are nobody's business. Where nothing but an address belongs they may stand
    /// without a scheme.
    fn without_login(self, text: &str) -> String {
        match (self, text.rsplit_once('@')) {
            (Self::Endpoint | Self::Host | Self::HttpUrl, Some((login, rest))) if !login.contains("://") => {
                format!("******@{rest}")
            }
            _ => super::complaint::masked(text),
        }
    }

    /// No client sends a secret with white space around it: HTTP takes it away from a header, and whoever signs with the
    /// secret has it from a place without.
    fn secret(self, text: &str) -> Result<&str, String> {
        // An empty one is told with what it is for.
        let is_told_later = matches!(self, Self::Secret) && text.trim().is_empty();
        if text.trim() == text || is_told_later {
            return Ok(text);
        }
        Err("begins or ends with white space, such as the line break that `echo` puts behind a text and editors into a \
             file: what clients send would never be equal to it. Take it away, for example with `printf %s` or, in \
             Kubernetes, `--from-literal`"
            .into())
    }

    fn read_list(&self, items: &[String]) -> Result<Option<Value>, String> {
        let mut values = Vec::with_capacity(items.len());
        let mut problems = Vec::new();
        for item in items {
            let read = match self {
                Self::Networks => network(item).and_then(value),
                Self::Hosts => host(item).and_then(value),
                Self::OriginsOrAny if item == "*" => value(item),
                Self::Grants => grant(item).and_then(value),
                Self::Names => mailbox(item).and_then(value),
                _ => origin(item).and_then(value),
            };
            match read {
                Ok(value) => values.push(value),
                // The item is a secret.
                Err(problem) if matches!(self, Self::Grants) => problems.push(problem),
                Err(problem) => {
                    let item = super::complaint::printable(&self.without_login(item));
                    problems.push(format!("{item}: {problem}"));
                }
            }
        }
        if problems.is_empty() { value(values).map(Some) } else { Err(problems.join("; ")) }
    }
}

/// Environment variables and flags write lists with commas.
fn items(raw: &Raw) -> Vec<String> {
    match raw {
        Raw::List(items) => items.clone(),
        Raw::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
    }
}

fn value(of: impl Serialize) -> Result<Value, String> {
    Value::serialize(of).map_err(|error| error.to_string())
}

fn span(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok() {
        return Err(format!("a number without a unit; write {text}s or {text}ms"));
    }
    let span = text.parse::<jiff::SignedDuration>().map_err(|_| "not a duration; write it as 200ms, 30s, 2m or 1h")?;
    match Duration::try_from(span) {
        Ok(span) if (min..=max).contains(&span) => Ok(span),
        _ => Err("out of range".into()),
    }
}

/// The slash at the front that people forget is added; `load` tells them.
fn path(text: &str) -> Result<String, String> {
    let is_plain = |c: char| c.is_ascii_graphic() && !"{}?#%\\\"".contains(c);
    if text.is_empty() {
        return Err("empty".into());
    }
    if !text.chars().all(is_plain) {
        return Err("contains a character that does not belong into a path".into());
    }
    if text.contains("://") {
        return Err("an address where the path alone belongs".into());
    }
    let bare = text.trim_start_matches('/');
    if bare.len() + 1 < text.len() || (bare.ends_with('/') && !bare.is_empty()) {
        return Err("begins or ends with too many slashes".into());
    }
    Ok(format!("/{bare}"))
}

fn endpoint(text: &str) -> Result<&str, String> {
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err("the port is missing; write host:port".into());
    };
    if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@".contains(c)) {
        return Err("not a host".into());
    }
    port.parse::<u16>().map_err(|_| "not a port")?;
    Ok(text)
}

fn grant(text: &str) -> Result<&str, String> {
    match text.split_whitespace().count() {
        0 => Err("an empty item".into()),
        1 => Err("a token without the names of mailboxes that it opens".into()),
        _ => Ok(text),
    }
}

fn mailbox(text: &str) -> Result<&str, String> {
    if text.is_empty() || text.len() > limits::POST_NAME_BYTES {
        return Err(format!("not 1 to {} bytes", limits::POST_NAME_BYTES));
    }
    if text.chars().any(char::is_control) {
        return Err("contains a control character".into());
    }
    Ok(text)
}

fn network(text: &str) -> Result<IpNet, String> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(address.into()),
        Err(_) => text.parse().map_err(|_| "not an IP address and not a network such as 10.0.0.0/8".into()),
    }
}

/// As browsers write it: lower case, other letters than ASCII as `xn--…`.
fn host(text: &str) -> Result<String, String> {
    if text.contains("://") || text.contains(':') && !text.starts_with('[') {
        return Err("write the name alone, without scheme and port".into());
    }
    match Host::parse(text) {
        Ok(host) => Ok(host.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Browsers send an origin in exactly one spelling, and it is compared byte for byte; a value that
/// could never match is a mistake.
fn origin(text: &str) -> Result<&str, String> {
    if text.contains('*') {
        return Err("patterns are not supported; list each origin".into());
    }
    let url = match text.split_once("://") {
        Some(_) => Url::parse(text).map_err(|error| error.to_string())?,
        None => return Err("the scheme is missing; write https://… or http://…".into()),
    };
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err("the host is missing".into());
    };
    let port = url.port().map(|port| format!(":{port}"));
    let exact = format!("{}://{host}{}", url.scheme(), port.unwrap_or_default());
    if exact == text { Ok(text) } else { Err(format!("browsers send this origin as {exact}; write that")) }
}

/// A lone word that is no level would be taken for the name of a module and silence everything else.
fn filter(text: &str) -> Result<&str, String> {
    const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
    for directive in text.split(',') {
        let level = directive.rsplit('=').next().unwrap_or_default();
        if !LEVELS.contains(&level.trim()) {
            return Err("does not name a level".into());
        }
    }
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text),
        Err(error) => Err(error.to_string()),
    }
}
