//! Good tokens, a table of bad ones (docs/goals.md §6, R17), and hostile noise.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD, Engine as _};
use jsonwebtoken::{Algorithm, crypto::sign};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::ids::Timestamp;

const SECRET: &str = "letshare-jwt-secret-key-2024";
/// Published in docs/protocols/letshare.md §1.3: SHA-256 of `sever_auth_123`.
const STATIC: &str = "98d9a399";
/// Seconds since the epoch: 2025-01-01.
const NOW: u64 = 1_735_689_600;

fn clock() -> Clock {
    Clock::manual(Timestamp::from_millis(NOW * 1_000))
}

/// With clocks that agree: times are judged to the second.
fn exact() -> Config {
    let mut config = Config::for_tests();
    config.auth.clock_leeway = Duration::ZERO;
    config
}

fn authenticator(mode: AuthMode) -> Authenticator {
    let mut config = exact();
    config.auth.mode = mode;
    Authenticator::new(&config, clock())
}

fn static_token() -> String {
    StaticToken::of(&Config::for_tests().auth.secret).reveal().to_owned()
}

fn url(text: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(text)
}

/// A token with this header and these claims, signed with HS256 whatever the header says.
fn signed(header: &str, claims: &str, secret: &str) -> String {
    let message = format!("{}.{}", url(header), url(claims));
    let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
    let signature = sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn with_claims(claims: &Value) -> String {
    signed(HS256, &claims.to_string(), SECRET)
}

/// Valid, but for what is changed: `null` takes a claim away.
fn changed(claim: &str, value: Value) -> String {
    let mut claims = json!({"user_id": "alice", "iat": NOW, "exp": NOW + 60});
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
        value => claims[claim] = value,
    }
    with_claims(&claims)
}

fn good() -> String {
    changed("user_type", json!("desktop"))
}

#[test]
fn the_published_static_token_opens_and_leaves_the_id_to_the_url() {
    let token = static_token();
    assert!(token.starts_with(STATIC) && token.ends_with("5652"), "{token}");
    for mode in [AuthMode::Static, AuthMode::Both] {
        for (url_id, routed) in [(Some("小明:zz7aljb"), Some("小明:zz7aljb")), (None, None), (Some(""), None)] {
            let identity = authenticator(mode).authenticate(&token, url_id).unwrap();
            assert_eq!(identity.user_id.as_deref(), routed);
            assert_eq!(identity.room, None);
        }
    }
}

#[test]
fn a_jwt_names_the_user_and_the_url_may_add_the_random_part() {
    for mode in [AuthMode::Jwt, AuthMode::Both] {
        for (url_id, routed) in [
            (None, "alice"),
            (Some(""), "alice"),
            (Some("alice"), "alice"),
            (Some("alice:x1y2z3"), "alice:x1y2z3"),
            (Some("alice:"), "alice:"),
            (Some("alice:a:b"), "alice:a:b"),
        ] {
            let identity = authenticator(mode).authenticate(&good(), url_id).unwrap();
            assert_eq!(identity.user_id.as_deref(), Some(routed));
        }
    }
}

#[test]
fn what_is_minted_is_accepted_until_it_expires() {
    let key = JwtKey::new(&SecretString::from(SECRET));
    let clock = clock();
    let token = key.mint("小明", Some("demo1"), 2, clock.now()).unwrap();
    let authenticator = Authenticator::new(&exact(), clock.clone());
    let identity = Identity { user_id: Some("小明:1".into()), room: Some("demo1".into()) };
    assert_eq!(authenticator.authenticate(&token, Some("小明:1")), Ok(identity.clone()));
    clock.advance(Duration::from_millis(2 * 3_600_000 - 1));
    assert_eq!(authenticator.authenticate(&token, Some("小明:1")), Ok(identity));
    clock.advance(Duration::from_millis(1));
    assert_eq!(authenticator.authenticate(&token, None), Err(TokenFault::Expired));

    let open = key.mint("bob", None, 1, clock.now()).unwrap();
    assert_eq!(authenticator.authenticate(&open, None).unwrap().room, None);
    assert!(key.mint("", None, 1, clock.now()).is_err());
}

#[test]
fn unusual_but_valid_tokens_are_accepted() {
    let authenticator = authenticator(AuthMode::Jwt);
    for (what, token) in [
        ("empty room_id means any", changed("room_id", json!(""))),
        ("exp with a fraction", changed("exp", json!(NOW as f64 + 0.5))),
        ("nbf is now", changed("nbf", json!(NOW))),
        ("iat ahead of our clock", changed("iat", json!(NOW + 30))),
        ("unknown claims", changed("extra", json!({"a": [1]}))),
        ("no typ", signed(r#"{"alg":"HS256"}"#, &json!({"user_id":"alice","exp":NOW + 1}).to_string(), SECRET)),
    ] {
        let identity = authenticator.authenticate(&token, None).expect(what);
        assert_eq!(identity.user_id.as_deref(), Some("alice"), "{what}");
        assert_eq!(identity.room, None, "{what}");
    }
}

/// findings P15: whoever signs has a clock of his own; by default it may be half a minute off, either way.
#[test]
fn the_clock_of_the_issuer_may_be_off() {
    let authenticator = Authenticator::new(&Config::for_tests(), clock());
    for (claim, value, expected) in [
        ("exp", NOW - 29, None),
        ("exp", NOW - 30, Some(TokenFault::Expired)),
        ("nbf", NOW + 30, None),
        ("nbf", NOW + 31, Some(TokenFault::Invalid)),
    ] {
        let outcome = authenticator.authenticate(&changed(claim, json!(value)), None);
        assert_eq!(outcome.err(), expected, "{claim} {value}");
    }
}

/// A bad credential: what it is, the token, the URL's user, the fault.
type Row = (&'static str, String, Option<&'static str>, TokenFault);

fn bad_jwts() -> Vec<Row> {
    use TokenFault::{BadClaims, Expired, Invalid, NoUser, OtherUser, Unreadable};
    const MALFORMED: TokenFault = Unreadable("token is malformed");
    const METHOD: TokenFault = Unreadable("unexpected signing method");
    const SIGNATURE: TokenFault = Unreadable("signature is invalid");

    let token = good();
    let parts: Vec<&str> = token.split('.').collect();
    let (header, claims, signature) = (parts[0], parts[1], parts[2]);
    let payload = json!({"user_id": "alice", "exp": NOW + 60}).to_string();
    let alg = |alg: &str| signed(&json!({"alg": alg, "typ": "JWT"}).to_string(), &payload, SECRET);
    let raw = |bytes: &str| BASE64_URL_SAFE_NO_PAD.decode(bytes).unwrap();
    let flipped = |part: &str| {
        let mut bytes = raw(part);
        bytes[0] ^= 1;
        url(bytes)
    };
    // The last character of 43 carries four bits of signature and two that must be zero.
    let loose_bits = {
        const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let last = ALPHABET.find(signature.chars().last().unwrap()).unwrap();
        format!("{}{}", &signature[..42], &ALPHABET[last + 1..last + 2])
    };
    let hs512 = {
        let message = format!("{}.{}", url(r#"{"alg":"HS512"}"#), url(&payload));
        let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
        format!("{message}.{}", sign(message.as_bytes(), &key, Algorithm::HS512).unwrap())
    };
    vec![
        ("alg none, no signature", format!("{}.{}.", url(r#"{"alg":"none"}"#), url(&payload)), None, MALFORMED),
        ("alg none, signed", alg("none"), None, MALFORMED),
        ("alg None", alg("None"), None, MALFORMED),
        ("alg nOnE", alg("nOnE"), None, MALFORMED),
        ("alg empty", alg(""), None, MALFORMED),
        ("alg hs256 in lower case", alg("hs256"), None, MALFORMED),
        ("alg RS256, signed with the secret", alg("RS256"), None, METHOD),
        ("alg PS256", alg("PS256"), None, METHOD),
        ("alg ES256", alg("ES256"), None, METHOD),
        ("alg EdDSA", alg("EdDSA"), None, METHOD),
        ("alg HS384", alg("HS384"), None, METHOD),
        ("alg HS512, truly", hs512, None, METHOD),
        ("alg is a number", signed(r#"{"alg":256}"#, &payload, SECRET), None, MALFORMED),
        ("no alg", signed(r#"{"typ":"JWT"}"#, &payload, SECRET), None, MALFORMED),
        ("header is an array", signed("[]", &payload, SECRET), None, MALFORMED),
        ("header is not JSON", signed("{", &payload, SECRET), None, MALFORMED),
        (
            "header asks for an extension",
            signed(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &payload, SECRET),
            None,
            Unreadable("unknown critical header"),
        ),
        ("exp missing", changed("exp", Value::Null), None, Invalid),
        ("exp null", signed(HS256, r#"{"user_id":"alice","exp":null}"#, SECRET), None, Invalid),
        ("exp a second ago", changed("exp", json!(NOW - 1)), None, Expired),
        ("exp now: no leeway", changed("exp", json!(NOW)), None, Expired),
        ("exp zero", changed("exp", json!(0)), None, Expired),
        ("exp negative", changed("exp", json!(-1)), None, Invalid),
        ("exp text", changed("exp", json!((NOW + 60).to_string())), None, BadClaims),
        ("exp true", changed("exp", json!(true)), None, BadClaims),
        ("exp object", changed("exp", json!({})), None, BadClaims),
        ("exp list", changed("exp", json!([NOW + 60])), None, BadClaims),
        ("exp beyond all numbers", signed(HS256, r#"{"user_id":"alice","exp":1e999}"#, SECRET), None, BadClaims),
        ("exp NaN", signed(HS256, r#"{"user_id":"alice","exp":NaN}"#, SECRET), None, BadClaims),
        ("nbf ahead", changed("nbf", json!(NOW + 1)), None, Invalid),
        ("nbf text", changed("nbf", json!("soon")), None, BadClaims),
        ("nbf negative", changed("nbf", json!(-5)), None, Invalid),
        ("iat text", changed("iat", json!("now")), None, BadClaims),
        ("user_id missing", changed("user_id", Value::Null), None, NoUser),
        ("user_id empty", changed("user_id", json!("")), None, NoUser),
        ("user_id null", signed(HS256, &format!(r#"{{"user_id":null,"exp":{}}}"#, NOW + 1), SECRET), None, NoUser),
        ("user_id number", changed("user_id", json!(7)), None, BadClaims),
        ("user_id list", changed("user_id", json!(["alice"])), None, BadClaims),
        ("room_id number", changed("room_id", json!(1)), None, BadClaims),
        ("user_type object", changed("user_type", json!({})), None, BadClaims),
        (
            "user_id twice",
            signed(HS256, &format!(r#"{{"user_id":"alice","user_id":"bob","exp":{}}}"#, NOW + 1), SECRET),
            None,
            BadClaims,
        ),
        ("for another audience", changed("aud", json!("elsewhere")), None, Invalid),
        (
            "a PRO token: no user_id (§3.6)",
            with_claims(&json!({"is_pro": true, "sub": "alice", "iat": NOW, "exp": NOW + 60})),
            None,
            NoUser,
        ),
        ("claims are a list", signed(HS256, "[]", SECRET), None, BadClaims),
        ("claims are a text", signed(HS256, "\"alice\"", SECRET), None, BadClaims),
        ("claims empty", signed(HS256, "", SECRET), None, BadClaims),
        (
            "claims not UTF-8",
            {
                let message = format!("{}.{}", url(HS256), url(b"{\"user_id\":\"\xff\"}"));
                let key = jsonwebtoken::EncodingKey::from_secret(SECRET.as_bytes());
                format!("{message}.{}", sign(message.as_bytes(), &key, Algorithm::HS256).unwrap())
            },
            None,
            BadClaims,
        ),
        (
            "claims nested without end",
            signed(HS256, &format!(r#"{{"x":{}"#, "[".repeat(3_000)), SECRET),
            None,
            BadClaims,
        ),
        ("other secret", signed(HS256, &payload, "letshare-jwt-secret-key-2023"), None, SIGNATURE),
        ("empty secret", signed(HS256, &payload, ""), None, SIGNATURE),
        ("secret with a newline", signed(HS256, &payload, &format!("{SECRET}\n")), None, SIGNATURE),
        ("signature flipped", format!("{header}.{claims}.{}", flipped(signature)), None, SIGNATURE),
        ("claims flipped", format!("{header}.{}.{signature}", flipped(claims)), None, SIGNATURE),
        (
            "claims of another token",
            format!("{header}.{}.{signature}", url(r#"{"user_id":"root","exp":9999999999}"#)),
            None,
            SIGNATURE,
        ),
        ("signature empty", format!("{header}.{claims}."), None, SIGNATURE),
        ("signature cut", format!("{header}.{claims}.{}", &signature[..20]), None, SIGNATURE),
        ("signature missing", format!("{header}.{claims}"), None, MALFORMED),
        ("cut in the claims", token[..header.len() + 9].to_owned(), None, MALFORMED),
        ("four parts", format!("{token}.x"), None, MALFORMED),
        ("five parts, as if encrypted", format!("{header}.a.b.c.d"), None, MALFORMED),
        ("signature padded", format!("{header}.{claims}.{signature}="), None, MALFORMED),
        (
            "signature in padded base64url",
            format!("{header}.{claims}.{}", BASE64_URL_SAFE.encode(raw(signature))),
            None,
            MALFORMED,
        ),
        ("signature with unused bits set", format!("{header}.{claims}.{loose_bits}"), None, MALFORMED),
        (
            "header in padded base64",
            format!("{}.{claims}.{signature}", BASE64_STANDARD.encode(r#"{"alg":"HS256" }"#)),
            None,
            MALFORMED,
        ),
        ("signature in hex", format!("{header}.{claims}.{}", hex::encode(raw(signature))), None, SIGNATURE),
        ("space in front", format!(" {token}"), None, MALFORMED),
        ("newline behind", format!("{token}\n"), None, MALFORMED),
        ("NUL behind", format!("{token}\0"), None, MALFORMED),
        ("Bearer in front", format!("Bearer {token}"), None, MALFORMED),
        ("dots only", "..".into(), None, MALFORMED),
        ("another user", token.clone(), Some("bob"), OtherUser),
        ("another user, same beginning", token.clone(), Some("alice2"), OtherUser),
        ("another user, our name behind", token.clone(), Some("bob:alice"), OtherUser),
        ("the user in other letters", token.clone(), Some("Alice"), OtherUser),
        ("the user cut", token.clone(), Some("alic"), OtherUser),
        ("a space before the colon", token.clone(), Some("alice :1"), OtherUser),
        ("a colon in front", token, Some(":alice"), OtherUser),
        ("user_id * is no wildcard", changed("user_id", json!("*")), Some("bob"), OtherUser),
    ]
}

#[test]
fn no_bad_jwt_is_accepted_and_each_fault_is_named() {
    let rows = bad_jwts();
    assert!(rows.len() >= 60);
    for (what, token, user_id, fault) in rows {
        for mode in [AuthMode::Jwt, AuthMode::Both] {
            assert_eq!(authenticator(mode).authenticate(&token, user_id), Err(fault), "{what}");
        }
        let refused = authenticator(AuthMode::Static).authenticate(&token, user_id);
        assert_eq!(refused, Err(TokenFault::NotTheStaticToken), "{what}");
    }
}

#[test]
fn no_bad_static_token_is_accepted() {
    let token = static_token();
    let of = |secret: &str| StaticToken::of(&secret.into()).reveal().to_owned();
    for (what, bad) in [
        ("the secret itself", "sever_auth_123".to_owned()),
        ("upper case", token.to_uppercase()),
        ("cut", token[..63].to_owned()),
        ("longer", format!("{token}0")),
        ("space behind", format!("{token} ")),
        ("newline behind", format!("{token}\n")),
        ("hash of the hash", of(&token)),
        ("hash of nothing", of("")),
        ("hash of a near secret", of("server_auth_123")),
        ("last digit changed", format!("{}3", &token[..63])),
        ("64 NULs", "\0".repeat(64)),
        ("Han", "令牌".to_owned()),
        ("the JWT secret's hash", of(SECRET)),
    ] {
        for mode in [AuthMode::Static, AuthMode::Both] {
            let refused = authenticator(mode).authenticate(&bad, Some("alice"));
            assert_eq!(refused, Err(TokenFault::NotTheStaticToken), "{what}");
        }
    }
}

#[test]
fn a_kind_that_is_off_opens_nothing() {
    assert!(authenticator(AuthMode::Jwt).authenticate(&static_token(), None).is_err());
    assert!(authenticator(AuthMode::Static).authenticate(&good(), None).is_err());
}

#[test]
fn empty_and_oversized_tokens_are_refused_unread() {
    for mode in [AuthMode::Static, AuthMode::Jwt, AuthMode::Both] {
        let authenticator = authenticator(mode);
        assert_eq!(authenticator.authenticate("", Some("alice")), Err(TokenFault::Missing));
        let large = changed("padding", json!("x".repeat(limits::TOKEN_BYTES)));
        let fault = TokenFault::Unreadable("token is too long");
        assert_eq!(authenticator.authenticate(&large, None), Err(fault));
        assert_eq!(authenticator.authenticate(&"x".repeat(100 << 20), None), Err(fault));
    }
}

/// docs/protocols/letshare.md §1.2 and §1.3.
#[test]
fn the_texts_are_the_documented_ones() {
    for (fault, text) in [
        (TokenFault::Missing, "缺少认证token"),
        (TokenFault::NotTheStaticToken, "token验证失败: token验证失败"),
        (TokenFault::Unreadable("signature is invalid"), "token验证失败: token解析失败: signature is invalid"),
        (TokenFault::Invalid, "token验证失败: token无效"),
        (TokenFault::BadClaims, "token验证失败: claims解析失败"),
        (TokenFault::Expired, "token验证失败: token已过期"),
        (TokenFault::NoUser, "token验证失败: token中缺少user_id"),
    ] {
        assert_eq!(fault.to_string(), text);
    }
}

#[test]
fn debug_output_has_no_secret() {
    let text = format!("{:?}", authenticator(AuthMode::Both));
    assert!(!text.contains(STATIC) && !text.contains(SECRET), "{text}");
}

proptest! {
    #[test]
    fn noise_is_refused_without_a_panic(token in ".{0,200}", user in proptest::option::of(".{0,20}")) {
        prop_assert!(authenticator(AuthMode::Both).authenticate(&token, user.as_deref()).is_err());
    }

    #[test]
    fn noise_in_jwt_form_is_refused_without_a_panic(token in "[A-Za-z0-9_=-]{0,60}\\.[A-Za-z0-9_=-]{0,60}\\.[A-Za-z0-9_=-]{0,60}") {
        prop_assert!(authenticator(AuthMode::Jwt).authenticate(&token, None).is_err());
    }

    /// Any byte changed in a good token, and nobody comes in as anyone else.
    #[test]
    fn a_changed_token_is_refused(place in 0_usize..100, byte in b'!'..b'~') {
        let mut token = good().into_bytes();
        let place = place % token.len();
        prop_assume!(token[place] != byte);
        token[place] = byte;
        let token = String::from_utf8(token).unwrap();
        prop_assert!(authenticator(AuthMode::Jwt).authenticate(&token, None).is_err());
    }
}
