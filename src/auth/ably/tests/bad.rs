//! A table of bad credentials (docs/goals.md §6, R17): the right code each, none accepted.

use super::*;

/// What is wrong, the credential, and what the client has to be told.
type Row = (&'static str, Result<Credential, Fault>, u32, u16);

fn key_row(what: &'static str, key: &str, code: u32, status: u16) -> Row {
    (what, Ok(Credential::key(key)), code, status)
}

fn token_row(what: &'static str, token: &str, code: u32) -> Row {
    let status = match code {
        40400 => 404,
        40005 => 400,
        _ => 401,
    };
    (what, Ok(Credential::token(token)), code, status)
}

fn header_row(what: &'static str, header: &str, code: u32, status: u16) -> Row {
    (what, Credential::from_header(header), code, status)
}

/// docs/protocols/ably.md §4.2, §12.1.
fn bad_keys() -> Vec<Row> {
    let key = |name: &str| format!("{name}:{SECRET}");
    vec![
        key_row("empty", "", 40101, 401),
        key_row("the suites' api:key", "api:key", 40101, 401),
        key_row("the suites' this.is:wrong", "this.is:wrong", 40101, 401),
        key_row("an app id of seven", "js9de7r:08sdnuvfasd", 40101, 401),
        key_row("seven and a dot", &key("abc1234.root"), 40101, 401),
        key_row("five and a dot", &key("abc12.root"), 40101, 401),
        key_row("a letter that ids have not", &key("abc12!.root"), 40101, 401),
        key_row("six characters, more bytes", &key("abc12é.root"), 40101, 401),
        key_row("the dot behind the colon", "abc123:x.root", 40101, 401),
        key_row("an unknown app", &key("nobody.root"), 40400, 404),
        key_row("an app in another case", &key("ABC123.root"), 40400, 404),
        key_row("an unknown key", &key("abc123.nobody"), 40400, 401),
        key_row("an empty key", &key("abc123."), 40400, 401),
        key_row("a key in another case", &key("abc123.Root"), 40400, 401),
        key_row("a key and a space", &key("abc123.root "), 40400, 401),
        key_row("no colon", "abc123.root", 40005, 400),
        key_row("a wrong secret", "abc123.root:wrong", 40101, 401),
        key_row("no secret", "abc123.root:", 40101, 401),
        key_row("a longer secret", &format!("{ROOT}:{SECRET}0"), 40101, 401),
        key_row("a shorter secret", &format!("{ROOT}:{}", &SECRET[1..]), 40101, 401),
        key_row("the secret in capitals", &format!("{ROOT}:{}", SECRET.to_uppercase()), 40101, 401),
        key_row("a removed key", &key("abc123.removed"), 40130, 401),
        key_row("a removed key, wrong secret", "abc123.removed:x", 40130, 401),
        key_row("a revoked key", &key("abc123.revoked"), 40131, 401),
        key_row("a revoked key, wrong secret", "abc123.revoked:x", 40101, 401),
        header_row("basic without base64", "Basic !", 40005, 400),
        header_row("basic with bytes", "Basic //79", 40005, 400),
        header_row("basic of nothing", "Basic", 40101, 401),
        header_row("another scheme", "Digest username=\"x\"", 40005, 400),
        header_row("no scheme", &key(ROOT), 40005, 400),
        header_row("no header", "", 40005, 400),
        header_row("bearer of nothing", "Bearer", 40101, 401),
        header_row("bearer of a key", &format!("Bearer {}", url(key(ROOT))), 40005, 400),
    ]
}

fn bad_tokens(authority: &Authority) -> Vec<Row> {
    let good = authority.issue(ROOT, &json!({})).unwrap().token;
    let stranger = Gate::new(Arc::clone(&authority.apps), nobody_counts(), &ServerSecret::random(), true, leeway());
    let request = TokenRequest::default();
    let foreign = grant(&stranger, ROOT, &request, Some(&key(ROOT)), NOW, true);
    let sealed = good.split_once('.').unwrap().1;
    let mut changed = BASE64_URL_SAFE_NO_PAD.decode(sealed).unwrap();
    *changed.last_mut().unwrap() ^= 1;
    let mut unsigned = BASE64_URL_SAFE_NO_PAD.decode(sealed).unwrap();
    unsigned[..32].fill(0);
    vec![
        token_row("empty", "", 40101),
        token_row("the suites' invalid-token", "invalid-token", 40101),
        token_row("the suites' invalid token", "invalid token", 40101),
        token_row("two dots of nothing", "..", 40101),
        token_row("dots and letters", "a.b.c", 40101),
        token_row("an app id of seven", "abc1234.x", 40101),
        token_row("an unknown app", "nobody.x", 40400),
        // As ably-ruby's suite expects it of Ably: the first two are its own.
        token_row("of a good app, unreadable", "abc123.invalid-token-invalid-token-invalid-token", 40101),
        token_row("of a good app, with dots", "abc123.invalid.token.will.cause.failure", 40005),
        token_row("of a good app, short", "abc123.invalid", 40101),
        token_row("of a good app, empty", "abc123.", 40101),
        token_row("not base64", "abc123.!!!!", 40005),
        token_row("base64 of no token", &format!("abc123.{}", url([0; 64])), 40101),
        token_row("a dot too many", &format!("{good}."), 40005),
        token_row("too long", &format!("abc123.{}", "A".repeat(9_000)), 40145),
        token_row("sealed by another server", &foreign.unwrap().token, 40143),
        token_row("changed", &format!("abc123.{}", url(changed)), 40143),
        token_row("with a signature of zeros", &format!("abc123.{}", url(unsigned)), 40143),
        token_row("moved to another app", &format!("other1.{sealed}"), 40143),
        token_row("moved to an unknown app", &format!("nobody.{sealed}"), 40400),
    ]
}

/// docs/protocols/ably.md §12.4.
fn bad_jwts() -> Vec<Row> {
    let claims = json!({"iat": NOW_S, "exp": NOW_S + 60});
    let with_header = |header: &Value| signed(header, &claims, SECRET);
    let with = |changes: Value| jwt(ROOT, &changes);
    let good = jwt(ROOT, &json!({}));
    let (body, signature) = good.rsplit_once('.').unwrap();
    let header_of = |changes: Value| {
        let mut all = header(ROOT);
        for (name, value) in changes.as_object().unwrap() {
            all[name] = value.clone();
        }
        with_header(&all)
    };
    let none = header_of(json!({"alg": "none"}));
    let none = none.rsplit_once('.').unwrap().0;
    vec![
        token_row("the suites' invalid.invalid", &jwt("invalid.invalid", &json!({})), 40400),
        token_row("an unknown app", &jwt("nobody.root", &json!({})), 40400),
        ("an unknown key", Ok(Credential::token(&jwt("abc123.nobody", &json!({})))), 40400, 401),
        token_row("kid is a path", &jwt("../../dev/null", &json!({})), 40400),
        token_row("kid is the empty text", &jwt("", &json!({})), 40400),
        token_row("no kid", &with_header(&json!({"alg": "HS256"})), 40144),
        token_row("kid is a number", &header_of(json!({"kid": 1})), 40144),
        token_row("signed with another secret", &signed(&header(ROOT), &claims, "wrong"), 40144),
        token_row("signed with no secret", &signed(&header(ROOT), &claims, ""), 40144),
        token_row("without signature", &format!("{body}."), 40144),
        token_row("a short signature", &format!("{body}.{}", &signature[..22]), 40144),
        token_row("a padded signature", &format!("{good}="), 40144),
        token_row("alg none", &format!("{none}."), 40144),
        token_row("alg none with a signature", &header_of(json!({"alg": "none"})), 40144),
        token_row("alg in small letters", &header_of(json!({"alg": "hs256"})), 40144),
        token_row("alg HS512", &header_of(json!({"alg": "HS512"})), 40144),
        token_row("alg RS256", &header_of(json!({"alg": "RS256"})), 40144),
        token_row("no alg", &header_of(json!({"alg": null})), 40144),
        token_row("a critical extension", &header_of(json!({"crit": ["b64"]})), 40144),
        token_row("four parts", &format!("{good}.x"), 40144),
        token_row("claims that are no object", &signed(&header(ROOT), &json!([1]), SECRET), 40144),
        token_row("of a removed key", &jwt("abc123.removed", &json!({})), 40130),
        token_row("of a revoked key", &jwt("abc123.revoked", &json!({})), 40131),
        token_row("no exp", &with(json!({"exp": null})), 40144),
        token_row("no iat", &with(json!({"iat": null})), 40144),
        token_row("exp is text", &with(json!({"exp": "9999999999"})), 40144),
        token_row("exp is negative", &with(json!({"exp": -1})), 40144),
        token_row("exp is now", &with(json!({"exp": NOW_S})), 40142),
        token_row("exp is over", &with(json!({"iat": 1, "exp": 2})), 40142),
        token_row("exp is too late", &with(json!({"exp": NOW_S + 86_401})), 40144),
        token_row("exp is 1e300", &with(json!({"exp": 1e300})), 40144),
        token_row("exp is too late to revoke", &jwt("abc123.short", &json!({"exp": NOW_S + 3_601})), 40144),
        token_row("iat is in the future", &with(json!({"iat": NOW_S + 121, "exp": NOW_S + 180})), 40144),
        token_row("nbf is in the future", &with(json!({"nbf": NOW_S + 121})), 40144),
        token_row("capability is an object", &with(json!({"x-ably-capability": {"*": ["*"]}})), 40144),
        token_row("capability is nonsense", &with(json!({"x-ably-capability": "x"})), 40144),
        token_row("capability is empty", &with(json!({"x-ably-capability": "{}"})), 40160),
        token_row(
            "capability beyond the key",
            &jwt("abc123.narrow", &json!({"x-ably-capability": r#"{"b":["*"]}"#})),
            40160,
        ),
        token_row("clientId is a number", &with(json!({"x-ably-clientId": 1})), 40144),
        token_row("a user claim is a number", &with(json!({"ably.channel.*": 1})), 40144),
        token_row("too long", &with(json!({"x": "x".repeat(9_000)})), 40144),
        token_row("an envelope around nothing", &with(json!({"x-ably-token": "invalid"})), 40101),
        token_row(
            "an envelope around an envelope",
            &with(json!({"x-ably-token": with(json!({"x-ably-token": good}))})),
            40144,
        ),
        token_row(
            "an envelope around a JWT of nobody",
            &with(json!({"x-ably-token": jwt("nobody.root", &json!({}))})),
            40400,
        ),
        token_row("an envelope around a number", &with(json!({"x-ably-token": 1})), 40144),
    ]
}

#[test]
fn none_is_accepted_and_each_gets_its_code() {
    let authority = authority();
    let mut rows = bad_keys();
    rows.extend(bad_tokens(&authority));
    rows.extend(bad_jwts());
    assert!(rows.len() >= 60);
    for (what, credential, code, status) in rows {
        let fault = credential.and_then(|one| authority.check(&one)).expect_err(what);
        assert_eq!((fault.ably_code(), fault.http_status()), (code, status), "{what}: {fault:?}");
    }
    let fault = authority.gate.check(None, NOW, true).unwrap_err();
    assert_eq!((fault.ably_code(), fault.http_status()), (40101, 401));
}

#[test]
fn an_empty_client_id_names_nobody() {
    let fault = authority().token(&jwt(ROOT, &json!({"x-ably-clientId": ""}))).unwrap_err();
    assert_eq!((fault.ably_code(), fault.http_status()), (40012, 400));
}

/// Both are refused alike, so that nobody learns from the words which secrets are close.
#[test]
fn faults_do_not_repeat_what_was_sent() {
    let authority = authority();
    for key in ["abc123.root:canary-secret", "abc123.canary:x", "canary"] {
        let fault = authority.check(&Credential::key(key)).unwrap_err();
        assert!(!fault.to_string().contains("canary"), "{fault}");
    }
}

/// findings A9: a JWT that is refused for one of its claims is told which, what was found there and what is allowed.
#[test]
fn a_bad_claim_is_named() {
    let authority = authority();
    let good = json!({"iat": NOW_S, "exp": NOW_S + 60});
    for (token, said) in [
        (jwt(ROOT, &json!({"exp": "soon"})), ["exp", "\"soon\"", "seconds"]),
        (jwt(ROOT, &json!({"iat": [1]})), ["iat", "a list", "seconds"]),
        (jwt(ROOT, &json!({"exp": NOW_S + 90_000})), ["exp", "90000 s", "86400 s"]),
        (jwt(ROOT, &json!({"x-ably-clientId": 1})), ["x-ably-clientId", "a number", "a text"]),
        (jwt(ROOT, &json!({"x-ably-capability": {"*": ["*"]}})), ["x-ably-capability", "an object", "a text"]),
        (jwt(ROOT, &json!({"x-ably-capability": "x"})), ["x-ably-capability", "\"x\"", "JSON object"]),
        (jwt(ROOT, &json!({"x-ably-revocation-key": true})), ["x-ably-revocation-key", "a boolean", "a text"]),
        (jwt(ROOT, &json!({"ably.channel.a": {}})), ["ably.channel.a", "an object", "a text"]),
        (signed(&json!({"alg": "RS256", "kid": ROOT}), &good, SECRET), ["alg", "\"RS256\"", "HS256"]),
        (signed(&json!({"alg": "HS256", "kid": 5}), &good, SECRET), ["kid", "a number", "a text"]),
        (signed(&header(ROOT), &json!([1]), SECRET), ["claims", "a list", "a JSON object"]),
    ] {
        let fault = authority.token(&token).unwrap_err();
        assert_eq!(fault.ably_code(), 40144, "{fault}");
        let message = fault.to_string();
        assert!(said.iter().all(|word| message.contains(word)), "{message} {said:?}");
    }
}
