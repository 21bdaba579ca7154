//! A list, a section and a value, each where another of them belongs.

use super::*;

/// An entry of an older server's file that has no effect is warned of, whatever it looks like.
#[test]
fn wrongly_shaped_entries_of_older_files_are_told() {
    const LIST: &str = "a list where a single value belongs";
    let told = |mode: &str, content: &str| {
        let file = match mode {
            "relay" => "config.json",
            "chat" => "config.yaml",
            "group" => "etc/websocket.yaml",
            _ => ".env/config-dev.json",
        };
        let operator = operator().var("MODE", mode).var("LETSHARE_CHAT_JWT_SECRET", LONG).flag("server.host", "::1");
        let path = operator.folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        match operator.load() {
            Ok(loaded) => loaded.warnings.join("\n"),
            Err(complaints) => complaints.to_string(),
        }
    };
    for (mode, content, expected) in [
        ("group", "Redis: []", ":1: Redis has no effect: a list where a section of the group server belongs"),
        ("group", "Redis: [a]", ":1: Redis has no effect: a list where a section"),
        ("group", "Redis: x", ":1: Redis has no effect: a single value where a section"),
        ("group", "ChatRpc: []", ":1: chatrpc is not used (ChatRpc)"),
        ("group", "Foo: []", "\"Foo\" is no setting of the group server"),
        ("group", "Foo: {}", "\"Foo\" is no setting of the group server"),
        ("group", "Port: []", LIST),
        ("group", "Port: {}", "a section where a value belongs"),
        ("group", "Port: {a: 1}", "Port.a has no effect: port of the group server is a value, not a section"),
        ("chat", "Jwt: []", ":1: Jwt has no effect: a list where a section of the chat belongs"),
        ("chat", "Jwt: x", ":1: Jwt has no effect: a single value"),
        ("chat", "Redis: []", ":1: Redis is not used (Redis)"),
        ("chat", "Port: []", LIST),
        ("chat", "Port: {}", "a section where a value belongs"),
        ("chat", "Port: {a: 1}", "Port.a has no effect"),
        ("postoffice", r#"{"dataSource": []}"#, "dataSource has no effect: an array where a section"),
        ("postoffice", r#"{"dataSource": 5}"#, "dataSource has no effect: a whole number where a section"),
        ("postoffice", r#"{"dataSource": {"redis": []}}"#, "dataSource.redis is not used (dataSource.redis)"),
        ("postoffice", r#"{"socketPort": []}"#, "an array where a whole number belongs"),
        ("postoffice", r#"{"socketPort": {}}"#, "an object where a whole number belongs"),
        ("postoffice", r#"{"socketPort": {"a": 1}}"#, "socketPort.a has no effect"),
        ("postoffice", r#"{"foo": {}}"#, "\"foo\" is no setting of the post office"),
        ("relay", r#"{"port": []}"#, "port is not a text"),
        ("relay", r#"{"port": {}}"#, "port is not a text"),
        ("relay", r#"{"port": {"a": 1}}"#, "port.a has no effect"),
        ("relay", r#"{"foo": {}}"#, "\"foo\" is no setting of the relay"),
    ] {
        let told = told(mode, content);
        assert!(told.contains(expected), "{mode} {content}: {told}");
    }
    // A section without keys says nothing.
    for (mode, content) in [("group", "Redis:"), ("group", "Redis: {}"), ("chat", "Jwt: {}"), ("chat", "Redis:")] {
        let told = told(mode, content);
        assert!(!told.contains("Redis ") && !told.contains("Jwt "), "{mode} {content}: {told}");
    }
    let told = operator().file("configs/local.yaml", "server:\n  port: {}\ntls: {}\n").complaints();
    assert!(told.contains("1 fault:") && told.contains("server.port") && told.contains("a section"), "{told}");
}
