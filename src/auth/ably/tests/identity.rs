//! Client ids, connection keys, what is not shown.

use super::*;

fn only(id: &str) -> AllowedClient {
    AllowedClient::Only(ClientId::new(id.to_owned()).unwrap())
}

fn codes<T>(result: Result<T, Fault>) -> Result<T, u32> {
    result.map_err(|fault| fault.ably_code())
}

/// docs/protocols/ably.md §12.6, row by row.
#[test]
fn claims_of_a_client_id() {
    use AllowedClient::{Anonymous, Any};
    for (allowed, claim, result) in [
        (Any, None, Ok(Any)),
        (Any, Some("a"), Ok(only("a"))),
        (only("a"), None, Ok(only("a"))),
        (only("a"), Some("a"), Ok(only("a"))),
        (only("a"), Some("b"), Err(40102)),
        (Anonymous, None, Ok(Anonymous)),
        (Anonymous, Some("b"), Err(40102)),
        (Any, Some("*"), Err(40012)),
        (Any, Some(""), Err(40012)),
        (only("a"), Some("*"), Err(40012)),
        (Anonymous, Some(""), Err(40012)),
    ] {
        assert_eq!(codes(allowed.claim(claim)), result, "{allowed:?} {claim:?}");
    }
    assert_eq!(Any.as_str(), Some("*"));
    assert_eq!(only("a").as_str(), Some("a"));
    assert_eq!(Anonymous.as_str(), None);
}

/// docs/protocols/ably.md §6.6, row by row.
#[test]
fn client_ids_of_messages() {
    use AllowedClient::{Anonymous, Any};
    let id = |text: &str| ClientId::new(text.to_owned());
    for (allowed, claim, result) in [
        (only("a"), None, Ok(id("a"))),
        (only("a"), Some("a"), Ok(id("a"))),
        (only("a"), Some("b"), Err(40012)),
        (only("a"), Some("*"), Err(40012)),
        (Any, None, Ok(None)),
        (Any, Some("b"), Ok(id("b"))),
        (Any, Some(""), Err(40012)),
        (Any, Some("*"), Err(40012)),
        (Anonymous, None, Ok(None)),
        (Anonymous, Some("b"), Err(40012)),
    ] {
        assert_eq!(codes(allowed.attribute(claim)), result, "{allowed:?} {claim:?}");
    }
}

/// docs/protocols/ably.md §4.7: anonymous to identified once, never to somebody else.
#[test]
fn identities_after_other_credentials() {
    use AllowedClient::{Anonymous, Any};
    for (before, next, after) in [
        (Anonymous, Anonymous, Ok(Anonymous)),
        (Anonymous, only("a"), Ok(only("a"))),
        (Anonymous, Any, Ok(Any)),
        (only("a"), only("a"), Ok(only("a"))),
        (only("a"), Any, Ok(only("a"))),
        (only("a"), only("b"), Err(40102)),
        (only("a"), Anonymous, Err(40102)),
        (Any, Any, Ok(Any)),
        (Any, only("a"), Ok(only("a"))),
    ] {
        assert_eq!(codes(before.succeeded_by(&next)), after, "{before:?} {next:?}");
    }
}

/// docs/protocols/ably.md §4.3; traps T25 and T26a.
#[test]
fn connection_keys_prove_a_connection() {
    let keys = ConnectionKeys::new(&server_secret());
    let app = AppId::parse("a-c_23").unwrap();
    for _ in 0..100 {
        let id = ConnectionId::random();
        let key = keys.mint(app, id, None);
        let proven = Proven { connection: id, client_id: None };
        assert_eq!(keys.verify(app, &key).as_ref(), Ok(&proven));
        assert!(key.starts_with(&id.to_string()));
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(key.bytes().all(is_plain), "T25: {key}");
        let again = keys.mint(app, id, None);
        assert_ne!(again, key, "T26a");
        assert_eq!(keys.verify(app, &again).as_ref(), Ok(&proven), "and the earlier one stays good");
        assert_eq!(keys.verify(app, &key), Ok(proven));
    }
}

/// The clientId of a connection is proved with it, whatever characters it has.
#[test]
fn connection_keys_prove_a_client() {
    let keys = ConnectionKeys::new(&server_secret());
    let (app, connection) = (AppId::DEFAULT, ConnectionId::from_bytes([9; 9]));
    for name in ["a", "ü/bob", "-_!", &"x".repeat(300)] {
        let client_id = ClientId::new(name.to_owned());
        let key = keys.mint(app, connection, client_id.as_ref());
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        assert!(key.bytes().all(is_plain), "T25: {key}");
        assert_eq!(keys.verify(app, &key), Ok(Proven { connection, client_id }));
        let of_nobody = &key[..32 + 1 + 22];
        for bad in [of_nobody, &format!("{of_nobody}-"), &format!("{of_nobody}-Yg"), &format!("{key}A")] {
            assert_eq!(keys.verify(app, bad), Err(Fault::InvalidConnectionKey), "{bad}");
        }
    }
}

#[test]
fn connection_keys_that_are_none() {
    let keys = ConnectionKeys::new(&server_secret());
    let app = AppId::DEFAULT;
    let key = keys.mint(app, ConnectionId::from_bytes([9; 9]), None);
    let code = |key: &str| keys.verify(app, key).unwrap_err().ably_code();
    for bad in ["", "fake-key", "_____!fake-key____", "ä", &key[..key.len() - 1], &key[1..]] {
        assert_eq!(code(bad), 80018, "{bad}");
    }
    assert_eq!(code(&format!("{key}A")), 80018);
    for at in 0..key.len() {
        let mut other = key.clone().into_bytes();
        other[at] = if other[at] == b'B' { b'C' } else { b'B' };
        let other = String::from_utf8(other).unwrap();
        assert_eq!(code(&other), 80018, "{other}");
    }
    let of_another = keys.mint(AppId::parse("abc123").unwrap(), ConnectionId::from_bytes([9; 9]), None);
    assert_eq!(code(&of_another), 40102);
    let stranger = ConnectionKeys::new(&ServerSecret::random());
    assert_eq!(code(&stranger.mint(app, ConnectionId::random(), None)), 80018);
}

#[test]
fn no_secret_is_in_debug_output() {
    let authority = authority();
    let token = authority.issue(ROOT, &json!({})).unwrap();
    let sealed = token.token.clone();
    let request: TokenRequest = serde_json::from_value(json!({"mac": "canary"})).unwrap();
    let credentials = [key(ROOT), Credential::token(&sealed)];
    let access = authority.check(&credentials[0]).unwrap();
    let keys = ConnectionKeys::new(&server_secret());
    let shown = format!(
        "{token:?} {request:?} {credentials:?} {access:?} {:?} {:?} {keys:?}",
        authority.gate,
        server_secret(),
    );
    for secret in [SECRET, "canary", &sealed[7..], "7, 7"] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

proptest! {
    #[test]
    fn any_connection_key_is_answered(key in ".{0,80}") {
        let keys = ConnectionKeys::new(&server_secret());
        prop_assert_eq!(keys.verify(AppId::DEFAULT, &key), Err(Fault::InvalidConnectionKey));
    }

    /// Nothing that was not given out opens the door, and nothing makes it fall over.
    #[test]
    fn noise_is_refused(text in "[a-zA-Z0-9.:_ ä-]{0,60}", header in ".{0,40}") {
        let authority = authority();
        for text in [text.clone(), format!("abc123.{text}"), format!("eyJhbGciOiJIUzI1NiJ9.{text}.x")] {
            prop_assert!(authority.token(&text).is_err());
            prop_assert!(authority.check(&Credential::key(&text)).is_err());
        }
        for header in [header.clone(), format!("Bearer {header}"), format!("Basic {header}")] {
            if let Ok(credential) = Credential::from_header(&header) {
                prop_assert!(authority.check(&credential).is_err());
            }
        }
    }
}
