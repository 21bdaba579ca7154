#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    core::{
        message::{Body, EntryId},
        serial::Epoch,
    },
    ids::{AppId, ClientId, Timestamp},
};

fn message(name: &'static str, client: Option<&str>, extras: &Value) -> Message {
    Message {
        name: name.into(),
        client_id: client.map(|client| ClientId::new(client.to_owned()).unwrap()),
        extras: extras.as_object().map(|extras| Box::new(extras.clone())),
        ..Message::default()
    }
}

fn chosen(text: &str, message: &Message) -> bool {
    Expression::parse(text).unwrap().matches(message)
}

#[test]
fn what_expressions_choose() {
    let extras = json!({"headers": {"number": 7, "kind": "odd", "tags": ["a", "b"]}, "ref": {"x": [1, 2]}});
    let message = message("x", Some("bob"), &extras);
    for text in [
        "name == `\"x\"` && headers.number == `7`",
        "name == 'x'",
        "clientId == 'bob'",
        "headers.number > `6` && headers.number <= `7`",
        "contains(headers.tags, 'b')",
        "starts_with(headers.kind, 'o')",
        "extras.ref.x[1] == `2`",
        "extras.headers.number == headers.number",
        "!(headers.missing)",
        "headers.missing || headers.kind",
        "not_null(headers.missing, headers.kind) == 'odd'",
        "length(headers.tags) == `2`",
    ] {
        assert!(chosen(text, &message), "{text}");
    }
    for text in [
        "name == 'y'",
        "headers.number == `8`",
        "headers.missing",
        "headers.missing == 'x'",
        "headers.missing.deeper > `1`",
        // A wrong type at run time.
        "starts_with(headers.number, 'o')",
    ] {
        assert!(!chosen(text, &message), "{text}");
    }
    let bare = self::message("x", None, &Value::Null);
    assert!(chosen("clientId == null && headers == null", &bare));
}

#[test]
fn expressions_that_are_none() {
    let long = format!("name == '{}'", "x".repeat(limits::EXPRESSION_BYTES));
    let deep = format!("{}name{}", "(".repeat(500), ")".repeat(500));
    let chain = format!("headers{}", ".a".repeat(400));
    for text in [
        "",
        "name ==",
        "name == 'x",
        "(",
        "unknown(name)",
        "[name, name]",
        "{a: name}",
        "headers.tags[*]",
        "headers.tags[]",
        "headers.*",
        "headers.tags[?@ == 'a']",
        "headers.tags[0:1]",
        "join('', [name, name])",
        "sort_by(headers.tags, &x)",
        &long,
        &deep,
        &chain,
    ] {
        assert!(matches!(Expression::parse(text), Err(Fault::InvalidFilter { .. })), "{text:?}");
    }
}

/// However many subscribers ask, and in whatever order, the verdict is that on the message.
#[test]
fn verdicts_belong_to_their_entry() {
    let channel = ChannelName::new(AppId::random(), "x");
    let names = [["a", "b"], ["b", "b"], ["a", "a"]];
    let entries = names.iter().enumerate().map(|(place, names)| {
        let messages = names.iter().map(|name| message(name, None, &Value::Null)).collect();
        let serial = Serial::at(Epoch::new(1), (1, place as u16));
        Entry::new(channel.clone(), serial, Timestamp::from_millis(0), None, EntryId::Serial, Body::Messages(messages))
    });
    let entries: Vec<Entry> = entries.collect();
    let expression = Expression::parse("name == 'a'").unwrap();
    for entry in entries.iter().chain(entries.iter().rev()) {
        for (index, message) in entry.messages().iter().enumerate().rev() {
            assert_eq!(expression.chooses(entry, index), &*message.name == "a");
        }
    }
}

#[test]
fn equal_expressions_of_a_channel_are_one_and_there_are_not_too_many() {
    let app = AppId::random();
    let (one, other) = (ChannelName::new(app, "one"), ChannelName::new(app, "other"));
    let mut all = Expressions::default();
    let first = all.get(&one, "name == '0'").unwrap();
    assert!(Arc::ptr_eq(&first, &all.get(&one, "name == '0'").unwrap()));
    assert!(!Arc::ptr_eq(&first, &all.get(&other, "name == '0'").unwrap()));
    let limit = limits::EXPRESSIONS_PER_CHANNEL;
    let text = |number| format!("name == '{number}'");
    let mut held: Vec<_> = (1..limit).map(|number| all.get(&one, &text(number)).unwrap()).collect();
    assert_eq!(all.get(&one, &text(limit)).err(), Some(Fault::TooManyFilters { limit }));
    assert!(all.get(&one, "name == '0'").is_ok());
    held.pop();
    assert!(all.get(&one, &text(limit)).is_ok());
    drop((first, held));
    for number in 0..1_000 {
        drop(all.get(&ChannelName::new(app, &number.to_string()), "name").unwrap());
    }
    assert!(all.0.len() < 20, "{}", all.0.len());
}

proptest! {
    /// Whatever is sent as an expression is taken or refused, and what is taken can be asked.
    #[test]
    fn any_text_is_taken_or_refused(text in r"[a-z0-9.@\[\]()*!&|<>=?:{}`'\u{22}, -]{0,60}") {
        if let Ok(expression) = Expression::parse(&text) {
            expression.matches(&message("x", Some("y"), &json!({"headers": {"a": [1, {"b": null}]}})));
        }
    }
}
