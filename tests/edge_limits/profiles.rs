//! The drop-in profiles: which ports they open, and what is served there (docs/architecture.md §8).

use letshare_server::{
    clock::Clock,
    config::{Config, Protocol},
};

use crate::support::{Http, Server, UPGRADE};

/// Each profile with its free port, and paths of its own: one for people, one for WebSockets.
const PROFILES: [(&str, Protocol, &str, &str); 4] = [
    ("relay", Protocol::Relay, "/health", "/ws"),
    ("chat", Protocol::Chat, "/api/ws/online-count", "/ws/chat"),
    ("group", Protocol::Group, "/stats", "/ws"),
    ("postoffice", Protocol::PostOffice, "/stats", "/ws"),
];

fn start(mode: &str, adjust: impl FnOnce(&mut Config)) -> Server {
    Server::start_as(mode, Clock::system(), |config| {
        for port in [&mut config.relay.port, &mut config.chat.port, &mut config.group.port, &mut config.postoffice.port]
        {
            *port = port.map(|_| 0);
        }
        adjust(config);
    })
}

/// findings O6: a profile opens the older server's port and no other, so that two run on one machine; the operations are
/// there, where the older server has no such page.
#[tokio::test]
async fn a_profile_opens_its_own_port_only() {
    for (mode, protocol, page, sockets) in PROFILES {
        // Taken already, as by another profile on this machine.
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let server = start(mode, |config| config.server.port = port);
        assert_eq!(server.address, server.address_of(protocol), "{mode}");
        let mut http = Http::connect(&server).await;
        for path in [page, "/health", "/ready", "/metrics"] {
            assert_eq!(http.ask("GET", path, &[]).await.status, 200, "{mode} {path}");
        }
        assert_eq!(http.ask("GET", "/time", &[]).await.status, 404, "{mode}: nobody else");
        let answer = Http::connect(&server).await.ask("GET", sockets, &UPGRADE).await;
        assert!([101, 401].contains(&answer.status), "{mode}: {answer:?}");
    }
}

/// findings O6: where the post office takes WebSockets on every path, it takes them on those of the operations, too.
#[tokio::test]
async fn the_operations_are_no_websockets() {
    let server = start("postoffice", |config| config.postoffice.any_path = true);
    for path in ["/anything", "/metrics", "/ready", "/health"] {
        let target = format!("{path}?clientID=erp&token=t");
        let answer = Http::connect(&server).await.ask("GET", &target, &UPGRADE).await;
        assert_eq!(answer.status, 101, "{path}");
    }
    for path in ["/metrics", "/ready", "/health"] {
        let answer = Http::connect(&server).await.ask("GET", path, &[]).await;
        assert_eq!(answer.status, 200, "{path}");
    }
}

/// findings P7: an idle connection is kept longer than the 60 to 75 s of proxies, and as long as the setting says.
#[tokio::test]
async fn idle_connections_live_longer_than_those_of_proxies() {
    let kept = Config::defaults().expect("the defaults are valid").server.keep_alive;
    assert!(kept.as_secs() > 75, "{kept:?}");
    let server = Server::start(|config| config.server.keep_alive = std::time::Duration::from_secs(1));
    let mut raw = crate::support::raw::Raw::connect(server.address).await;
    raw.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the server reads");
    assert!(raw.reader.answer().await.starts_with("HTTP/1.1 200"));
    raw.reader.eof().await;
}
