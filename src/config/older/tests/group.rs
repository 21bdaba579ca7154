#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use secrecy::ExposeSecret as _;
use tempfile::TempDir;

use super::Place;

/// The sample of the older server's own document, with the keys of docs/protocols/group.md §1.
const SAMPLE: &str = r#"
Name: websocket-service
Host: 0.0.0.0
Port: 8889

# Chat RPC 配置
ChatRpc:
  Etcd:
    Hosts:
      - 127.0.0.1:2379
    Key: chat.rpc

# Redis 配置
Redis:
  Host: 127.0.0.1:6379
  Pass: ""
  DB: 0

# JWT 认证配置
Auth:
  AccessSecret: "k9#8G7&6F5%4D3$2S1@0P9*8O7!6N5^4M3+2L1=0"
  AccessExpire: 86400
"#;

fn place(text: Option<&str>) -> Place {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("etc")).unwrap();
    if let Some(text) = text {
        std::fs::write(folder.path().join("etc/websocket.yaml"), text).unwrap();
    }
    Place::new("group", folder)
}

/// docs/protocols/group.md §1: the defaults of its table.
#[test]
fn without_a_file_the_documented_defaults_count() {
    let group = place(None).loaded().config.group;
    assert_eq!(group.port, Some(8889));
    assert_eq!(group.max_connections, 10_000);
    assert_eq!(group.ws_path, "/ws");
    assert_eq!(group.redis, None);
}

/// The sample is published: with it nobody else gets in, unless the operator says so.
#[test]
fn the_sample_stays_at_home() {
    let complaints = place(Some(SAMPLE)).complaints();
    assert!(complaints.contains("group.jwt_secret"), "{complaints}");
    assert!(!complaints.contains("k9#8"), "{complaints}");
    let loaded = place(Some(SAMPLE)).var("LETSHARE_ALLOW_INSECURE", "true").loaded();
    let config = &loaded.config;
    assert!(config.server.host.is_unspecified());
    assert_eq!(config.group.redis.as_deref(), Some("127.0.0.1:6379"));
    let warnings = loaded.warnings.join("\n");
    for told in ["ChatRpc.Etcd.Hosts", "Name", "Auth.AccessExpire"] {
        assert!(warnings.contains(told), "{told}: {warnings}");
    }
}

#[test]
fn keys_count_whatever_their_case_and_variables_win() {
    let text =
        "PORT: 7000\nwebsocket:\n  readTIMEOUT: 90\n  MaxConnections: 5\n  heartbeatInterval: 20\n  Colour: red\n";
    let place = place(Some(text))
        .var("GROUP_PORT", "7001")
        .var("GROUP_AUTH_ACCESSSECRET", "0123456789abcdef0123456789abcdef!")
        .var("GROUP_NONSENSE", "1");
    let loaded = place.loaded();
    let group = &loaded.config.group;
    assert_eq!(group.port, Some(7001));
    assert_eq!(group.idle_timeout, Duration::from_secs(90));
    assert_eq!(group.ping_interval, Duration::from_secs(20));
    assert_eq!(group.max_connections, 5);
    assert_eq!(group.jwt_secret.expose_secret(), "0123456789abcdef0123456789abcdef!");
    let warnings = loaded.warnings.join("\n");
    assert!(warnings.contains("GROUP_NONSENSE"), "{warnings}");
    assert!(warnings.contains("websocket.Colour"), "{warnings}");
}

#[test]
fn a_file_that_is_named_has_to_be_there() {
    let place = place(None).var("GROUP_CONFIG", "other.yaml");
    let complaints = place.complaints();
    assert!(complaints.contains("other.yaml"), "{complaints}");
    std::fs::write(place.folder.path().join("other.yaml"), "Port: 7003\n").unwrap();
    assert_eq!(place.loaded().config.group.port, Some(7003));
}

#[test]
fn what_is_no_yaml_or_of_the_wrong_type_stops_the_start() {
    assert!(place(Some("Port: [")).complaints().contains("websocket.yaml"));
    assert!(place(Some("Port: many")).complaints().contains("group.port"));
    let slow = place(Some("WebSocket:\n  ReadTimeout: 10\n")).complaints();
    assert!(slow.contains("group.idle_timeout"), "{slow}");
}

/// §8 has bans for those who try keys; a short one needs few tries.
#[test]
fn a_short_key_of_services_is_told() {
    let told = |host: &str, key: &str| {
        let place = place(Some("Auth:\n  AccessSecret: 0123456789abcdef0123456789abcdef!\n"))
            .var("LETSHARE_SERVER_HOST", host)
            .var("LETSHARE_GROUP_SERVICE_KEY", key);
        let warnings = place.loaded().warnings.join("\n");
        assert!(!warnings.contains("hunter2"), "{warnings}");
        warnings.contains("group.service_key can be guessed")
    };
    assert!(told("0.0.0.0", "hunter2"));
    assert!(!told("127.0.0.1", "hunter2"));
    assert!(!told("0.0.0.0", "0123456789abcdef"));
}
