//! Which credentials are accepted, and what each allows.

use super::*;

#[test]
fn a_key_gives_its_capability() {
    let authority = authority();
    let access = authority.check(&key("abc123.narrow")).unwrap();
    assert_eq!(access.app.id.as_str(), "abc123");
    assert_eq!(access.key_name(), "abc123.narrow");
    assert!(access.is_basic && access.expires.is_none());
    assert_eq!(access.claim(None), Ok(AllowedClient::Any));
    assert!(access.capability.allows("chat:a", Operation::Publish));
    assert!(!access.capability.allows("a", Operation::Publish));
    assert!(!access.has_expired(later(u64::MAX / 2)));
}

/// docs/protocols/ably.md §1.2, §1.8: every place and spelling.
#[test]
fn credentials_are_found_wherever_they_are() {
    let authority = authority();
    let key = format!("{ROOT}:{SECRET}");
    let token = authority.issue(ROOT, &json!({})).unwrap().token;
    let jwt = jwt(ROOT, &json!({}));
    let with_header = |text: String| Credential::find(Some(&text), []).unwrap().unwrap();
    let with_query = |name, value| Credential::find(None, [("v", "6"), (name, value)]);
    for credential in [
        with_header(format!("Basic {}", BASE64_STANDARD.encode(&key))),
        with_header(format!("basic  {}", url(&key))),
        with_header(format!("Bearer {token}")),
        with_header(format!("Bearer {}", BASE64_STANDARD.encode(&token))),
        with_header(format!("bearer {}", url(&token))),
        with_header(format!("Bearer {jwt}")),
        with_header(format!("Bearer {}", BASE64_STANDARD.encode(&jwt))),
        with_query("key", &key).unwrap().unwrap(),
        with_query("accessToken", &token).unwrap().unwrap(),
        with_query("access_token", &jwt).unwrap().unwrap(),
    ] {
        let access = authority.check(&credential).unwrap();
        assert_eq!(access.is_basic, credential.is_basic());
        assert_eq!(access.key_name(), ROOT);
    }
    assert!(Credential::find(None, [("v", "6")]).unwrap().is_none());
}

/// docs/protocols/ably.md §12.8.
#[test]
fn a_key_needs_tls_unless_it_is_allowed_without() {
    let authority = authority_with(false);
    let check = |credential: &Credential, is_tls| authority.gate.check(Some(credential), NOW, is_tls);
    let fault = check(&key(ROOT), false).unwrap_err();
    assert_eq!((fault.ably_code(), fault.http_status()), (40103, 401));
    assert!(check(&key(ROOT), true).is_ok());
    // It is not even looked at.
    let wrong = Credential::key("abc123.root:wrong");
    assert_eq!(check(&wrong, false).unwrap_err().ably_code(), 40103);
    assert!(check(&Credential::token(&jwt(ROOT, &json!({}))), false).is_ok());
}

/// docs/protocols/ably.md §12.3 and trap T22: to the millisecond.
#[test]
fn native_tokens_end_exactly() {
    let authority = authority();
    let token = authority.issue(ROOT, &json!({"ttl": 250})).unwrap();
    assert_eq!((token.issued, token.expires), (NOW, later(250)));
    assert!(token.token.starts_with("abc123."));
    let access = authority.token_at(&token.token, later(249)).unwrap();
    assert_eq!(access.expires, Some(later(250)));
    assert_eq!(access.issued, Some(NOW));
    assert!(!access.has_expired(later(249)) && access.has_expired(later(250)));
    let fault = authority.token_at(&token.token, later(250)).unwrap_err();
    assert_eq!((fault.ably_code(), fault.http_status()), (40142, 401));
}

#[test]
fn jwts_end_at_their_second() {
    let authority = authority();
    let token = jwt(ROOT, &json!({"exp": NOW_S + 5}));
    assert!(authority.token_at(&token, later(4_999)).is_ok());
    assert_eq!(authority.token_at(&token, later(5_000)).unwrap_err(), Fault::TokenExpired);
    // RFC 7519 §2: a date may have a fraction.
    let token = jwt(ROOT, &json!({"exp": NOW_S as f64 + 0.5}));
    assert!(authority.token_at(&token, later(499)).is_ok());
    assert_eq!(authority.token_at(&token, later(500)).unwrap_err(), Fault::TokenExpired);
    // The clock of whoever signs may be a little ahead.
    assert!(authority.token(&jwt(ROOT, &json!({"iat": NOW_S + 5}))).is_ok());
    assert!(authority.token(&jwt(ROOT, &json!({"nbf": NOW_S}))).is_ok());
    assert!(authority.token(&jwt(ROOT, &json!({"aud": "somebody else"}))).is_ok());
}

/// docs/protocols/ably.md §12.4.
#[test]
fn claims_of_a_jwt() {
    let authority = authority();
    let token = jwt(
        "abc123.narrow",
        &json!({
            "x-ably-capability": r#"{"chat:a":["*"],"b":["publish"]}"#,
            "x-ably-clientId": "alice",
            "x-ably-revocation-key": "group 1",
            "ably.channel.chat:*": "member",
            "ably.channel.chat:a": "owner",
            "ably.room.lobby": "moderator",
            "ably.limits.publish.perConnection": 5,
        }),
    );
    let access = authority.token(&token).unwrap();
    let allowed = r#"{"chat:a":["publish","subscribe"]}"#;
    assert_eq!(access.capability.to_string(), allowed);
    assert_eq!(access.claim(None).unwrap().as_str(), Some("alice"));
    assert_eq!(access.revocation_key.as_deref(), Some("group 1"));
    assert_eq!(access.user_claim("chat:a"), Some("owner"));
    assert_eq!(access.user_claim("chat:b"), Some("member"));
    assert_eq!(access.user_claim("lobby"), None);
    assert_eq!(access.user_claim("lobby::$chat"), Some("moderator"));
    assert!(!access.is_basic);

    let plain = authority.token(&jwt("abc123.narrow", &json!({"x-ably-capability": ""}))).unwrap();
    assert_eq!(plain.capability, plain.key.capability);
    assert_eq!(plain.client_id, AllowedClient::Anonymous);
    let any = authority.token(&jwt(ROOT, &json!({"x-ably-clientId": "*"}))).unwrap();
    assert_eq!(any.client_id, AllowedClient::Any);
}

/// docs/protocols/ably.md §12.4: the customer's own JWT around our token, in its claims or in its header.
#[test]
fn a_token_in_an_envelope() {
    let authority = authority();
    let request = json!({"ttl": 10 * MINUTE, "clientId": "alice", "capability": r#"{"a":["publish"]}"#});
    let inner = authority.issue(ROOT, &request).unwrap().token;
    let claims = json!({"exp": NOW_S + 60, "x-ably-token": inner, "ably.channel.*": "forged",
        "x-ably-capability": r#"{"*":["*"]}"#});
    let in_claims = signed(&json!({"alg": "HS256"}), &claims, "the customer's secret");
    let in_header = json!({"alg": "HS256", "x-ably-token": inner});
    let in_header = signed(&in_header, &json!({"exp": NOW_S + 60}), "the customer's secret");
    for envelope in [in_claims, in_header] {
        let access = authority.token(&envelope).unwrap();
        assert_eq!(access.capability.to_string(), r#"{"a":["publish"]}"#);
        assert_eq!(access.client_id.as_str(), Some("alice"));
        assert_eq!(access.expires, Some(later(MINUTE)), "the earlier end");
        assert_eq!(access.user_claim("a"), None, "nobody has checked that claim");
        assert_eq!(authority.token_at(&envelope, later(MINUTE)).unwrap_err(), Fault::TokenExpired);
    }
    let jwt = jwt(ROOT, &json!({"x-ably-clientId": "bob"}));
    let around = signed(&json!({"alg": "HS256"}), &json!({"exp": NOW_S + 60, "x-ably-token": jwt}), "x");
    let access = authority.token(&around).unwrap();
    assert_eq!((access.client_id.as_str(), access.expires), (Some("bob"), Some(later(MINUTE))));
    let long = signed(&json!({"alg": "HS256"}), &json!({"exp": NOW_S + 86_400, "x-ably-token": inner}), "x");
    assert_eq!(authority.token(&long).unwrap().expires, Some(later(10 * MINUTE)));
}

/// §12.4: of an encrypted JWT nothing but the header can be read, and that holds the token.
#[test]
fn a_token_in_the_header_of_an_encrypted_jwt() {
    let authority = authority();
    let inner = authority.issue(ROOT, &json!({"clientId": "alice"})).unwrap().token;
    let encrypted = |header: serde_json::Value| {
        let header = BASE64_URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{header}..aXY.Y2lwaGVydGV4dA.dGFn")
    };
    let good = encrypted(json!({"alg": "dir", "enc": "A128CBC-HS256", "x-ably-token": inner}));
    assert_eq!(authority.token(&good).unwrap().client_id.as_str(), Some("alice"));
    let bare = encrypted(json!({"alg": "dir", "enc": "A128CBC-HS256"}));
    assert_eq!(authority.token(&bare).unwrap_err().ably_code(), 40144);
}

/// A key can be revoked, or an app go, while its tokens are around.
#[test]
fn tokens_share_the_fate_of_their_key() {
    let authority = authority();
    let setup = AppSetup::from_json(br#"{"keys":[{}]}"#).unwrap();
    let app = authority.apps.create(setup, None).unwrap();
    let name = app.keys[0].name.to_string();
    let credential = Credential::key(&app.keys[0].reveal());
    let request = TokenRequest::default();
    let token = grant(&authority.gate, &name, &request, Some(&credential), NOW, false);
    let token = token.unwrap().token;
    assert!(authority.token(&token).is_ok());
    authority.apps.remove(app.id).unwrap();
    assert_eq!(authority.token(&token).unwrap_err().ably_code(), 40400);
}
