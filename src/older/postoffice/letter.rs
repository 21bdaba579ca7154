//! A letter as its sender wrote it (`docs/protocols/postoffice.md §3`): a JSON object whose values stay the bytes that
//! came, so that what is delivered is what was sent and no number changes on the way.

use std::{borrow::Cow, fmt, fmt::Write as _};

use bytestring::ByteString;
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// A frame that is a JSON object.
pub struct Letter<'a> {
    text: &'a ByteString,
    fields: Vec<(String, &'a RawValue)>,
}

/// What `to` or `cc` says.
#[derive(Debug, PartialEq, Eq)]
pub enum Names {
    /// Nothing: absent, null, an empty string or an empty array.
    Nobody,
    /// Neither a string nor an array of them.
    Wrong,
    /// The names, and the places in the array where none was.
    Listed(Vec<String>, Vec<usize>),
}

impl<'a> Letter<'a> {
    /// None when the frame is not a JSON object.
    pub fn read(text: &'a ByteString) -> Option<Self> {
        let Fields(fields) = serde_json::from_str(text).ok()?;
        Some(Self { text, fields })
    }

    /// The value of a field; of several with one name the last, which is what JSON readers take. `null` counts as
    /// absent.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let mut fields = self.fields.iter().rev();
        let (_, value) = fields.find(|(known, _)| known == name)?;
        Some(value.get()).filter(|value| *value != "null")
    }

    /// A field that is a string.
    pub fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?).ok()
    }

    /// A string, or anything else as it is written: for what is compared or shown, not for what is typed.
    pub fn shown(&self, name: &str) -> Option<Cow<'a, str>> {
        self.get(name).map(shown)
    }

    /// Everything that a recipient may take for the sender: also spellings like `From`, which Go's reader takes for
    /// `from`.
    pub fn senders(&self) -> impl Iterator<Item = Cow<'a, str>> {
        let is_sender =
            |(name, value): &&(String, &RawValue)| name.eq_ignore_ascii_case("from") && value.get() != "null";
        self.fields.iter().filter(is_sender).map(|(_, value)| shown(value.get()))
    }

    /// Who is named in `to` or `cc`; a number counts as its text where `takes_numbers`.
    pub fn names(&self, field: &str, takes_numbers: bool) -> Names {
        let Some(value) = self.get(field) else {
            return Names::Nobody;
        };
        let is_number = || takes_numbers && serde_json::from_str::<serde_json::Number>(value).is_ok();
        match serde_json::from_str::<String>(value) {
            Ok(name) if name.is_empty() => return Names::Nobody,
            Ok(name) => return Names::Listed(vec![name], Vec::new()),
            Err(_) if is_number() => return Names::Listed(vec![value.to_owned()], Vec::new()),
            Err(_) => {}
        }
        let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(value) else { return Names::Wrong };
        let (mut names, mut wrong) = (Vec::new(), Vec::new());
        for (place, item) in items.iter().enumerate() {
            match serde_json::from_str::<String>(item.get()) {
                Ok(name) if !name.is_empty() => names.push(name),
                _ => wrong.push(place),
            }
        }
        if items.is_empty() { Names::Nobody } else { Names::Listed(names, wrong) }
    }

    /// Who is discarded last when there is no room; 0 unless it is a whole number.
    pub fn level(&self) -> i64 {
        let level = self.get("level").and_then(|value| value.parse().ok());
        level.unwrap_or(0)
    }

    /// Never stored: it is about now (`§4`).
    pub fn is_heartbeat(&self) -> bool {
        self.get("type") == Some("\"heartbeat\"")
    }

    /// The bytes to deliver: those that came, unless the sender's `token` has to go.
    pub fn delivered(&self, with_token: bool) -> ByteString {
        // Go's reader takes `Token` for `token`.
        let stays = |name: &str| with_token || !name.eq_ignore_ascii_case("token");
        if self.fields.iter().all(|(name, _)| stays(name)) {
            return self.text.clone();
        }
        let mut text = String::with_capacity(self.text.len());
        for (name, value) in self.fields.iter().filter(|(name, _)| stays(name)) {
            text.push(if text.is_empty() { '{' } else { ',' });
            let name = serde_json::Value::from(name.as_str());
            // Writing to a string does not fail.
            let _ = write!(text, "{name}:{}", value.get());
        }
        if text.is_empty() {
            text.push('{');
        }
        text.push('}');
        text.into()
    }
}

fn shown(value: &str) -> Cow<'_, str> {
    serde_json::from_str::<String>(value).map_or(Cow::Borrowed(value), Cow::Owned)
}

struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn with<T>(text: &'static str, look: impl FnOnce(&Letter<'_>) -> T) -> T {
        let text = ByteString::from_static(text);
        look(&Letter::read(&text).unwrap())
    }

    #[test]
    fn only_objects_are_letters() {
        for text in ["", "x", "[]", "\"a\"", "1", "null", "{", "{\"a\":}"] {
            assert!(Letter::read(&text.into()).is_none(), "{text}");
        }
    }

    #[test]
    fn what_is_delivered_is_what_came() {
        let text = "{ \"to\":\"a\", \"attachments\":[12345678901234567890123, 1.10] }";
        with(text, |letter| assert_eq!(letter.delivered(false), text));
    }

    #[test]
    fn the_token_goes_and_the_rest_keeps_its_bytes() {
        let text = r#"{"to":"a","token":"x","n":12345678901234567890123,"Token":"y","é\n":1.10}"#;
        with(text, |letter| {
            assert_eq!(letter.delivered(true), text);
            assert_eq!(letter.delivered(false), r#"{"to":"a","n":12345678901234567890123,"é\n":1.10}"#);
        });
        with(r#"{"token":1}"#, |letter| assert_eq!(letter.delivered(false), "{}"));
    }

    #[test]
    fn names_in_all_their_forms() {
        let names = |text, numbers| with(text, |letter| letter.names("to", numbers));
        let listed = |names: &[&str], wrong: &[usize]| {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            Names::Listed(names, wrong.to_vec())
        };
        for nobody in ["{}", r#"{"to":null}"#, r#"{"to":""}"#, r#"{"to":[]}"#] {
            assert_eq!(names(nobody, true), Names::Nobody, "{nobody}");
        }
        assert_eq!(names(r#"{"to":"a"}"#, false), listed(&["a"], &[]));
        assert_eq!(names(r#"{"to":7}"#, true), listed(&["7"], &[]));
        assert_eq!(names(r#"{"to":7}"#, false), Names::Wrong);
        assert_eq!(names(r#"{"to":{}}"#, true), Names::Wrong);
        assert_eq!(names(r#"{"to":["a",1,"","b"]}"#, true), listed(&["a", "b"], &[1, 2]));
        assert_eq!(names(r#"{"to":"a","to":"b"}"#, true), listed(&["b"], &[]));
    }

    #[test]
    fn every_spelling_of_the_sender_counts() {
        let senders = with(r#"{"from":"a","From":"b","FROM":3}"#, |letter| {
            letter.senders().map(Cow::into_owned).collect::<Vec<_>>()
        });
        assert_eq!(senders, ["a", "b", "3"]);
    }
}
