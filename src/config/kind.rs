//! What the value of a key must look like, and how it is read.

use std::{fmt, net::IpAddr, path::Path, time::Duration};

use actix_web::http::header::HeaderName;
use ipnet::IpNet;
use jiff::{SignedDuration, tz::TimeZone};
use serde_json::{Value, to_value};
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
    /// Shortest and longest.
    Span(&'static str, &'static str),
    OneOf(&'static [&'static str]),
    Address,
    Networks,
    Hosts,
    Origins,
    OriginsOrAny,
    Grants,
    /// Names of mailboxes.
    Names,
    OwnPort,
    Path,
    OptionalPath,
    Endpoint,
    /// Several, with commas between.
    Endpoints,
    Filter,
    /// Signs tokens. `secrets` judges its length, and that it is not empty where it is used.
    Secret,
    /// A text that is never shown; may be empty.
    Code,
    Text,
    Host,
    Header,
    Zone,
    HttpUrl,
    Folder,
    File,
    /// Accepted and ignored while it has the first value; the second says what to do instead.
    Ignored(&'static str, &'static str),
}

impl Kind {
    pub const PORT: Self = Self::Whole(0, 65_535);
    pub const COUNT: Self = Self::Whole(1, 1_000_000);
    /// 0 = no limit.
    pub const RATE: Self = Self::Whole(0, 1_000_000);
    pub const CONNECTIONS: Self = Self::Whole(0, 10_000_000);
    pub const FILE_BYTES: Self = Self::Whole(0, 1 << 50);
    /// 0 = as the machine allows.
    pub const MEMORY: Self = Self::Whole(0, 1 << 50);
    pub const STORE_BYTES: Self = Self::Whole(1_024, 1 << 40);
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Switch => "true or false",
            Self::Whole(min, max) => return write!(f, "a whole number from {min} to {max}"),
            Self::Span(min, max) => return write!(f, "a duration from {min} to {max}"),
            Self::OneOf([rest @ .., last]) => return write!(f, "{} or {last}", rest.join(", ")),
            Self::OneOf([]) => "nothing",
            Self::Address => "an IP address such as 127.0.0.1, 0.0.0.0 or ::1, or localhost",
            Self::Networks => "a list of IP networks such as 10.0.0.0/8 or 127.0.0.1",
            Self::Hosts => "a list of host names such as broker.example, without scheme and port",
            Self::Origins => "a list of origins, each scheme://host or scheme://host:port",
            Self::OriginsOrAny => "a list of origins, each scheme://host or scheme://host:port, or * for every page",
            Self::Grants => "a list of tokens, each followed by the mailboxes that it opens: TOKEN erp desk-*",
            Self::Names => "a list of names, each of at most 256 bytes",
            Self::OwnPort => "a whole number from 0 to 65535, or empty for server.port",
            Self::Path => "the path of a URL such as /ws, without { } ? #",
            Self::OptionalPath => return write!(f, "{}, or empty", Self::Path),
            Self::Endpoint => "a host and a port such as 127.0.0.1:6379, or empty",
            Self::Endpoints => "a host and a port such as 127.0.0.1:6379, or several with commas between, or empty",
            Self::Filter => {
                "trace, debug, info, warn, error or off, or filter directives such as info,letshare_server::edge=debug"
            }
            Self::Secret => "a secret of at least 32 bytes; shorter or published ones on loopback only",
            Self::Code => "a text, or empty",
            Self::Text => "a text without spaces, or empty",
            Self::Host => "the name or address of a machine, or empty",
            Self::Header => "the name of a header",
            Self::Zone => "the name of a time zone such as Asia/Shanghai, or empty",
            Self::HttpUrl => "a URL that begins with http:// or https://",
            Self::Folder => "the path of a folder",
            Self::File => "the path of a readable file, or empty",
            Self::Ignored("", instead) => return write!(f, "empty (not supported: {instead})"),
            Self::Ignored(only, instead) => return write!(f, "{only} (not supported: {instead})"),
        };
        f.write_str(words)
    }
}

impl Kind {
    /// Turns what was written into what the typed settings take; `None` leaves the key out.
    ///
    /// # Errors
    /// What is wrong with the value, in words; the value itself is not repeated.
    pub fn read(&self, raw: &Raw, base: &Path) -> Result<Option<Value>, String> {
        if *raw == Raw::EmptySection {
            return Err("a section where a value belongs".into());
        }
        if let Some(read) = self.item() {
            return self.read_list(&items(raw), read).map(Some);
        }
        let Raw::Text(text) = raw else {
            return Err("a list where a single value belongs".into());
        };
        let may_be_absent =
            matches!(self, Self::OwnPort | Self::OptionalPath | Self::Endpoint | Self::Endpoints | Self::File);
        if matches!(self, Self::Ignored(..)) || text.is_empty() && may_be_absent {
            return Ok(None);
        }
        self.read_text(text, base).map(Some)
    }

    fn read_text(&self, text: &str, base: &Path) -> Result<Value, String> {
        let text = match self {
            Self::Switch => return text.parse::<bool>().map(Value::from).map_err(|_| "neither true nor false".into()),
            Self::Whole(min, max) => {
                let number = text.parse::<u64>().map_err(|_| "not a whole number, or out of range")?;
                let is_in_range = (*min..=*max).contains(&number);
                return if is_in_range { Ok(number.into()) } else { Err("out of range".into()) };
            }
            Self::Span(min, max) => return to_value(span(text, min, max)?).map_err(|error| error.to_string()),
            Self::OwnPort => return text.parse::<u16>().map(Value::from).map_err(|_| "not a port".into()),
            Self::Folder if text.is_empty() => return Err("empty".into()),
            Self::Folder | Self::File => return to_value(base.join(text)).map_err(|error| error.to_string()),
            Self::OneOf(words) if words.contains(&text) => text,
            Self::OneOf(_) => return Err("not one of the known words".into()),
            Self::Address if text.parse::<IpAddr>().is_ok() => text,
            Self::Address if text == "localhost" => "127.0.0.1",
            Self::Address => return Err("not an IP address".into()),
            Self::Path | Self::OptionalPath => return path(text).map(Value::from),
            Self::Endpoint => endpoint(text)?,
            Self::Endpoints => {
                for one in text.split(',') {
                    endpoint(one.trim())?;
                }
                text
            }
            Self::Filter => filter(text)?,
            Self::Secret | Self::Code => self.secret(text)?,
            Self::Text if text.contains(char::is_whitespace) => return Err("contains a space".into()),
            Self::Host if text.contains(|c: char| c.is_whitespace() || "/@".contains(c)) => {
                return Err("not the name of a machine alone".into());
            }
            Self::Header => {
                let name = HeaderName::try_from(text).map_err(|_| "not the name of a header")?;
                return Ok(name.as_str().into());
            }
            Self::Zone if !text.is_empty() && TimeZone::get(text).is_err() => {
                return Err("not a known time zone".into());
            }
            Self::HttpUrl => match Url::parse(text) {
                Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => text.trim_end_matches('/'),
                _ => return Err("not a URL that begins with http:// or https://".into()),
            },
            _ => text,
        };
        Ok(text.into())
    }

    /// How an item is read, if it is a list.
    fn item(self) -> Option<ReadItem> {
        Some(match self {
            Self::Networks => network,
            Self::Hosts => host,
            Self::Origins => origin,
            Self::OriginsOrAny => |item| if item == "*" { Ok(item.to_owned()) } else { origin(item) },
            Self::Grants => grant,
            Self::Names => mailbox,
            _ => return None,
        })
    }

    #[cfg(test)]
    pub fn is_list(self) -> bool {
        self.item().is_some()
    }

    fn read_list(self, items: &[String], read: ReadItem) -> Result<Value, String> {
        let (mut values, mut problems) = (Vec::with_capacity(items.len()), Vec::new());
        for item in items {
            match read(item) {
                Ok(value) => values.push(value),
                Err(problem) if self.is_secret() => problems.push(problem),
                Err(problem) => {
                    let item = super::complaint::printable(&self.without_login(item));
                    problems.push(format!("{item}: {problem}"));
                }
            }
        }
        if problems.is_empty() { Ok(values.into()) } else { Err(problems.join("; ")) }
    }

    /// Whether its values must never be shown.
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::Secret | Self::Code | Self::Grants)
    }

    /// A value as it may be shown.
    pub fn shown(self, raw: &Raw) -> String {
        let text = raw.written();
        match text.len() {
            0 if self.is_secret() => "(not set)".to_owned(),
            length if self.is_secret() => format!("****** ({length} bytes)"),
            _ => self.without_login(&text),
        }
    }

    /// Without the name and password of an address. Where nothing but an address belongs they may stand without a
    /// scheme.
    fn without_login(self, text: &str) -> String {
        match (self, text.rsplit_once('@')) {
            (Self::Endpoint | Self::Endpoints | Self::Host | Self::HttpUrl, Some((login, rest)))
                if !login.contains("://") =>
            {
                format!("******@{rest}")
            }
            _ => super::complaint::masked(text),
        }
    }

    /// Refuses white space around a secret: HTTP strips it from headers, so that no client could send an equal one.
    fn secret(self, text: &str) -> Result<&str, String> {
        // `secrets` refuses a blank one, with what it is for.
        let is_judged_later = matches!(self, Self::Secret) && text.trim().is_empty();
        if text.trim() == text || is_judged_later {
            return Ok(text);
        }
        Err("begins or ends with white space, such as the line break that `echo` puts behind a text and editors into a \
             file: what clients send would never be equal to it. Take it away, for example with `printf %s` or, in \
             Kubernetes, `--from-literal`"
            .into())
    }
}

/// Reads an item of a list; the error says what is wrong with it.
type ReadItem = fn(&str) -> Result<String, String>;

/// Variables, flags and defaults write lists with commas.
pub fn items(raw: &Raw) -> Vec<String> {
    match raw {
        Raw::List(items) => items.clone(),
        Raw::EmptySection => Vec::new(),
        Raw::Text(text) => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
    }
}

fn span(text: &str, min: &str, max: &str) -> Result<Duration, String> {
    if text.parse::<f64>().is_ok() {
        return Err(format!("a number without a unit; write {text}s or {text}ms"));
    }
    let read =
        |text: &str| text.parse::<SignedDuration>().map_err(|_| "not a duration; write it as 200ms, 30s, 2m or 1h");
    let span = read(text)?;
    let is_in_range = (read(min)?..=read(max)?).contains(&span);
    Duration::try_from(span).ok().filter(|_| is_in_range).ok_or_else(|| "out of range".into())
}

/// The slash at the front that people forget is added; `load` warns of it.
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

fn grant(text: &str) -> Result<String, String> {
    match text.split_whitespace().count() {
        0 => Err("an empty item".into()),
        1 => Err("a token without the names of mailboxes that it opens".into()),
        _ => Ok(text.to_owned()),
    }
}

fn mailbox(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > limits::POST_NAME_BYTES {
        return Err(format!("not 1 to {} bytes", limits::POST_NAME_BYTES));
    }
    if text.chars().any(char::is_control) {
        return Err("contains a control character".into());
    }
    Ok(text.to_owned())
}

fn network(text: &str) -> Result<String, String> {
    let network = text.parse::<IpAddr>().map(IpNet::from).or_else(|_| text.parse::<IpNet>());
    match network {
        Ok(network) => Ok(network.to_string()),
        Err(_) => Err("not an IP address and not a network such as 10.0.0.0/8".into()),
    }
}

/// As browsers write it: lower case, other letters than ASCII as `xn--…`.
fn host(text: &str) -> Result<String, String> {
    if text.contains("://") || text.contains(':') && !text.starts_with('[') {
        return Err("write the name alone, without scheme and port".into());
    }
    Host::parse(text).map(|host| host.to_string()).map_err(|error| error.to_string())
}

/// Browsers send an origin in exactly one spelling, and it is compared byte for byte; a value that
/// could never match is a mistake.
fn origin(text: &str) -> Result<String, String> {
    if text.contains('*') {
        return Err("patterns are not supported; list each origin".into());
    }
    if !text.contains("://") {
        return Err("the scheme is missing; write https://… or http://…".into());
    }
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
        return Err("the host is missing".into());
    };
    let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
    let exact = format!("{}://{host}{port}", url.scheme());
    if exact == text { Ok(exact) } else { Err(format!("browsers send this origin as {exact}; write that")) }
}

/// Every directive must name a level: `EnvFilter` takes a bare name for a module, and logs nothing but that.
fn filter(text: &str) -> Result<&str, String> {
    const LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];
    let level = |directive: &str| directive.rsplit('=').next().unwrap_or_default().trim().to_owned();
    if !text.split(',').all(|directive| LEVELS.contains(&&*level(directive))) {
        return Err("does not name a level".into());
    }
    EnvFilter::builder().parse(text).map(|_| text).map_err(|error| error.to_string())
}
