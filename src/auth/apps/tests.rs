//! Set-ups as the SDK suites post them, as operators write them, and as nobody should.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};

use super::{
    setup::{AppSetup, describe},
    *,
};
use crate::{
    core::{capability::Operation, message::Data},
    ids::Timestamp,
};

const NOW: Timestamp = Timestamp::from_millis(1_735_689_600_000);

fn apps() -> Apps {
    Apps::new([], Clock::manual(NOW))
}

fn created(apps: &Apps, setup: &Value) -> Arc<App> {
    let setup = AppSetup::from_json(setup.to_string().as_bytes()).unwrap();
    apps.create(setup, None).unwrap()
}

/// A set-up of the shape that the SDKs' suites post (docs/protocols/ably.md §11.13), with values of our own.
fn test_app() -> Value {
    let capability =
        r#"{ "watch:*":["subscribe"], "say:*":["publish"], "say:aloud":["publish","presence"], "*":["history"] }"#;
    json!({
        "limits": { "presence": { "maxMembers": 250 } },
        "keys": [
            {},
            { "capability": capability },
            { "capability": r#"{"b":["subscribe","publish"], "a":["*"]}"# },
            { "revocableTokens": true },
            { "capability": r#"{"[*]*":["*"]}"# },
        ],
        "namespaces": [
            { "id": "kept", "persisted": true },
            { "id": "told", "pushEnabled": true },
            { "id": "mutable", "mutableMessages": true },
        ],
        "channels": [{ "name": "kept:members", "presence": [
            { "clientId": "flag", "data": "false" },
            { "clientId": "number", "data": "42" },
            { "clientId": "words", "data": "here to stay" },
            { "clientId": "looks like json", "data": r#"{ "a": 1 }"# },
            { "clientId": "json", "data": r#"{"a":[1,{}]}"#, "encoding": "json" },
            { "clientId": "cipher", "data": "AAECAwQFBgcICQoLDA0ODw==", "encoding": "json/utf-8/cipher+aes-128-cbc/base64" },
        ]}],
    })
}

/// The `post_apps` object of `ably-common`, where its folder is named.
fn published_app() -> Option<Value> {
    crate::config::fixtures::published("test-app-setup.json").map(|file| file["post_apps"].clone())
}

/// docs/protocols/ably.md §11.13, traps T58 and T65: capabilities are told sorted, keys in their order.
#[test]
fn a_set_up_is_told_in_canonical_form() {
    let app = created(&apps(), &test_app());
    assert_eq!(app.presence_members, 250);
    let shown = Value::from(describe(&app));
    let keys = shown["keys"].as_array().unwrap();
    let capabilities: Vec<&str> = keys.iter().map(|key| key["capability"].as_str().unwrap()).collect();
    assert_eq!(
        capabilities,
        [
            r#"{"*":["*"]}"#,
            r#"{"*":["history"],"say:*":["publish"],"say:aloud":["presence","publish"],"watch:*":["subscribe"]}"#,
            r#"{"a":["*"],"b":["publish","subscribe"]}"#,
            r#"{"*":["*"]}"#,
            r#"{"[*]*":["*"]}"#,
        ]
    );
    let revocable: Vec<bool> = app.keys.iter().map(|key| key.has_revocable_tokens).collect();
    assert_eq!(revocable, [false, false, false, true, false]);
    keys_are_told_in_every_form(&app, &shown);
    assert_eq!(shown["namespaces"], test_app()["namespaces"]);
}

/// Each SDK reads other fields of a key.
fn keys_are_told_in_every_form(app: &App, shown: &Value) {
    assert_eq!(shown["appId"], json!(app.id.as_str()));
    assert_eq!(AppId::parse(app.id.as_str()), Some(app.id));
    let keys = shown["keys"].as_array().unwrap();
    assert_eq!(keys.len(), app.keys.len());
    for (key, shown) in app.keys.iter().zip(keys) {
        let text = format!("{}:{}", key.name, key.secret.expose_secret());
        assert_eq!(shown["keyStr"], json!(text));
        assert_eq!(shown["keyName"], json!(&*key.name));
        assert_eq!(shown["value"], shown["keySecret"]);
        let id = shown["id"].as_str().unwrap();
        assert_eq!(format!("{}.{id}", app.id), *key.name);
    }
}

/// docs/protocols/ably.md §3.5, §7.8: the members that are always there.
#[test]
fn fixtures_are_as_they_were_written() {
    let apps = apps();
    let app = created(&apps, &test_app());
    let terms = apps.terms(&ChannelName::new(app.id, "kept:members"));
    assert_eq!(terms.fixtures.len(), 6);
    assert!(terms.attributes.is_persisted);
    let payload = |id: &str| {
        let mut members = terms.fixtures.iter();
        &members.find(|member| member.client_id.as_str() == id).unwrap().payload
    };
    assert_eq!(payload("json").encoding, "json");
    assert_eq!(payload("json").data, Data::Text(r#"{"a":[1,{}]}"#.into()));
    for (id, text) in [("flag", "false"), ("number", "42"), ("looks like json", r#"{ "a": 1 }"#)] {
        assert_eq!((&payload(id).data, &*payload(id).encoding), (&Data::Text(text.into()), ""), "{id}");
    }
    assert_eq!(payload("cipher").encoding, "json/utf-8/cipher+aes-128-cbc");
    let bytes: Vec<u8> = (0..16).collect();
    assert_eq!(payload("cipher").data, Data::Binary(bytes.into()));
    let first = &terms.fixtures[0];
    assert!(terms.fixtures.iter().all(|one| one.connection == first.connection && one.timestamp == NOW));
    let ids: std::collections::BTreeSet<_> = terms.fixtures.iter().map(|one| &one.id).collect();
    assert_eq!(ids.len(), 6);
}

/// The set-up as it is published is taken whole.
#[test]
fn the_published_set_up() {
    let Some(setup) = published_app() else { return };
    let apps = apps();
    let app = created(&apps, &setup);
    assert_eq!(json!(app.presence_members), setup["limits"]["presence"]["maxMembers"]);
    let shown = Value::from(describe(&app));
    assert_eq!(app.keys.len(), setup["keys"].as_array().unwrap().len());
    keys_are_told_in_every_form(&app, &shown);
    for (key, asked) in shown["keys"].as_array().unwrap().iter().zip(setup["keys"].as_array().unwrap()) {
        let wanted = asked["capability"].as_str().unwrap_or(r#"{"*":["*"]}"#);
        // `Value` sorts the names of an object, as the canonical form does; the operations are sorted here.
        let mut wanted: Value = serde_json::from_str(wanted).unwrap();
        for operations in wanted.as_object_mut().unwrap().values_mut() {
            operations.as_array_mut().unwrap().sort_by_key(ToString::to_string);
        }
        assert_eq!(key["capability"], json!(wanted.to_string()));
    }
    assert_eq!(shown["namespaces"], setup["namespaces"]);
    for channel in setup["channels"].as_array().unwrap() {
        let name = channel["name"].as_str().unwrap();
        let terms = apps.terms(&ChannelName::new(app.id, name));
        assert_eq!(terms.fixtures.len(), channel["presence"].as_array().unwrap().len());
    }
}

#[test]
fn data_of_fixtures_as_hand_written_rest_has_it() {
    let apps = apps();
    let setup = json!({"channels": [{"name": "a", "presence": [
        {"clientId": "object", "data": {"b": [1]}},
        {"clientId": "base64", "data": "3q2-7w", "encoding": "base64"},
        {"clientId": "none"},
    ]}]});
    let app = created(&apps, &setup);
    let payloads: Vec<_> = app.fixtures["a"].iter().map(|one| one.payload.clone()).collect();
    assert_eq!(payloads[0].encoding, "json");
    assert_eq!(payloads[0].data, Data::Text(r#"{"b":[1]}"#.into()));
    assert_eq!(payloads[1].encoding, "");
    assert_eq!(payloads[1].data, Data::Binary((&b"\xde\xad\xbe\xef"[..]).into()));
    assert_eq!(payloads[2].data, Data::None);
}

/// docs/protocols/ably.md §5.2, §11.12.
#[test]
fn namespaces_choose_by_the_first_segment() {
    let apps = apps();
    let app = created(&apps, &test_app());
    let attributes = |channel: &str| app.attributes_of(&ChannelName::new(app.id, channel));
    for channel in ["mutable", "mutable:a", "mutable:a:b", "room::$chat"] {
        let rule = attributes(channel);
        assert!(rule.is_mutable && rule.is_persisted, "{channel}");
    }
    assert!(attributes("told:a").is_push_enabled);
    for channel in ["mutables", "x:mutable", "room", "$chat"] {
        assert_eq!(attributes(channel), Attributes::default(), "{channel}");
    }
}

#[test]
fn the_registry_keeps_tenants_apart() {
    let apps = apps();
    assert!(apps.find(AppId::DEFAULT).is_some());
    let (one, other) = (created(&apps, &test_app()), created(&apps, &test_app()));
    assert_ne!(one.id, other.id);
    assert!(one.key(&other.keys[0].name).is_none());
    assert!(one.key(&one.keys[0].name).is_some_and(|key| key.has_secret(key.secret.expose_secret())));
    assert!(apps.remove(one.id).is_ok());
    assert!(apps.find(one.id).is_none());
    assert_eq!(apps.remove(one.id).unwrap_err().ably_code(), 40400);
    assert_eq!(apps.remove(AppId::DEFAULT).unwrap_err().ably_code(), 40160);
    // The channels of an app that is gone have the common terms.
    let terms = apps.terms(&ChannelName::new(one.id, "kept:members"));
    assert!(terms.fixtures.is_empty());
    assert_eq!(terms.presence_members, limits::PRESENCE_MEMBERS);
}

#[test]
fn bad_set_ups_are_refused() {
    for (setup, code) in [
        ("", 40001),
        ("{", 40001),
        ("[1]", 40000),
        (r#"{"keys":7}"#, 40000),
        (r#"{"keys":[{"capability":{"*":["*"]}}]}"#, 40000),
        (r#"{"keys":[{"capability":"{}x"}]}"#, 40000),
        (r#"{"keys":[{"capability":"{\"a\":[]}"}]}"#, 40000),
        (r#"{"namespaces":[{"persisted":true}]}"#, 40000),
        (r#"{"namespaces":[{"id":"a:b"}]}"#, 40000),
        (r#"{"namespaces":[{"id":"a"},{"id":"a"}]}"#, 40000),
        (r#"{"channels":[{"presence":[]}]}"#, 40000),
        (r#"{"channels":[{"name":"a"},{"name":"a"}]}"#, 40000),
        (r#"{"channels":[{"name":"a","presence":[{"clientId":"*"}]}]}"#, 40012),
        (r#"{"channels":[{"name":"a","presence":[{}]}]}"#, 40012),
        (r#"{"channels":[{"name":"a","presence":[{"clientId":"b"},{"clientId":"b"}]}]}"#, 40000),
        (r#"{"channels":[{"name":"a","presence":[{"clientId":"b","data":1}]}]}"#, 40013),
        (r#"{"channels":[{"name":"a","presence":[{"clientId":"b","data":"!","encoding":"base64"}]}]}"#, 40013),
        (r#"{"limits":{"presence":{"maxMembers":-1}}}"#, 40000),
    ] {
        let made = AppSetup::from_json(setup.as_bytes()).and_then(|setup| apps().create(setup, None));
        assert_eq!(made.expect_err(setup).ably_code(), code, "{setup}");
    }
    let many = json!({"keys": vec![json!({}); limits::APP_PARTS + 1]});
    let many = AppSetup::from_json(many.to_string().as_bytes()).unwrap();
    assert_eq!(apps().create(many, None).unwrap_err().ably_code(), 40000);
}

/// Nobody outside chooses ids and secrets; a key may be revoked from the start, for tests.
#[test]
fn a_sandbox_app_cannot_choose_its_secrets() {
    let setup = json!({"id": "shared", "future": 1, "keys": [
        {"id": "web", "secret": "0123456789abcdef", "status": "revoked"},
    ]});
    let apps = apps();
    let app = created(&apps, &setup);
    assert_ne!(app.id, AppId::DEFAULT);
    assert!(!app.keys[0].name.ends_with(".web"));
    assert!(!app.keys[0].has_secret("0123456789abcdef"));
    assert_eq!(app.keys[0].status, KeyStatus::Revoked);
}

const FILE: &str = r#"
apps:
  - id: shared
    keys:
      - id: page
        secret: fedcba9876543210fedcba9876543210
        capability: '{"*":["subscribe"]}'
  - id: abc123
    keys:
      - id: web
        secret: "0123456789abcdef"
        revocableTokens: true
      - id: old
        secret: 00000000000000000000
        status: revoked
    namespaces:
      - { id: chat, persisted: true, authenticated: true }
    limits: { presence: { maxMembers: 7 } }
"#;

#[test]
fn operators_write_ids_and_secrets() {
    let read = file::parse_for_tests(FILE).unwrap_or_else(|problems| panic!("{problems:?}"));
    let apps = Apps::new(read, Clock::manual(NOW));
    let shared = apps.find(AppId::DEFAULT).unwrap();
    let page = shared.key("shared.page").unwrap();
    assert!(page.capability.allows("a", Operation::Subscribe));
    assert!(!page.capability.allows("a", Operation::Publish));
    let app = apps.find(AppId::parse("abc123").unwrap()).unwrap();
    assert!(app.key("abc123.web").unwrap().has_revocable_tokens);
    let old = app.key("abc123.old").unwrap();
    assert_eq!(old.status, KeyStatus::Revoked);
    assert!(old.has_secret("00000000000000000000"), "digits stay digits");
    let terms = apps.terms(&ChannelName::new(app.id, "chat:a"));
    assert!(terms.attributes.is_persisted && terms.attributes.identified_only);
    assert_eq!(terms.presence_members, 7);
    assert_eq!(apps.remove(app.id).unwrap_err().ably_code(), 40160);
    assert!(file::parse_for_tests("").unwrap().is_empty());
}

#[test]
fn every_fault_of_a_file_is_told_with_its_place() {
    let text = r#"
apps:
  - keys:
      - id: "a.b"
        secret: short
        capabilty: canary-1f0e
      - id: web
        secret: canary-1f0e white space
        capability: '{"a":[]}'
  - id: abc123
    namespace: []
    channels:
      - name: x
        presence: [{ clientId: "*" }]
  - id: abc123
"#;
    let problems = file::parse_for_tests(text).unwrap_err();
    let text = problems.join("\n");
    for expected in [
        "apps.0.keys.0.capabilty: there is no such key",
        "apps.1.namespace: there is no such key",
        "apps[0].id: an app needs an id of exactly six characters",
        "apps[0].keys[0].id: a key needs an id",
        "apps[0].keys[0].secret: a key needs a secret of 16 to 512",
        "apps[0].keys[1].secret",
        "apps[0].keys[1].capability: the capability has an empty list of operations",
        "apps[1].channels[0].presence[0].clientId: invalid clientId",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    assert_eq!(problems.len(), 8, "{text}");
    assert!(!text.contains("canary"), "{text}");
    let twice = "apps: [{id: abc123}, {id: abc123}]";
    let problems = file::parse_for_tests(twice).unwrap_err();
    assert_eq!(problems, ["apps[1].id: the id of another app"]);
}

#[test]
fn what_is_no_file_of_apps_is_told_with_its_line() {
    for text in [
        "apps:\n  - id: [1\n",
        "apps: 7\n",
        "- id: abc123\n",
        "apps:\n  - id: abc123\n    keys:\n      - status: gone\n        secret: canary-1f0e\n",
        "apps:\n  - id: abc123\n    id: abc124\n    # canary-1f0e\n",
    ] {
        let problems = file::parse_for_tests(text).expect_err(text).join("\n");
        assert!(problems.contains("line "), "{problems}");
        assert!(!problems.contains("canary"), "{problems}");
    }
    let fault = file::read("no/such/apps.yaml".as_ref(), NOW).unwrap_err().to_string();
    assert!(fault.contains("no/such/apps.yaml (ably.apps_file)"), "{fault}");
    assert!(fault.contains("cannot be read"), "{fault}");
}

#[test]
fn no_secret_is_in_debug_output() {
    let apps = apps();
    let app = created(&apps, &test_app());
    let shown = format!("{app:?} {apps:?}");
    for key in &app.keys {
        assert!(!shown.contains(key.secret.expose_secret()));
    }
}

/// findings P1: an operator sees what a reload has changed of which key, and no secret.
#[test]
fn what_a_reload_changes_of_apps_is_told_without_secrets() {
    let app = |keys: &str, more: &str| {
        let text = format!(r#"{{"id":"abc123","keys":[{keys}]{more}}}"#);
        Arc::new(AppSetup::from_json(text.as_bytes()).unwrap().into_app(NOW).unwrap())
    };
    let apps = apps();
    let first = r#"{"id":"web","secret":"0123456789abcdef","capability":"{\"a\":[\"*\"]}"},
        {"id":"old","secret":"0123456789abcdef"},{"id":"same","secret":"0123456789abcdef"}"#;
    let difference = apps.replace([app(first, "")]);
    assert_eq!(difference.new, ["abc123.old", "abc123.same", "abc123.web"]);
    let second = r#"{"id":"web","secret":"fedcba9876543210","capability":"{\"b\":[\"publish\"]}"},
        {"id":"new","secret":"0123456789abcdef"},{"id":"same","secret":"0123456789abcdef"}"#;
    let difference = apps.replace([app(second, r#","namespaces":[{"id":"kept","persisted":true}]"#)]);
    assert_eq!((difference.new, difference.gone), (vec!["abc123.new".to_owned()], vec!["abc123.old".to_owned()]));
    let told = r#"abc123.web (another secret; capability {"b":["publish"]}, before {"a":["*"]})"#;
    assert_eq!((difference.changed, difference.apps), (vec![told.to_owned()], vec!["abc123".to_owned()]));
}
