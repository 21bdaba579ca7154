//! Which hosts a request may name for the server to take the page behind it for its own.
//!
//! A page of any name can be made to point here (DNS rebinding): its requests then carry the same name in `Host` and in
//! `Origin`, and browsers count them as same-origin. So a name proves something only when the operator has said that it
//! is the server's. An IP address cannot be pointed elsewhere: a page that carries it came from that address.

use std::net::IpAddr;

use actix_web::http::header::{HOST, HeaderMap};
use url::Host;

/// The hosts of this server: `server.public_hosts`, the names of loopback, and every IP address.
#[derive(Clone, Debug, Default)]
pub struct OwnHosts(Vec<Host>);

/// A host and the port behind it, if one is written.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Authority {
    host: Host,
    port: Option<u16>,
}

impl OwnHosts {
    /// What is no host is left out; the settings have refused it.
    pub fn new(public_hosts: &[String]) -> Self {
        Self(public_hosts.iter().filter_map(|host| Host::parse(host).ok()).collect())
    }

    /// Whether a request came by a host of this server; true without a `Host`, which every browser sends.
    pub fn serve(&self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(HOST) else { return true };
        let authority = host.to_str().ok().and_then(Authority::parse);
        authority.is_some_and(|authority| self.has(&authority.host))
    }

    /// Whether a page of `origin` is the server's own, for a request with this `Host`: one host of this server and one
    /// port. Proxies write the default port or leave it out; names differ in case; the names of loopback are one.
    pub fn is_own_page(&self, origin: &str, host: &str) -> bool {
        names_same_host(origin, host) && Authority::parse(host).is_some_and(|asked| self.has(&asked.host))
    }

    /// Whether `host` is a name or address of loopback alone.
    pub fn is_loopback(&self, host: &str) -> bool {
        Authority::parse(host).is_some_and(|asked| is_loopback(&asked.host))
    }

    fn has(&self, host: &Host) -> bool {
        match host {
            Host::Domain(name) => is_loopback(host) || name.ends_with(".localhost") || self.0.contains(host),
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        }
    }
}

/// Whether `origin` and the header `Host` name one host and one port, whoever's they are.
pub fn names_same_host(origin: &str, host: &str) -> bool {
    let (page, default_port) = match (origin.strip_prefix("http://"), origin.strip_prefix("https://")) {
        (Some(page), _) => (page, 80),
        (_, Some(page)) => (page, 443),
        _ => return false,
    };
    let (Some(page), Some(asked)) = (Authority::parse(page), Authority::parse(host)) else { return false };
    let port = |authority: &Authority| authority.port.unwrap_or(default_port);
    let is_one = page.host == asked.host || is_loopback(&page.host) && is_loopback(&asked.host);
    is_one && port(&page) == port(&asked)
}

impl Authority {
    /// `host`, `host:port`, `[v6]` or `[v6]:port`; none for anything else, such as a user name or a path.
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = match text.rsplit_once(':') {
            // The last colon of an IPv6 address is inside of its brackets.
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let is_number = |port: &&str| port.bytes().all(|byte| byte.is_ascii_digit());
        let port = match port {
            Some(port) => Some(port.parse().ok().filter(|_| is_number(&port))?),
            None => None,
        };
        Some(Self { host: Host::parse(host).ok()?, port })
    }
}

fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Domain(name) => name == "localhost",
        Host::Ipv4(address) => IpAddr::from(*address).is_loopback(),
        Host::Ipv6(address) => IpAddr::from(*address).to_canonical().is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// findings P5, N3, S7: the page of the server's own host, as browsers and proxies write it.
    #[test]
    fn the_page_of_the_own_host_is_known_however_it_is_written() {
        let own = OwnHosts::new(&["Ex.com".to_owned()]);
        let table = [
            ("https://ex.com", "ex.com", true),
            ("https://ex.com", "ex.com:443", true),
            ("https://ex.com", "EX.com", true),
            ("http://ex.com", "ex.com:80", true),
            ("https://ex.com:8443", "ex.com:8443", true),
            ("http://localhost:8080", "127.0.0.1:8080", true),
            ("http://127.0.0.1:8080", "localhost:8080", true),
            ("http://localhost:8080", "[::1]:8080", true),
            ("http://[::1]", "localhost", true),
            ("http://app.localhost:8080", "app.localhost:8080", true),
            ("http://192.168.7.7:8080", "192.168.7.7:8080", true),
            ("https://ex.com", "ex.com:80", false),
            ("https://ex.com", "ex.com:8443", false),
            ("http://ex.com", "ex.com:443", false),
            ("http://localhost:8080", "127.0.0.1:8081", false),
            ("http://localhost:8080", "192.168.7.7:8080", false),
            ("http://evil.example", "evil.example", false),
            ("http://evil.example:8080", "evil.example:8080", false),
            ("https://evil.example", "ex.com", false),
            ("https://ex.com.evil.example", "ex.com.evil.example", false),
            ("http://localhost.evil.example", "localhost.evil.example", false),
            ("https://user@ex.com", "ex.com", false),
            ("https://ex.com/", "ex.com", false),
            ("https://ex.com:", "ex.com", false),
            ("https://ex.com:+443", "ex.com", false),
            ("https://ex.com#", "ex.com", false),
            ("ws://ex.com", "ex.com", false),
            ("ex.com", "ex.com", false),
            ("null", "null", false),
        ];
        for (origin, host, expected) in table {
            assert_eq!(own.is_own_page(origin, host), expected, "Origin: {origin}, Host: {host}");
        }
    }
}
