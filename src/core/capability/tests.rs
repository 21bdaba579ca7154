//! Every example of `docs/protocols/ably.md §12.5`, and what must hold for any two capabilities.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::core::modes::Modes;

fn capability(text: &str) -> Capability {
    Capability::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"))
}

/// What `resource` with `*` permits on `channel`: all or nothing.
fn admits(resource: &str, channel: &str) -> bool {
    let capability = Capability::of(resource, Operations::ALL);
    capability.allows(channel, Operation::Publish)
}

#[test]
fn the_text_is_canonical() {
    for (written, canonical) in [
        (r#" { "*" : [ "*" ] } "#, r#"{"*":["*"]}"#),
        (
            r#"{"chat:*":["subscribe","publish"],"[meta]*":["subscribe"]}"#,
            r#"{"[meta]*":["subscribe"],"chat:*":["publish","subscribe"]}"#,
        ),
        (r#"{"b":["*"],"a":["history"]}"#, r#"{"a":["history"],"b":["*"]}"#),
        (r#"{"a":["publish","publish"]}"#, r#"{"a":["publish"]}"#),
        (r#"{"q\"\u00e9\n":["stats"]}"#, "{\"q\\\"\u{e9}\\n\":[\"stats\"]}"),
        ("{}", "{}"),
    ] {
        assert_eq!(capability(written).to_string(), canonical);
    }
}

/// Every operation by its name; together they are not `*`, which is more.
#[test]
fn operations_of_the_document() {
    let names = "subscribe publish presence object-subscribe object-publish annotation-subscribe \
         annotation-publish message-update-own message-update-any message-delete-own \
         message-delete-any history stats push-subscribe push-admin channel-metadata \
         privileged-headers";
    let mut sorted: Vec<&str> = names.split_whitespace().collect();
    sorted.sort_unstable();
    let names = Operation::EVERY.map(Operation::name);
    assert_eq!(names.to_vec(), sorted);
    let text = format!(r#"{{"a":{}}}"#, serde_json::to_string(&names).unwrap());
    let each = capability(&text);
    assert_eq!(each.to_string(), text);
    for operation in Operation::EVERY {
        assert!(each.allows("a", operation), "{operation:?}");
        assert!(Capability::everything().allows("a", operation));
    }
}

/// §12.5 "Validity" and trap T60: the three "Invalid capabilities" tests, and other nonsense.
#[test]
fn t60_invalid_capabilities() {
    let many = (0..=limits::CAPABILITY_RESOURCES).map(|index| format!(r#""{index}":["*"]"#));
    let many = format!("{{{}}}", many.collect::<Vec<_>>().join(","));
    let long = format!(r#"{{"{}":["*"]}}"#, "x".repeat(limits::CAPABILITY_BYTES));
    for text in [
        r#"{"channel0":["publish_"]}"#,
        r#"{"channel0":["*","publish"]}"#,
        r#"{"channel0":["publish","*"]}"#,
        r#"{"channel0":[]}"#,
        r#"{"channel0":["Publish"]}"#,
        r#"{"channel0":[""]}"#,
        r#"{"channel0":[1]}"#,
        r#"{"channel0":"publish"}"#,
        r#"{"channel0":null}"#,
        r#"{"channel0":{"publish":true}}"#,
        r#"{"":["*"]}"#,
        r#"{"a":["publish"],"a":["*"]}"#,
        r#"["*"]"#,
        r#""*""#,
        "null",
        "",
        "{",
        r#"{"a":["*"]} x"#,
        &many,
        &long,
    ] {
        let fault = Capability::parse(text).expect_err(text);
        assert!(matches!(fault, Fault::Malformed { .. }), "{text}");
        assert_eq!((fault.ably_code(), fault.http_status()), (40000, 400));
    }
}

/// §12.5 "Resource matching".
#[test]
fn resources_match_by_segments() {
    for (resource, matched, unmatched) in [
        ("*", vec!["a", "a:b", "a:b:c", ""], vec!["[meta]a", "[queue]a"]),
        ("foo", vec!["foo"], vec!["foo:a", "fo", "foobar", "[meta]foo"]),
        ("foo:*", vec!["foo:a", "foo:a:b", "foo:"], vec!["foo", "foobar", "x:foo:a"]),
        ("foo*", vec!["foo*"], vec!["foo", "foobar", "foo:a"]),
        ("*:bar", vec!["a:bar", "b:bar"], vec!["a:b:bar", "bar", "a:bar:b"]),
        ("a:*:c", vec!["a:b:c"], vec!["a:c", "a:b:b:c", "a:b:c:d"]),
        ("*:*", vec!["a:b", "a:b:c"], vec!["a"]),
        ("[meta]log", vec!["[meta]log"], vec!["log", "[queue]log", "[meta]log:a"]),
        ("[meta]*", vec!["[meta]a", "[meta]a:b"], vec!["a", "[queue]a"]),
        ("[queue]x", vec!["[queue]x"], vec!["x", "[meta]x"]),
        ("[*]*", vec!["a", "a:b", "[meta]a", "[queue]a:b"], vec![]),
        ("[*]a:*", vec!["a:b", "[meta]a:b"], vec!["a", "[meta]b"]),
    ] {
        for channel in matched {
            assert!(admits(resource, channel), "{resource} has {channel}");
        }
        for channel in unmatched {
            assert!(!admits(resource, channel), "{resource} has not {channel}");
        }
    }
}

/// Trap T65: key 5 of the test apps is useful for plain channels.
#[test]
fn t65_every_qualifier_and_none() {
    let key5 = capability(r#"{ "[*]*":["*"] }"#);
    assert_eq!(key5, Capability::everything());
    for channel in ["room", "room::$chat", "[meta]log"] {
        assert!(key5.allows(channel, Operation::Publish));
    }
    let both = key5.intersect(&Capability::all_channels());
    assert_eq!(both, Some(Capability::all_channels()));
}

/// §12.5: the permitted operations are the union of all matching entries.
#[test]
fn entries_add_up() {
    let key1 = capability(r#"{"canpublish:*":["publish"],"canpublish:andpresence":["presence","publish"]}"#);
    let on = |channel| key1.operations_on(channel).names().collect::<Vec<_>>();
    assert_eq!(on("canpublish:andpresence"), ["presence", "publish"]);
    assert_eq!(on("canpublish:x"), ["publish"]);
    assert!(on("x").is_empty());
    assert!(key1.names("canpublish:*") && !key1.names("canpublish:x"));
}

/// §12.5 "Intersection"; the rows of the suite `rest/capability`, with key 2 and key 1 of the test apps.
#[test]
fn intersections_of_the_suites() {
    let key2 = r#"{"channel0":["publish"],"channel1":["publish"],"channel2":["publish","subscribe"],
        "channel3":["subscribe"],"channel4":["presence","publish","subscribe"],
        "channel5":["presence"],"channel6":["*"]}"#;
    let key1 = r#"{"cansubscribe:*":["subscribe"],"canpublish:*":["publish"],
        "canpublish:andpresence":["presence","publish"]}"#;
    for (asked, key, both) in [
        (r#"{"channel2":["*"]}"#, key2, Some(r#"{"channel2":["publish","subscribe"]}"#)),
        (r#"{"channel2":["presence","subscribe"]}"#, key2, Some(r#"{"channel2":["subscribe"]}"#)),
        (r#"{"channel6":["publish","subscribe"]}"#, key2, Some(r#"{"channel6":["publish","subscribe"]}"#)),
        (r#"{"channel0":["subscribe"]}"#, key2, None),
        (r#"{"channelx":["publish"]}"#, key2, None),
        (r#"{"*":["publish"]}"#, r#"{"a":["*"]}"#, Some(r#"{"a":["publish"]}"#)),
        (r#"{"cansubscribe:*":["subscribe"]}"#, r#"{"*":["*"]}"#, Some(r#"{"cansubscribe:*":["subscribe"]}"#)),
        (r#"{"cansubscribe:*":["subscribe"]}"#, key1, Some(r#"{"cansubscribe:*":["subscribe"]}"#)),
        (r#"{"cansubscribe:check":["subscribe"]}"#, key1, Some(r#"{"cansubscribe:check":["subscribe"]}"#)),
        (r#"{"canpublish:check":["subscribe"]}"#, key1, None),
        // The narrower of two, and what both give to it.
        (
            r#"{"canpublish:*":["*"]}"#,
            key1,
            Some(r#"{"canpublish:*":["publish"],"canpublish:andpresence":["presence","publish"]}"#),
        ),
        // They overlap, but neither covers the other.
        (r#"{"a:*":["*"]}"#, r#"{"*:b":["*"]}"#, None),
        (r#"{"*":["*"]}"#, r#"{"[meta]*":["*"]}"#, None),
        (r#"{"*":["*"]}"#, r#"{"*:*":["*"]}"#, Some(r#"{"*:*":["*"]}"#)),
        ("{}", r#"{"*":["*"]}"#, None),
    ] {
        let (asked, key) = (capability(asked), capability(key));
        let text = |one: Option<Capability>| one.map(|one| one.to_string());
        assert_eq!(text(asked.intersect(&key)).as_deref(), both, "{asked} and {key}");
        assert_eq!(asked.intersect(&key), key.intersect(&asked));
    }
}

/// docs/protocols/ably.md §2.4, row by row.
#[test]
fn operations_give_modes() {
    let everything = Modes::NAMED.into_iter().fold(Modes::NONE, |all, (_, mode)| all | mode);
    assert_eq!(Operations::ALL.modes(), everything);
    for (operation, modes) in [
        (Operation::Publish, Modes::PUBLISH),
        (Operation::Subscribe, Modes::SUBSCRIBE | Modes::PRESENCE_SUBSCRIBE),
        (Operation::Presence, Modes::PRESENCE),
        (Operation::AnnotationPublish, Modes::ANNOTATION_PUBLISH),
        (Operation::AnnotationSubscribe, Modes::ANNOTATION_SUBSCRIBE),
        (Operation::ObjectSubscribe, Modes::OBJECT_SUBSCRIBE),
        (Operation::ObjectPublish, Modes::OBJECT_PUBLISH),
        (Operation::History, Modes::NONE),
    ] {
        assert_eq!(Operations::from(operation).modes(), modes, "{operation:?}");
    }
}

fn segment() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("*"), Just("")]
}

fn name() -> impl Strategy<Value = String> {
    let qualifier = prop_oneof![4 => Just(""), 1 => Just("[meta]"), 1 => Just("[*]")];
    let segments = proptest::collection::vec(segment(), 1..4);
    (qualifier, segments).prop_map(|(qualifier, segments)| format!("{qualifier}{}", segments.join(":")))
}

fn some_capability() -> impl Strategy<Value = Capability> {
    let operations = prop_oneof![
        Just(Operations::ALL),
        proptest::sample::subsequence(&Operation::EVERY, 1..4).prop_map(|chosen| {
            let set = chosen.into_iter();
            set.fold(Operations::NONE, |all, one| all | Operations::from(one))
        }),
    ];
    let resource = name().prop_filter_map("empty", |name| (!name.is_empty()).then(|| Resource::new(&name)));
    proptest::collection::btree_map(resource, operations, 0..5).prop_map(Capability)
}

proptest! {
    /// What both together allow, each allows; and what was taken away, one of them at least did not cover
    /// as a whole.
    #[test]
    fn an_intersection_allows_nothing_new(
        one in some_capability(), other in some_capability(), channel in name(),
    ) {
        let both = one.intersect(&other).unwrap_or_default();
        let allowed = both.operations_on(&channel);
        prop_assert_eq!(allowed & one.operations_on(&channel), allowed);
        prop_assert_eq!(allowed & other.operations_on(&channel), allowed);
        let with_all = one.intersect(&Capability::everything()).unwrap_or_default();
        prop_assert_eq!(&with_all, &one);
        prop_assert_eq!(one.intersect(&one).unwrap_or_default().operations_on(&channel),
            one.operations_on(&channel));
    }

    /// findings G4: the resources of a large capability are searched, with the outcome of a look at each.
    #[test]
    fn a_search_finds_what_matches(
        capability in proptest::collection::vec(some_capability(), 0..6), channel in name(), is_named: bool,
    ) {
        let resources: BTreeMap<_, _> = capability.into_iter().flat_map(|one| one.0).collect();
        let counts = |resource: &Resource| resource.matches(&channel) && (!is_named || resource.names_namespace());
        let matching = resources.iter().filter(|(resource, _)| counts(resource));
        let each = matching.fold(Operations::NONE, |all, (_, operations)| all | *operations);
        prop_assert_eq!(search::permitted(&resources, &channel, is_named), each);
    }

    #[test]
    fn whoever_covers_matches(one in name(), other in name(), channel in name()) {
        let (one, other) = (Resource::new(&one), Resource::new(&other));
        if one.matches(other.as_str()) && other.matches(&channel) {
            prop_assert!(one.matches(&channel));
        }
    }

    #[test]
    fn what_is_written_reads_as_the_same(capability in some_capability()) {
        let text = capability.to_string();
        prop_assert_eq!(Capability::parse(&text).unwrap(), capability);
    }

    #[test]
    fn any_text_is_read_or_refused(text in r#"[{}\[\]":,*a-z ]{0,40}"#) {
        if let Ok(capability) = Capability::parse(&text) {
            prop_assert_eq!(Capability::parse(&capability.to_string()).unwrap(), capability);
        }
    }
}

/// docs/architecture.md §5: what is reserved is reached by name only.
#[test]
fn a_wildcard_names_no_namespace() {
    let of = |text: &str| Capability::parse(text).expect("a capability");
    let publish = |capability: &Capability, channel: &str| {
        let operations = capability.operations_naming(channel);
        operations.has(Operation::Publish)
    };
    for unnamed in ["*", "[*]*", "*:x", "[meta]*"] {
        let capability = of(&format!(r#"{{"{unnamed}":["publish"]}}"#));
        assert!(!publish(&capability, "relay:x"), "{unnamed}");
    }
    for named in ["relay:*", "relay:x", "[*]relay:*"] {
        let capability = of(&format!(r#"{{"*":["publish"],"{named}":["publish"]}}"#));
        assert!(publish(&capability, "relay:x"), "{named}");
        assert!(!publish(&capability, "chat:x"), "{named}");
    }
}
