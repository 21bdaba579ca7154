//! Token requests (docs/protocols/ably.md §12.2).

use super::*;

const NONCE: &str = "0123456789abcdef";

/// A signed request; `ttl` and `timestamp` as text.
fn request(ttl: &str, capability: &str, client: &str, timestamp: &str, nonce: &str) -> Value {
    json!({
        "keyName": ROOT, "ttl": ttl, "capability": capability, "timestamp": timestamp,
        "nonce": nonce, "mac": mac(SECRET, [ROOT, ttl, capability, client, timestamp, nonce]),
    })
}

fn now() -> String {
    NOW.millis().to_string()
}

fn send(authority: &Authority, request: &Value) -> Result<TokenDetails, Fault> {
    let request = TokenRequest::from_json(request.to_string().as_bytes())?;
    grant(&authority.gate, ROOT, &request, None, NOW, false)
}

fn code(authority: &Authority, request: &Value) -> u32 {
    send(authority, request).expect_err(&request.to_string()).ably_code()
}

#[test]
fn a_signed_request_gets_a_token_once() {
    let authority = authority();
    let capability = r#"{"b":["subscribe","publish"],"a":["*"]}"#;
    let mut request = request("60000", capability, "alice", &now(), NONCE);
    request["clientId"] = json!("alice");
    let details = send(&authority, &request).unwrap();
    assert_eq!(details.key_name, ROOT);
    assert_eq!(details.expires, later(MINUTE));
    let canonical = r#"{"a":["*"],"b":["publish","subscribe"]}"#;
    assert_eq!(details.capability, canonical, "T58");
    let shown = serde_json::to_value(&details).unwrap();
    assert_eq!(shown["clientId"], json!("alice"));
    assert_eq!(shown["issued"], json!(NOW.millis()));
    assert_eq!(shown["keyName"], json!(ROOT));
    let access = authority.token(&details.token).unwrap();
    assert_eq!(access.capability.to_string(), canonical);
    assert_eq!(access.client_id.as_str(), Some("alice"));
    let fault = send(&authority, &request).unwrap_err();
    assert_eq!((fault.ably_code(), fault.http_status()), (40105, 401));
}

/// Trap T59; absent fields are empty lines of the signed text.
#[test]
fn t59_numbers_and_texts_are_the_same() {
    let authority = authority();
    let signature = mac(SECRET, [ROOT, "60000", "", "", &now(), NONCE]);
    for (ttl, timestamp) in [
        (json!("60000"), json!(now())),
        (json!(60_000), json!(NOW.millis())),
        (json!(60_000.0), json!(NOW.millis() as f64)),
    ] {
        let request = json!({"keyName": ROOT, "ttl": ttl, "timestamp": timestamp, "nonce": NONCE,
            "mac": signature, "capability": null, "clientId": null, "more": [1]});
        let parsed = TokenRequest::from_json(request.to_string().as_bytes()).unwrap();
        let fresh = super::authority();
        let details = grant(&fresh.gate, ROOT, &parsed, None, NOW, false).unwrap();
        assert_eq!(details.expires, later(MINUTE));
        assert_eq!(details.capability, r#"{"*":["*"]}"#, "the key's");
        assert_eq!(details.client_id, None);
    }
    let plain = request("", "", "", &now(), NONCE);
    assert_eq!(send(&authority, &plain).unwrap().expires, later(60 * MINUTE));
}

#[test]
fn an_unsigned_request_needs_its_own_key() {
    let authority = authority();
    let details = authority.issue(ROOT, &json!({"keyName": ROOT, "timestamp": NOW.millis()}));
    assert_eq!(details.unwrap().expires, later(60 * MINUTE));
    let unsigned = TokenRequest::default();
    let token = authority.issue(ROOT, &json!({})).unwrap().token;
    for (credential, code) in [
        (None, 40101),
        (Some(key("abc123.narrow")), 40101),
        (Some(Credential::key("abc123.root:wrong")), 40101),
        (Some(Credential::token(&token)), 40101),
        (Some(Credential::key("nonsense")), 40101),
    ] {
        let made = grant(&authority.gate, ROOT, &unsigned, credential.as_ref(), NOW, true);
        assert_eq!(made.unwrap_err().ably_code(), code, "{credential:?}");
    }
    let strict = authority_with(false);
    let made = grant(&strict.gate, ROOT, &unsigned, Some(&key(ROOT)), NOW, false);
    assert_eq!(made, Err(Fault::KeyWithoutTls));
}

/// The table of §12.2 in its order, each row with a request that is wrong from there on.
#[test]
fn what_is_wrong_with_a_request_is_told_in_order() {
    let authority = authority();
    let two_minutes = 2 * MINUTE;
    let at = |millis: u64| request("", "", "", &millis.to_string(), NONCE);
    let with = |name: &str, value: Value| {
        let mut request = request("", "", "", &now(), NONCE);
        request[name] = value;
        request
    };
    for (request, expected) in [
        (with("keyName", json!("abc123.narrow")), 40101),
        (with("mac", json!(mac("another secret", [ROOT, "", "", "", &now(), NONCE]))), 40101),
        (with("mac", json!("")), 40101),
        (with("mac", json!("!")), 40101),
        (with("mac", json!("AAAA")), 40101),
        (with("clientId", json!("bob")), 40101),
        (with("ttl", json!(1)), 40101),
        (at(NOW.millis() - two_minutes - 1), 40104),
        (at(NOW.millis() + two_minutes + 1), 40104),
        (request("", "", "", "soon", NONCE), 40003),
        (request("", "", "", &now(), ""), 40003),
        (request("0", "", "", &now(), "nonce of ttl 0....1"), 40003),
        (request("-1", "", "", &now(), "nonce of ttl -1...1"), 40003),
        (request("1.5", "", "", &now(), "nonce of ttl 1.5..1"), 40003),
        (request("soon", "", "", &now(), "nonce of ttl soon.1"), 40003),
        (request("86400001", "", "", &now(), "nonce of ttl 24h..1"), 40003),
        (request("", "{", "", &now(), "nonce of capability1"), 40000),
        (request("", r#"{"a":[]}"#, "", &now(), "nonce of capability2"), 40000),
        (request("", r#"{"a":["*","publish"]}"#, "", &now(), "nonce of capability3"), 40000),
        (request("", r#"{"[meta]a":["*"]}"#, "", &now(), "nonce of capability4"), 40160),
        (with("ttl", json!([1])), 40000),
        (json!("x"), 40000),
    ] {
        assert_eq!(code(&authority, &request), expected, "{request}");
    }
    assert_eq!(TokenRequest::from_json(b"{").unwrap_err().ably_code(), 40001);
    // ably-ruby's suite has one of 14 characters.
    assert!(send(&authority, &request("", "", "", &now(), "samenonce_json")).is_ok());
    let mut empty = request("", "", "", &now(), "nonce of the client id");
    empty["clientId"] = json!("");
    assert_eq!(code(&authority, &empty), 40012);
    for edge in [NOW.millis() - two_minutes, NOW.millis() + two_minutes] {
        let nonce = format!("nonce of the edge {edge}");
        assert!(send(&authority, &request("86400000", "", "", &edge.to_string(), &nonce)).is_ok());
    }
}

#[test]
fn names_of_keys_that_get_no_token() {
    let authority = authority();
    let unsigned = TokenRequest::default();
    for (name, expected) in [
        ("nonsense", 40101),
        ("tooshort.x", 40101),
        ("nobody.x", 40400),
        ("abc123.nobody", 40400),
        ("abc123.removed", 40130),
        ("abc123.revoked", 40131),
    ] {
        let made = grant(&authority.gate, name, &unsigned, Some(&key(name)), NOW, false);
        assert_eq!(made.unwrap_err().ably_code(), expected, "{name}");
    }
    let long = json!({"ttl": 60 * MINUTE + 1});
    assert_eq!(authority.issue("abc123.short", &long).unwrap_err().ably_code(), 40003);
    assert!(authority.issue("abc123.short", &json!({"ttl": 60 * MINUTE})).is_ok());
    // findings B6.
    let long = json!({"clientId": "x".repeat(257)});
    assert_eq!(authority.issue(ROOT, &long).unwrap_err().ably_code(), 40012);
    let resources: serde_json::Map<_, _> =
        (0..80).map(|n| (format!("{n}-{}", "x".repeat(100)), json!(["subscribe"]))).collect();
    let huge = json!({"capability": serde_json::Value::from(resources).to_string()});
    assert_eq!(authority.issue(ROOT, &huge).unwrap_err().ably_code(), 40009);
}

/// §12.5: never more than the key; what was asked for decides what is shown.
#[test]
fn tokens_are_as_narrow_as_their_key() {
    let authority = authority();
    let asked = json!({"capability": r#"{"*":["*"]}"#});
    let details = authority.issue("abc123.narrow", &asked).unwrap();
    let narrow = r#"{"chat:*":["publish","subscribe"]}"#;
    assert_eq!(details.capability, narrow);
    assert_eq!(authority.token(&details.token).unwrap().capability.to_string(), narrow);
}

#[test]
fn nonces_are_forgotten_when_their_time_is_over() {
    let authority = authority();
    for round in 0..3_u64 {
        let now = later(round * 5 * MINUTE);
        let text = now.millis().to_string();
        let request = request("", "", "", &text, NONCE);
        let request = TokenRequest::from_json(request.to_string().as_bytes()).unwrap();
        let send = |now| grant(&authority.gate, ROOT, &request, None, now, false);
        assert!(send(now).is_ok());
        let last = Timestamp::from_millis(now.millis() + 2 * MINUTE);
        assert_eq!(send(last), Err(Fault::NonceReplayed), "to the last moment");
        assert_eq!(authority.gate.nonces.len(), 1);
    }
}

/// findings G4: a long capability is read, and held against that of the key, once: later requests by any token that carries
/// it share what came out.
#[test]
fn a_long_capability_is_read_once() {
    let authority = authority();
    let resources: serde_json::Map<_, _> = (0..100).map(|n| (format!("chat:room-{n}"), json!(["subscribe"]))).collect();
    let text = serde_json::Value::from(resources).to_string();
    let tokens = ["alice", "bob"].map(|client| {
        let asked = json!({"capability": text, "clientId": client});
        authority.issue("abc123.narrow", &asked).unwrap().token
    });
    let [alice, bob] = tokens.map(|token| authority.token(&token).unwrap().capability);
    assert_eq!(alice.len(), 100);
    assert!(Arc::ptr_eq(&alice, &bob));
    // Another key may permit less.
    let other = authority.issue("abc123.short", &json!({"capability": text})).unwrap();
    assert!(!Arc::ptr_eq(&alice, &authority.token(&other.token).unwrap().capability));
}
