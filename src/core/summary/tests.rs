use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::core::{
    operation::MessageRef,
    serial::{Epoch, Serial},
};

const METHODS: [&str; 5] = ["total", "flag", "distinct", "unique", "multiple"];

fn annotation(method: &str, is_delete: bool, name: &str, client: Option<&str>, count: Option<u64>) -> Annotation {
    Annotation {
        target: MessageRef { serial: Serial::at(Epoch::new(1), (1, 0)), index: 0 },
        is_delete,
        kind: format!("r:{method}.v1").into(),
        name: name.into(),
        count,
        client_id: client.and_then(ClientId::new),
        payload: Default::default(),
        extras: None,
    }
}

fn create(method: &str, name: &str, client: &str) -> Annotation {
    annotation(method, false, name, Some(client), None)
}

fn delete(method: &str, name: &str, client: &str) -> Annotation {
    annotation(method, true, name, Some(client), None)
}

fn sum(annotations: &[Annotation]) -> Summary {
    let mut summary = Summary::default();
    annotations.iter().for_each(|annotation| summary.apply(annotation));
    summary
}

fn shown(annotations: &[Annotation]) -> Value {
    serde_json::to_value(sum(annotations).digest()).expect("JSON")
}

/// docs/protocols/ably.md §9.5, row by row.
#[test]
fn each_method_counts_in_its_own_way() {
    let twice = |method, name| [create(method, name, "b"), create(method, name, "a"), create(method, name, "b")];
    assert_eq!(shown(&twice("total", "")), json!({"r:total.v1": {"total": 3}}));
    let two = json!({"total": 2, "clientIds": ["b", "a"], "clipped": false});
    assert_eq!(shown(&twice("flag", "x")), json!({"r:flag.v1": two}));
    assert_eq!(shown(&twice("distinct", "👍")), json!({"r:distinct.v1": {"👍": two}}));
    assert_eq!(shown(&twice("unique", "👍")), json!({"r:unique.v1": {"👍": two}}));
    let mut votes = twice("multiple", "👍").to_vec();
    votes.push(annotation("multiple", false, "👍", Some("a"), Some(8)));
    votes.push(annotation("multiple", false, "👍", None, Some(4)));
    let expected = json!({
        "total": 15, "clientIds": {"b": 2, "a": 9}, "totalUnidentified": 4, "totalClientIds": 2, "clipped": false
    });
    assert_eq!(shown(&votes), json!({"r:multiple.v1": {"👍": expected}}));
}

#[test]
fn a_client_has_one_name_of_a_unique_type() {
    let annotations = [create("unique", "x", "a"), create("unique", "x", "b"), create("unique", "y", "a")];
    let one = |client| json!({"total": 1, "clientIds": [client], "clipped": false});
    assert_eq!(shown(&annotations), json!({"r:unique.v1": {"x": one("b"), "y": one("a")}}));
    // Its name need not be said to take it back.
    let annotations = [&annotations[..], &[delete("unique", "", "a")]].concat();
    assert_eq!(shown(&annotations), json!({"r:unique.v1": {"x": one("b")}}));
}

#[test]
fn other_types_are_not_summed_up() {
    let mut other = create("distinct", "x", "a");
    other.kind = "comment".into();
    assert!(sum(&[other]).digest().is_empty());
}

#[test]
fn a_delete_takes_back_no_more_than_there_is() {
    for method in METHODS {
        assert_eq!(sum(&[delete(method, "x", "a")]), Summary::default(), "{method}");
    }
    assert_eq!(
        shown(&[create("distinct", "x", "a"), delete("distinct", "x", "b")]),
        shown(&[create("distinct", "x", "a")])
    );
}

#[test]
fn long_lists_are_clipped_and_the_totals_stay_right() {
    let clients: Vec<_> = (0..150).map(|client| create("distinct", "x", &format!("c{client}"))).collect();
    let summary = sum(&clients);
    let digest = serde_json::to_value(summary.digest()).expect("JSON");
    let listed = &digest["r:distinct.v1"]["x"];
    assert_eq!((&listed["total"], &listed["clipped"]), (&json!(150), &json!(true)));
    assert_eq!(listed["clientIds"].as_array().map(Vec::len), Some(limits::SUMMARY_LISTED));
    // Whoever is not listed asks for itself.
    let own = summary.digest_for(&ClientId::new("c149").expect("a client"));
    let own = serde_json::to_value(own).expect("JSON");
    assert_eq!(own, json!({"r:distinct.v1": {"x": {"total": 150, "clientIds": ["c149"], "clipped": true}}}));
    assert!(summary.digest_for(&ClientId::new("c150").expect("a client")).is_empty());
}

/// However many names there are, and however long the clientIds.
#[test]
fn what_is_sent_is_bounded() {
    let mut summary = Summary::default();
    let mut refused = None;
    for name in 0..2_000 {
        for client in 0..20 {
            let annotation = create("distinct", &format!("{name:0>60}"), &format!("{client:0>250}"));
            match summary.make_room(&annotation) {
                Ok(_) => summary.apply(&annotation),
                Err(fault) => refused = Some(fault),
            }
        }
    }
    assert!(matches!(refused, Some(Fault::SummaryFull { .. })), "{refused:?}");
    let length = serde_json::to_vec(&summary.digest()).expect("JSON").len();
    assert!(length < 2 * (limits::SUMMARY_LISTED_BYTES + limits::SUMMARY_NAMES_BYTES), "{length}");
}

fn annotations() -> impl Strategy<Value = Vec<Annotation>> {
    let one = (0..METHODS.len(), any::<bool>(), 0..3_u8, prop::option::of(0..4_u8), prop::option::of(1..5_u64));
    let one = one.prop_map(|(method, is_delete, name, client, count)| {
        let client = client.map(|client| format!("c{client}"));
        annotation(METHODS[method], is_delete, &format!("n{name}"), client.as_deref(), count)
    });
    prop::collection::vec(one, 0..60)
}

proptest! {
    /// What is paid before an annotation is counted is what it takes; and nothing is left when all have taken back all.
    #[test]
    fn what_is_kept_is_paid_for_and_given_back(annotations in annotations()) {
        let mut summary = Summary::default();
        for annotation in &annotations {
            let (before, growth) = (summary.bytes(), summary.make_room(annotation).expect("room"));
            summary.apply(annotation);
            prop_assert!(summary.bytes() <= before + growth);
            let listed: usize = summary.tallies.values().flat_map(|tally| tally.names.values()).map(|v| v.clients.len()).sum();
            prop_assert_eq!(summary.clients(), listed);
        }
        for method in METHODS {
            for name in ["n0", "n1", "n2", ""] {
                summary.apply(&annotation(method, true, name, None, Some(1_000)));
                for client in ["c0", "c1", "c2", "c3"] {
                    summary.apply(&delete(method, name, client));
                }
                (0..60).for_each(|_| summary.apply(&annotation(method, true, name, None, None)));
            }
        }
        prop_assert_eq!((summary.bytes(), summary.is_empty()), (0, true));
    }

    /// What a client has deleted it never had: its others, and those of everybody else, are as without it.
    #[test]
    fn a_delete_undoes(annotations in annotations(), method in 1..METHODS.len()) {
        let method = METHODS[method];
        let mut summary = sum(&annotations);
        let without = summary.clone();
        summary.apply(&create(method, "new", "new"));
        summary.apply(&delete(method, "new", "new"));
        prop_assert_eq!(summary.digest(), without.digest());
        prop_assert_eq!(summary, without);
    }

    /// Kept and read back at any place, it goes on the same.
    #[test]
    fn a_summary_that_was_kept_goes_on_the_same(annotations in annotations(), at in 0..60_usize) {
        let at = at.min(annotations.len());
        let (kept, mut read) = (sum(&annotations[..at]), Summary::default());
        kept.counts().for_each(|(kind, name, client, amount)| read.restore(kind, name.clone(), client, amount));
        annotations[at..].iter().for_each(|annotation| read.apply(annotation));
        let whole = sum(&annotations);
        prop_assert_eq!(read.digest(), whole.digest());
        prop_assert_eq!(read, whole);
    }
}
