#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use tempfile::TempDir;

use super::Place;

fn place(files: &[(&str, &str)]) -> Place {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join(".env")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Place::new("postoffice", folder)
}

/// docs/protocols/postoffice.md §1: the defaults of its table.
#[test]
fn without_a_file_the_documented_defaults_count() {
    let post = place(&[]).loaded().config.postoffice;
    assert_eq!(post.port, Some(7502));
    assert_eq!(post.max_connections, 20_000);
    assert_eq!(post.ws_paths(), ["/ws", "/"]);
}

#[test]
fn the_file_is_chosen_by_the_environment() {
    let files = [
        (".env/config-dev.json", r#"{"socketPort": 7001}"#),
        (".env/config-zhycit.json", r#"{"socketPort": 7002, "maxWebSocketConnections": 20}"#),
        ("own.json", r#"{"socketPort": 7003}"#),
    ];
    let port = |place: Place| place.loaded().config.postoffice.port;
    assert_eq!(port(place(&files)), Some(7001));
    let zhycit = place(&files).var("POSTOFFICE_ENV", "zhycit").loaded();
    assert_eq!(zhycit.config.postoffice.port, Some(7002));
    assert_eq!(zhycit.config.postoffice.max_connections, 20);
    assert_eq!(port(place(&files).var("POSTOFFICE_ENV", "zhy")), Some(7002));
    assert_eq!(port(place(&files).var("POSTOFFICE_CONFIG", "own.json")), Some(7003));
    let text = place(&files).var("POSTOFFICE_ENV", "test").complaints();
    assert!(text.contains("POSTOFFICE_ENV") && text.contains("config-test.json"), "{text}");
}

#[test]
fn variables_win_over_the_file() {
    let files = [(".env/config-dev.json", r#"{"socketPort": 7001}"#)];
    let place = place(&files).var("POSTOFFICE_SOCKETPORT", "7009");
    assert_eq!(place.loaded().config.postoffice.port, Some(7009));
    let place = place.var("LETSHARE_POSTOFFICE_PORT", "7010");
    assert_eq!(place.loaded().config.postoffice.port, Some(7010));
}

#[test]
fn a_wrong_type_stops_the_start_and_is_named() {
    let files = [(".env/config-dev.json", "{\n \"socketPort\": \"7001\"}")];
    let text = place(&files).complaints();
    for part in ["socketPort", "a string where a whole number belongs", "config-dev.json:2"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn unknown_keys_are_told_and_redis_is_not_used() {
    let text = r#"{"socketport": 1, "dataSource": {"redis": {"gnas-ai": {"uri": "127.0.0.1:6379"}}}}"#;
    let warnings = place(&[(".env/config-dev.json", text)]).loaded().warnings.join("\n");
    assert!(warnings.contains("\"socketport\" is no setting"), "{warnings}");
    assert!(warnings.contains("dataSource.redis is not used"), "{warnings}");
}

#[test]
fn a_tls_port_switches_tls_on() {
    let text = r#"{"sslPort": 7503, "sslCertPath": "./c.pem", "sslKeyPath": "./k.pem"}"#;
    let files = [(".env/config-dev.json", text), ("c.pem", "x"), ("k.pem", "x")];
    let tls = place(&files).loaded().config.tls;
    assert!(tls.enabled);
    assert_eq!(tls.port, 7503);
}

#[test]
fn any_token_on_an_open_address_stops_the_start_with_the_lines_to_add() {
    let text = place(&[]).var("LETSHARE_SERVER_HOST", "0.0.0.0").complaints();
    assert!(text.contains("postoffice:\n    auth: tokens\n    tokens: "), "{text}");
}
