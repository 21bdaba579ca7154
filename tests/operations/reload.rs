//! SIGHUP: what can be read again is, what is wrong changes nothing, and whoever is connected notices neither.

use std::{fs, net::SocketAddr, path::Path};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    chat::house::token,
    support::{
        eventually,
        process::ServerProcess,
        raw::{self, FIN, PING, PONG, Raw, frame},
    },
};

/// RFC 6455 §4.1.
const UPGRADE: &str = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// Every mode, the setting of its own port, and what a client of it asks for; `TOKEN` is the static one.
const MODES: [(&str, Option<&str>, &str); 6] = [
    ("local", None, "/ws?token=TOKEN&userId=a"),
    ("production", None, "/ws?token=TOKEN&userId=a"),
    ("relay", Some("RELAY_PORT"), "/ws"),
    ("postoffice", Some("POSTOFFICE_PORT"), "/ws?clientID=erp&token=x"),
    ("chat", Some("CHAT_PORT"), "/ws/chat"),
    ("group", Some("GROUP_PORT"), "/ws"),
];
const OLD_KEY: &str = "abc123.web:0123456789abcdef-old";
const NEW_KEY: &str = "abc123.app:0123456789abcdef-new";

/// A working directory with everything that is read again.
struct Place {
    folder: TempDir,
    mode: &'static str,
}

impl Place {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("written");
    }

    /// The settings that come with the server, and a cap.
    fn write_settings(&self, cap: &str) {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(format!("{}.yaml", self.mode));
        let shipped = fs::read_to_string(shipped).expect("a file");
        fs::create_dir_all(self.path("configs")).expect("a folder");
        let limits = format!("limits:\n  connections_per_address: {cap}\n");
        self.write(&format!("configs/{}.yaml", self.mode), &format!("{shipped}\n{limits}"));
    }

    fn write_key(&self, key: &str) {
        let (name, secret) = key.split_once(':').expect("name and secret");
        let id = name.split_once('.').expect("app and key").1;
        self.write(
            "apps.yaml",
            &format!("apps:\n  - id: abc123\n    keys:\n      - id: {id}\n        secret: {secret}\n"),
        );
    }

    fn write_certificate(&self) {
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("issued");
        self.write("cert.pem", &issued.cert.pem());
        self.write("key.pem", &issued.signing_key.serialize_pem());
    }
}

/// The status of a request with an Ably key.
async fn status(address: SocketAddr, key: &str) -> String {
    let header = format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(key));
    let answer = raw::get(address, "/channels/demo1", &header).await;
    answer.split(' ').nth(1).expect("a status").to_owned()
}

/// The next frame answers a ping: nothing else was sent since the last one, no close frame either.
async fn notices_nothing(client: &mut Raw, ping: &str) {
    client.write(&frame(FIN | PING, ping.as_bytes())).await.expect("the connection is open");
    raw::in_time(async {
        loop {
            let frame = client.reader.frame().await.expect("the connection is open");
            // The server may ping as well.
            if frame.opcode != PING {
                assert_eq!((frame.opcode, frame.payload.as_slice()), (PONG, ping.as_bytes()), "{frame:?}");
                return;
            }
        }
    })
    .await;
}

fn own_address(server: &ServerProcess) -> Option<SocketAddr> {
    let written = server.written();
    let mut lines = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["message"] == "also listening")?;
    line["fields"]["address"].as_str()?.parse().ok()
}

async fn upgrade(address: SocketAddr, target: &str, server: &ServerProcess) -> (Raw, String) {
    let target = target.replace("TOKEN", &server.token);
    let mut client = Raw::connect(address).await;
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\nx-token: {}\r\n{UPGRADE}\r\n", token(7));
    client.write(request.as_bytes()).await.expect("the server reads");
    let head = client.reader.head().await;
    (client, head)
}

/// findings P1: in every mode SIGHUP reads certificates, apps and keys, limits and lists again, logs what is different,
/// refuses what is wrong as a whole, and never ends the server or a connection.
#[tokio::test]
async fn sighup_reads_everything_again_in_every_mode_and_no_client_notices() {
    for (mode, port, target) in MODES {
        let place = Place { folder: TempDir::new().expect("a folder"), mode };
        place.write_settings("5");
        place.write_key(OLD_KEY);
        place.write_certificate();
        place.write("blacklist", "");
        place.write("words", "old\n");
        let (apps, cert, key) = (place.path("apps.yaml"), place.path("cert.pem"), place.path("key.pem"));
        let (blacklist, words) = (place.path("blacklist"), place.path("words"));
        let mut settings = vec![
            ("ABLY_ENABLED", "true"),
            ("LIMITS_EXEMPT_LOOPBACK", "false"),
            ("ABLY_KEYS_OVER_HTTP", "true"),
            ("ABLY_APPS_FILE", apps.as_str()),
            ("TLS_ENABLED", "true"),
            ("TLS_PORT", "0"),
            ("TLS_CERT_FILE", &cert),
            ("TLS_KEY_FILE", &key),
            ("GROUP_BLACKLIST_FILE", &blacklist),
            ("GROUP_AUTH_TIMEOUT", "1h"),
            ("CHAT_WORDS_FILE", &words),
            ("CHAT_JWT_SECRET", crate::chat::house::SECRET),
        ];
        settings.extend(port.map(|port| (port, "0")));
        let server = ServerProcess::try_start(place.folder.path(), &[], mode, &settings);
        let server = server.unwrap_or_else(|stderr| panic!("{mode}: {stderr}"));
        let shared = server.address;
        let address = match port {
            Some(_) => eventually(async || own_address(&server)).await,
            None => shared,
        };
        let (mut client, head) = upgrade(address, target, &server).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{mode}: {head}");
        // What it is welcomed with.
        client.write(&frame(FIN | PING, b"first")).await.expect("the connection is open");
        while raw::in_time(client.reader.frame()).await.expect("the connection is open").opcode != PONG {}
        assert_eq!(
            (status(shared, OLD_KEY).await, status(shared, NEW_KEY).await),
            ("200".into(), "401".into()),
            "{mode}"
        );

        place.write_settings("1");
        place.write_key(NEW_KEY);
        place.write_certificate();
        place.write("blacklist", "10.0.0.0/8\n");
        place.write("words", "new\nwords\n");
        server.signal(Signal::SIGHUP);
        let is_told = |text: &str| server.written().contains(text).then_some(());
        eventually(async || is_told("limits and lists were read again")).await;
        let mut expected = vec![
            "limits.connections_per_address = 1, before 5",
            "new TLS certificate in use",
            "new keys: abc123.app",
            "keys that are gone: abc123.web",
        ];
        expected.extend((mode == "group").then_some("the blacklist of the group protocol was read again"));
        expected.extend((mode == "chat").then_some("the word list of the chat was read again"));
        for text in expected {
            assert!(is_told(text).is_some(), "{mode}: {text} is not in {}", server.written());
        }
        assert_eq!(
            (status(shared, OLD_KEY).await, status(shared, NEW_KEY).await),
            ("401".into(), "200".into()),
            "{mode}"
        );
        let (_, head) = upgrade(address, target, &server).await;
        assert!(head.starts_with("HTTP/1.1 429") || head.starts_with("HTTP/1.1 503"), "{mode}: {head}");
        notices_nothing(&mut client, "after the reload").await;

        place.write_settings("3");
        place.write("apps.yaml", "apps: [{id: nonsense}]\n");
        place.write("key.pem", "nonsense\n");
        server.signal(Signal::SIGHUP);
        eventually(async || is_told("the new settings are refused")).await;
        let written = server.written();
        let refusal = written.lines().find(|line| line.contains("the new settings are refused")).expect("told");
        assert!(refusal.contains("apps[0].id") && refusal.contains("key.pem"), "{mode}: {refusal}");
        place.write_settings("nonsense");
        server.signal(Signal::SIGHUP);
        // All at once: the setting, the file of apps, the key.
        eventually(async || is_told("the configuration has 3 faults")).await;
        assert_eq!(status(shared, NEW_KEY).await, "200", "{mode}");
        let (_, head) = upgrade(address, target, &server).await;
        assert!(head.starts_with("HTTP/1.1 429") || head.starts_with("HTTP/1.1 503"), "{mode}: the old cap: {head}");
        // Without its file a mode would fall back to what is built in.
        fs::remove_file(place.path(&format!("configs/{mode}.yaml"))).expect("removed");
        place.write("apps.yaml", "apps: []\n");
        place.write_certificate();
        server.signal(Signal::SIGHUP);
        eventually(async || is_told("has settings no more")).await;
        assert_eq!(status(shared, NEW_KEY).await, "200", "{mode}");
        notices_nothing(&mut client, "after the refusals").await;
        drop(client);
        server.terminate().await;
    }
}
