//! Whose request it is: the peer of the TCP connection, or the client a trusted proxy names.
//!
//! `X-Forwarded-For` grows at its right end, one address for each proxy passed, so only the part
//! that trusted proxies wrote is believed: whatever stands further left, anybody can have sent.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use actix_web::{
    HttpRequest,
    http::header::{HeaderMap, X_FORWARDED_FOR},
};
use ipnet::IpNet;

/// The address of whoever sent `request`.
pub fn client_address_of(request: &HttpRequest, trusted: &[IpNet]) -> IpAddr {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let peer = request.peer_addr().map_or(unknown, |peer| peer.ip());
    client_address(peer, request.headers(), trusted)
}

/// For the log when one address has, or comes, too often: it may be a proxy that nobody has named, whose clients count
/// as one.
pub fn proxy_hint(request: &HttpRequest, address: IpAddr) -> String {
    let forwards = ["x-forwarded-for", "forwarded", "x-real-ip", "via"];
    if forwards.iter().any(|name| request.headers().contains_key(*name)) {
        return format!(
            "; its requests were forwarded: these look like clients behind one proxy; name it in server.trusted_proxies \
             ({address}), and let it send X-Forwarded-For"
        );
    }
    format!(
        "; if these are clients behind one proxy, let it send X-Forwarded-For, and name it in server.trusted_proxies \
         ({address})"
    )
}

/// The nearest address on the way to the client that is not a trusted proxy.
///
/// When an entry cannot be read, the proxy that wrote it stands for its clients; when every hop is
/// trusted, the farthest one is the client. An IPv4 address that is written as IPv6 comes out as IPv4.
pub fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|net| net.contains(address));
    let mut nearest = peer.to_canonical();
    let lines: Vec<_> = headers.get_all(X_FORWARDED_FOR).collect();
    let hops = lines.iter().rev().flat_map(|line| {
        // An unreadable line yields one unreadable hop, which ends the search.
        line.to_str().unwrap_or("?").rsplit(',')
    });
    for hop in hops {
        if !is_trusted(&nearest) {
            break;
        }
        let Some(address) = parse_hop(hop.trim()) else {
            break;
        };
        nearest = address;
    }
    nearest
}

/// An address, with a port or in brackets as some proxies write it.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = match bare.unwrap_or(hop).parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => hop.parse::<SocketAddr>().ok()?.ip(),
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use actix_web::http::header::HeaderValue;

    use super::*;

    /// Proxies live in 10.0.0.0/8 and fd00::/8.
    fn seen(peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().unwrap());
        client_address(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn the_header_is_believed_as_far_as_trusted_proxies_wrote_it() {
        let table: [(&str, &[&str], &str); 15] = [
            ("203.0.113.9", &[], "203.0.113.9"),
            ("::ffff:203.0.113.9", &[], "203.0.113.9"),
            ("203.0.113.9", &["198.51.100.1"], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1,10.0.0.2 , fd00::3"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["198.51.100.1", "\u{e9}"], "10.0.0.1"),
        ];
        for (peer, forwarded, expected) in table {
            assert_eq!(seen(peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }
}
