//! TLS on a port of its own beside plain: `docs/protocols/letshare.md §4` "TLS".
//!
//! Not here: reloading certificates, refusing bad files (beside `edge::tls`).

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use letshare_server::{clock::Clock, config::Config};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite::Message};

use crate::support::{Client, Http, PATIENCE, Server, eventually};

/// A server with a TLS port, and the certificate to trust.
fn server(adjust: impl FnOnce(&mut Config)) -> (Server, CertificateDer<'static>) {
    with_certificate(Server::start, adjust)
}

/// The same for a drop-in profile, on free ports.
fn server_as(mode: &str, adjust: impl FnOnce(&mut Config)) -> (Server, CertificateDer<'static>) {
    let start = |with_tls: Box<dyn FnOnce(&mut Config) + '_>| {
        Server::start_as(mode, Clock::system(), |config| {
            for port in
                [&mut config.relay.port, &mut config.chat.port, &mut config.group.port, &mut config.postoffice.port]
            {
                *port = port.map(|_| 0);
            }
            with_tls(config);
        })
    };
    with_certificate(start, adjust)
}

fn with_certificate<'a>(
    start: impl FnOnce(Box<dyn FnOnce(&mut Config) + 'a>) -> Server,
    adjust: impl FnOnce(&mut Config) + 'a,
) -> (Server, CertificateDer<'static>) {
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("issued");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        Some(path)
    };
    let cert_file = write("cert.pem", issued.cert.pem());
    let key_file = write("key.pem", issued.signing_key.serialize_pem());
    let server = start(Box::new(move |config| {
        config.tls.enabled = true;
        config.tls.port = 0;
        (config.tls.cert_file, config.tls.key_file) = (cert_file, key_file);
        adjust(config);
    }));
    (server, issued.cert.der().clone())
}

/// findings O5: every profile serves its paths on its TLS port.
#[tokio::test]
async fn a_profile_serves_its_paths_on_its_tls_port() {
    for (mode, page) in
        [("relay", "/api/push"), ("chat", "/api/ws/online-count"), ("group", "/stats"), ("postoffice", "/stats")]
    {
        for ably in [false, true] {
            let (server, trusted) = server_as(mode, |config| config.ably.enabled = ably);
            let tls = connect(&server, &trusted).await;
            let mut http = Http::over(tls, server.tls_address.expect("TLS is on"));
            let answer = http.ask("GET", page, &[]).await;
            assert_ne!(answer.status, 404, "{mode}: {answer:?}");
            assert_eq!(http.ask("GET", "/health", &[]).await.status, 200, "{mode}");
            assert_eq!(http.ask("GET", "/ready", &[]).await.status, 200, "{mode}");
        }
    }
}

async fn connect(server: &Server, trusted: &CertificateDer<'static>) -> TlsStream<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    // Small, so that a reader that stops is noticed after little.
    socket.set_recv_buffer_size(16 * 1024).expect("set");
    let address = server.tls_address.expect("TLS is on");
    let tcp = socket.connect(address).await.expect("it listens");
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.expect("TLS")
}

/// A WebSocket over TLS that has joined `demo1`.
async fn join(server: &Server, trusted: &CertificateDer<'static>, user: &str) -> WebSocketStream<TlsStream<TcpStream>> {
    let tls = connect(server, trusted).await;
    let url = format!("wss://localhost{}", server.target(user));
    let (mut socket, _) = client_async(url, tls).await.expect("the upgrade");
    let request = json!({"type": "subscribe", "channel": "demo1", "event": "signal:all"});
    let request = Message::text(request.to_string());
    socket.send(request).await.expect("open");
    assert_eq!(next(&mut socket).await["type"], "subscribed");
    socket
}

async fn next(socket: &mut WebSocketStream<TlsStream<TcpStream>>) -> Value {
    loop {
        let frame = tokio::time::timeout(PATIENCE, socket.next()).await;
        match frame.expect("something comes") {
            Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).expect("JSON"),
            Some(Ok(Message::Ping(_))) => {}
            other => panic!("expected a text message, got {other:?}"),
        }
    }
}

/// §4: the same routes on both ports, and one set of rooms behind them.
#[tokio::test]
async fn tls_and_plain_clients_meet() {
    let (server, trusted) = server(|_| {});
    let tls_address = server.tls_address.expect("TLS is on");
    assert_ne!(tls_address.port(), server.address.port());
    let tls = connect(&server, &trusted).await;
    let health = Http::over(tls, tls_address).ask("GET", "/health", &[]).await;
    assert_eq!(health.status, 200);

    let mut encrypted = join(&server, &trusted, "tls:1").await;
    let mut plain = Client::join(&server, "plain:2", "demo1").await;
    plain.publish("demo1", "signal:all", json!({"n": 1})).await;
    let message = next(&mut encrypted).await;
    assert_eq!(message["data"], json!({"n": 1, "from": "plain:2"}));
    let request = json!({"type": "publish", "channel": "demo1", "data": {"n": 2}});
    let request = Message::text(request.to_string());
    encrypted.send(request).await.expect("open");
    let message = plain.next().await;
    assert_eq!(message["data"], json!({"n": 2, "from": "tls:1"}));
}

/// docs/protocols/ably.md §11.13: whoever makes an app over TLS is told to use it over TLS.
#[tokio::test]
async fn an_ably_app_is_where_it_was_made() {
    let (server, trusted) = server(|config| config.ably.sandbox = true);
    let tls_address = server.tls_address.expect("TLS is on");
    let tls = connect(&server, &trusted).await;
    let mut http = Http::over(tls, tls_address);
    let app = http.post("/apps", &[], r#"{"keys":[{}]}"#).await.json();
    assert_eq!(app["tls"], true);
    assert_eq!(app["port"], tls_address.port());
    let key = app["keys"][0]["keyStr"].as_str().expect("a key");
    let target = format!("/channels/x/messages?key={key}");
    assert_eq!(http.ask("GET", &target, &[]).await.status, 200);
}

/// A reader that is too slow (docs/goals.md R8) is closed behind TLS too, and its socket does not stay. The proof is
/// the client's own writing: it fails only when the server has let go of the connection.
#[tokio::test]
async fn a_reader_that_stops_is_cut_behind_tls_too() {
    let (server, trusted) = server(|config| {
        config.limits.outbox_bytes = 600_000;
        config.limits.publishes_per_second = 0;
        config.websocket.close_timeout = Duration::from_millis(100);
        // The counters are reported as often as the shortest limit is looked at.
        config.websocket.ping_interval = Duration::from_millis(100);
    });
    let mut stuck = join(&server, &trusted, "stuck:1").await;
    let mut talker = Client::join(&server, "talker:2", "demo1").await;
    let mut http = Http::connect(&server).await;
    let filling = "x".repeat(400_000);
    eventually(async || {
        let data = json!({ "filling": filling });
        talker.publish("demo1", "signal:all", data).await;
        let page = http.ask("GET", "/metrics", &[]).await.json();
        (page["websocket"]["closed_slow"] == 1).then_some(())
    })
    .await;

    let tls = stuck.get_mut();
    let cut = async { while tls.write_all(&[0; 1024]).await.is_ok() {} };
    let cut = tokio::time::timeout(PATIENCE, cut).await;
    cut.expect("the server lets go of the socket");
    talker.subscribe("demo2", "signal:all").await;
}

/// findings N11: plain HTTP on the port of TLS is answered in words that its client reads.
#[tokio::test]
async fn plain_http_on_the_tls_port_is_told_so() {
    let (server, trusted) = server(|_| {});
    let tls_address = server.tls_address.expect("TLS is on");
    let answer = Http::connect_to(tls_address).await.ask("GET", "/health", &[]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("this port speaks HTTPS"), "{}", answer.body);
    let tls = connect(&server, &trusted).await;
    assert_eq!(Http::over(tls, tls_address).ask("GET", "/health", &[]).await.status, 200);
}
