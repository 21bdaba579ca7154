#![allow(clippy::unwrap_used)]

use std::path::Path;

use crate::config::{
    complaint::{Complaint, Notes, Origin},
    layers::Layer,
    older::tables::SERVERS,
};

fn read_file(text: &str) -> (Layer, Vec<Complaint>, Vec<String>) {
    let (mut layer, mut notes) = (Layer::default(), Notes::default());
    let chat = SERVERS.iter().find(|server| server.mode == "chat").unwrap();
    chat.read_text(&mut layer, text, Path::new("config.yaml"), &mut notes);
    (layer, notes.faults, notes.warnings)
}

/// docs/protocols/chat.md §1, the whole sample.
#[test]
fn the_file_of_the_document() {
    let text = r#"
Port: 8009
Jwt: { Secret: "", Header: "x-token" }
Mongodb: { Username: "", Password: "", Host: "127.0.0.1", Port: 27017, Database: "zulme" }
Redis: { Addr: "127.0.0.1:6379", Password: "", Db: 0 }
Mysql: { User: "", Password: "", Host: "", Port: 3306, Database: "" }
Baidu: { ApiKey: "", SecretKey: "", OnError: allow, Suspect: block, TimeoutMs: 3000, BaseUrl: "https://aip.baidubce.com" }
Cors: { Origins: ["http://localhost:3000", "http://localhost:8080"] }
"#;
    let (layer, complaints, warnings) = read_file(text);
    assert!(complaints.is_empty(), "{complaints:?}");
    let line = |key| match layer.origin(key) {
        Some(Origin::File { line, .. }) => Some(*line),
        _ => None,
    };
    for (key, expected) in [
        ("chat.port", Some(2)),
        ("chat.jwt_header", Some(3)),
        ("chat.jwt_secret", None),
        ("chat.mongodb_host", Some(4)),
        ("chat.mongodb_database", Some(4)),
        ("chat.mongodb_username", None),
        ("chat.baidu_timeout", Some(7)),
        ("chat.baidu_base_url", Some(7)),
        ("chat.allowed_origins", Some(8)),
    ] {
        assert_eq!(line(key), expected, "{key}");
    }
    let warnings = warnings.join("\n");
    assert!(warnings.contains("config.yaml:5: Redis is not used"), "{warnings}");
    assert!(warnings.contains("config.yaml:6: Mysql is not used"), "{warnings}");
    assert_eq!(warnings.lines().count(), 2, "{warnings}");
}

#[test]
fn what_is_unknown_is_told() {
    let (_, complaints, warnings) = read_file("Nacos:\n  Addr: x\nJwt:\n  Secert: abc\n");
    assert!(complaints.is_empty());
    assert_eq!(
        warnings,
        [
            "config.yaml:2: \"Nacos.Addr\" is no setting of the chat",
            "config.yaml:4: \"Jwt.Secert\" is no setting of the chat; did you mean Jwt.Secret?",
        ]
    );
    let (_, complaints, _) = read_file("Port: [\n");
    assert_eq!(complaints.len(), 1);
}
